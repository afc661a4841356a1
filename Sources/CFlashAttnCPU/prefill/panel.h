// One panel of query rows of one head against all its keys: online softmax over blocks of keys.
#ifndef FA_CPU_PREFILL_PANEL_H
#define FA_CPU_PREFILL_PANEL_H

#include "../simd/math.h"
#include "pack.h"
#include "problem.h"

namespace fa::FA_ISA {

/// K and V of one kv head as the products read them.
struct KvHead {
  const char *keys;
  int64_t key_stride;  ///< bytes
  const uint32_t *values;
  const uint8_t *finite;  ///< of each block, whether its values are
};

/// A worker's memory.
template <Arithmetic arithmetic, int D>
struct alignas(64) PanelMemory {
  float q[D / keys_per_word<arithmetic> * panel_rows];
  float scores[(block_keys + most_tile_keys) * panel_rows];
  float weights[block_words<arithmetic> * panel_rows];
  float mask[block_keys * panel_rows];
  float o[D * panel_rows];
  float maximum[panel_rows];  ///< of the scores so far, -infinity if none was attended
  float sum[panel_rows];      ///< of the weights so far
  float factor[panel_rows];   ///< what a new maximum multiplies earlier sums with
};

/// Scores are final when they are natural logarithms; plain ones are final up to the factor `scale`, which is > 0.
FA_INLINE bool scores_are_plain(const PrefillProblem &problem) {
  return problem.scale > 0.0f && problem.softcap == 0.0f && !problem.masked;
}

/// Applies scale, softcap and mask to one vector's scores.
FA_INLINE void finish_scores(const PrefillProblem &problem, int keys, const float *mask, float *scores) {
  const vf scale = splat(problem.scale);
  if (problem.softcap != 0.0f) {
    const vf cap = splat(problem.softcap);
    for (int key = 0; key < keys; key++) {
      float *at = scores + key * panel_rows;
      store(at, cap * tanh(load<vf>(at) * scale / cap));
    }
  }
  const vf factor = problem.softcap != 0.0f ? splat(1.0f) : scale;
  if (!problem.masked) {
    for (int key = 0; key < keys; key++) {
      float *at = scores + key * panel_rows;
      store(at, load<vf>(at) * factor);
    }
    return;
  }
  for (int key = 0; key < keys; key++) {
    float *at = scores + key * panel_rows;
    const vf bias = load<vf>(mask + key * panel_rows);
    const vf score = fma(load<vf>(at), factor, bias);
    store(at, bias == -infinity() ? bias : score);  // whatever the score, NaN included
  }
}

/// Hides the keys after a row's last one: lane i attends the first `visible + i` of `keys`.
FA_INLINE void hide_future(int64_t visible, int keys, float *scores) {
  for (int64_t key = visible > 0 ? visible : 0; key < keys; key++) {
    float *at = scores + key * panel_rows;
    store(at, lane_index() > vi(int(key - visible)) ? load<vf>(at) : splat(-infinity()));
  }
}

/// Turns one vector's scores into weights relative to the maximum so far. `scale` is what the scores still lack.
template <Arithmetic arithmetic>
FA_INLINE void softmax_step(const float *scores, int keys, float scale, float *weights, float *maximum, float *sum,
                            float *factor) {
  const vf before = load<vf>(maximum);
  vf m[4] = {before, before, before, before};
  int key = 0;
  for (; key + 4 <= keys; key += 4) {
    FA_UNROLL
    for (int i = 0; i < 4; i++) m[i] = max(m[i], load<vf>(scores + (key + i) * panel_rows));
  }
  for (; key < keys; key++) m[0] = max(m[0], load<vf>(scores + key * panel_rows));
  const vf now = max(max(m[0], m[1]), max(m[2], m[3]));
  const vf base = now == -infinity() ? splat(0.0f) : now;  // a difference of infinities would be NaN
  const vf to_log2 = splat(scale) * 1.44269504f;

  const vf shrink = exp2_nonpositive<5>((before - base) * to_log2);
  store(maximum, now);
  store(factor, shrink);

  vf total[2] = {splat(0.0f), splat(0.0f)};
  key = 0;
  if constexpr (arithmetic == Arithmetic::bf16_pairs) {
#pragma clang loop unroll_count(2)
    for (; key + 2 <= keys; key += 2) {
      const vf low = exp2_nonpositive<4>((load<vf>(scores + key * panel_rows) - base) * to_log2);
      const vf high = exp2_nonpositive<4>((load<vf>(scores + (key + 1) * panel_rows) - base) * to_log2);
      total[0] += low;
      total[1] += high;
      store(weights + key / 2 * panel_rows, pair_bf16(low, high));
    }
    if (key < keys) {
      const vf low = exp2_nonpositive<4>((load<vf>(scores + key * panel_rows) - base) * to_log2);
      total[0] += low;
      store(weights + key / 2 * panel_rows, pair_bf16(low, splat(0.0f)));
    }
  } else {
#pragma clang loop unroll_count(4)
    for (; key < keys; key++) {
      const vf weight = exp2_nonpositive<5>((load<vf>(scores + key * panel_rows) - base) * to_log2);
      total[0] += weight;
      store(weights + key * panel_rows, weight);
    }
  }
  store(sum, fma(load<vf>(sum), shrink, total[0] + total[1]));
}

/// Packs a block of the mask; as pack_mask.
FA_INLINE int block_mask(const PrefillProblem &problem, const char *mask, int64_t first, int lead, int keys,
                         float *packed) {
  const int64_t stride = problem.mask.strides[2];
  switch (problem.mask_elem) {
    case Elem::f32:
      return pack_mask<Elem::f32>(mask, stride, first, lead, problem.rows, keys, packed);
    case Elem::f16:
      return pack_mask<Elem::f16>(mask, stride, first, lead, problem.rows, keys, packed);
    case Elem::bf16:
      return pack_mask<Elem::bf16>(mask, stride, first, lead, problem.rows, keys, packed);
    case Elem::boolean:
      return pack_mask<Elem::boolean>(mask, stride, first, lead, problem.rows, keys, packed);
  }
}

/// The keys of a panel, whose Q^T is packed, whose lane 0 is row `first` and whose vectors before `lead` are unused.
template <Arithmetic arithmetic, int D>
FA_NOINLINE void attend_keys(const PrefillProblem &problem, const KvHead &kv, const char *mask, int64_t first, int lead,
                             PanelMemory<arithmetic, D> &memory) {
  // One past the last key that some row of each vector attends.
  int64_t reach[panel_vectors];
  for (int n = 0; n < panel_vectors; n++) {
    const int64_t end = first + (n + 1) * VW;
    const int64_t last = (end < problem.rows ? end : problem.rows) + problem.causal_offset;
    reach[n] = n < lead ? 0 : problem.causal && last < problem.keys ? last : problem.keys;
  }
  const bool plain = scores_are_plain(problem);
  constexpr int words = D / keys_per_word<arithmetic>;

  for (int64_t key = 0; key < reach[panel_vectors - 1]; key += block_keys) {
    int limits[panel_vectors];
    int active = panel_vectors;
    for (int n = panel_vectors - 1; n >= 0; n--) {
      const int64_t left = reach[n] - key;
      limits[n] = left <= 0 ? 0 : left < block_keys ? int(left) : block_keys;
      if (limits[n] > 0) active = n;
    }
    const int keys = limits[panel_vectors - 1];
    if (problem.masked) {
      const int attended =
          block_mask(problem, mask + key * elem_bytes(problem.mask_elem), first, active, keys, memory.mask);
      for (int n = active; n < attended; n++) limits[n] = 0;
      active = attended;
      if (active == panel_vectors) continue;
    }

    block_scores<arithmetic>(kv.keys + key * kv.key_stride, kv.key_stride, memory.q, words, limits, memory.scores);
    for (int n = active; n < panel_vectors; n++) {
      float *scores = memory.scores + n * VW;
      if (!plain) finish_scores(problem, limits[n], memory.mask + n * VW, scores);
      if (problem.causal) hide_future(first + n * VW + problem.causal_offset + 1 - key, limits[n], scores);
      softmax_step<arithmetic>(scores, limits[n], plain ? problem.scale : 1.0f, memory.weights + n * VW,
                               memory.maximum + n * VW, memory.sum + n * VW, memory.factor + n * VW);
    }
    const int64_t block = key / block_keys;
    const uint32_t *values = kv.values + block * (D * block_words<arithmetic>);
    if (kv.finite[block]) {
      block_values<arithmetic, D>(values, memory.weights, limits, memory.factor, memory.o);
    } else {
      block_values_guarded<arithmetic, D>(values, memory.weights, memory.scores, limits, memory.factor, memory.o);
    }
  }
}

/// All of a panel: rows `row` ..< `row + panel_rows` of a head, as far as there are.
template <Elem elem, Arithmetic arithmetic, int D>
FA_NOINLINE void attend_panel(const PrefillProblem &problem, const KvHead &kv, int batch, int head, int64_t row,
                              PanelMemory<arithmetic, D> &memory) {
  // A short panel uses the last vectors: the first ones are those that tiles can leave out.
  const int64_t count = problem.rows - row < panel_rows ? problem.rows - row : panel_rows;
  const int lead = panel_vectors - int((count + VW - 1) / VW);
  const int64_t first = row - lead * VW;

  pack_queries<elem, arithmetic, D>(problem.q.at(batch, head, 0), problem.q.strides[2], first, lead, problem.rows,
                                    memory.q);
  for (int i = lead * VW; i < panel_rows; i += VW) {
    store(memory.maximum + i, splat(-infinity()));
    store(memory.sum + i, splat(0.0f));
    for (int d = 0; d < D; d++) store(memory.o + d * panel_rows + i, splat(0.0f));
  }
  const char *mask = problem.masked ? problem.mask.at(batch, head, 0) : nullptr;
  attend_keys(problem, kv, mask, first, lead, memory);

  if (problem.lse.data != nullptr) {
    const double scale = scores_are_plain(problem) ? problem.scale : 1.0;
    for (int64_t i = 0; i < count; i++) {
      const int64_t lane = row + i - first;
      const double sum = memory.sum[lane];
      const float lse = sum == 0.0 ? -infinity() : float(memory.maximum[lane] * scale + __builtin_log(sum));
      store(problem.lse.at(batch, head, row + i), lse);
    }
  }
  for (int i = lead * VW; i < panel_rows; i += VW) {
    const vf sum = load<vf>(memory.sum + i);
    store(memory.factor + i, sum == 0.0f ? splat(0.0f) : 1.0f / sum);
  }
  store_rows<elem, D>(memory.o, memory.factor, lead, first, problem.rows, problem.o.at(batch, head, 0),
                      problem.o.strides[2]);
}

}  // namespace fa::FA_ISA

#endif
