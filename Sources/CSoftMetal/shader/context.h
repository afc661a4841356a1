// The lanes of one threadgroup at a time, and the scheduler that runs them on the calling thread.
#ifndef SOFTMETAL_SHADER_CONTEXT_H
#define SOFTMETAL_SHADER_CONTEXT_H

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "../library/sm_lane.h"
#include "softmetal_shader.h"

namespace softmetal {

class Checker;
class Dispatch;

/// How a threadgroup came to its end.
struct Outcome {
  static constexpr int kStoppedByChecks = -1;
  int signal = 0;  ///< 0 if it ended by itself, else the signal that ended it
  int code = 0;
  uint64_t address = 0;
  const Lane *lane = nullptr;  ///< who was running
};

/// Everything a worker needs to run threadgroups; at the start of its region of memory.
class Context {
 public:
  static constexpr uint64_t kThreadgroupCapacity = uint64_t{64} << 10;
  /// Stacks end at different distances from where they could: at equal ones, the frames of all lanes would be in the
  /// same sets of the cache, and their pages in the same sets of the table of translations.
  static constexpr uint64_t Setback(uint64_t lane) { return lane % 64 * 320 + lane / 4 % 32 * 4096; }
  /// What every lane can count on.
  static constexpr uint64_t kUsableStackBytes = uint64_t{96} << 10;

  /// Threadgroup memory of a worker: `kThreadgroupCapacity` bytes.
  char *arena() const;

  /// Reserves a region. Null without memory.
  static Context *Create();

  static Context &Of(const Lane *lane) {
    return *reinterpret_cast<Context *>(reinterpret_cast<uint64_t>(lane) & ~(kRegionBytes - 1));
  }
  /// The context on one of whose stacks `sp` is, or null. Async-signal-safe.
  static Context *At(uint64_t sp);

  /// Makes `lanes` stacks usable. False without memory.
  bool Grow(uint32_t lanes);

  /// Until the matching Leave, faults of lanes on this thread come back as outcomes.
  void Enter(Dispatch &dispatch);
  void Leave();

  Outcome Run(uint64_t threadgroup);

  // What a running lane asks for.
  static void Wait(Lane *lane);
  static void Access(Lane *lane, const void *address, uint64_t bytes, uint32_t kind, const void *pc);
  static void Misaligned(Lane *lane, const void *address, uint64_t alignment, const void *pc);
  static void Index(Lane *lane, int64_t index, const char *array_type, const void *pc);
  static void Fence(Lane *lane, uint32_t flags, bool acquire, bool release);

  /// In a signal's handler, with a lane running: gives the lane up.
  void Escape(int signal, const siginfo_t &info, uint64_t sp, uint64_t *pc_to, uint64_t *sp_to);

  /// Whether `address` is where a lane's stack ends.
  bool IsStackGuard(uint64_t address) const;
  bool IsNearThreadgroupMemory(uint64_t address) const;

  const Threadgroup &group() const { return group_; }
  pthread_t thread() const { return thread_; }
  sm_shader_stats stats() const { return stats_; }

  std::atomic<bool> expired{false};  ///< set by the watchdog
  Context *next_free = nullptr;

 private:
  Context() = default;
  static void Begin();
  void End(Lane *lane);
  void ForgetFrames();
  void Stop(Lane *lane);
  void Shape(const uint32_t size[3]);
  void Place(uint64_t threadgroup);
  Lane *Choose(Simdgroup *preferred);
  Lane *Pick(const Simdgroup &simdgroup);
  bool Runnable(Simdgroup &simdgroup) {
    return simdgroup.ready != 0 || (simdgroup.alive != 0 && simdgroup.parked == 0 && Resolve(simdgroup));
  }
  bool Resolve(Simdgroup &simdgroup);
  /// Calls `tell` with the checker, for a lane that is running.
  template <typename Tell>
  void Check(Tell tell);
  void ReleaseBarrier();
  static void Complete(Simdgroup &simdgroup, const Lane &one, uint32_t group);
  uint32_t Random(uint32_t below);

  char *base() const { return reinterpret_cast<char *>(const_cast<Context *>(this)); }
  Lane *lanes() const { return reinterpret_cast<Lane *>(base() + kLanesOffset); }
  Simdgroup *simdgroups() const;

  Threadgroup group_{};
  void *home_ = nullptr;  // the thread's own stack, while lanes run
  Dispatch *dispatch_ = nullptr;
  Checker *checker_ = nullptr;
  void (*entry_)(const Lane &) = nullptr;
  uint32_t order_ = 0, interleave_ = 0;
  uint64_t random_ = 0;
  uint32_t usable_lanes_ = 0;
  uint32_t lane_count_ = 0;  // of the threadgroup
  sm_shader_stats stats_{};
  Outcome outcome_;
  pthread_t thread_{};
  sigset_t mask_before_{};
  stack_t stack_before_{};
};

}  // namespace softmetal
#endif
