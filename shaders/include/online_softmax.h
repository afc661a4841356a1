// Softmax of a row of scores that arrives in pieces.
//
// Scores are natural logarithms in float; -infinity means "not attended". The running maximum starts at the lowest
// finite float, so that a difference of two infinities never arises, a row without any attended key keeps the sum 0,
// and a finite score of any size, the lowest float included, still counts.
#ifndef FA_ONLINE_SOFTMAX_H
#define FA_ONLINE_SOFTMAX_H

#include <metal_math>
#include <metal_stdlib>

namespace fa {

/// How weights that are stored in T before they meet the values are computed.
template <typename T>
struct weight_policy {
  /// Weights are exp(score - maximum) * scale.
  static constant constexpr float scale = 1.0f;
  static constant constexpr float log2_scale = 0.0f;
  static inline float exp2(float x) { return metal::fast::exp2(x); }
};

/// The error of fast::exp2 grows with the argument; float results show it.
template <>
struct weight_policy<float> {
  static constant constexpr float scale = 1.0f;
  static constant constexpr float log2_scale = 0.0f;
  static inline float exp2(float x) { return metal::precise::exp2(x); }
};

/// Scaled, the weights use all of half's range: many small ones beside a large one neither vanish nor lose digits.
template <>
struct weight_policy<half> {
  static constant constexpr float scale = 32768.0f;
  static constant constexpr float log2_scale = 15.0f;
  static inline float exp2(float x) { return metal::fast::exp2(x); }
};

/// One row's state. `maximum` is the row's; `sum` may be a lane's own share of it until the end.
template <typename T>
struct online_softmax {
  using policy = weight_policy<T>;

  float maximum = -FLT_MAX;
  float sum = 0.0f;

  /// A score that every row has beside those of its keys; the caller adds its weight to `sum` once.
  inline void begin_at(float score) { maximum = metal::max(maximum, score); }

  /// Takes in the maximum of the next scores and returns the factor for what has been accumulated.
  inline float advance(float next) {
    const float previous = maximum;
    maximum = metal::max(previous, next);
    // exp2(0) may be an ulp away from 1, which would add up over the tiles of a long row.
    const float factor = maximum > previous ? policy::exp2((previous - maximum) * M_LOG2E_F) : 1.0f;
    sum *= factor;
    return factor;
  }

  /// The weight of a score, after `advance` has seen it; the caller adds the weights to `sum`. The difference comes
  /// first: multiplied by log2(e) alone, a score near the end of float's range would overflow. An excluded score has the
  /// weight -0, which tells it from an attended one that is too small.
  inline float weight(float score) {
    const float w = policy::exp2(metal::fma(score - maximum, M_LOG2E_F, policy::log2_scale));
    return score == -INFINITY ? -0.0f : w;
  }

  /// Factor that turns accumulated weighted values into their mean; 0 for a row without attended keys.
  inline float normalizer() { return sum == 0.0f ? 0.0f : 1.0f / sum; }

  /// Natural logarithm of the sum of the exponentials; -infinity for a row without attended keys.
  inline float log_sum_exp() { return sum == 0.0f ? -INFINITY : maximum + metal::precise::log(sum / policy::scale); }
};

}  // namespace fa

#endif
