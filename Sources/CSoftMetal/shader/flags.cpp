// The compiler's arguments.
#include <cstddef>

#include "../library/softmetal_checked.h"
#include "softmetal_shader.h"

namespace {

// Nothing of the system is used: no headers, no libraries, no start files. An undefined symbol is an error of the link,
// not of a later load.
#if defined(__APPLE__)
#define SM_LINK "-nostdlib", "-Wl,-undefined,error"
#else
#define SM_LINK "-nostdlib", "-Wl,-z,defs"
#endif

// What the machine has beyond its architecture's first models: without conversions of half in hardware, kernels are
// several times slower. Wider vectors would only make switches dearer.
#if defined(__x86_64__)
#define SM_TARGET "-mno-red-zone", "-fcf-protection=none"
#define SM_FAST_TARGET SM_TARGET, "-march=x86-64-v3"
#else
#define SM_TARGET "-mbranch-protection=none"
#define SM_FAST_TARGET SM_TARGET
#endif

// - Contraction within an expression and one rounding for each operation of half and bfloat: Metal's rules.
// - Pointers of all types may meet, loops may be endless, integers wrap, null may be tested: GPU code expects no less.
// - Code with meetings of lanes keeps the shader's control flow, and calls are inlined, as GPU compilers do: a place in
//   the code then stands for a whole path of calls.
// - Of the warnings, what Metal has for errors.
// - Probes on the way down a large frame find the stack's guard page.
#define SM_FLAGS                                                                                                       \
  "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-nostdinc", "-nostdinc++", SM_LINK, "-Wno-everything",     \
      "-fno-exceptions", "-fno-rtti", "-fno-asynchronous-unwind-tables", "-fno-threadsafe-statics",                    \
      "-fno-stack-protector", "-fstack-clash-protection", "-fomit-frame-pointer", "-fno-math-errno",                   \
      "-ffp-contract=on", "-Xclang", "-ffloat16-excess-precision=none", "-Xclang", "-fbfloat16-excess-precision=none", \
      "-fwrapv", "-fno-strict-aliasing", "-fno-finite-loops", "-fno-delete-null-pointer-checks",                       \
      "-fno-strict-float-cast-overflow", "-fconvergent-functions", "-finline-functions", "-mllvm",                     \
      "-inline-threshold=100000", "-fno-elide-type", "-Werror=return-type", "-Werror=return-mismatch",                 \
      "-Werror=c++11-narrowing"

const char *const plain[] = {SM_FLAGS, SM_TARGET, "-O3"};
const char *const plain_fast[] = {SM_FLAGS, SM_FAST_TARGET, "-O3"};
const char *const checked_plain[] = {SM_FLAGS, SM_TARGET, SM_CHECKED_FLAGS};
const char *const checked_fast[] = {SM_FLAGS, SM_FAST_TARGET, SM_CHECKED_FLAGS};

bool IsFast() {
#if defined(__x86_64__)
  // All that x86-64-v3 has, besides the bit instructions that every machine with AVX2 has.
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
#else
  return true;
#endif
}

template <size_t N>
const char *const *List(const char *const (&list)[N], uint32_t *count) {
  *count = N;
  return list;
}

}  // namespace

const char *const *sm_shader_flags(uint32_t checked, uint32_t *count) {
  static const bool fast = IsFast();
  if (checked != 0) return fast ? List(checked_fast, count) : List(checked_plain, count);
  return fast ? List(plain_fast, count) : List(plain, count);
}
