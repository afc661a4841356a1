// Starting a thread the way a library should.
#ifndef SOFTMETAL_THREAD_H
#define SOFTMETAL_THREAD_H

#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <thread>
#include <utility>

namespace softmetal {

/// Starts a detached thread with every signal blocked: signals belong to the program's own threads.
/// False if the system has no thread to give.
template <typename Body>
bool StartThread(Body &&body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  try {
    std::thread(std::forward<Body>(body)).detach();
  } catch (const std::system_error &) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

}  // namespace softmetal
#endif
