#include "thread_pool.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "softmetal_runtime.h"
#include "thread.h"

namespace softmetal {
namespace {

using Clock = std::chrono::steady_clock;

/// How long to look at a variable before sleeping on it: longer than the gap between two calls from Python, for waking
/// a thread takes as long as a small dispatch.
constexpr std::chrono::microseconds kSpin{100};
/// How long to keep the core from others meanwhile: longer than the gap between two dispatches, shorter than anyone
/// would notice on a busy machine.
constexpr std::chrono::microseconds kKeepCore{10};
constexpr uint32_t kMostWorkers = 1024;

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield");
#endif
}

uint32_t ChooseWorkers() {
  const uint32_t cores = std::clamp(std::thread::hardware_concurrency(), 1u, kMostWorkers);
  const char *text = std::getenv("SOFTMETAL_THREADS");
  if (text == nullptr || *text == '\0') return cores;
  char *end = nullptr;
  const long number = std::strtol(text, &end, 10);
  if (*end == '\0' && number >= 1 && number <= static_cast<long>(kMostWorkers)) return static_cast<uint32_t>(number);
  std::fprintf(stderr, "SoftMetal: SOFTMETAL_THREADS: expected a number from 1 to %u, got \"%s\"; using %u\n",
               kMostWorkers, text, cores);
  return cores;
}

}  // namespace

ThreadPool &ThreadPool::Shared() {
  static ThreadPool &pool = *new ThreadPool;
  return pool;
}

ThreadPool::ThreadPool() : workers_(ChooseWorkers()) {}

void ThreadPool::Run(uint64_t tasks, Task task, void *context) {
  if (tasks <= 1 || workers_ == 1 || busy_.exchange(true, std::memory_order_acquire)) {
    for (uint64_t i = 0; i < tasks; ++i) task(context, i, 0);
    return;
  }
  if (!started_) Start();
  task_ = task;
  context_ = context;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  open_.store(true, std::memory_order_seq_cst);
  generation_.fetch_add(1, std::memory_order_seq_cst);
  Wake();
  Work(0);
  // Whoever joins from here on finds the region closed and leaves without reading it; the others are waited for.
  open_.store(false, std::memory_order_seq_cst);
  for (uint32_t active; (active = active_.load(std::memory_order_seq_cst)) != 0;) AwaitChange(active_, active);
  busy_.store(false, std::memory_order_release);
}

void ThreadPool::Start() {
  started_ = true;
  // A region is complete without any of these threads, so one that cannot be had is only a loss of speed.
  for (uint32_t worker = 1; worker < workers_; ++worker) {
    if (!StartThread([this, worker] { Serve(worker); })) break;
  }
}

void ThreadPool::Serve(uint32_t worker) {
  for (uint32_t seen = 0;;) {
    AwaitChange(generation_, seen);
    seen = generation_.load(std::memory_order_seq_cst);
    Join(worker);
  }
}

void ThreadPool::Join(uint32_t worker) {
  active_.fetch_add(1, std::memory_order_seq_cst);
  if (open_.load(std::memory_order_seq_cst)) Work(worker);
  if (active_.fetch_sub(1, std::memory_order_seq_cst) == 1) Wake();
}

void ThreadPool::AwaitChange(const std::atomic<uint32_t> &value, uint32_t old) {
  const auto begin = Clock::now();
  for (auto waited = Clock::duration::zero(); waited < kSpin; waited = Clock::now() - begin) {
    if (waited > kKeepCore) std::this_thread::yield();
    for (int i = 0; i < 16; ++i) {
      if (value.load(std::memory_order_seq_cst) != old) return;
      Pause();
    }
  }
  std::unique_lock<std::mutex> lock(sleep_);
  changed_.wait(lock, [&] { return value.load(std::memory_order_seq_cst) != old; });
}

void ThreadPool::Wake() {
  // Passing through the lock puts the change before the look of whoever is about to sleep.
  {
    std::lock_guard<std::mutex> lock(sleep_);
  }
  changed_.notify_all();
}

void ThreadPool::Work(uint32_t worker) {
  for (uint64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) task_(context_, i, worker);
}

}  // namespace softmetal

uint32_t sm_worker_count(void) { return softmetal::ThreadPool::Shared().workers(); }
