// Mathematical, common and relational functions. All are computed in float and rounded once to half where the
// arguments are half. Those of fast:: and precise:: are the same, for these are within the precise bounds already.
#pragma once

/// The type a mathematical function of these computes in.
template <typename T>
using sm_real = metal::conditional_t<metal::is_same_v<T, half>, half, float>;

namespace metal {

#define SM_NO_BFLOAT(f, T) static_assert(!is_same_v<T, bfloat>, #f ": expected float or half, got bfloat: convert it")
#define SM_MATH1(f, expression)                     \
  SM_STATIC float f(float x) { return expression; } \
  SM_SCALARS1(arithmetic)                           \
  SM_STATIC sm_real<T> f(T a) {                     \
    SM_NO_BFLOAT(f, T);                             \
    return static_cast<sm_real<T>>(f(float(a)));    \
  }                                                 \
  SM_LIFT1(f)
#define SM_MATH2(f, expression)                              \
  SM_STATIC float f(float x, float y) { return expression; } \
  SM_SCALARS2(arithmetic)                                    \
  SM_STATIC sm_real<T> f(A a, B b) {                         \
    SM_NO_BFLOAT(f, T);                                      \
    return static_cast<sm_real<T>>(f(float(a), float(b)));   \
  }                                                          \
  SM_LIFT2(f)

SM_STATIC float sm_half_turns(float x, bool cosine) {
  // x - 2 round(x / 2) is exact, and leaves -1 … 1 half turns.
  const float r = x - 2.0f * __builtin_rintf(x * 0.5f);
  constexpr float pi = 3.14159265358979323846f;
  const float a = __builtin_fabsf(r);
  if (cosine) {
    if (a == 0.5f) return 0.0f;
    return a < 0.25f   ? __builtin_cosf(pi * a)
           : a > 0.75f ? -__builtin_cosf(pi * (1.0f - a))
                       : __builtin_sinf(pi * (0.5f - a));
  }
  const float s = a <= 0.25f  ? __builtin_sinf(pi * a)
                  : a < 0.75f ? __builtin_cosf(pi * (0.5f - a))
                              : __builtin_sinf(pi * (1.0f - a));
  return __builtin_copysignf(s, r);
}

SM_STATIC float sm_exp10(float x) {
  // The product with log2(10) in two parts, since its rounding would count up to 128 times over.
  constexpr float log = 3.321928094887362f, rest = 7.059537e-8f, ln2 = 0.6931471805599453f;
  const float high = x * log, low = __builtin_fmaf(x, log, -high) + x * rest, e = __builtin_exp2f(high);
  return __builtin_fabsf(high) < 200.0f ? __builtin_fmaf(e, low * ln2, e) : e;
}

SM_MATH1(fabs, __builtin_fabsf(x))
SM_MATH1(floor, __builtin_floorf(x))
SM_MATH1(ceil, __builtin_ceilf(x))
SM_MATH1(trunc, __builtin_truncf(x))
SM_MATH1(rint, __builtin_rintf(x))
SM_MATH1(round, __builtin_roundf(x))
SM_MATH1(sqrt, __builtin_sqrtf(x))
// The two roundings of double are too small to show in float.
SM_MATH1(rsqrt, static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(x))))
SM_MATH1(exp, __builtin_expf(x))
SM_MATH1(exp2, __builtin_exp2f(x))
SM_MATH1(exp10, sm_exp10(x))
SM_MATH1(log, __builtin_logf(x))
SM_MATH1(log2, __builtin_log2f(x))
SM_MATH1(log10, __builtin_log10f(x))
SM_MATH1(sin, __builtin_sinf(x))
SM_MATH1(cos, __builtin_cosf(x))
SM_MATH1(tan, __builtin_tanf(x))
SM_MATH1(asin, __builtin_asinf(x))
SM_MATH1(acos, __builtin_acosf(x))
SM_MATH1(atan, __builtin_atanf(x))
SM_MATH1(sinh, __builtin_sinhf(x))
SM_MATH1(cosh, __builtin_coshf(x))
SM_MATH1(tanh, __builtin_tanhf(x))
SM_MATH1(asinh, __builtin_asinhf(x))
SM_MATH1(acosh, __builtin_acoshf(x))
SM_MATH1(atanh, __builtin_atanhf(x))
SM_MATH1(sinpi, sm_half_turns(x, false))
SM_MATH1(cospi, sm_half_turns(x, true))
SM_MATH1(tanpi, sm_half_turns(x, false) / sm_half_turns(x, true))
SM_MATH2(pow, __builtin_powf(x, y))
SM_MATH2(powr, __builtin_powf(x, y))
SM_MATH2(atan2, __builtin_atan2f(x, y))
SM_MATH2(fmod, __builtin_fmodf(x, y))
SM_MATH2(copysign, __builtin_copysignf(x, y))
SM_MATH2(fdim, x != x || y != y ? x + y : x > y ? x - y : 0.0f)
SM_MATH2(divide, x / y)
SM_MATH2(step, y < x ? 0.0f : 1.0f)

