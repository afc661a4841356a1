#include "regions.h"

#include <algorithm>
#include <cstring>

namespace softmetal::checks {
namespace {

uint64_t Number(const void *address) { return reinterpret_cast<uintptr_t>(address); }

uint64_t LowestBit(uint64_t value) { return value & (~value + 1); }

/// Farthest from a region that an address is still taken for a wrong offset into it, when regions lie anywhere and when
/// each has its window.
constexpr uint64_t kNear = uint64_t{1} << 20;
constexpr uint64_t kNearPlaced = uint64_t{1} << 37;

}  // namespace

std::string Region::Name() const {
  std::string text;
  if (!threadgroup)
    text = "buffer " + std::to_string(slot);
  else if (slot >= 0)
    text = "threadgroup memory " + std::to_string(slot);
  else if (name.empty())
    return "the shader's threadgroup variables";
  else
    text = "threadgroup variable";
  if (!name.empty()) text += " \"" + name + "\"";
  return text;
}

void Region::MarkWritten(uint64_t address, uint64_t size) const {
  if (written != nullptr) std::memset(written + (address - base), 1, size);
}

bool Region::FindUnwritten(uint64_t address, uint64_t size, uint64_t *unwritten) const {
  if (written == nullptr) return false;
  const uint8_t *bytes = written + (address - base);
  // Padding never comes first, and is shorter than the alignment of what follows it.
  constexpr uint64_t kMostAligned = 8;
  for (uint64_t i = 0; i < size;) {
    const void *gap = std::memchr(bytes + i, 0, size - i);
    if (gap == nullptr) return false;
    i = static_cast<uint64_t>(static_cast<const uint8_t *>(gap) - bytes);
    uint64_t end = i + 1;
    while (end < size && bytes[end] == 0) end++;
    if (i == 0 || end - i >= std::min(LowestBit(end), kMostAligned)) {
      *unwritten = address - base + i;
      return true;
    }
    i = end;
  }
  return false;
}

Regions::Regions(const CheckerConfig &config) : placed_(config.memory != nullptr) {
  for (const CheckedBuffer &buffer : config.buffers) {
    if (buffer.base == nullptr) continue;
    Region region;
    region.base = Number(buffer.base);
    region.bytes = buffer.bytes;
    region.host = buffer.host != nullptr ? Number(buffer.host) : region.base;
    region.slot = static_cast<int32_t>(buffer.slot);
    region.name = buffer.name;
    region.written = buffer.initialised;
    regions_.push_back(std::move(region));
  }
  written_.reserve(config.threadgroup.size());
  for (const ThreadgroupRegion &piece : config.threadgroup) {
    written_.emplace_back(piece.bytes);
    Region region;
    region.base = region.host = Number(piece.base);
    region.bytes = piece.bytes;
    region.threadgroup = true;
    region.slot = piece.slot;
    region.name = piece.name;
    region.written = written_.back().data();
    regions_.push_back(std::move(region));
  }
  std::sort(regions_.begin(), regions_.end(), [](const Region &a, const Region &b) {
    return a.base != b.base ? a.base < b.base : a.threadgroup != b.threadgroup ? b.threadgroup : a.slot < b.slot;
  });
  for (size_t i = 1; i < regions_.size(); i++)
    if (regions_[i].base < regions_[i - 1].End()) overlapping_ = true;
  for (const IgnoredRange &range : config.ignored) ignored_.push_back({Number(range.base), range.bytes});
}

const Region *Regions::Find(uint64_t address, uint64_t size) {
  if (last_ != nullptr && last_->Holds(address, size)) return last_;
  for (const Region &region : regions_) {
    if (region.Holds(address, size)) return last_ = &region;
  }
  return nullptr;
}

const Region *Regions::FindShadowed(uint64_t address, bool threadgroup) const {
  for (const Region &region : regions_)
    if (region.threadgroup == threadgroup && address >= region.host && address - region.host < region.bytes)
      return &region;
  return nullptr;
}

bool Regions::Ignored(uint64_t address, uint64_t size) const {
  for (const Range &range : ignored_)
    if (address >= range.base && address - range.base < range.bytes && size <= range.bytes - (address - range.base))
      return true;
  return false;
}

const Region *Regions::Nearest(uint64_t address) const {
  const Region *nearest = nullptr;
  uint64_t least = placed_ ? kNearPlaced : kNear;
  for (const Region &region : regions_) {
    uint64_t distance = address < region.base ? region.base - address : address - std::min(address, region.End());
    if (distance >= least) continue;
    least = distance;
    nearest = &region;
  }
  return nearest;
}

void Regions::MarkWritten(const Region &region, uint64_t address, uint64_t size) const {
  region.MarkWritten(address, size);
  if (!overlapping_) return;
  for (const Region &other : regions_) {
    uint64_t begin = std::max(address, other.base), end = std::min(address + size, other.End());
    if (&other != &region && begin < end) other.MarkWritten(begin, end - begin);
  }
}

void Regions::ForgetThreadgroup() {
  for (std::vector<uint8_t> &written : written_) std::fill(written.begin(), written.end(), 0);
}

}  // namespace softmetal::checks
