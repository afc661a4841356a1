#include "faults.h"

#include <errno.h>
#include <pthread.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "../thread.h"
#include "softmetal_runtime.h"

namespace softmetal {
namespace {

constexpr int kSignalCount = sizeof kSignals / sizeof kSignals[0];
struct sigaction previous[kSignalCount];

/// A handler we came after may have come after us in turn: it then gives every signal it does not want to us, and we
/// would go round in circles. A fault that keeps coming back from the same place ends that.
struct LastFault {
  std::atomic<uintptr_t> thread{0};
  std::atomic<uint64_t> sp{0}, address{0};
  std::atomic<int> times{0};

  bool IsTooMuch(uint64_t new_sp, uint64_t new_address) {
    const auto self = reinterpret_cast<uintptr_t>(pthread_self());
    const bool same = thread.exchange(self) == self;
    if (sp.exchange(new_sp) != new_sp || address.exchange(new_address) != new_address || !same) times.store(0);
    return times.fetch_add(1) >= 2;
  }
} last_fault;

uint64_t StackPointer(const ucontext_t &context) {
#if defined(__APPLE__) && defined(__x86_64__)
  return context.uc_mcontext->__ss.__rsp;
#elif defined(__APPLE__)
  return context.uc_mcontext->__ss.__sp;
#elif defined(__x86_64__)
  return static_cast<uint64_t>(context.uc_mcontext.gregs[REG_RSP]);
#else
  return context.uc_mcontext.sp;
#endif
}

void GoOn(ucontext_t &context, uint64_t pc, uint64_t sp) {
#if defined(__APPLE__) && defined(__x86_64__)
  context.uc_mcontext->__ss.__rip = pc;
  context.uc_mcontext->__ss.__rsp = sp;
  context.uc_mcontext->__ss.__rflags &= ~uint64_t{0x400};
#elif defined(__APPLE__)
  context.uc_mcontext->__ss.__pc = pc;
  context.uc_mcontext->__ss.__sp = sp;
#elif defined(__x86_64__)
  context.uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(pc);
  context.uc_mcontext.gregs[REG_RSP] = static_cast<greg_t>(sp);
  context.uc_mcontext.gregs[REG_EFL] &= ~greg_t{0x400};  // string instructions count upward between functions
#else
  context.uc_mcontext.pc = pc;
  context.uc_mcontext.sp = sp;
#endif
}

/// What the system does if nobody wants the signal.
void Surrender(int signal, const siginfo_t &info) {
  if (signal == kTimeSignal) return;
  struct sigaction standard{};
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, nullptr);
  // A fault happens again by itself; a signal somebody sent does not.
  if (info.si_code <= 0) raise(signal);
}

/// As if this signal's handler were the one there was before ours.
void PassOn(const struct sigaction &other, int signal, siginfo_t *info, void *raw) {
  const uint64_t sp = StackPointer(*static_cast<ucontext_t *>(raw));
  if (signal != kTimeSignal && last_fault.IsTooMuch(sp, reinterpret_cast<uint64_t>(info->si_addr))) {
    Surrender(signal, *info);
  } else if ((other.sa_flags & SA_SIGINFO) != 0) {
    other.sa_sigaction(signal, info, raw);
  } else if (other.sa_handler == SIG_DFL) {
    Surrender(signal, *info);
  } else if (other.sa_handler != SIG_IGN) {
    other.sa_handler(signal);
  }
}

void Handle(int signal, siginfo_t *info, void *raw) {
  const int error = errno;
  auto &registers = *static_cast<ucontext_t *>(raw);
  const uint64_t sp = StackPointer(registers);
  Context *context = Context::At(sp);
  const bool ours = context != nullptr && (signal != kTimeSignal || context->expired.load());
  if (ours) {
    uint64_t pc_to, sp_to;
    context->Escape(signal, *info, sp, &pc_to, &sp_to);
    GoOn(registers, pc_to, sp_to);
  } else {
    for (int i = 0; i < kSignalCount; ++i) {
      if (kSignals[i] == signal) PassOn(previous[i], signal, info, raw);
    }
  }
  errno = error;
}

}  // namespace

void CatchFaults() {
  static std::mutex &mutex = *new std::mutex;
  const std::lock_guard lock(mutex);
  for (int i = 0; i < kSignalCount; ++i) {
    struct sigaction current{};
    if (sigaction(kSignals[i], nullptr, &current) != 0) continue;
    if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == Handle) continue;
    previous[i] = current;
    struct sigaction ours{};
    ours.sa_sigaction = Handle;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&ours.sa_mask);
    sigaction(kSignals[i], &ours, nullptr);
  }
}

Watchdog &Watchdog::Shared() {
  static Watchdog &watchdog = *new Watchdog;
  return watchdog;
}

bool Watchdog::Watch(Context *context, double deadline) {
  const std::lock_guard lock(mutex_);
  if (!started_) {
    if (!StartThread([this] { Serve(); })) return false;
    started_ = true;
  }
  entries_.push_back({context, deadline});
  if (asleep_) wake_.notify_one();
  return true;
}

void Watchdog::Release(Context *context) {
  const std::lock_guard lock(mutex_);
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(),
                                [context](const Entry &entry) { return entry.context == context; }),
                 entries_.end());
}

void Watchdog::Serve() {
  // Looking every few milliseconds, and for a while with nothing to look at, spares dispatches a wake-up each.
  constexpr std::chrono::milliseconds tick{10};
  constexpr int patience = 100;
  std::unique_lock lock(mutex_);
  for (int idle = 0;;) {
    if (entries_.empty() && ++idle > patience) {
      asleep_ = true;
      wake_.wait(lock, [this] { return !entries_.empty(); });
      asleep_ = false;
    }
    if (!entries_.empty()) idle = 0;
    const double now = sm_now();
    for (const Entry &entry : entries_) {
      if (now < entry.deadline) continue;
      // Whoever is between two lanes sees the flag; whoever is in a lane gets the signal. It may come at a bad moment,
      // and is therefore sent again as long as the context is here. The lock keeps its thread alive meanwhile.
      entry.context->expired.store(true);
      pthread_kill(entry.context->thread(), kTimeSignal);
    }
    lock.unlock();
    std::this_thread::sleep_for(tick);
    lock.lock();
  }
}

}  // namespace softmetal
