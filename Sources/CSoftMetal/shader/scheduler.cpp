// Which lane runs next.
#include "../checks/checks.h"
#include "context.h"
#include "switch.h"

namespace softmetal {
namespace {

/// The bank that is not being filled.
Bank *Other(Simdgroup &simdgroup) { return &simdgroup.banks[simdgroup.filling == simdgroup.banks ? 1 : 0]; }

}  // namespace

/// On the thread's own stack: a lane's may be nearly full, and nothing may give up the checker half way, as whatever
/// happens on a lane's stack gives up the lane.
template <typename Tell>
void Context::Check(Tell tell) {
  if (checker_ == nullptr) return;
  struct Call {
    Tell &tell;
    Checker &checker;
  } call{tell, *checker_};
  void *top = reinterpret_cast<void *>(reinterpret_cast<uint64_t>(home_) & ~uint64_t{15});
  softmetal_call_on(
      top,
      [](void *argument) {
        auto &what = *static_cast<Call *>(argument);
        what.tell(what.checker);
      },
      &call);
}

/// What every lane's stack begins with.
void Context::Begin() {
  Lane *lane = CurrentLane();
  Context &context = Of(lane);
  context.entry_(*lane);
  context.End(lane);
}

void Context::End(Lane *lane) {
  Simdgroup &simdgroup = *lane->simdgroup;
  simdgroup.alive &= ~(1u << lane->id);
  simdgroup.ready &= ~(1u << lane->id);
  const Lane *next = simdgroup.direct != 0 && simdgroup.ready != 0 ? &simdgroup.lanes[__builtin_ctz(simdgroup.ready)]
                                                                   : Choose(&simdgroup);
  // Nothing comes back here, so nothing may be left on this stack that sanitizers would find on the next one's.
  softmetal_switch(&lane->stack, next != nullptr ? next->stack : home_);
}

/// Computes what `one` and the rest of `group` wait for, and lets them go on.
inline void Context::Complete(Simdgroup &simdgroup, const Lane &one, uint32_t group) {
  Bank &bank = *simdgroup.filling;
  one.combine(bank, group);
  bank.active = group;
  simdgroup.ready = group;
  simdgroup.site = 0;
  simdgroup.done = &bank;
  simdgroup.filling = Other(simdgroup);
  ++simdgroup.collectives;
}

void Context::Wait(Lane *lane) {
  Simdgroup &simdgroup = *lane->simdgroup;
  // The last one to come carries on itself.
  if (simdgroup.direct != 0 && simdgroup.ready == 0 && simdgroup.mixed == 0 && lane->wait != kWaitThreadgroup) {
    Complete(simdgroup, *lane, simdgroup.alive);
    return;
  }
  Context &context = Of(lane);
  ++context.stats_.switches;
  const Lane *next = context.Choose(lane->simdgroup);
  if (next != lane) softmetal_switch(&lane->stack, next->stack);
}

uint32_t Context::Random(uint32_t below) {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return static_cast<uint32_t>((random_ >> 32) * below >> 32);
}

Lane *Context::Pick(const Simdgroup &simdgroup) {
  uint32_t ready = simdgroup.ready;
  switch (order_) {
    case SM_ORDER_FORWARD:
      break;
    case SM_ORDER_REVERSE:
      return &simdgroup.lanes[31 - __builtin_clz(ready)];
    default:
      for (uint32_t skip = Random(static_cast<uint32_t>(__builtin_popcount(ready))); skip > 0; --skip)
        ready &= ready - 1;
  }
  return &simdgroup.lanes[__builtin_ctz(ready)];
}

/// The lane to run next, of the preferred simdgroup if that can go on; null if all have returned.
Lane *Context::Choose(Simdgroup *preferred) {
  const uint32_t count = group_.simdgroups;
  for (;;) {
    bool alive = false;
    const bool hop = interleave_ != 0 && count > 1;
    if (!hop && preferred != nullptr && Runnable(*preferred)) return Pick(*preferred);
    const uint32_t first = hop ? Random(count) : 0;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t place = (first + i) % count;
      Simdgroup &simdgroup = simdgroups()[order_ == SM_ORDER_REVERSE ? count - 1 - place : place];
      if (Runnable(simdgroup)) return Pick(simdgroup);
      alive |= simdgroup.alive != 0;
    }
    if (!alive) return nullptr;
    ReleaseBarrier();
    preferred = nullptr;
  }
}

