// The thread pool behind sm_executor::parallel.
#ifndef SOFTMETAL_THREAD_POOL_H
#define SOFTMETAL_THREAD_POOL_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace softmetal {

/// One pool for the process. It runs one parallel region at a time; a region that finds it busy runs on its caller
/// alone, so regions from several queues never wait for each other.
class ThreadPool {
 public:
  using Task = void (*)(void *context, uint64_t index, uint32_t worker);

  /// Never destroyed: its threads may outlive every static destructor.
  static ThreadPool &Shared();

  uint32_t workers() const { return workers_; }

  /// Runs `task` for 0 ..< tasks, lowest index first, and returns when all are done. The caller is worker 0; within
  /// a task, which finds the pool busy, that makes it a worker number that is already taken.
  void Run(uint64_t tasks, Task task, void *context);

 private:
  ThreadPool();
  void Start();
  void Work(uint32_t worker);
  void Join(uint32_t worker);
  void Serve(uint32_t worker);
  /// Returns once `value` differs from `old`; spins first, then sleeps.
  void AwaitChange(const std::atomic<uint32_t> &value, uint32_t old);
  /// Wakes every sleeper, after a change of what it waits for.
  void Wake();

  const uint32_t workers_;
  bool started_ = false;  // guarded by busy_
  std::atomic<bool> busy_{false};

  std::mutex sleep_;
  std::condition_variable changed_;

  // The region. Its fields may be read only between a join that found it open and the matching leave.
  Task task_ = nullptr;
  void *context_ = nullptr;
  uint64_t tasks_ = 0;
  alignas(64) std::atomic<uint64_t> next_{0};
  alignas(64) std::atomic<bool> open_{false};
  std::atomic<uint32_t> active_{0};      // workers between join and leave
  alignas(64) std::atomic<uint32_t> generation_{0};  // counts regions; idle workers wait for it to change
};

}  // namespace softmetal
#endif
