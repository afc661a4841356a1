// The online softmax of one column over a block of keys.
#ifndef FA_CPU_DECODE_SOFTMAX_H
#define FA_CPU_DECODE_SOFTMAX_H

#include "../codec/rotate.h"
#include "../codec/vectors.h"
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

FA_INLINE float largest_lane(vf x) {
  if constexpr (VW > 8) x = max(x, swap_lanes<8 % VW>(x));
  if constexpr (VW > 4) x = max(x, swap_lanes<4 % VW>(x));
  x = max(x, swap_lanes<2>(x));
  return max(x, swap_lanes<1>(x))[0];
}

FA_INLINE float sum_lanes(vf x) {
  if constexpr (VW > 8) x += swap_lanes<8 % VW>(x);
  if constexpr (VW > 4) x += swap_lanes<4 % VW>(x);
  x += swap_lanes<2>(x);
  return (x + swap_lanes<1>(x))[0];
}

/// What distance takes from a column's scores.
struct DistanceBias {
  float slope;
  float ahead;  ///< where the query stands, counted from the block's first key
};

/// Puts down weights from key k on, in the type that values are gathered with.
FA_INLINE void store_weights(float *weights, int k, vf x, bool in_bf16) {
  if (in_bf16) {
    store(reinterpret_cast<uint16_t *>(weights) + k, f32_to_bf16(x));
  } else {
    store(weights + k, x);
  }
}

/// Turns dot products into weights, times the norms of V, and takes them into the running maximum and sum. Gives the
/// factor of what has been gathered so far.
FA_NOINLINE float softmax_block(const DecodeProblem &p, float *dots, const float *dots_2, int k_halves,
                                const float (&k_norms)[2][column_stride], int v_halves,
                                const float (&v_norms)[2][column_stride], DistanceBias bias, int keys, bool in_bf16,
                                float *weights, float *weights_2, float *maximum, float *sum) {
  vf most = splat(-infinity());
  for (int k = 0; k < keys; k += VW) {
    vf s = load<vf>(dots + k);
    if (k_halves > 0) s *= load<vf>(k_norms[0] + k);
    if (k_halves > 1) s = fma(load<vf>(dots_2 + k), load<vf>(k_norms[1] + k), s);
    s *= p.scale;
    if (p.softcap > 0.0f) s = tanh(s / p.softcap) * p.softcap;
    if (bias.slope != 0.0f) {
      const vf steps = __builtin_convertvector(lane_index(), vf) + (float(k) - bias.ahead);
      s -= max(steps, -steps) * bias.slope;
    }
    if (k + VW > keys) s = lane_index() < keys - k ? s : splat(-infinity());
    store(dots + k, s);
    most = max(most, s);
  }
  const float next = larger(largest_lane(most), *maximum);
  const float decay = exponential(*maximum - next);
  vf total = splat(0.0f);
  for (int k = 0; k < keys; k += VW) {
    const vf e = exponential(load<vf>(dots + k) - next);
    total += e;
    store_weights(weights, k, v_halves > 0 ? e * load<vf>(v_norms[0] + k) : e, in_bf16);
    if (v_halves > 1) store_weights(weights_2, k, e * load<vf>(v_norms[1] + k), in_bf16);
  }
  *maximum = next;
  *sum = *sum * decay + sum_lanes(total);
  return decay;
}

}  // namespace fa::FA_ISA

#endif
