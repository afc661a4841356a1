// Memory of buffers.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "softmetal_runtime.h"

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

namespace {

/// From here on the system's lazily zeroed pages are cheaper than clearing memory.
constexpr uint64_t kMapped = uint64_t{64} << 10;
constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kCacheLine = 64;

constexpr uint64_t RoundUp(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

/// Memory that starts on a huge page, so that all of it can be made of huge pages.
void *MapHuge(uint64_t bytes) {
  void *mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const auto begin = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t first = RoundUp(begin, kHugePage);
  if (first != begin) munmap(mapped, first - begin);
  const uintptr_t after = first + bytes, end = begin + bytes + kHugePage;
  if (after != end) munmap(reinterpret_cast<void *>(after), end - after);
#ifdef MADV_HUGEPAGE
  (void)madvise(reinterpret_cast<void *>(first), bytes, MADV_HUGEPAGE);
#endif
  return reinterpret_cast<void *>(first);
}

}  // namespace

uint64_t sm_page_bytes(void) {
  static const long bytes = sysconf(_SC_PAGESIZE);
  return bytes > 0 ? static_cast<uint64_t>(bytes) : 4096;
}

uint64_t sm_physical_bytes(void) {
  static const long pages = sysconf(_SC_PHYS_PAGES);
  return (pages > 0 ? static_cast<uint64_t>(pages) : 1u << 18) * sm_page_bytes();
}

void *sm_memory_allocate(uint64_t bytes, uint64_t *reserved) {
  if (bytes == 0 || bytes > UINT64_MAX / 2) return nullptr;
  *reserved = RoundUp(bytes, kCacheLine);
  if (*reserved < kMapped) {
    void *memory = nullptr;
    if (posix_memalign(&memory, kCacheLine, *reserved) != 0) return nullptr;
    return std::memset(memory, 0, *reserved);
  }
  *reserved = RoundUp(bytes, sm_page_bytes());
  if (*reserved >= kHugePage) return MapHuge(*reserved);
  void *mapped = mmap(nullptr, *reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mapped == MAP_FAILED ? nullptr : mapped;
}

void sm_memory_free(void *memory, uint64_t reserved) {
  if (memory == nullptr) return;
  if (reserved < kMapped) {
    std::free(memory);
  } else {
    munmap(memory, reserved);
  }
}
