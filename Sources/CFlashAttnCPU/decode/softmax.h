// The online softmax of one column over a block of keys.
#ifndef FA_CPU_DECODE_SOFTMAX_H
#define FA_CPU_DECODE_SOFTMAX_H

#include "../codec/vectors.h"
#include "../simd/lanes.h"
#include "../simd/math.h"
#include "passes.h"

namespace fa::FA_ISA {

/// What a running maximum starts from: finite, so that a difference from it is a number.
constexpr float least_maximum = -0x1.fffffep126f;
constexpr float log2_e = 1.442695041f;

/// b where either is NaN.
FA_INLINE float larger(float a, float b) { return a > b ? a : b; }

/// e^x for x <= 0.
FA_INLINE vf exponential(vf x) { return exp2_nonpositive<5>(x * log2_e); }
FA_INLINE float exponential(float x) { return exponential(splat(x))[0]; }

/// What distance takes from a column's scores.
struct DistanceBias {
  float slope;
  float ahead;  ///< where the query stands, counted from the block's first key
};

/// Puts down weights from key k on.
template <bool in_bf16>
FA_INLINE void store_weights(float *weights, int k, vf x) {
  if constexpr (in_bf16) {
    store(reinterpret_cast<uint16_t *>(weights) + k, f32_to_bf16(x));
  } else {
    store(weights + k, x);
  }
}

/// A block of keys as one column sees it.
struct ColumnBlock {
  const float *dots[2];  ///< of each half of the coordinates, if K has two norms a row
  const float (&k_norms)[2][column_stride];
  const float (&v_norms)[2][column_stride];
  int k_halves, v_halves;  ///< norms of a row
  DistanceBias bias;
  int keys;
  bool in_bf16;  ///< the weights, rather than floats
  float *weights[2];  ///< of each half, if V has two norms a row
};

/// `whole`: there are row_block keys, whose scores stay in registers.
template <bool in_bf16, bool whole>
FA_INLINE float softmax_of(const DecodeProblem &p, const ColumnBlock &block, float *maximum, float *sum) {
  constexpr int most_vectors = row_block / VW;
  const int vectors = whole ? most_vectors : (block.keys + VW - 1) / VW;
  vf scores[most_vectors], most = splat(-infinity()), total = splat(0.0f);
  for (int i = 0; i < vectors; i++) {
    const int k = i * VW;
    vf s = load<vf>(block.dots[0] + k);
    if (block.k_halves > 0) s *= load<vf>(block.k_norms[0] + k);
    if (block.k_halves > 1) s = fma(load<vf>(block.dots[1] + k), load<vf>(block.k_norms[1] + k), s);
    s *= p.scale;
    if (p.softcap > 0.0f) s = tanh(s / p.softcap) * p.softcap;
    if (block.bias.slope != 0.0f) {
      const vf steps = __builtin_convertvector(lane_index(), vf) + (float(k) - block.bias.ahead);
      s -= max(steps, -steps) * block.bias.slope;
    }
    if (!whole && k + VW > block.keys) s = lane_index() < block.keys - k ? s : splat(-infinity());
    scores[i] = s;
    most = max(most, s);
  }
  const float next = larger(largest_lane(most), *maximum);
  const float decay = next == *maximum ? 1.0f : exponential(*maximum - next);
  for (int i = 0; i < vectors; i++) {
    const int k = i * VW;
    const vf e = exponential(scores[i] - next);
    total += e;
    store_weights<in_bf16>(block.weights[0], k, block.v_halves > 0 ? e * load<vf>(block.v_norms[0] + k) : e);
    if (block.v_halves > 1) store_weights<in_bf16>(block.weights[1], k, e * load<vf>(block.v_norms[1] + k));
  }
  *maximum = next;
  *sum = *sum * decay + sum_lanes(total);
  return decay;
}

/// Turns dot products into weights, times the norms of V, and takes them into the running maximum and sum. Gives the
/// factor of what has been gathered so far.
FA_NOINLINE float softmax_block(const DecodeProblem &p, const ColumnBlock &block, float *maximum, float *sum) {
  const bool whole = block.keys == row_block;
  if (block.in_bf16) {
    return whole ? softmax_of<true, true>(p, block, maximum, sum) : softmax_of<true, false>(p, block, maximum, sum);
  }
  return whole ? softmax_of<false, true>(p, block, maximum, sum) : softmax_of<false, false>(p, block, maximum, sum);
}

}  // namespace fa::FA_ISA

#endif
