// What is ordered before what, for one kind of memory: counts of barriers, and what fences add.
#ifndef SOFTMETAL_CHECKS_MEMORY_ORDER_H
#define SOFTMETAL_CHECKS_MEMORY_ORDER_H

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "knowledge.h"
#include "shadow.h"

namespace softmetal::checks {

/// Atomic objects by address, with what those who stored to them had released.
using AtomicObjects = std::unordered_map<uint64_t, Knowledge>;

class MemoryOrder {
 public:
  MemoryOrder(uint32_t lanes, uint32_t simd_width)
      : simd_width_(simd_width), simd_barriers_((lanes + simd_width - 1) / simd_width), lanes_(lanes) {}

  void StartThreadgroup(uint32_t serial);
  void ThreadgroupBarrier();
  void SimdgroupBarrier(uint32_t simdgroup);
  void Fence(uint32_t lane, bool acquire, bool release, uint32_t number);
  /// An atomic access to the object.
  void Atomic(uint32_t lane, bool reads, bool writes, uint64_t address, AtomicObjects *objects);

  /// Fills in the time of an access that happens now.
  void Stamp(uint32_t lane, Access *access) const {
    access->threadgroup = threadgroup_;
    access->barrier = barrier_;
    access->simd_barrier = simd_barriers_[lane / simd_width_];
    access->lane = static_cast<uint16_t>(lane);
  }
  const Knowledge *KnownTo(uint32_t lane) const { return fenced_ ? &lanes_[lane].known : nullptr; }
  uint32_t Lanes() const { return static_cast<uint32_t>(lanes_.size()); }
  uint32_t Simdgroups() const { return static_cast<uint32_t>(simd_barriers_.size()); }

 private:
  struct Lane {
    Knowledge known;     // happened before
    Knowledge seen;      // will have, at the next acquire fence
    Knowledge released;  // what a store tells those who see it
  };
  void Share(uint32_t first, uint32_t end);

  uint32_t simd_width_;
  uint32_t threadgroup_ = 0;
  uint32_t barrier_ = 0;
  bool fenced_ = false;
  std::vector<uint32_t> simd_barriers_;
  std::vector<Lane> lanes_;
};

}  // namespace softmetal::checks

#endif
