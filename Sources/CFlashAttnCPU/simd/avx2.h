// AVX2 with FMA and F16C.
#ifndef FA_SIMD_AVX2_H
#define FA_SIMD_AVX2_H

#include <immintrin.h>

namespace fa::FA_ISA {
constexpr int VW = 8;
constexpr int panel_vectors = 3;  ///< vectors of query rows worked on together
constexpr int vector_registers = 16;
}  // namespace fa::FA_ISA

#include "vector.h"

namespace fa::FA_ISA {

constexpr bool has_bf16_dot = false;
constexpr bool has_scale_exp2 = false;
constexpr bool has_plane_lookup = false;
constexpr bool has_tree_search = false;

FA_INLINE vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }

FA_INLINE vf f16_to_f32(vh x) { return _mm256_cvtph_ps(__builtin_bit_cast(__m128i, x)); }
FA_INLINE vh f32_to_f16(vf x) {
  return __builtin_bit_cast(vh, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
FA_INLINE vh f32_to_bf16(vf x) { return f32_to_bf16_by_bits(x); }

/// Transposes 8 vectors of 8 words.
FA_INLINE void transpose(vf (&rows)[VW]) {
  __m256 r[8], t[8];
  FA_UNROLL
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
  }
  FA_UNROLL
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  FA_UNROLL
  for (int i = 0; i < 4; i++) {
    rows[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
}

template <typename V>
FA_INLINE V sum_four(V a, V b, V c, V d) {
  return _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
}

template <typename V>
FA_INLINE V sum_quarters(const V (&shares)[VW / 4]) {
  return _mm256_permute2f128_ps(shares[0], shares[1], 0x20) + _mm256_permute2f128_ps(shares[0], shares[1], 0x31);
}

template <int bits>
struct CodeTable {
  const float *table;
  FA_METHOD explicit CodeTable(const float *from) : table(from) {}

  FA_METHOD vf operator[](vu code) const {
    const __m256i i = __builtin_bit_cast(__m256i, code);
    if constexpr (bits <= 4) {
      const __m256 low = _mm256_permutevar8x32_ps(load<vf>(table), i);
      if constexpr (bits < 4) return low;
      const __m256 high = _mm256_permutevar8x32_ps(load<vf>(table + 8), i);
      return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
    } else {
      return _mm256_i32gather_ps(table, _mm256_and_si256(i, _mm256_set1_epi32((1 << bits) - 1)), 4);
    }
  }
};

}  // namespace fa::FA_ISA

#endif
