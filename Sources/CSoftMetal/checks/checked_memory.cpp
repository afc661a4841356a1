#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "checks.h"

namespace softmetal {
namespace {

/// A 32-bit index of the largest element, 16 bytes, reaches 64 GiB: with a window of four times that, no such index
/// leaves the window of the buffer it was meant for.
constexpr uint64_t kWindow = uint64_t{1} << 38;
constexpr uint64_t kAbsorbedPages = 4096;

}  // namespace

struct CheckedMemory::State {
  struct Copy {
    uint8_t *host;
    uint8_t *copy;
    uint8_t *before;  // what was copied, to tell what the kernel changed
    uint64_t bytes;
  };
  uint8_t *space = nullptr;  // all windows
  uint64_t space_bytes = 0;
  uint64_t page = 4096;
  uint64_t absorbed = 0;
  std::vector<Copy> copies;
  std::vector<std::unique_ptr<uint8_t[]>> snapshots;

  bool Reserve(uint64_t windows, uint64_t largest, uint64_t *window) {
    for (*window = kWindow; *window / 4 > largest + 16 * page; *window /= 2) {
      void *at = mmap(nullptr, windows * *window, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (at == MAP_FAILED) continue;
      space = static_cast<uint8_t *>(at);
      space_bytes = windows * *window;
      return true;
    }
    return false;
  }
  bool Back(uint8_t *at, uint64_t bytes) {
    uintptr_t begin = reinterpret_cast<uintptr_t>(at) / page * page;
    uintptr_t end = (reinterpret_cast<uintptr_t>(at) + bytes + page - 1) / page * page;
    return mprotect(reinterpret_cast<void *>(begin), end - begin, PROT_READ | PROT_WRITE) == 0;
  }
  void Free() {
    if (space != nullptr) munmap(space, space_bytes);
    space = nullptr;
  }
};

CheckedMemory::CheckedMemory() : state_(std::make_unique<State>()) {
  state_->page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

CheckedMemory::~CheckedMemory() { state_->Free(); }

bool CheckedMemory::Place(Buffer *buffers, uint32_t buffer_count, const uint64_t *region_bytes, uint32_t region_count,
                          void **regions) {
  State &s = *state_;
  // Bindings of the same memory become one copy.
  std::vector<std::pair<uintptr_t, uintptr_t>> spans;
  for (uint32_t i = 0; i < buffer_count; i++) {
    auto begin = reinterpret_cast<uintptr_t>(buffers[i].data);
    if (buffers[i].data != nullptr && buffers[i].bytes != 0) spans.push_back({begin, begin + buffers[i].bytes});
  }
  std::sort(spans.begin(), spans.end());
  std::vector<std::pair<uintptr_t, uintptr_t>> merged;
  for (auto span : spans) {
    if (!merged.empty() && span.first < merged.back().second)
      merged.back().second = std::max(merged.back().second, span.second);
    else
      merged.push_back(span);
  }
  uint64_t largest = 0;
  for (auto span : merged) largest = std::max<uint64_t>(largest, span.second - span.first);
  for (uint32_t i = 0; i < region_count; i++) largest = std::max(largest, region_bytes[i]);

  uint64_t window = 0;
  uint64_t windows = merged.size() + region_count;
  if (windows == 0) return true;
  if (!s.Reserve(windows, largest, &window)) return false;
  uint8_t *next = s.space + window / 2;
  for (auto span : merged) {
    auto *host = reinterpret_cast<uint8_t *>(span.first);
    uint64_t bytes = span.second - span.first;
    uint8_t *copy = next + span.first % s.page;  // as aligned as the original
    next += window;
    std::unique_ptr<uint8_t[]> before(new (std::nothrow) uint8_t[bytes]);
    if (before == nullptr || !s.Back(copy, bytes)) return false;
    std::memcpy(copy, host, bytes);
    std::memcpy(before.get(), host, bytes);
    s.copies.push_back({host, copy, before.get(), bytes});
    s.snapshots.push_back(std::move(before));
    for (uint32_t i = 0; i < buffer_count; i++) {
      auto begin = reinterpret_cast<uintptr_t>(buffers[i].data);
      if (buffers[i].bytes != 0 && begin >= span.first && begin < span.second)
        buffers[i].data = copy + (begin - span.first);
    }
  }
  for (uint32_t i = 0; i < region_count; i++, next += window) {
    regions[i] = next;
    if (region_bytes[i] != 0 && !s.Back(next, region_bytes[i])) return false;
  }
  return true;
}

void CheckedMemory::CopyBack() {
  // Byte by byte what the kernel changed: the rest may belong to somebody who writes it at this moment.
  constexpr uint64_t kBlock = 256;
  for (const State::Copy &copy : state_->copies) {
    for (uint64_t at = 0; at < copy.bytes; at += kBlock) {
      uint64_t end = std::min(at + kBlock, copy.bytes);
      if (std::memcmp(copy.copy + at, copy.before + at, end - at) == 0) continue;
      for (uint64_t i = at; i < end; i++)
        if (copy.copy[i] != copy.before[i]) copy.host[i] = copy.copy[i];
    }
  }
}

bool CheckedMemory::Absorb(const void *address, uint64_t bytes) {
  State &s = *state_;
  auto *at = static_cast<uint8_t *>(const_cast<void *>(address));
  if (s.space == nullptr || at < s.space || at >= s.space + s.space_bytes) return false;
  if (bytes > static_cast<uint64_t>(s.space + s.space_bytes - at)) return false;
  s.absorbed += bytes / s.page + 1;
  return s.absorbed <= kAbsorbedPages && s.Back(at, bytes);
}

}  // namespace softmetal
