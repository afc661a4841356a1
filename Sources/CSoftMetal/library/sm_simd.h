// Functions of a simdgroup: votes, permutations, reductions, scans.
#pragma once

/// Whether Metal has a function of a simdgroup for T.
template <typename T, typename E = sm_element<T>>
constexpr bool sm_is_exchangeable = metal::is_arithmetic_v<E> && !metal::is_same_v<E, bool> && sizeof(E) <= 4;
#define SM_EXCHANGEABLE(name)                                                        \
  static_assert(sm_is_exchangeable<T>, name                                          \
                ": expected a scalar or vector of 8-, 16- or 32-bit integers or of " \
                "floats")

/// Publishes `value`, meets the others, and returns the bank with everybody's slots.
template <typename Operation, typename T>
SM_STATIC softmetal::Bank &sm_publish(softmetal::Lane *lane, const T &value, uint32_t place) {
  softmetal::Simdgroup *simdgroup = lane->simdgroup;
  sm_slots<T>(*simdgroup->filling)[lane->id] = value;
  return sm_rendezvous<Operation>(lane, simdgroup, place);
}

// Operations of two values. `identity` is what a scan begins with.
struct sm_add {
  template <typename T>
  SM_INLINE static T of(const T &a, const T &b) {
    return a + b;
  }
  template <typename T>
  SM_INLINE static T identity() {
    return T(0);
  }
};
struct sm_multiply {
  template <typename T>
  SM_INLINE static T of(const T &a, const T &b) {
    return a * b;
  }
  template <typename T>
  SM_INLINE static T identity() {
    return T(1);
  }
};
struct sm_greater {
  template <typename T>
  SM_INLINE static T of(const T &a, const T &b) {
    return metal::max(a, b);
  }
};
struct sm_lesser {
  template <typename T>
  SM_INLINE static T of(const T &a, const T &b) {
    return metal::min(a, b);
  }
};
struct sm_and {
  template <typename T>
  SM_INLINE static T of(const T &a, const T &b) {
    return a & b;
  }
};
struct sm_or {
  template <typename T>
  SM_INLINE static T of(const T &a, const T &b) {
    return a | b;
  }
};
struct sm_xor {
  template <typename T>
  SM_INLINE static T of(const T &a, const T &b) {
    return a ^ b;
  }
};

/// Pairs lanes 16, 8, 4, 2 and 1 apart; without all 32 lanes, goes through those there are.
template <typename T, typename F>
struct sm_reduction {
  static void combine(softmetal::Bank &bank, uint32_t active) {
    const T *slot = sm_slots<T>(bank);
    if (active == ~0u) {
      T t[16];
      for (int i = 0; i < 16; ++i) t[i] = F::of(slot[i], slot[i + 16]);
      for (int half = 8; half > 0; half >>= 1) {
        for (int i = 0; i < half; ++i) t[i] = F::of(t[i], t[i + half]);
      }
      *reinterpret_cast<T *>(bank.result) = t[0];
      return;
    }
    T r = slot[__builtin_ctz(active)];
    for (uint32_t rest = active & (active - 1); rest != 0; rest &= rest - 1) r = F::of(r, slot[__builtin_ctz(rest)]);
    *reinterpret_cast<T *>(bank.result) = r;
  }
};

/// Leaves each lane's part in its slot.
template <typename T, typename F, bool Inclusive>
struct sm_scan {
  static void combine(softmetal::Bank &bank, uint32_t active) {
    T *slot = sm_slots<T>(bank), sum = F::template identity<T>();
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) {
      T &at = slot[__builtin_ctz(rest)];
      const T next = F::of(sum, at);
      at = Inclusive ? next : sum;
      sum = next;
    }
  }
};

struct sm_votes {
  static void combine(softmetal::Bank &bank, uint32_t active) {
    const uchar *slot = sm_slots<uchar>(bank);
    uint32_t votes = 0;
    for (int i = 0; i < 32; ++i) votes |= uint32_t(slot[i]) << i;
    *reinterpret_cast<uint32_t *>(bank.result) = votes & active;
  }
};

