// Elementary functions of vectors, after an instruction set's header.
#ifndef FA_SIMD_MATH_H
#define FA_SIMD_MATH_H

namespace fa::FA_ISA {

/// 2^f for f in -0.5 ... 0.5, exactly 1 at 0. The relative error is 3e-6 at degree 4, 1e-7 at 5.
template <int degree>
FA_INLINE vf exp2_fraction(vf f) {
  static_assert(degree == 4 || degree == 5);
  vf p;
  if constexpr (degree == 4) {
    p = fma(f, splat(0.009582852945f), splat(0.05590642616f));
    p = fma(p, f, splat(0.2402409911f));
    p = fma(p, f, splat(0.6931241751f));
  } else {
    p = fma(f, splat(0.001326472731f), splat(0.009671512991f));
    p = fma(p, f, splat(0.05550733581f));
    p = fma(p, f, splat(0.2402224243f));
    p = fma(p, f, splat(0.6931470037f));
  }
  return fma(p, f, splat(1.0f));
}

/// 2^x for x <= 0: 0 for x far below -127, exactly 1 at 0, NaN for NaN.
template <int degree>
FA_INLINE vf exp2_nonpositive(vf x) {
  if constexpr (has_scale_exp2) {
    const vf n = nearest(x);
    return scale_exp2(exp2_fraction<degree>(x - n), n);
  } else {
    x = max(splat(-127.0f), x);
    // Adding 3 * 2^22 leaves the nearest integer in the low bits; with 127 more they are 2^n's biased exponent.
    const vf magic = splat(12582912.0f + 127.0f);
    const vf shifted = x + magic;
    return exp2_fraction<degree>(x - (shifted - magic)) * as_float(as_bits(shifted) << 23);
  }
}

FA_INLINE vf tanh(vf x) {
  const vf magnitude = as_float(as_bits(x) & 0x7fffffff);
  const vf e = exp2_nonpositive<5>(magnitude * -2.8853900818f);  // e^(-2 |x|)
  const vf large = (1.0f - e) / (1.0f + e);
  const vf z = x * x;
  vf p = fma(z, splat(0.01519536786f), splat(-0.05194789917f));
  p = fma(p, z, splat(0.1330817491f));
  p = fma(p, z, splat(-0.3333234191f));
  const vf small = fma(p * z, magnitude, magnitude);
  const vf result = magnitude < 0.625f ? small : large;
  return as_float(as_bits(result) | (as_bits(x) & 0x80000000));
}

}  // namespace fa::FA_ISA

#endif
