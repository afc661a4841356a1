// numeric_limits. The macros of the same numbers are in metal_stdlib.
#pragma once

namespace metal {

template <typename T>
struct numeric_limits {
  static constexpr bool is_specialized = false;
};

template <typename T>
struct sm_integer_limits {
  static constexpr bool is_specialized = true, is_signed = is_signed_v<T>, is_integer = true, is_exact = true;
  static constexpr bool has_infinity = false, has_quiet_NaN = false;
  static constexpr int radix = 2, digits = int(sizeof(T) * 8) - (is_signed ? 1 : 0), digits10 = digits * 3 / 10;
  SM_INLINE static constexpr T max() { return T(~0ul >> (64 - digits)); }
  SM_INLINE static constexpr T min() { return is_signed ? T(-max() - 1) : T(0); }
  SM_INLINE static constexpr T lowest() { return min(); }
  SM_INLINE static constexpr T epsilon() { return T(0); }
  SM_INLINE static constexpr T infinity() { return T(0); }
  SM_INLINE static constexpr T quiet_NaN() { return T(0); }
};
#define SM_LIMITS(T) \
  template <>        \
  struct numeric_limits<T> : sm_integer_limits<T> {};
SM_INTEGERS(SM_LIMITS)
SM_LIMITS(signed char)
#undef SM_LIMITS

template <>
struct numeric_limits<bool> {
  static constexpr bool is_specialized = true, is_signed = false, is_integer = true, is_exact = true;
  static constexpr int radix = 2, digits = 1, digits10 = 0;
  SM_INLINE static constexpr bool max() { return true; }
  SM_INLINE static constexpr bool min() { return false; }
  SM_INLINE static constexpr bool lowest() { return false; }
};

/// Digits is the significand's length, Exponent the greatest power of two plus one.
template <typename T, int Digits, int Exponent>
struct sm_float_limits {
  static constexpr bool is_specialized = true, is_signed = true, is_integer = false, is_exact = false;
  static constexpr bool has_infinity = true, has_quiet_NaN = true;
  static constexpr int radix = 2, digits = Digits, digits10 = (Digits - 1) * 30103 / 100000;
  static constexpr int max_exponent = Exponent, min_exponent = 3 - Exponent;
  SM_INLINE static constexpr float power(int exponent) { return __builtin_bit_cast(float, uint(exponent + 127) << 23); }
  SM_INLINE static constexpr T max() { return T((2.0f - power(1 - Digits)) * power(Exponent - 1)); }
  SM_INLINE static constexpr T min() { return T(power(2 - Exponent)); }
  SM_INLINE static constexpr T lowest() { return -max(); }
  SM_INLINE static constexpr T epsilon() { return T(power(1 - Digits)); }
  SM_INLINE static constexpr T round_error() { return T(0.5f); }
  SM_INLINE static constexpr T infinity() { return T(__builtin_inff()); }
  SM_INLINE static constexpr T quiet_NaN() { return T(__builtin_nanf("")); }
  SM_INLINE static constexpr T signaling_NaN() { return T(__builtin_nansf("")); }
  SM_INLINE static constexpr T denorm_min() { return min() * epsilon(); }
};
template <>
struct numeric_limits<float> : sm_float_limits<float, 24, 128> {};
template <>
struct numeric_limits<half> : sm_float_limits<half, 11, 16> {};
template <>
struct numeric_limits<bfloat> : sm_float_limits<bfloat, 8, 128> {};

}  // namespace metal
