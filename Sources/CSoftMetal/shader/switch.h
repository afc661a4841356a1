// The switch of stacks on the host's side.
#ifndef SOFTMETAL_SHADER_SWITCH_H
#define SOFTMETAL_SHADER_SWITCH_H

#include <cstddef>
#include <cstdint>

#include "../library/sm_lane.h"

/// As softmetal::Switch, but a function of its own that keeps the registers a call keeps: code compiled for the host
/// may have a red zone.
extern "C" void softmetal_switch(void **save, void *to);

/// Calls `function(argument)` on the stack below `top` (16-byte aligned), and comes back.
extern "C" void softmetal_call_on(void *top, void (*function)(void *), void *argument);

namespace softmetal {

/// Where a stack goes on that waits at `stack`, and with which stack pointer.
struct Resumption {
  uint64_t pc, sp;
};
inline Resumption ResumptionOf(const void *stack) {
  const auto *words = static_cast<const uint64_t *>(stack);
#if defined(__x86_64__)
  return {words[0], reinterpret_cast<uint64_t>(words + 1)};
#else
  return {words[3], reinterpret_cast<uint64_t>(words)};
#endif
}

/// Makes a stack below `top` (16-byte aligned) that begins with `entry`.
inline void *PrepareStack(char *top, void (*entry)()) {
  auto *words = reinterpret_cast<uint64_t *>(top) - 4;
#if defined(__x86_64__)
  words[0] = reinterpret_cast<uint64_t>(entry);
  words[1] = 0;  // where a return address would be
#else
  words[0] = words[1] = words[2] = 0;
  words[3] = reinterpret_cast<uint64_t>(entry);
#endif
  return words;
}

}  // namespace softmetal
#endif
