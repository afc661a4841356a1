// Functions of a quadgroup: four lanes in a row. They meet with their whole simdgroup.
#pragma once

/// The four slots of the caller's quadgroup, and which of them count.
template <typename T>
struct sm_quad_slots {
  const T *slot;
  uint32_t active, id;
};
template <typename T>
SM_STATIC sm_quad_slots<T> sm_quad_meet(const T &value, uint32_t place) {
  softmetal::Lane *lane = softmetal::CurrentLane();
  softmetal::Bank &bank = sm_publish<sm_meet>(lane, value, place);
  const uint32_t first = lane->id & ~3u;
  return {sm_slots<T>(bank) + first, bank.active >> first & 15, lane->id & 3};
}
template <typename F, typename T>
SM_STATIC T sm_quad_reduce(const T &value, uint32_t place) {
  const sm_quad_slots<T> quad = sm_quad_meet(value, place);
  T r = quad.slot[__builtin_ctz(quad.active)];
  for (uint32_t rest = quad.active & (quad.active - 1); rest != 0; rest &= rest - 1) {
    r = F::of(r, quad.slot[__builtin_ctz(rest)]);
  }
  return r;
}
template <typename F, bool Inclusive, typename T>
SM_STATIC T sm_quad_prefix(const T &value, uint32_t place) {
  const sm_quad_slots<T> quad = sm_quad_meet(value, place);
  T r = F::template identity<T>();
  for (uint32_t i = 0; i < quad.id + (Inclusive ? 1 : 0); ++i) {
    if (quad.active >> i & 1) r = F::of(r, quad.slot[i]);
  }
  return r;
}
SM_STATIC sm_ballot_result sm_quad_ballot(bool vote, uint32_t place) {
  const sm_quad_slots<uchar> quad = sm_quad_meet(uchar(vote), place);
  uint32_t votes = 0;
  for (int i = 0; i < 4; ++i) votes |= uint32_t(quad.slot[i]) << i;
  return {votes & quad.active, quad.active};
}

namespace metal {

#define SM_REDUCE(name, F)                     \
  template <typename T>                        \
  SM_STATIC T quad_##name(T value, SM_SITE) {  \
    SM_EXCHANGEABLE("quad_" #name);            \
    return sm_quad_reduce<F>(value, SM_PLACE); \
  }
SM_REDUCTIONS(SM_REDUCE)
#undef SM_REDUCE
#define SM_SCAN(name, F, inclusive)                       \
  template <typename T>                                   \
  SM_STATIC T quad_prefix_##name(T value, SM_SITE) {      \
    SM_EXCHANGEABLE("quad_prefix_" #name);                \
    return sm_quad_prefix<F, inclusive>(value, SM_PLACE); \
  }
SM_SCANS(SM_SCAN)
#undef SM_SCAN

template <typename T>
SM_STATIC T quad_broadcast(T value, ushort lane, SM_SITE) {
  SM_EXCHANGEABLE("quad_broadcast");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return (id & ~3u) | (lane & 3u); });
}
template <typename T>
SM_STATIC T quad_broadcast_first(T value, SM_SITE) {
  SM_EXCHANGEABLE("quad_broadcast_first");
  return sm_permute(value, SM_PLACE, [](uint32_t id, uint32_t active) {
    return (id & ~3u) + uint32_t(__builtin_ctz(active >> (id & ~3u)));
  });
}
template <typename T>
SM_STATIC T quad_shuffle(T value, ushort lane, SM_SITE) {
  SM_EXCHANGEABLE("quad_shuffle");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return (id & ~3u) | (lane & 3u); });
}
template <typename T>
SM_STATIC T quad_shuffle_xor(T value, ushort mask, SM_SITE) {
  SM_EXCHANGEABLE("quad_shuffle_xor");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return id ^ (mask & 3u); });
}
template <typename T>
SM_STATIC T quad_shuffle_up(T value, ushort delta, SM_SITE) {
  SM_EXCHANGEABLE("quad_shuffle_up");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return sm_up(id, delta, 4); });
}
template <typename T>
SM_STATIC T quad_shuffle_down(T value, ushort delta, SM_SITE) {
  SM_EXCHANGEABLE("quad_shuffle_down");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return sm_down(id, delta, 4); });
}
template <typename T>
SM_STATIC T quad_shuffle_rotate_up(T value, ushort delta, SM_SITE) {
  SM_EXCHANGEABLE("quad_shuffle_rotate_up");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return sm_turn(id, 0u - delta, 4); });
}
template <typename T>
SM_STATIC T quad_shuffle_rotate_down(T value, ushort delta, SM_SITE) {
  SM_EXCHANGEABLE("quad_shuffle_rotate_down");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return sm_turn(id, delta, 4); });
}
template <typename T>
SM_STATIC T quad_shuffle_and_fill_up(T data, T fill, ushort delta, ushort modulo = 4, SM_SITE) {
  SM_EXCHANGEABLE("quad_shuffle_and_fill_up");
  return sm_permute_fill(data, fill, SM_PLACE, [=](uint32_t id) { return sm_fill_up(id, delta, modulo); });
}
template <typename T>
SM_STATIC T quad_shuffle_and_fill_down(T data, T fill, ushort delta, ushort modulo = 4, SM_SITE) {
  SM_EXCHANGEABLE("quad_shuffle_and_fill_down");
  return sm_permute_fill(data, fill, SM_PLACE, [=](uint32_t id) { return sm_fill_down(id, delta, modulo); });
}

typedef sm_vote<4> quad_vote;
SM_STATIC quad_vote quad_ballot(bool vote, SM_SITE) { return sm_quad_ballot(vote, SM_PLACE); }
SM_STATIC quad_vote quad_active_threads_mask(SM_SITE) { return sm_quad_ballot(true, SM_PLACE); }
SM_STATIC bool quad_all(bool vote, SM_SITE) {
  const sm_ballot_result r = sm_quad_ballot(vote, SM_PLACE);
  return r.votes == r.active;
}
SM_STATIC bool quad_any(bool vote, SM_SITE) { return sm_quad_ballot(vote, SM_PLACE).votes != 0; }
SM_STATIC bool quad_is_first(SM_SITE) {
  return uint32_t(__builtin_ctz(sm_quad_ballot(true, SM_PLACE).active)) == (softmetal::CurrentLane()->id & 3);
}

}  // namespace metal

#undef SM_EXCHANGEABLE
#undef SM_REDUCTIONS
#undef SM_SCANS