// Comparisons ignore a NaN if the other number is none.
SM_SCALARS2(arithmetic) SM_STATIC constexpr T max(A a, B b) {
  const T x = static_cast<T>(a), y = static_cast<T>(b);
  return x != x ? y : y > x ? y : x;
}
SM_SCALARS2(arithmetic) SM_STATIC constexpr T min(A a, B b) {
  const T x = static_cast<T>(a), y = static_cast<T>(b);
  return x != x ? y : y < x ? y : x;
}
SM_SCALARS2(arithmetic) SM_STATIC T fmax(A a, B b) { return max(a, b); }
SM_SCALARS2(arithmetic) SM_STATIC T fmin(A a, B b) { return min(a, b); }
SM_LIFT2(max)
SM_LIFT2(min)
SM_LIFT2(fmax)
SM_LIFT2(fmin)
SM_SCALARS3(arithmetic) SM_STATIC T max3(A a, B b, C c) { return max(max(T(a), T(b)), T(c)); }
SM_SCALARS3(arithmetic) SM_STATIC T min3(A a, B b, C c) { return min(min(T(a), T(b)), T(c)); }
SM_SCALARS3(arithmetic) SM_STATIC T median3(A a, B b, C c) { return max(min(T(a), T(b)), min(max(T(a), T(b)), T(c))); }
SM_SCALARS3(arithmetic) SM_STATIC T fmax3(A a, B b, C c) { return max3(a, b, c); }
SM_SCALARS3(arithmetic) SM_STATIC T fmin3(A a, B b, C c) { return min3(a, b, c); }
SM_SCALARS3(arithmetic) SM_STATIC T fmedian3(A a, B b, C c) { return median3(a, b, c); }
SM_LIFT3(max3)
SM_LIFT3(min3)
SM_LIFT3(median3)
SM_LIFT3(fmax3)
SM_LIFT3(fmin3)
SM_LIFT3(fmedian3)

SM_SCALARS1(arithmetic) SM_STATIC constexpr T abs(T x) {
  if constexpr (is_same_v<T, float>) {
    return __builtin_fabsf(x);
  } else if constexpr (is_floating_point_v<T>) {
    return __builtin_bit_cast(T, ushort(__builtin_bit_cast(ushort, x) & 0x7fff));
  } else {
    return x < T(0) ? T(-x) : x;
  }
}
SM_LIFT1(abs)
SM_SCALARS1(floating_point) SM_STATIC T sign(T x) {
  return x > T(0) ? T(1.0f) : x < T(0) ? T(-1.0f) : x == T(0) ? x : T(0);
}
SM_LIFT1(sign)
SM_SCALARS1(floating_point) SM_STATIC sm_real<T> fract(T a) {
  typedef sm_real<T> R;
  const float x = float(a);
  if (__builtin_isinf(x)) return R(0);
  // Below one even where the difference rounds to it.
  constexpr R most = R(1) - numeric_limits<R>::epsilon() / R(2);
  const R r = R(x - __builtin_floorf(x));
  return r > most ? most : r;
}
SM_LIFT1(fract)

