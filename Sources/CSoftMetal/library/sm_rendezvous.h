// Where lanes wait for each other: the rendezvous of a simdgroup, barriers and lockstep.
#pragma once

// A rendezvous is known by its place in the shader, that of the call, which these default arguments are evaluated at,
// and by its place in the code, where a function that is called twice is there twice. The compiler takes calls for
// convergent and inlines them, so the code keeps the shape of the shader's control flow.
#define SM_SITE int sm_line = __builtin_LINE(), int sm_column = __builtin_COLUMN()
#define SM_PLACE sm_place(sm_line, sm_column)
SM_STATIC constexpr uint32_t sm_place(int line, int column) {
  return uint32_t(line) << 12 | uint32_t(column < 4095 ? column + 1 : 4095);
}

/// Where the caller's code is, relative to the module: the same number in every run.
SM_STATIC uint32_t sm_code_place() {
  uint64_t here;
#if defined(__x86_64__)
  __asm__ volatile("leaq 0f(%%rip), %0\n0:" : "=r"(here));
#else
  __asm__ volatile("adr %0, ." : "=r"(here));
#endif
  return uint32_t(here - reinterpret_cast<uint64_t>(&softmetal_module));
}

/// Waits until every lane of the simdgroup that has not returned waits somewhere. The last one to come computes what
/// Operation is about and carries on; the others follow in turn. Returns the bank of this rendezvous.
template <typename Operation>
SM_STATIC softmetal::Bank &sm_rendezvous(softmetal::Lane *lane, softmetal::Simdgroup *simdgroup, uint32_t place,
                                         softmetal::Wait wait = softmetal::kWaitCollective, uint32_t flags = 0) {
  using namespace softmetal;
  const uint64_t site = uint64_t(place) << 32 | sm_code_place();
  if (simdgroup->site != site) {
    if (simdgroup->site == 0) {
      simdgroup->site = site;
    } else {
      simdgroup->mixed = 1;
    }
  }
  lane->combine = &Operation::combine;
  lane->site = site;
  lane->wait = wait;
  lane->flags = flags;
  const uint32_t self = 1u << lane->id, ready = simdgroup->ready & ~self;
  simdgroup->ready = ready;
  if (__builtin_expect((ready != 0) & (simdgroup->direct != 0), 1)) {
    // Nearly always the next lane. As a branch, which the processor foresees, that lets it look for the stack after
    // the next one before it knows who is ready.
    const Lane *next = lane + 1;
    if (__builtin_expect((ready & self << 1) == 0, 0)) {
      next = simdgroup->lanes + __builtin_ctz(ready);
      __asm__ volatile("" : "+r"(next));
    }
    Switch(&lane->stack, next->stack);
    return *simdgroup->done;
  }
  softmetal_module.host->wait(lane);
  return *simdgroup->done;
}

/// The slots of a bank, one for each lane.
template <typename T>
SM_STATIC T *sm_slots(softmetal::Bank &bank) {
  static_assert(sizeof(T) <= 64, "a simdgroup function's value has at most 64 bytes");
  return reinterpret_cast<T *>(bank.slots + 32 * sizeof(T));
}

/// Nothing to compute: slots are read by the lanes themselves.
struct sm_meet {
  static void combine(softmetal::Bank &, uint32_t) {}
};
#if SM_LOCKSTEP
/// The simdgroup's lanes come to this store together, so none of them still reads what it overwrites.
SM_STATIC void sm_lockstep(SM_SITE) {
  softmetal::Lane *lane = softmetal::CurrentLane();
  sm_rendezvous<sm_meet>(lane, lane->simdgroup, SM_PLACE, softmetal::kWaitStore);
}
#define SM_LOCK() sm_lockstep()
#else
#define SM_LOCK() ((void)0)
#endif

namespace metal {

enum class mem_flags : uint32_t {
  mem_none = 0,
  mem_device = 1,
  mem_threadgroup = 2,
  mem_texture = 4,
  mem_threadgroup_imageblock = 8,
  mem_object_data = 16
};
SM_STATIC constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(uint32_t(a) | uint32_t(b)); }
SM_STATIC constexpr mem_flags operator&(mem_flags a, mem_flags b) { return mem_flags(uint32_t(a) & uint32_t(b)); }

SM_STATIC void threadgroup_barrier(mem_flags flags, SM_SITE) {
  softmetal::Lane *lane = softmetal::CurrentLane();
  sm_rendezvous<sm_meet>(lane, lane->simdgroup, SM_PLACE, softmetal::kWaitThreadgroup, uint32_t(flags));
}

SM_STATIC void simdgroup_barrier(mem_flags flags, SM_SITE) {
  // Without memory to order there is nothing that another lane could tell apart.
  if (flags == mem_flags::mem_none) {
    __asm__ volatile("" ::: "memory");
    return;
  }
  softmetal::Lane *lane = softmetal::CurrentLane();
  sm_rendezvous<sm_meet>(lane, lane->simdgroup, SM_PLACE, softmetal::kWaitCollective, uint32_t(flags));
}

}  // namespace metal
