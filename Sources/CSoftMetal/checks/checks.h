// The checker of a dispatch: data races, bounds, uninitialised reads and misaligned accesses of a running shader.
//
// The executor runs a checked dispatch on one worker, one threadgroup after another, and tells the checker of every
// access and every barrier. That makes reports the same from run to run, and lets the checker see the memory a store
// has left behind when it looks at the next event.
#ifndef SOFTMETAL_CHECKS_H
#define SOFTMETAL_CHECKS_H

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace softmetal {

/// Values of `metal::mem_flags`.
enum MemFlags : uint32_t { kMemNone = 0, kMemDevice = 1, kMemThreadgroup = 2, kMemTexture = 4 };

/// Bits of an access, as the hooks of softmetal_checked.h pass them.
enum AccessKind : uint32_t {
  kCheckRead = 0,
  kCheckWrite = 1,
  kCheckAtomic = 2,  ///< of an atomic object
  kCheckUpdate = 4,  ///< with kCheckWrite: reads first, as fetch_add does
  kCheckAligned = 8,  ///< the type is aligned to its size, or to 8 if that is more
};

/// Copies of a dispatch's buffers, and its threadgroup memory, each far from everything else, so that a wrong index
/// lands in nobody's bytes. Buffers that overlap keep overlapping.
class CheckedMemory {
 public:
  struct Buffer {
    void *data = nullptr;  ///< in: the host's bytes; out: the copy
    uint64_t bytes = 0;
  };
  CheckedMemory();
  ~CheckedMemory();
  CheckedMemory(const CheckedMemory &) = delete;
  CheckedMemory &operator=(const CheckedMemory &) = delete;

  /// Copies the buffers (those without data stay as they are) and makes room for the regions of threadgroup memory:
  /// `regions[i]` receives the address of `region_bytes[i]` zero bytes, 256-byte aligned. False if memory is short.
  bool Place(Buffer *buffers, uint32_t buffer_count, const uint64_t *region_bytes, uint32_t region_count,
             void **regions);
  /// Writes the copies back to where they came from.
  void CopyBack();
  /// Backs the pages of an out-of-bounds access with scratch memory, so that it harms nobody: reads find zeros. False
  /// if the address is nowhere near, or too many pages were backed already.
  bool Absorb(const void *address, uint64_t bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Bytes bound to a buffer slot.
struct CheckedBuffer {
  uint32_t slot = 0;
  std::string name;             ///< the argument's; may be empty
  void *base = nullptr;         ///< where the kernel sees them
  uint64_t bytes = 0;
  const void *host = nullptr;  ///< where the buffer really lies, if the kernel sees a copy (`CheckedMemory`); else null
  uint8_t *initialised = nullptr;  ///< one byte for each, not 0 once it was written; null: everything is
};

/// A piece of threadgroup memory with bounds of its own.
struct ThreadgroupRegion {
  int32_t slot = -1;  ///< `threadgroup(n)` of an argument; -1: variables declared in the shader
  std::string name;  ///< may be empty
  void *base = nullptr;
  uint64_t bytes = 0;
};

/// Memory that the kernel's code may touch and that is not the shader's, as the executor's records. The images of the
/// kernel's module and of the checker's own need not be named.
struct IgnoredRange {
  const void *base = nullptr;
  uint64_t bytes = 0;
};

struct CheckerConfig {
  std::string kernel;  ///< host name, for reports
  uint32_t threads[3] = {1, 1, 1};  ///< in a full threadgroup
  uint32_t simd_width = 32;
  bool lockstep = false;  ///< `OnLockstep` orders memory of the simdgroup
  std::vector<CheckedBuffer> buffers;
  std::vector<ThreadgroupRegion> threadgroup;
  std::vector<IgnoredRange> ignored;
  const void *entry = nullptr;  ///< any code address in the kernel's module: names the module for source lines
  CheckedMemory *memory = nullptr;  ///< where the buffers were placed, if they were
  /// Names an instruction's line ("file", line), instead of the tables of the module that holds `entry`.
  std::function<std::pair<std::string, uint32_t>(const void *pc)> line_of;
  uint64_t shadow_limit = uint64_t{1} << 30;  ///< bytes of bookkeeping; beyond it a report says what was left out
};

/// What dispatches that may overlap did to device memory. One for each encoder with concurrent dispatch; a dispatch
/// that is ordered after all others needs none.
class CheckHistory {
 public:
  CheckHistory();
  ~CheckHistory();
  CheckHistory(const CheckHistory &) = delete;
  CheckHistory &operator=(const CheckHistory &) = delete;
  /// `memoryBarrier(scope: .buffers)`: later dispatches are ordered after all earlier ones.
  void Barrier();
  /// `memoryBarrier(resources:)`: the same for these bytes (host addresses) only.
  void Barrier(const void *host, uint64_t bytes);

 private:
  friend class Checker;
  struct State;
  std::unique_ptr<State> state_;
};

enum class FindingKind : uint32_t { kRace, kBounds, kIndex, kUninitialised, kMisaligned, kLimit };

struct Finding {
  FindingKind kind = FindingKind::kRace;
  std::string text;  ///< one line without prefix
  std::string file;  ///< of the lower source line
  uint32_t line = 0;
  uint32_t other_line = 0;  ///< the second access of a race
  uint64_t count = 0;
};

/// Checks one dispatch. Used by one thread at a time.
class Checker {
 public:
  /// `history` may be null; it outlives the checker.
  explicit Checker(CheckerConfig config, CheckHistory *history = nullptr);
  ~Checker();
  Checker(const Checker &) = delete;
  Checker &operator=(const Checker &) = delete;

  /// A threadgroup begins; its threadgroup memory counts as never written.
  void OnThreadgroupStart(uint32_t x, uint32_t y, uint32_t z);
  void OnThreadgroupEnd();

  /// Thread `lane` (its index in the threadgroup) is about to access memory. `pc` is the return address of the hook.
  /// False if the process cannot go on with the access: the executor must end the dispatch.
  bool OnAccess(uint32_t lane, const void *address, uint64_t bytes, uint32_t kind, const void *pc);
  /// `address` is about to be accessed as a type of that alignment, which it does not have.
  void OnMisaligned(uint32_t lane, const void *address, uint64_t alignment, const void *pc);
  /// The lane's last access raised a fault, as misaligned accesses of 16 bytes do.
  void OnFault(uint32_t lane);
  /// An array of the named type is about to be indexed with `index`, which it does not have. False as with OnAccess.
  bool OnIndex(uint32_t lane, int64_t index, const char *array_type, const void *pc);
  /// `atomic_thread_fence`. Orders what comes before and after it around atomic accesses of the same object.
  void OnFence(uint32_t lane, uint32_t flags, bool acquire, bool release);

  /// A barrier is passed by all threads it waits for: called once, between the last arrival and the first departure.
  void OnSimdgroupBarrier(uint32_t simdgroup, uint32_t flags);
  void OnThreadgroupBarrier(uint32_t flags);
  /// A collective or a lockstep store point of the simdgroup. Orders memory in lockstep flavour only.
  void OnLockstep(uint32_t simdgroup);

  /// Sorted by source line. Complete after the last `OnThreadgroupEnd`.
  const std::vector<Finding> &Findings();
  /// Empty, or one line for each finding, each beginning with "shader check: ".
  std::string Report();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace softmetal

#endif
