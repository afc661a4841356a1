// The two matrix products of a panel, transposed: lanes are query rows, so that the softmax between them needs no
// reduction across lanes.
//
//   scores   S^T[key][query]  =  K[key][:] . Q^T[:][query]
//   values   O^T[d][query]   +=  V^T[d][:] . P^T[:][query]
//
// In both, one operand is a stream of 32-bit words to broadcast, the other one of vectors. A word is a float, or a pair
// of bf16 that one instruction multiplies and adds. A panel's arrays have `panel_rows` words in each row; a tile may
// leave out the panel's first vectors (`lead`), whose queries attend none of its keys.
// After an instruction set's header.
#ifndef FA_CPU_PREFILL_TILES_H
#define FA_CPU_PREFILL_TILES_H

namespace fa::FA_ISA {

enum class Arithmetic { f32, bf16_pairs };

constexpr int panel_rows = panel_vectors * VW;  ///< query rows in a panel
constexpr int block_keys = 64;  ///< keys in a block

template <Arithmetic arithmetic>
constexpr int keys_per_word = arithmetic == Arithmetic::bf16_pairs ? 2 : 1;

/// Words along the keys of a block.
template <Arithmetic arithmetic>
constexpr int block_words = block_keys / keys_per_word<arithmetic>;

/// Words that hold `keys` keys.
template <Arithmetic arithmetic>
constexpr int words_of(int keys) {
  return (keys + keys_per_word<arithmetic> - 1) / keys_per_word<arithmetic>;
}

/// Keys in a tile of scores and quads of dimensions in one of values: as many as the registers hold.
constexpr int tile_keys(int vectors) { return vectors * 8 <= vector_registers / 2 ? 8 : 4; }
constexpr int tile_quads(int vectors) { return vectors * 8 <= vector_registers / 2 ? 2 : 1; }
constexpr int most_tile_keys = 8;

/// Whether a tile needs every register there is: then one word at a time may be broadcast, and steps not overlap.
constexpr bool tight_registers = vector_registers == 16;
constexpr int tile_unroll = tight_registers ? 1 : 2;

/// Keeps the compiler from loading through `next` before `acc` is computed.
template <typename T>
FA_INLINE void finish_before(vf &acc, const T *&next) {
#if defined(__x86_64__)
  __asm__ volatile("" : "+x"(acc), "+r"(next));
#else
  (void)acc, (void)next;
#endif
}

template <Arithmetic arithmetic>
FA_INLINE vf multiply_add(vf acc, vf a, vf b) {
  if constexpr (arithmetic == Arithmetic::bf16_pairs) {
    return dot_bf16(acc, a, b);
  } else {
    return fma(a, b, acc);
  }
}

/// Words of a score summed on their own: fewer roundings of the long sums. A pair's product is rounded more coarsely
/// than its sum.
template <Arithmetic arithmetic>
constexpr int score_span = arithmetic == Arithmetic::f32 ? 128 : 512;

/// Scores of the keys at `keys`, each `words` words long, for the panel's vectors from `lead` on.
template <Arithmetic arithmetic, int lead>
FA_NOINLINE void score_tile(const char *const *keys, const float *q, int words, float *scores) {
  constexpr int N = panel_vectors - lead, M = tile_keys(N);
  const char *a[M];
  FA_UNROLL
  for (int m = 0; m < M; m++) a[m] = keys[m];
  q += lead * VW;
  scores += lead * VW;
  for (int w = 0; w < words;) {
    const int begin = w, end = words - w < score_span<arithmetic> ? words : w + score_span<arithmetic>;
    vf acc[M][N];
    FA_UNROLL
    for (int m = 0; m < M; m++) {
      FA_UNROLL
      for (int n = 0; n < N; n++) acc[m][n] = splat(0.0f);
    }
#pragma clang loop unroll_count(tile_unroll)
    for (; w < end; w++) {
      vf b[N];
      FA_UNROLL
      for (int n = 0; n < N; n++) b[n] = load<vf>(q + w * panel_rows + n * VW);
      FA_UNROLL
      for (int m = 0; m < M; m++) {
        const vf x = broadcast_word(a[m] + w * 4);
        FA_UNROLL
        for (int n = 0; n < N; n++) acc[m][n] = multiply_add<arithmetic>(acc[m][n], x, b[n]);
        if (tight_registers) finish_before(acc[m][N - 1], a[(m + 1) % M]);
      }
    }
    FA_UNROLL
    for (int m = 0; m < M; m++) {
      FA_UNROLL
      for (int n = 0; n < N; n++) {
        float *at = scores + m * panel_rows + n * VW;
        store(at, begin == 0 ? acc[m][n] : load<vf>(at) + acc[m][n]);
      }
    }
  }
}

/// The part of a value tile up to the end of vector J's words, then the rest for the later vectors.
template <Arithmetic arithmetic, int lead, int J, int M, int N>
FA_INLINE void value_steps(vf (&acc)[M][N], const uint32_t *v, const float *p, const int *words, int w) {
  if constexpr (J < N) {
    const int end = words[lead + J];
#pragma clang loop unroll_count(tile_unroll)
    for (; w < end; w++) {
      vf b[N];
      FA_UNROLL
      for (int n = J; n < N; n++) b[n] = load<vf>(p + w * panel_rows + n * VW);
      FA_UNROLL
      for (int m = 0; m < M; m++) {
        const vf x = broadcast_word(v + (m / 4 * block_words<arithmetic> + w) * 4 + m % 4);
        FA_UNROLL
        for (int n = J; n < N; n++) acc[m][n] = multiply_add<arithmetic>(acc[m][n], x, b[n]);
        if (tight_registers) finish_before(acc[m][N - 1], v);
      }
    }
    value_steps<arithmetic, lead, J + 1>(acc, v, p, words, w);
  }
}

/// O^T = O^T * factor + V^T P^T for `tile_quads` quads of dimensions. Vector n takes words `from` ..< words[n] of P, and
/// words[n] does not decrease with n. A block's sum starts from 0: rounding errors grow with the number of blocks, not
/// of keys, and a block without attended keys changes nothing.
template <Arithmetic arithmetic, int lead>
FA_NOINLINE void value_tile(const uint32_t *v, const float *p, int from, const int *words, const float *factor,
                            float *o) {
  constexpr int N = panel_vectors - lead, M = 4 * tile_quads(N);
  vf acc[M][N];
  FA_UNROLL
  for (int m = 0; m < M; m++) {
    FA_UNROLL
    for (int n = 0; n < N; n++) acc[m][n] = splat(0.0f);
  }
  value_steps<arithmetic, lead, 0>(acc, v, p + lead * VW, words, from);
  o += lead * VW;
  FA_UNROLL
  for (int n = 0; n < N; n++) {
    const vf f = load<vf>(factor + (lead + n) * VW);
    FA_UNROLL
    for (int m = 0; m < M; m++) {
      float *at = o + m * panel_rows + n * VW;
      store(at, fma(load<vf>(at), f, acc[m][n]));
    }
  }
}

/// Which keys of a block a panel works on: `from` ..< limits[n] for vector n. Limits do not decrease with n; vectors
/// before `active` are left out. `from` is a multiple of most_tile_keys.
struct BlockSpan {
  int from, active;
  int limits[panel_vectors];
};

/// Scores of a block.
template <Arithmetic arithmetic, int lead = 0>
FA_INLINE void block_scores(const char *keys, int64_t key_stride, const float *q, int words, const BlockSpan &span,
                            float *scores, int key) {
  constexpr int M = tile_keys(panel_vectors - lead);
  const int last = span.limits[panel_vectors - 1] - 1;
  for (; key < span.limits[lead]; key += M) {
    const char *rows[M];
    for (int m = 0; m < M; m++) rows[m] = keys + (key + m < last ? key + m : last) * key_stride;
    score_tile<arithmetic, lead>(rows, q, words, scores + key * panel_rows);
  }
  if constexpr (lead + 1 < panel_vectors) {
    block_scores<arithmetic, lead + 1>(keys, key_stride, q, words, span, scores, key);
  }
}

/// Adds a block's values to O^T.
template <Arithmetic arithmetic, int lead = 0>
FA_INLINE void block_values(const uint32_t *v, const float *p, const BlockSpan &span, const float *factor, float *o,
                            int head_dim) {
  if constexpr (lead + 1 < panel_vectors) {
    if (span.active > lead) return block_values<arithmetic, lead + 1>(v, p, span, factor, o, head_dim);
  }
  constexpr int quads = tile_quads(panel_vectors - lead);
  int words[panel_vectors];
  for (int n = 0; n < panel_vectors; n++) words[n] = words_of<arithmetic>(span.limits[n]);
  const int from = span.from / keys_per_word<arithmetic>;
  for (int d = 0; d < head_dim; d += 4 * quads) {
    value_tile<arithmetic, lead>(v + d * block_words<arithmetic>, p, from, words, factor, o + d * panel_rows);
  }
}

/// The bits of V's words that belong to keys with a score above -infinity, for one vector.
template <Arithmetic arithmetic>
FA_NOINLINE void attended_bits(const float *scores, int from, int limit, float *bits_of) {
  const auto open = [&](int key) {
    const vf score = key < limit ? load<vf>(scores + key * panel_rows) : splat(-infinity());
    return __builtin_bit_cast(vu, score != -infinity());
  };
  for (int key = from; key < limit; key += keys_per_word<arithmetic>) {
    vu bits = open(key);
    if constexpr (arithmetic == Arithmetic::bf16_pairs) bits = (bits & 0xffff) | (open(key + 1) & 0xffff0000);
    store(bits_of + key / keys_per_word<arithmetic> * panel_rows, as_float(bits));
  }
}

/// As block_values, for blocks with infinite or NaN values, which a weight of 0 does not silence; `open` is what
/// attended_bits said.
template <Arithmetic arithmetic>
FA_NOINLINE void block_values_guarded(const uint32_t *v, const float *p, const float *open, const BlockSpan &span,
                                      const float *factor, float *o, int head_dim) {
  for (int n = span.active; n < panel_vectors; n++) {
    const vf f = load<vf>(factor + n * VW);
    for (int d = 0; d < head_dim; d += 4) {
      vf acc[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
      for (int w = span.from / keys_per_word<arithmetic>; w < words_of<arithmetic>(span.limits[n]); w++) {
        const vu attended = as_bits(load<vf>(open + w * panel_rows + n * VW));
        const vf weight = load<vf>(p + w * panel_rows + n * VW);
        FA_UNROLL
        for (int m = 0; m < 4; m++) {
          const vf x = broadcast_word(v + (d / 4 * block_words<arithmetic> + w) * 4 + m);
          acc[m] = multiply_add<arithmetic>(acc[m], as_float(as_bits(x) & attended), weight);
        }
      }
      FA_UNROLL
      for (int m = 0; m < 4; m++) {
        float *at = o + (d + m) * panel_rows + n * VW;
        store(at, fma(load<vf>(at), f, acc[m]));
      }
    }
  }
}

}  // namespace fa::FA_ISA

#endif