template <typename F, typename T>
SM_STATIC T sm_reduce(const T &value, uint32_t place) {
  softmetal::Lane *lane = softmetal::CurrentLane();
  softmetal::Bank &bank = sm_publish<sm_reduction<T, F>>(lane, value, place);
  return *reinterpret_cast<const T *>(bank.result);
}
template <typename F, bool Inclusive, typename T>
SM_STATIC T sm_prefix(const T &value, uint32_t place) {
  softmetal::Lane *lane = softmetal::CurrentLane();
  softmetal::Bank &bank = sm_publish<sm_scan<T, F, Inclusive>>(lane, value, place);
  return sm_slots<T>(bank)[lane->id];
}
struct sm_ballot_result {
  uint32_t votes, active;
};
SM_STATIC sm_ballot_result sm_ballot(bool vote, uint32_t place) {
  softmetal::Lane *lane = softmetal::CurrentLane();
  softmetal::Bank &bank = sm_publish<sm_votes>(lane, uchar(vote), place);
  return {*reinterpret_cast<const uint32_t *>(bank.result), bank.active};
}
/// Takes the value of lane `source(own id, participating lanes)`.
template <typename T, typename Source>
SM_STATIC T sm_permute(const T &value, uint32_t place, Source source) {
  softmetal::Lane *lane = softmetal::CurrentLane();
  softmetal::Bank &bank = sm_publish<sm_meet>(lane, value, place);
  return sm_slots<T>(bank)[source(lane->id, bank.active) & 31];
}
template <typename T>
struct sm_pair {
  T data, fill;
};
/// As sm_permute, with `fill` instead of `data` where `source` adds 32.
template <typename T, typename Source>
SM_STATIC T sm_permute_fill(const T &data, const T &fill, uint32_t place, Source source) {
  softmetal::Lane *lane = softmetal::CurrentLane();
  softmetal::Bank &bank = sm_publish<sm_meet>(lane, sm_pair<T>{data, fill}, place);
  const uint32_t from = source(lane->id);
  const sm_pair<T> &pair = sm_slots<sm_pair<T>>(bank)[from & 31];
  return from < 32 ? pair.data : pair.fill;
}

// Places in segments of `size` lanes, a power of two. Fills add 32 where the segment's end is passed.
SM_STATIC uint32_t sm_up(uint32_t id, uint32_t delta, uint32_t size) {
  return (id & (size - 1)) < delta ? id : id - delta;
}
SM_STATIC uint32_t sm_down(uint32_t id, uint32_t delta, uint32_t size) {
  return (id & (size - 1)) + delta >= size ? id : id + delta;
}
SM_STATIC uint32_t sm_turn(uint32_t id, uint32_t delta, uint32_t size) {
  return (id & ~(size - 1)) | ((id + delta) & (size - 1));
}
SM_STATIC uint32_t sm_fill_up(uint32_t id, uint32_t delta, uint32_t size) {
  return sm_turn(id, 0u - delta, size) | ((id & (size - 1)) < delta ? 32u : 0u);
}
SM_STATIC uint32_t sm_fill_down(uint32_t id, uint32_t delta, uint32_t size) {
  return sm_turn(id, delta, size) | ((id & (size - 1)) + delta >= size ? 32u : 0u);
}

