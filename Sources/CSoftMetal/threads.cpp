// Background threads, monitors and the clock.
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <new>

#include "softmetal_runtime.h"
#include "thread.h"

namespace {

/// Threads that run one job after another. There are as many as there are jobs at once, for a job may wait for another;
/// a few of them stay when there is nothing to do.
class Background {
 public:
  static Background &Shared() {
    static Background &background = *new Background;  // never destroyed: its threads outlive static destructors
    return background;
  }

  bool Submit(void (*work)(void *), void *argument) {
    std::unique_lock lock(mutex_);
    try {
      jobs_.push_back({work, argument});
    } catch (const std::bad_alloc &) {
      return false;
    }
    if (idle_ >= jobs_.size()) {
      lock.unlock();
      wake_.notify_one();
      return true;
    }
    // Under the lock, so that a job nobody can run is certainly still the last one.
    if (softmetal::StartThread([this] { Serve(); })) return true;
    jobs_.pop_back();
    return false;
  }

 private:
  struct Job {
    void (*work)(void *);
    void *argument;
  };
  static constexpr size_t kMostIdle = 4;

  void Serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      while (jobs_.empty()) {
        if (idle_ >= kMostIdle) return;
        ++idle_;
        wake_.wait(lock);
        --idle_;
      }
      const Job job = jobs_.front();
      jobs_.pop_front();
      lock.unlock();
      job.work(job.argument);
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  size_t idle_ = 0;  // threads waiting for a job, those already woken included
};

using Seconds = std::chrono::duration<double>;

}  // namespace

struct sm_monitor {
  std::mutex mutex;
  std::condition_variable condition;

  /// The caller holds the mutex before and after.
  template <typename Wait>
  void Sleep(Wait wait) {
    std::unique_lock lock(mutex, std::adopt_lock);
    wait(lock);
    lock.release();
  }
};

int32_t sm_async(void (*work)(void *), void *argument) { return Background::Shared().Submit(work, argument) ? 1 : 0; }

uintptr_t sm_thread_id(void) {
  static thread_local char here;
  return reinterpret_cast<uintptr_t>(&here);
}

sm_monitor *sm_monitor_create(void) { return new sm_monitor; }
void sm_monitor_destroy(sm_monitor *monitor) { delete monitor; }
void sm_monitor_lock(sm_monitor *monitor) { monitor->mutex.lock(); }
void sm_monitor_unlock(sm_monitor *monitor) { monitor->mutex.unlock(); }
void sm_monitor_broadcast(sm_monitor *monitor) { monitor->condition.notify_all(); }

void sm_monitor_wait(sm_monitor *monitor) {
  monitor->Sleep([monitor](auto &lock) { monitor->condition.wait(lock); });
}

void sm_monitor_wait_until(sm_monitor *monitor, double deadline) {
  const double left = deadline - sm_now();
  if (left <= 0) return;
  // A sleep of more than a year may as well be cut in two.
  const auto time = std::chrono::duration_cast<std::chrono::nanoseconds>(Seconds(left < 3e7 ? left : 3e7));
  monitor->Sleep([monitor, time](auto &lock) { monitor->condition.wait_for(lock, time); });
}

double sm_now(void) { return Seconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }
