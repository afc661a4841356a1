// Names of Metal's compiler, with which shaders make overloads of their own, for bfloat above all.
#pragma once

// The last argument asks for the fast variant, which is the same here.
// clang-format off
#define SM_BUILTINS1(X) \
  X(fabs) X(acos) X(acosh) X(asin) X(asinh) X(atan) X(atanh) X(ceil) X(cos) X(cosh) X(cospi) X(exp) X(exp2) X(exp10) \
  X(floor) X(fract) X(log) X(log2) X(log10) X(rint) X(round) X(rsqrt) X(sin) X(sinh) X(sinpi) X(sqrt) X(tan) X(tanh) \
  X(tanpi) X(trunc)
#define SM_BUILTINS2(X) \
  X(atan2) X(divide) X(fmax) X(fmin) X(fmod) X(ldexp) X(nextafter) X(pow) X(powr)
#define SM_BUILTINS3(X) X(fma) X(fmax3) X(fmedian3) X(fmin3)
// clang-format on
#define SM_BUILTIN1(f)                         \
  template <typename T>                        \
  SM_STATIC T __metal_##f(T x, bool = false) { \
    return metal::f(x);                        \
  }
#define SM_BUILTIN2(f)                              \
  template <typename T, typename U>                 \
  SM_STATIC T __metal_##f(T x, U y, bool = false) { \
    return metal::f(x, y);                          \
  }
#define SM_BUILTIN3(f)                                   \
  template <typename T>                                  \
  SM_STATIC T __metal_##f(T x, T y, T z, bool = false) { \
    return metal::f(x, y, z);                            \
  }
SM_BUILTINS1(SM_BUILTIN1)
SM_BUILTINS2(SM_BUILTIN2)
SM_BUILTINS3(SM_BUILTIN3)
#undef SM_BUILTINS1
#undef SM_BUILTINS2
#undef SM_BUILTINS3
#undef SM_BUILTIN1
#undef SM_BUILTIN2
#undef SM_BUILTIN3
template <typename T>
SM_STATIC T __metal_frexp(T x, int *exponent) {
  return metal::frexp(x, *exponent);
}

// Macros, because a function of a simdgroup counts where it is called from.
#define __metal_simd_broadcast ::metal::simd_broadcast
#define __metal_simd_shuffle ::metal::simd_shuffle
#define __metal_simd_shuffle_up ::metal::simd_shuffle_up
#define __metal_simd_shuffle_down ::metal::simd_shuffle_down
#define __metal_simd_shuffle_xor ::metal::simd_shuffle_xor
#define __metal_simd_shuffle_rotate_up ::metal::simd_shuffle_rotate_up
#define __metal_simd_shuffle_rotate_down ::metal::simd_shuffle_rotate_down
#define __metal_simd_shuffle_and_fill_up ::metal::simd_shuffle_and_fill_up
#define __metal_simd_shuffle_and_fill_down ::metal::simd_shuffle_and_fill_down
#define __metal_simd_sum ::metal::simd_sum
#define __metal_simd_product ::metal::simd_product
#define __metal_simd_max ::metal::simd_max
#define __metal_simd_min ::metal::simd_min
#define __metal_simd_prefix_inclusive_sum ::metal::simd_prefix_inclusive_sum
#define __metal_simd_prefix_exclusive_sum ::metal::simd_prefix_exclusive_sum
#define __metal_simd_prefix_inclusive_product ::metal::simd_prefix_inclusive_product
#define __metal_simd_prefix_exclusive_product ::metal::simd_prefix_exclusive_product

/// Of the bits, for floats too.
template <typename T>
SM_STATIC T __metal_simd_xor(T value, SM_SITE) {
  return metal::as_type<T>(sm_reduce<sm_xor>(metal::as_type<sm_bits<T>>(value), SM_PLACE));
}
template <typename T>
SM_STATIC T __metal_get_simdgroup_size(T) {
  return T(32);
}
template <typename T>
SM_STATIC T __metal_get_thread_index_in_simdgroup(T) {
  return T(softmetal::CurrentLane()->id);
}
