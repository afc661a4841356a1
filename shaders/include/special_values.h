// NaN and infinities in V, where a row does not attend them.
//
// A product of tiles multiplies every weight with every value, and 0 times NaN is NaN. So where a tile has excluded keys
// its values go without what is not finite (`finite_part`), and a second product, of small numbers that count, says
// which elements of the result that had to reach (`weight_mark`, `value_mark`, `special_sum`). The second one is needed
// only if something was found.
//
// The weight -0 stands for "excluded", which is no weight that an attended key can have.
#ifndef FA_SPECIAL_VALUES_H
#define FA_SPECIAL_VALUES_H

#include <metal_stdlib>

#include "mma.h"

namespace fa {

constant constexpr float excluded_weight = -0.0f;

// Digits of a sum of marks; a sum has at most 127 terms.
constant constexpr float infinity_mark = 1.0f;
constant constexpr float minus_infinity_mark = 128.0f;
constant constexpr float nan_mark = 16384.0f;

inline bool is_excluded(float weight) { return weight == 0.0f && metal::signbit(weight); }

/// The elements that are finite, and 0 in place of the others; `found` becomes true if there are any.
template <typename T>
inline matrix8x8<T> finite_part(matrix8x8<T> values, thread bool &found) {
  const T first = values.thread_elements()[0];
  const T second = values.thread_elements()[1];
  const bool first_finite = metal::isfinite(float(first));
  const bool second_finite = metal::isfinite(float(second));
  found = found || !first_finite || !second_finite;
  return make_matrix(first_finite ? first : T(0.0f), second_finite ? second : T(0.0f));
}

inline float value_mark(float value) {
  return metal::isfinite(value) ? 0.0f
         : value == INFINITY    ? infinity_mark
         : value == -INFINITY   ? minus_infinity_mark
                                : nan_mark;
}

/// An attended infinity of weight 0 is a NaN as well.
inline float weight_mark(float weight) { return is_excluded(weight) ? 0.0f : weight > 0.0f ? 1.0f : nan_mark; }

template <typename T>
inline matrix8x8<T> value_marks(matrix8x8<T> values) {
  return make_matrix(T(value_mark(float(values.thread_elements()[0]))),
                     T(value_mark(float(values.thread_elements()[1]))));
}

template <typename T>
inline matrix8x8<T> weight_marks(matrix8x8<T> weights) {
  return make_matrix(T(weight_mark(float(weights.thread_elements()[0]))),
                     T(weight_mark(float(weights.thread_elements()[1]))));
}

/// What weighted values that were not finite add up to.
inline float special_sum(float marks) {
  const float minus = metal::floor(marks / minus_infinity_mark);
  const bool plus = marks > minus * minus_infinity_mark;
  if (marks >= nan_mark || (minus > 0.0f && plus)) {
    return NAN;
  }
  return minus > 0.0f ? -INFINITY : plus ? INFINITY : 0.0f;
}

}  // namespace fa

#endif
