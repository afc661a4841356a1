// What a compiled kernel and its executor share: lanes, simdgroups, and the switch from one lane to the next.
//
// A lane is a GPU thread on a stack of its own. The stacks of a threadgroup's lanes lie in one region of memory, which
// is aligned to its size, so that a lane finds its record from the stack pointer alone: kernels have no thread-local
// variables.
#pragma once

namespace softmetal {

constexpr uint32_t kModuleABI = 2;

// The region. Guard pages lie below each stack; the records lie together, because at equal distances from their stacks
// they would all share a few sets of the cache.
constexpr uint64_t kStackShift = 18, kStackBytes = uint64_t{1} << kStackShift;
constexpr uint64_t kRegionBytes = uint64_t{1} << 29;
constexpr uint64_t kHeaderBytes = 2 * kStackBytes;
constexpr uint64_t kLanesOffset = 4096;
constexpr uint32_t kMostLanes = 1024, kSimdWidth = 32, kSlots = 31;

struct Simdgroup;
struct Threadgroup;

/// What lanes exchange at one rendezvous. A slot of n bytes is at 32 n + id n, so that waiters of different sizes keep
/// apart; behind the slots are three 8x8 matrices.
struct alignas(64) Bank {
  char result[64];
  uint32_t active;  // who took part
  alignas(64) char slots[4096 + 1024];
};
constexpr uint32_t kMatrixOffset = 4096;

/// Computes what a rendezvous is for, once, from the slots of the `active` lanes.
using Combine = void (*)(Bank &bank, uint32_t active);

/// What a lane waits for. If a simdgroup's lanes wait for different things, the lowest goes first: lockstep stores
/// stand in divergent code that leads to the collectives, and those lead to the threadgroup's barriers.
enum Wait : uint32_t { kWaitStore, kWaitCollective, kWaitThreadgroup };

struct alignas(64) Lane {
  void *stack;  // where it goes on, while it waits
  Simdgroup *simdgroup;
  uint64_t site;  // where in the shader (high half) and in the code it waits
  Combine combine;
  uint32_t id;           // in the simdgroup
  uint32_t index;        // in the threadgroup
  uint32_t position[3];  // in the threadgroup
  Wait wait : 8;
  uint32_t flags : 24;  // of the barrier it waits at; 0 at anything else
};
static_assert(sizeof(Lane) == 64, "kernels compute a lane's address");

struct alignas(64) Simdgroup {
  uint32_t ready;   // lanes that may run
  uint32_t alive;   // lanes that have not returned
  uint64_t site;    // of the lanes that wait; 0 if none does
  uint32_t mixed;   // not 0: they wait at different sites
  uint32_t direct;  // not 0: lanes run in rising order, and hand over to each other without asking the scheduler
  // A lane that has read its result may fill the one bank while slower ones still read the other.
  Bank *filling;  // for the next rendezvous
  Bank *done;     // of the last one
  Lane *lanes;
  Threadgroup *threadgroup;
  uint64_t collectives, divergent;
  uint32_t index;      // in the threadgroup
  uint32_t parked;     // not 0: every live lane waits at a threadgroup barrier
  uint32_t members;    // lanes of this threadgroup
  Bank banks[2];
};

struct Threadgroup {
  char *statics;               // threadgroup variables of the kernel's body
  char *memory[kSlots];        // [[threadgroup(n)]]
  void *buffers[kSlots];       // [[buffer(n)]]
  uint32_t position[3];        // in the grid
  uint32_t size[3];            // of this one, smaller at the edges
  uint32_t full_size[3];
  uint32_t groups[3];
  uint32_t grid[3];            // threads
  uint32_t simdgroups, full_simdgroups;
};

/// What the host does for a kernel. The functions of the C library are here, so that a kernel needs no library.
struct Host {
  void (*wait)(Lane *lane);
  // For the checks: what a lane is about to do. `kind` has bits of SM_CHECK_….
  void (*access)(Lane *lane, const void *address, uint64_t bytes, uint32_t kind, const void *pc);
  void (*misaligned)(Lane *lane, const void *address, uint64_t alignment, const void *pc);
  void (*index)(Lane *lane, int64_t index, const char *array_type, const void *pc);
  void (*fence)(Lane *lane, uint32_t flags, bool acquire, bool release);
  void *(*memcpy)(void *, const void *, size_t);
  void *(*memmove)(void *, const void *, size_t);
  void *(*memset)(void *, int, size_t);
  int (*memcmp)(const void *, const void *, size_t);
  size_t (*strlen)(const char *);
  // clang-format off
#define SM_LIBM(X1, X2)                                                                              \
  X1(sinf) X1(cosf) X1(tanf) X1(asinf) X1(acosf) X1(atanf) X1(sinhf) X1(coshf) X1(tanhf) X1(asinhf)  \
  X1(acoshf) X1(atanhf) X1(expf) X1(exp2f) X1(logf) X1(log2f) X1(log10f) X1(floorf) X1(ceilf)        \
  X1(truncf) X1(rintf) X1(nearbyintf) X1(roundf) X1(roundevenf) X1(sqrtf)                            \
  X2(powf) X2(atan2f) X2(fmodf) X2(nextafterf) X2(fmaxf) X2(fminf)
// clang-format on
#define SM_HOST_X1(name) float (*name)(float);
#define SM_HOST_X2(name) float (*name)(float, float);
  SM_LIBM(SM_HOST_X1, SM_HOST_X2)
#undef SM_HOST_X1
#undef SM_HOST_X2
  float (*fmaf)(float, float, float);
  float (*ldexpf)(float, int);
  float (*frexpf)(float, int *);
};

/// What a compiled kernel exports, as `softmetal_module`.
struct Module {
  uint32_t abi, max_threads;
  const char *name;
  void (*entry)(const Lane &lane);
  const Host *host;       // filled in when the kernel is loaded
  uint64_t static_bytes;  // counted while the kernel is loaded
  uint32_t lockstep, checked;
};

/// Leaves this lane, to go on when somebody switches to `*save`. Only the frame pointer is saved: every other register
/// counts as overwritten, so the compiler spills what is in use there and nothing else. No red zone may be in use.
// clang-format off: one instruction each
inline __attribute__((always_inline)) void Switch(void **save, void *to) {
#if defined(__x86_64__)
  __asm__ volatile(
      "pushq %%rbp\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "movq %%rsp, (%%rdi)\n\t"
      "movq %%rsi, %%rsp\n\t"
      "popq %%rax\n\t"
      "jmpq *%%rax\n"
      "1:\n\t"
      "popq %%rbp\n\t"
      : "+D"(save), "+S"(to)
      :
      : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc", "xmm0",
        "xmm1",
        "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
        "xmm15"
#ifdef __AVX512F__
        ,
        "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",
        "xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#endif
  );
#elif defined(__aarch64__)
  register void **slot __asm__("x0") = save;
  register void *target __asm__("x1") = to;
  __asm__ volatile(
      "stp x29, x30, [sp, #-32]!\n\t"
      "adr x9, 1f\n\t"
      "stp x19, x9, [sp, #16]\n\t"
      "mov x10, sp\n\t"
      "str x10, [x0]\n\t"
      "mov sp, x1\n\t"
      "ldr x9, [sp, #24]\n\t"
      "br x9\n"
      "1:\n\t"
      "ldr x19, [sp, #16]\n\t"
      "ldp x29, x30, [sp], #32\n\t"
      : "+r"(slot), "+r"(target)
      :
      : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x20",
        "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5",
        "v6",
        "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22",
        "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
#ifndef __APPLE__  // which keeps x18 to itself
        ,
        "x18"
#endif
  );
#else
#error "fibers are written for x86-64 and arm64"
#endif
}
// clang-format on

/// The lane whose stack the caller runs on. The compiler may keep the answer: a fiber never changes its stack.
inline __attribute__((always_inline)) Lane *CurrentLane() {
  uint64_t here;
#if defined(__x86_64__)
  __asm__("movq %%rsp, %0" : "=r"(here));
#else
  __asm__("mov %0, sp" : "=r"(here));
#endif
  const uint64_t region = here & ~(kRegionBytes - 1), stack = (here & (kRegionBytes - 1)) >> kStackShift;
  constexpr uint64_t first = kLanesOffset - kHeaderBytes / kStackBytes * sizeof(Lane);
  return reinterpret_cast<Lane *>(region + first + stack * sizeof(Lane));
}

}  // namespace softmetal