/// Rounds once: the product of two halves is exact in float, and a sum rounded to odd there has enough bits left for
/// the second rounding to be right.
SM_STATIC half sm_fma_half(half a, half b, half c) {
  const float p = float(a) * float(b), z = float(c), s = p + z;
  if (!(__builtin_fabsf(s) < __builtin_inff())) return half(s);
  const float t = s - p, rest = (p - (s - t)) + (z - t);
  uint bits = __builtin_bit_cast(uint, s);
  if (rest != 0.0f && (bits & 1) == 0) bits += (rest > 0.0f) == (s > 0.0f) ? 1u : ~0u;
  return half(__builtin_bit_cast(float, bits));
}
SM_SCALARS3(arithmetic) SM_STATIC auto fma(A a, B b, C c) {
  if constexpr (is_same_v<T, half>) {
    return sm_fma_half(half(a), half(b), half(c));
  } else {
    return __builtin_fmaf(float(a), float(b), float(c));
  }
}
SM_LIFT3(fma)
SM_SCALARS3(arithmetic) SM_STATIC auto mad(A a, B b, C c) {
  if constexpr (is_integral_v<T>) {
    return T(T(a) * T(b) + T(c));
  } else {
    return fma(a, b, c);
  }
}
SM_LIFT3(mad)
SM_SCALARS3(arithmetic) SM_STATIC constexpr A clamp(A x, B low, C high) { return min(max(x, A(low)), A(high)); }
SM_LIFT3(clamp)
SM_SCALARS1(floating_point) SM_STATIC T saturate(T x) { return min(max(x, T(0)), T(1)); }
SM_LIFT1(saturate)
SM_SCALARS3(floating_point) SM_STATIC T mix(A a, B b, C c) { return T(a) + (T(b) - T(a)) * T(c); }
SM_LIFT3(mix)
SM_SCALARS3(floating_point) SM_STATIC T smoothstep(A from, B to, C x) {
  const T t = saturate((T(x) - T(from)) / (T(to) - T(from)));
  return t * t * (T(3) - T(2) * t);
}
SM_LIFT3(smoothstep)

SM_STATIC float ldexp(float x, int exponent) { return __builtin_ldexpf(x, exponent); }
SM_STATIC half ldexp(half x, int exponent) { return half(__builtin_ldexpf(float(x), exponent)); }
SM_STATIC int ilogb(float x) {
  if (x == 0.0f || x != x) return -2147483647 - 1;
  if (__builtin_isinf(x)) return 2147483647;
  int exponent;
  __builtin_frexpf(x, &exponent);
  return exponent - 1;
}
SM_STATIC int ilogb(half x) { return ilogb(float(x)); }
SM_LIFT1(ilogb)
template <typename T>
SM_STATIC sm_real<T> frexp(T x, int &exponent) {
  return sm_real<T>(__builtin_frexpf(float(x), &exponent));
}
template <typename T>
SM_STATIC sm_real<T> modf(T x, sm_real<T> &whole) {
  const float w = __builtin_truncf(float(x));
  whole = sm_real<T>(w);
  return sm_real<T>(__builtin_copysignf(__builtin_isinf(float(x)) ? 0.0f : float(x) - w, float(x)));
}
template <typename T>
SM_STATIC sm_real<T> sincos(T x, sm_real<T> &cosine) {
  cosine = cos(sm_real<T>(x));
  return sin(sm_real<T>(x));
}
template <typename T, int N>
SM_STATIC vec<T, N> ldexp(const vec<T, N> &x, const vec<int, N> &exponent) {
  vec<T, N> r;
  for (int i = 0; i < N; ++i) r.s[i] = ldexp(x.s[i], exponent.s[i]);
  return r;
}
#define SM_SPLIT(f, Second)                                           \
  template <typename T, int N>                                        \
  SM_STATIC vec<T, N> f(const vec<T, N> &x, vec<Second, N> &second) { \
    vec<T, N> r;                                                      \
    for (int i = 0; i < N; ++i) r.s[i] = f(x.s[i], second.s[i]);      \
    return r;                                                         \
  }
SM_SPLIT(frexp, int)
SM_SPLIT(modf, T)
SM_SPLIT(sincos, T)
#undef SM_SPLIT
SM_STATIC float nextafter(float x, float y) { return __builtin_nextafterf(x, y); }
SM_STATIC half nextafter(half x, half y) {
  if (x != x || y != y) return x + y;
  if (x == y) return y;
  const ushort bits = as_type<ushort>(x);
  if ((bits & 0x7fff) == 0) return as_type<half>(ushort(y > x ? 1 : 0x8001));
  return as_type<half>(ushort(bits + ((y > x) == (x > half(0)) ? 1 : -1)));
}
SM_LIFT2(nextafter)

#define SM_CLASSIFY(f, expression)                    \
  SM_SCALARS1(floating_point) SM_STATIC bool f(T a) { \
    const float x = float(a);                         \
    return expression;                                \
  }                                                   \
  SM_LIFT1(f)