namespace metal {

#define SM_REDUCTIONS(X) \
  X(sum, sm_add) X(product, sm_multiply) X(max, sm_greater) X(min, sm_lesser) X(and, sm_and) X(or, sm_or) X(xor, sm_xor)
#define SM_REDUCE(name, F)                    \
  template <typename T>                       \
  SM_STATIC T simd_##name(T value, SM_SITE) { \
    SM_EXCHANGEABLE("simd_" #name);           \
    return sm_reduce<F>(value, SM_PLACE);     \
  }
SM_REDUCTIONS(SM_REDUCE)
#undef SM_REDUCE
#define SM_SCANS(X)              \
  X(inclusive_sum, sm_add, true) \
  X(exclusive_sum, sm_add, false) X(inclusive_product, sm_multiply, true) X(exclusive_product, sm_multiply, false)
#define SM_SCAN(name, F, inclusive)                  \
  template <typename T>                              \
  SM_STATIC T simd_prefix_##name(T value, SM_SITE) { \
    SM_EXCHANGEABLE("simd_prefix_" #name);           \
    return sm_prefix<F, inclusive>(value, SM_PLACE); \
  }
SM_SCANS(SM_SCAN)
#undef SM_SCAN

template <typename T>
SM_STATIC T simd_broadcast(T value, ushort lane, SM_SITE) {
  SM_EXCHANGEABLE("simd_broadcast");
  return sm_permute(value, SM_PLACE, [=](uint32_t, uint32_t) { return uint32_t(lane); });
}
template <typename T>
SM_STATIC T simd_broadcast_first(T value, SM_SITE) {
  SM_EXCHANGEABLE("simd_broadcast_first");
  return sm_permute(value, SM_PLACE, [](uint32_t, uint32_t active) { return uint32_t(__builtin_ctz(active)); });
}
template <typename T>
SM_STATIC T simd_shuffle(T value, ushort lane, SM_SITE) {
  SM_EXCHANGEABLE("simd_shuffle");
  return sm_permute(value, SM_PLACE, [=](uint32_t, uint32_t) { return uint32_t(lane); });
}
template <typename T>
SM_STATIC T simd_shuffle_xor(T value, ushort mask, SM_SITE) {
  SM_EXCHANGEABLE("simd_shuffle_xor");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return id ^ mask; });
}
template <typename T>
SM_STATIC T simd_shuffle_up(T value, ushort delta, SM_SITE) {
  SM_EXCHANGEABLE("simd_shuffle_up");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return sm_up(id, delta, 32); });
}
template <typename T>
SM_STATIC T simd_shuffle_down(T value, ushort delta, SM_SITE) {
  SM_EXCHANGEABLE("simd_shuffle_down");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return sm_down(id, delta, 32); });
}
template <typename T>
SM_STATIC T simd_shuffle_rotate_up(T value, ushort delta, SM_SITE) {
  SM_EXCHANGEABLE("simd_shuffle_rotate_up");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return sm_turn(id, 0u - delta, 32); });
}
template <typename T>
SM_STATIC T simd_shuffle_rotate_down(T value, ushort delta, SM_SITE) {
  SM_EXCHANGEABLE("simd_shuffle_rotate_down");
  return sm_permute(value, SM_PLACE, [=](uint32_t id, uint32_t) { return sm_turn(id, delta, 32); });
}
template <typename T>
SM_STATIC T simd_shuffle_and_fill_up(T data, T fill, ushort delta, ushort modulo = 32, SM_SITE) {
  SM_EXCHANGEABLE("simd_shuffle_and_fill_up");
  return sm_permute_fill(data, fill, SM_PLACE, [=](uint32_t id) { return sm_fill_up(id, delta, modulo); });
}
template <typename T>
SM_STATIC T simd_shuffle_and_fill_down(T data, T fill, ushort delta, ushort modulo = 32, SM_SITE) {
  SM_EXCHANGEABLE("simd_shuffle_and_fill_down");
  return sm_permute_fill(data, fill, SM_PLACE, [=](uint32_t id) { return sm_fill_down(id, delta, modulo); });
}

/// What the threads of a group said: one bit each, of those who took part.
template <uint32_t Width>
struct sm_vote {
  typedef ulong vote_t;
  vote_t bits, voters;
  sm_vote() = default;
  SM_INLINE explicit sm_vote(vote_t votes) : bits(votes) {
    const softmetal::Lane *lane = softmetal::CurrentLane();
    voters = lane->simdgroup->members >> (lane->id & ~(Width - 1) & 31) & (~0u >> (32 - Width));
  }
  SM_INLINE constexpr sm_vote(sm_ballot_result r) : bits(r.votes), voters(r.active) {}
  SM_INLINE explicit constexpr operator vote_t() const { return bits; }
  SM_INLINE constexpr bool all() const { return bits == voters; }
  SM_INLINE constexpr bool any() const { return bits != 0; }
};
typedef sm_vote<32> simd_vote;
SM_STATIC simd_vote simd_ballot(bool vote, SM_SITE) { return sm_ballot(vote, SM_PLACE); }
SM_STATIC simd_vote simd_active_threads_mask(SM_SITE) { return sm_ballot(true, SM_PLACE); }
SM_STATIC bool simd_all(bool vote, SM_SITE) {
  const sm_ballot_result r = sm_ballot(vote, SM_PLACE);
  return r.votes == r.active;
}
SM_STATIC bool simd_any(bool vote, SM_SITE) { return sm_ballot(vote, SM_PLACE).votes != 0; }
SM_STATIC bool simd_is_first(SM_SITE) {
  return uint32_t(__builtin_ctz(sm_ballot(true, SM_PLACE).active)) == softmetal::CurrentLane()->id;
}

}  // namespace metal
