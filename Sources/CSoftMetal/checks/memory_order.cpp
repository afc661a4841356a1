#include "memory_order.h"

#include <algorithm>

namespace softmetal::checks {

void MemoryOrder::StartThreadgroup(uint32_t serial) {
  threadgroup_ = serial;
  barrier_ = 0;
  std::fill(simd_barriers_.begin(), simd_barriers_.end(), 0);
  if (fenced_) std::fill(lanes_.begin(), lanes_.end(), Lane());
  fenced_ = false;
}

void MemoryOrder::Share(uint32_t first, uint32_t end) {
  Knowledge all;
  for (uint32_t i = first; i < end; i++) all.Add(lanes_[i].known);
  for (uint32_t i = first; i < end; i++) lanes_[i].known = all;
}

void MemoryOrder::ThreadgroupBarrier() {
  barrier_++;
  if (fenced_) Share(0, Lanes());
}

void MemoryOrder::SimdgroupBarrier(uint32_t simdgroup) {
  if (simdgroup >= Simdgroups()) return;
  simd_barriers_[simdgroup]++;
  if (fenced_) Share(simdgroup * simd_width_, std::min(Lanes(), (simdgroup + 1) * simd_width_));
}

void MemoryOrder::Fence(uint32_t lane, bool acquire, bool release, uint32_t number) {
  fenced_ = true;
  Lane &self = lanes_[lane];
  if (acquire) self.known.Add(self.seen);
  if (!release) return;
  self.released = self.known;
  self.released.AddThreadgroup(threadgroup_, barrier_);
  self.released.AddSimdgroup(threadgroup_, lane / simd_width_, simd_barriers_[lane / simd_width_]);
  self.released.AddLane(threadgroup_, lane, number);
}

void MemoryOrder::Atomic(uint32_t lane, bool reads, bool writes, uint64_t address, AtomicObjects *objects) {
  Lane &self = lanes_[lane];
  if (reads && !objects->empty()) {
    auto found = objects->find(address);
    if (found != objects->end()) {
      self.seen.Add(found->second);
      fenced_ = true;
    }
  }
  if (writes && !self.released.Empty()) (*objects)[address].Add(self.released);
}

}  // namespace softmetal::checks
