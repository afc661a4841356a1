// What a thread knows to have happened before, beyond what barriers tell: the order made by fences and atomics.
//
// A release fence before an atomic store, and an acquire fence after an atomic load of the same object that sees it,
// order all that came before the one with all that comes after the other.
#ifndef SOFTMETAL_CHECKS_KNOWLEDGE_H
#define SOFTMETAL_CHECKS_KNOWLEDGE_H

#include <algorithm>
#include <cstdint>
#include <map>

namespace softmetal::checks {

class Knowledge {
 public:
  /// All of the threadgroup's accesses that passed fewer than `barrier` barriers.
  void AddThreadgroup(uint32_t threadgroup, uint32_t barrier) { Raise(groups_[threadgroup].barrier, barrier); }
  /// All of the simdgroup's accesses that passed fewer than `simd_barrier` simdgroup barriers.
  void AddSimdgroup(uint32_t threadgroup, uint32_t simdgroup, uint32_t simd_barrier) {
    Raise(groups_[threadgroup].simdgroups[simdgroup], simd_barrier);
  }
  /// All of the lane's accesses before fence number `fence`.
  void AddLane(uint32_t threadgroup, uint32_t lane, uint32_t fence) { Raise(groups_[threadgroup].lanes[lane], fence); }
  void Add(const Knowledge &other) {
    for (const auto &[threadgroup, known] : other.groups_) {
      AddThreadgroup(threadgroup, known.barrier);
      for (auto [simdgroup, count] : known.simdgroups) AddSimdgroup(threadgroup, simdgroup, count);
      for (auto [lane, fence] : known.lanes) AddLane(threadgroup, lane, fence);
    }
  }
  bool Has(uint32_t threadgroup, uint32_t barrier, uint32_t simdgroup, uint32_t simd_barrier, uint32_t lane,
           uint32_t fence) const {
    auto group = groups_.find(threadgroup);
    if (group == groups_.end()) return false;
    const Known &known = group->second;
    if (barrier < known.barrier) return true;
    auto simd = known.simdgroups.find(simdgroup);
    if (simd != known.simdgroups.end() && simd_barrier < simd->second) return true;
    auto own = known.lanes.find(lane);
    return own != known.lanes.end() && fence < own->second;
  }
  bool Empty() const { return groups_.empty(); }
  void Clear() { groups_.clear(); }

 private:
  struct Known {
    uint32_t barrier = 0;
    std::map<uint32_t, uint32_t> simdgroups;
    std::map<uint32_t, uint32_t> lanes;
  };
  static void Raise(uint32_t &value, uint32_t to) { value = std::max(value, to); }

  std::map<uint32_t, Known> groups_;
};

}  // namespace softmetal::checks

#endif