/// Everyone alive waits at a threadgroup barrier.
void Context::ReleaseBarrier() {
  ++stats_.barriers;
  uint64_t site = 0;
  uint32_t flags = 0;
  bool mixed = false;
  for (uint32_t i = 0; i < group_.simdgroups; ++i) {
    Simdgroup &simdgroup = simdgroups()[i];
    if (simdgroup.alive == 0) continue;
    const Lane &lane = simdgroup.lanes[__builtin_ctz(simdgroup.alive)];
    mixed |= simdgroup.mixed != 0 || (site != 0 && site != lane.site);
    site = lane.site;
    flags |= lane.flags;
    simdgroup.ready = simdgroup.alive;
    simdgroup.parked = 0;
    simdgroup.site = 0;
    simdgroup.mixed = 0;
  }
  if (mixed) ++stats_.divergent;
  Check([&](Checker &checker) { checker.OnThreadgroupBarrier(flags); });
}

/// With every live lane waiting: completes the rendezvous that goes first and makes its lanes ready. False if all wait
/// at a threadgroup barrier.
bool Context::Resolve(Simdgroup &simdgroup) {
  uint32_t group = simdgroup.alive;
  const Lane *lane = &simdgroup.lanes[__builtin_ctz(group)];
  softmetal::Wait wait = lane->wait;
  uint64_t site = lane->site;
  for (uint32_t rest = simdgroup.mixed != 0 ? simdgroup.alive : 0; rest != 0; rest &= rest - 1) {
    const uint32_t id = static_cast<uint32_t>(__builtin_ctz(rest));
    lane = &simdgroup.lanes[id];
    if (lane->wait < wait || (lane->wait == wait && lane->site < site)) {
      group = 0;
      wait = lane->wait;
      site = lane->site;
    }
    if (lane->wait == wait && lane->site == site) {
      group |= 1u << id;
    } else {
      group &= ~(1u << id);
    }
  }
  if (wait == kWaitThreadgroup) {
    simdgroup.parked = 1;
    return false;
  }

  const uint32_t others = simdgroup.alive & ~group;
  const Lane &first = simdgroup.lanes[__builtin_ctz(group)];
  // Those who wait elsewhere have their values in this bank, and will be met in the other one.
  if (others != 0) *Other(simdgroup) = *simdgroup.filling;
  Complete(simdgroup, first, group);
  Check([&](Checker &checker) {
    // A barrier has flags, for one without is nothing to wait for.
    if (first.flags != 0) checker.OnSimdgroupBarrier(simdgroup.index, first.flags);
    checker.OnLockstep(simdgroup.index);
  });
  simdgroup.mixed = 0;
  if (others == 0) return true;
  if (wait != kWaitStore) ++simdgroup.divergent;
  simdgroup.site = simdgroup.lanes[__builtin_ctz(others)].site;
  for (uint32_t rest = others; rest != 0; rest &= rest - 1) {
    if (simdgroup.lanes[__builtin_ctz(rest)].site != simdgroup.site) simdgroup.mixed = 1;
  }
  return true;
}

void Context::Access(Lane *lane, const void *address, uint64_t bytes, uint32_t kind, const void *pc) {
  Context &context = Of(lane);
  bool possible = true;
  context.Check([&](Checker &checker) { possible = checker.OnAccess(lane->index, address, bytes, kind, pc); });
  if (!possible) context.Stop(lane);
}

/// Ends the threadgroup; does not return.
void Context::Stop(Lane *lane) {
  outcome_.signal = Outcome::kStoppedByChecks;
  softmetal_switch(&lane->stack, home_);
}

void Context::Misaligned(Lane *lane, const void *address, uint64_t alignment, const void *pc) {
  Of(lane).Check([&](Checker &checker) { checker.OnMisaligned(lane->index, address, alignment, pc); });
}

void Context::Index(Lane *lane, int64_t index, const char *array_type, const void *pc) {
  Context &context = Of(lane);
  bool possible = true;
  context.Check([&](Checker &checker) { possible = checker.OnIndex(lane->index, index, array_type, pc); });
  if (!possible) context.Stop(lane);
}

void Context::Fence(Lane *lane, uint32_t flags, bool acquire, bool release) {
  Of(lane).Check([&](Checker &checker) { checker.OnFence(lane->index, flags, acquire, release); });
}

}  // namespace softmetal