SM_CLASSIFY(isnan, x != x)
SM_CLASSIFY(isinf, __builtin_fabsf(x) == __builtin_inff())
SM_CLASSIFY(isfinite, __builtin_fabsf(x) < __builtin_inff())
SM_CLASSIFY(isnormal, __builtin_fabsf(x) < __builtin_inff() && __builtin_fabsf(x) >= float(numeric_limits<T>::min()))
SM_CLASSIFY(signbit, (__builtin_bit_cast(uint, x) >> 31) != 0)
#undef SM_CLASSIFY
SM_SCALARS2(floating_point) SM_STATIC bool isordered(A a, B b) { return a == a && b == b; }
SM_SCALARS2(floating_point) SM_STATIC bool isunordered(A a, B b) { return a != a || b != b; }
SM_LIFT2(isordered)
SM_LIFT2(isunordered)

template <typename A, typename B, typename C, typename T = sm_common<A, B>,
          typename = enable_if_t<sm_is_scalar<A> && sm_is_scalar<B> && is_integral_v<C>>>
SM_STATIC constexpr T select(A a, B b, C condition) {
  return condition ? T(b) : T(a);
}
template <typename A, typename B, typename C, typename V = sm_vector_of<A, B>, typename = enable_if_t<is_integral_v<C>>>
SM_STATIC V select(const A &a, const B &b, C condition) {
  return condition ? V(b) : V(a);
}
template <typename A, typename B, int N, typename V = sm_vector_of<A, B>>
SM_STATIC V select(const A &a, const B &b, const vec<bool, N> &condition) {
  static_assert(sm_count<V> == N, "select: the vectors differ in length");
  const V x(a), y(b);
  V r;
  for (int i = 0; i < N; ++i) r.s[i] = condition.s[i] ? y.s[i] : x.s[i];
  return r;
}
template <int N>
SM_STATIC bool all(const vec<bool, N> &x) {
  bool r = true;
  for (int i = 0; i < N; ++i) r &= x.s[i];
  return r;
}
template <int N>
SM_STATIC bool any(const vec<bool, N> &x) {
  bool r = false;
  for (int i = 0; i < N; ++i) r |= x.s[i];
  return r;
}
SM_STATIC bool all(bool x) { return x; }
SM_STATIC bool any(bool x) { return x; }

}  // namespace metal

/// fast:: and precise:: are for float alone, so other scalars become that.
template <typename T>
SM_STATIC auto sm_widened(const T &x) {
  if constexpr (sm_is_scalar<T>) {
    return static_cast<float>(x);
  } else {
    return x;
  }
}

namespace metal {

// Declared one by one, so that they stay visible beside what a shader adds to these namespaces.
// clang-format off
#define SM_VARIANTS(X) \
  X(fabs) X(floor) X(ceil) X(trunc) X(rint) X(round) X(sqrt) X(rsqrt) X(exp) X(exp2) X(exp10) \
  X(log) X(log2) X(log10) X(sin) X(cos) X(tan) X(asin) X(acos) X(atan) X(sinh) X(cosh) X(tanh) \
  X(asinh) X(acosh) X(atanh) X(sinpi) X(cospi) X(tanpi) X(pow) X(powr) X(atan2) X(fmod) \
  X(copysign) X(fdim) X(divide) X(step) X(fmax) X(fmin) X(fmax3) X(fmin3) X(fmedian3) X(max) \
  X(min) X(max3) X(min3) X(median3) X(abs) X(sign) X(fract) X(fma) X(mad) X(clamp) X(saturate) \
  X(mix) X(smoothstep) X(ilogb) X(nextafter)
// clang-format on
#define SM_VARIANT(f)                                                       \
  template <typename... A>                                                  \
  SM_STATIC auto f(const A &...a) -> decltype(metal::f(sm_widened(a)...)) { \
    return metal::f(sm_widened(a)...);                                      \
  }
// These take something that is no float, too.
#define SM_OTHER_VARIANTS                         \
  using metal::frexp;                             \
  using metal::modf;                              \
  using metal::sincos;                            \
  template <typename T, typename I>               \
  SM_STATIC auto ldexp(const T &x, I exponent) {  \
    return metal::ldexp(sm_widened(x), exponent); \
  }
namespace precise {
SM_VARIANTS(SM_VARIANT)
SM_OTHER_VARIANTS
}  // namespace precise
namespace fast {
SM_VARIANTS(SM_VARIANT)
SM_OTHER_VARIANTS
}  // namespace fast
#undef SM_VARIANT
#undef SM_VARIANTS
#undef SM_OTHER_VARIANTS

}  // namespace metal
