// From scores to weights, for one vector of query rows and a block of keys.
#ifndef FA_CPU_PREFILL_SOFTMAX_H
#define FA_CPU_PREFILL_SOFTMAX_H

#include "../simd/math.h"
#include "mask.h"

namespace fa::FA_ISA {

/// Scores are final when they are natural logarithms. Plain ones are final up to the factor `scale`, which is > 0.
FA_INLINE bool scores_are_plain(const PrefillProblem &problem) {
  const bool biased = problem.masked && problem.mask_elem != Elem::boolean;
  return problem.scale > 0.0f && problem.softcap == 0.0f && !biased && problem.sinks == nullptr &&
         problem.alibi == nullptr;
}

/// Applies scale, softcap, slope and mask; lane 0 stands `position` keys after the block's first.
FA_NOINLINE void finish_scores(const PrefillProblem &problem, bool plain, Keys keys, const float *mask, float slope,
                               int64_t position, float *scores) {
  const vf scale = splat(problem.scale);
  if (problem.softcap != 0.0f) {
    const vf cap = splat(problem.softcap);
    for (int key = keys.begin; key < keys.end; key++) {
      float *at = scores + key * panel_rows;
      store(at, cap * tanh(load<vf>(at) * scale / cap));
    }
  }
  const bool sloped = problem.alibi != nullptr;
  if (sloped) {
    const vf factor = problem.softcap != 0.0f ? splat(1.0f) : scale;
    const vf lanes = __builtin_convertvector(lane_index(), vf);
    for (int key = keys.begin; key < keys.end; key++) {
      float *at = scores + key * panel_rows;
      const vf distance = lanes + splat(float(position - key));
      store(at, fma(max(distance, -distance), splat(-slope), load<vf>(at) * factor));
    }
  }
  const bool finished = plain || problem.softcap != 0.0f || sloped;
  const vf factor = finished ? splat(1.0f) : scale;
  const bool masked = problem.masked && !keys.plain;
  if (masked) {
    for (int key = keys.begin; key < keys.end; key++) {
      float *at = scores + key * panel_rows;
      const vf bias = load<vf>(mask + key * panel_rows);
      const vf score = fma(load<vf>(at), factor, bias);
      store(at, bias == -infinity() ? bias : score);  // whatever the score, NaN included
    }
  } else if (!finished) {
    for (int key = keys.begin; key < keys.end; key++) {
      float *at = scores + key * panel_rows;
      store(at, load<vf>(at) * factor);
    }
  }
}

/// Hides keys from ..< limit that lie outside `keys`, and from lane i those that are not lower + i ... upper + i.
FA_NOINLINE void hide_keys(int from, int limit, Keys keys, int64_t lower, int64_t upper, float *scores) {
  const vf hidden = splat(-infinity());
  const int begin = keys.empty() ? limit : keys.begin;
  for (int key = from; key < begin; key++) store(scores + key * panel_rows, hidden);
  for (int key = begin; key < keys.end && key < lower + VW - 1; key++) {
    float *at = scores + key * panel_rows;
    store(at, lane_index() <= vi(int(key < lower ? -1 : key - lower)) ? load<vf>(at) : hidden);
  }
  for (int64_t key = upper + 1 > begin ? upper + 1 : begin; key < keys.end; key++) {
    float *at = scores + key * panel_rows;
    store(at, lane_index() >= vi(int(key - upper)) ? load<vf>(at) : hidden);
  }
  for (int key = begin > keys.end ? begin : keys.end; key < limit; key++) store(scores + key * panel_rows, hidden);
}

/// Turns scores of keys from ..< limit into weights relative to the maximum so far, in place; `from` is even. `scale` is
/// what the scores still lack.
template <Arithmetic arithmetic>
FA_NOINLINE void softmax_step(float *scores, int from, int limit, float scale, float *maximum, float *sum,
                              float *factor) {
  float *weights = scores;
  const vf before = load<vf>(maximum);
  vf m[4] = {before, before, before, before};
  int key = from;
  for (; key + 4 <= limit; key += 4) {
    FA_UNROLL
    for (int i = 0; i < 4; i++) m[i] = max(m[i], load<vf>(scores + (key + i) * panel_rows));
  }
  for (; key < limit; key++) m[0] = max(m[0], load<vf>(scores + key * panel_rows));
  const vf now = max(max(m[0], m[1]), max(m[2], m[3]));
  const vf base = now == -infinity() ? splat(0.0f) : now;  // a difference of infinities would be NaN
  const vf to_log2 = splat(scale) * 1.44269504f;

  const vf shrink = exp2_nonpositive<5>((before - base) * to_log2);
  store(maximum, now);
  store(factor, shrink);

  vf total[2] = {splat(0.0f), splat(0.0f)};
  key = from;
  if constexpr (arithmetic == Arithmetic::bf16_pairs) {
#pragma clang loop unroll_count(2)
    for (; key + 2 <= limit; key += 2) {
      const vf low = exp2_nonpositive<4>((load<vf>(scores + key * panel_rows) - base) * to_log2);
      const vf high = exp2_nonpositive<4>((load<vf>(scores + (key + 1) * panel_rows) - base) * to_log2);
      total[0] += low;
      total[1] += high;
      store(weights + key / 2 * panel_rows, pair_bf16(low, high));
    }
    if (key < limit) {
      const vf low = exp2_nonpositive<4>((load<vf>(scores + key * panel_rows) - base) * to_log2);
      total[0] += low;
      store(weights + key / 2 * panel_rows, pair_bf16(low, splat(0.0f)));
    }
  } else {
#pragma clang loop unroll_count(2)
    for (; key < limit; key++) {
      const vf weight = exp2_nonpositive<5>((load<vf>(scores + key * panel_rows) - base) * to_log2);
      total[0] += weight;
      store(weights + key * panel_rows, weight);
    }
  }
  store(sum, fma(load<vf>(sum), shrink, total[0] + total[1]));
}

}  // namespace fa::FA_ISA

#endif
