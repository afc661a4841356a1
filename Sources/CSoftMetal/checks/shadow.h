// What was done to memory, and whether two accesses are ordered.
//
// Memory is seen in granules of eight bytes. A granule has a list of the accesses that a later one could still collide
// with, each with a mask of its bytes. An access leaves the list when another covers it: one that is ordered after it
// and collides with all that it would collide with.
#ifndef SOFTMETAL_CHECKS_SHADOW_H
#define SOFTMETAL_CHECKS_SHADOW_H

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "knowledge.h"

namespace softmetal::checks {

/// An access, or several of one simdgroup that differ in nothing but the lane.
struct Access {
  uint32_t site = 0;         ///< number of the instruction
  uint32_t threadgroup = 0;  ///< serial number over all dispatches of a history
  uint32_t barrier = 0;      ///< threadgroup barriers passed that order this kind of memory
  uint32_t simd_barrier = 0; ///< simdgroup barriers passed that order this kind of memory
  uint32_t fence = 0;        ///< release fences passed, of all threads
  uint16_t lane = 0;         ///< index in the threadgroup
  uint16_t last_lane = 0;    ///< another lane that did the same, or `lane`: two witnesses suffice to judge any third
  uint8_t mask = 0;          ///< bytes of the granule
  uint8_t kind = 0;          ///< kCheckWrite and kCheckAtomic
  uint32_t next = 0;
  uint64_t value = 0;        ///< of a write: the bytes it left
};

class Shadow {
 public:
  /// A collision of two accesses in the bytes `mask` of the granule at `address`.
  using Collision = std::function<void(const Access &earlier, const Access &later, uint64_t address, uint8_t mask)>;

  /// To be called when a dispatch begins. `limit`: bytes it may take.
  void Start(uint32_t simd_width, uint64_t limit, Collision collision) {
    simd_width_ = simd_width;
    limit_ = limit;
    collision_ = std::move(collision);
  }

  /// Looks for collisions of `now` with what is known of the bytes at `address`, and remembers it. A write's bytes are
  /// read from `data` when `Settle` is called. False if there is no more room to remember it.
  bool Record(uint64_t address, uint64_t bytes, const uint8_t *data, Access now, const Knowledge *knowledge);

  /// To be called when the last recorded write has been executed: threads that write the same bytes at the same time do
  /// no harm.
  void Settle() {
    if (!written_.empty()) SettleWrites();
  }

  /// Forgets the last recorded write if it has not been executed.
  void Abandon() {
    written_.clear();
    suspects_.clear();
  }

  /// Forgets everything and keeps the room.
  void Clear();
  void Clear(uint64_t address, uint64_t bytes);
  /// Forgets everything and gives the room back.
  void Free();

  /// Accesses of different lanes and threadgroups are no longer merged, as fences may order some of them only.
  void KeepAll() { keep_all_ = true; }

  uint64_t BytesUsed() const;

 private:
  enum class Order { kNone, kProgram, kBarrier };
  static constexpr uint32_t kPageGranules = 512;
  static constexpr uint32_t kBlock = 4096;
  struct Page {
    uint32_t heads[kPageGranules] = {};
  };
  struct Suspect {  // two writes of bytes that may turn out to be the same
    Access earlier;
    uint64_t address;
    uint8_t mask;
  };
  struct Written {
    uint32_t index;
    uint64_t address;
    const uint8_t *data;  // of the granule's first byte
    Access access;
  };

  Access &At(uint32_t index) { return blocks_[index / kBlock][index % kBlock]; }
  uint32_t Take();
  void Release(uint32_t index);
  Page *FindPage(uint64_t number);
  bool Touch(uint32_t *head, uint64_t address, const uint8_t *data, const Access &now, const Knowledge *knowledge);
  Order OrderOf(const Access &earlier, const Access &now, const Knowledge *knowledge) const;
  bool Joins(const Access &now, const Access &earlier) const;
  bool SameSimdgroup(const Access &a, const Access &b) const;
  void SettleWrites();

  uint32_t simd_width_ = 32;
  Collision collision_;
  bool keep_all_ = false;
  uint64_t limit_ = UINT64_MAX;
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
  uint64_t last_number_ = UINT64_MAX;
  Page *last_page_ = nullptr;
  std::vector<std::unique_ptr<Access[]>> blocks_;
  uint32_t used_ = 1;  // 0 is the end of a list
  uint32_t free_ = 0;
  std::vector<Written> written_;
  std::vector<Suspect> suspects_;
};

}  // namespace softmetal::checks

#endif
