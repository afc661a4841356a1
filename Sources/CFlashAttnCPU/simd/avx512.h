// AVX-512 (F, BW, VL, DQ), BF16 where FA_BF16_DOT is defined, VBMI with GFNI where FA_VBMI is, VNNI where FA_VNNI is.
#ifndef FA_SIMD_AVX512_H
#define FA_SIMD_AVX512_H

#include <immintrin.h>

namespace fa::FA_ISA {
constexpr int VW = 16;
constexpr int panel_vectors = 4;  ///< vectors of query rows worked on together
constexpr int vector_registers = 32;
}  // namespace fa::FA_ISA

#include "vector.h"

namespace fa::FA_ISA {

FA_INLINE vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }

constexpr bool has_scale_exp2 = true;
FA_INLINE vf nearest(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
FA_INLINE vf scale_exp2(vf x, vf n) { return _mm512_scalef_ps(x, n); }

FA_INLINE vf f16_to_f32(vh x) { return _mm512_cvtph_ps(__builtin_bit_cast(__m256i, x)); }
FA_INLINE vh f32_to_f16(vf x) {
  return __builtin_bit_cast(vh, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#ifdef FA_BF16_DOT
constexpr bool has_bf16_dot = true;

FA_INLINE vf dot_bf16(vf acc, vf a, vf b) {
  return _mm512_dpbf16_ps(acc, __builtin_bit_cast(__m512bh, a), __builtin_bit_cast(__m512bh, b));
}

FA_INLINE vf pair_bf16(vf low, vf high) {
  const __m512i halves = __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(high, low));
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                              6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return __builtin_bit_cast(vf, _mm512_permutexvar_epi16(interleave, halves));
}

FA_INLINE vf interleave_low(vf a, vf b) {
  return __builtin_bit_cast(vf, _mm512_unpacklo_epi16(__builtin_bit_cast(__m512i, a), __builtin_bit_cast(__m512i, b)));
}
FA_INLINE vf interleave_high(vf a, vf b) {
  return __builtin_bit_cast(vf, _mm512_unpackhi_epi16(__builtin_bit_cast(__m512i, a), __builtin_bit_cast(__m512i, b)));
}

FA_INLINE vh f32_to_bf16(vf x) { return __builtin_bit_cast(vh, _mm512_cvtneps_pbh(x)); }
#else
constexpr bool has_bf16_dot = false;
FA_INLINE vh f32_to_bf16(vf x) { return f32_to_bf16_by_bits(x); }
#endif

#ifdef FA_VNNI
FA_INLINE vi dot_bytes(vi acc, vu a, vi b) {
  return __builtin_bit_cast(vi, _mm512_dpbusd_epi32(__builtin_bit_cast(__m512i, acc), __builtin_bit_cast(__m512i, a),
                                                    __builtin_bit_cast(__m512i, b)));
}
FA_INLINE vi nearest_integers(vf x) { return __builtin_bit_cast(vi, _mm512_cvtps_epi32(x)); }
#endif

FA_INLINE vu interleave_bytes_low(vu a, vu b) {
  return __builtin_bit_cast(vu, _mm512_unpacklo_epi8(__builtin_bit_cast(__m512i, a), __builtin_bit_cast(__m512i, b)));
}
FA_INLINE vu interleave_bytes_high(vu a, vu b) {
  return __builtin_bit_cast(vu, _mm512_unpackhi_epi8(__builtin_bit_cast(__m512i, a), __builtin_bit_cast(__m512i, b)));
}

/// Two of each four lanes of a, each followed by b's.
template <typename V>
FA_INLINE V low_neighbours(V a, V b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
template <typename V>
FA_INLINE V high_neighbours(V a, V b) {
  return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}

/// Transposes 16 vectors of 16 words.
FA_INLINE void transpose(vf (&rows)[VW]) {
  __m512i r[16], t[16];
  FA_UNROLL
  for (int i = 0; i < 16; i++) r[i] = __builtin_bit_cast(__m512i, rows[i]);
  FA_UNROLL
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  FA_UNROLL
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  FA_UNROLL
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  FA_UNROLL
  for (int i = 0; i < 4; i++) {
    rows[i] = __builtin_bit_cast(vf, _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
    rows[i + 8] = __builtin_bit_cast(vf, _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd));
    rows[i + 4] = __builtin_bit_cast(vf, _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88));
    rows[i + 12] = __builtin_bit_cast(vf, _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd));
  }
}

template <typename V, typename Op>
FA_INLINE V fold_four(V a, V b, V c, V d, Op op) {
  const V ab = op(low_neighbours(a, b), high_neighbours(a, b)), cd = op(low_neighbours(c, d), high_neighbours(c, d));
  return op(__builtin_shufflevector(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
            __builtin_shufflevector(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31));
}
template <typename V>
FA_INLINE V sum_four(V a, V b, V c, V d) {
  return fold_four(a, b, c, d, Plus());
}

/// Quarters `first` and `first` + 2 of both.
template <int first, typename V>
FA_INLINE V every_other_quarter(V a, V b) {
  constexpr int i = 4 * first;
  return __builtin_shufflevector(a, b, i, i + 1, i + 2, i + 3, i + 8, i + 9, i + 10, i + 11, i + 16, i + 17, i + 18,
                                 i + 19, i + 24, i + 25, i + 26, i + 27);
}

template <typename V>
FA_INLINE V sum_quarters(const V (&shares)[VW / 4]) {
  const V first = every_other_quarter<0>(shares[0], shares[1]) + every_other_quarter<1>(shares[0], shares[1]);
  const V last = every_other_quarter<0>(shares[2], shares[3]) + every_other_quarter<1>(shares[2], shares[3]);
  return every_other_quarter<0>(first, last) + every_other_quarter<1>(first, last);
}

}  // namespace fa::FA_ISA

#include "avx512_tables.h"

#endif
