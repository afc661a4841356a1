// What ends a lane from outside: faults of its own, and the time limit.
#ifndef SOFTMETAL_SHADER_FAULTS_H
#define SOFTMETAL_SHADER_FAULTS_H

#include <signal.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "context.h"

namespace softmetal {

/// Sent to a thread whose lanes have had their time: harmless wherever else it may arrive.
constexpr int kTimeSignal = SIGURG;
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, kTimeSignal};

/// Puts our handlers before those there are. Done anew when somebody else has put theirs before ours.
void CatchFaults();

/// A thread that ends contexts whose time is over.
class Watchdog {
 public:
  /// Never destroyed: its thread outlives every static destructor.
  static Watchdog &Shared();

  /// False if there is no thread for it. `deadline` is as sm_now has it.
  bool Watch(Context *context, double deadline);
  void Release(Context *context);

 private:
  struct Entry {
    Context *context;
    double deadline;
  };
  void Serve();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Entry> entries_;
  bool started_ = false;
  bool asleep_ = false;
};

}  // namespace softmetal
#endif
