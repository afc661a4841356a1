// Any machine: four lanes (SSE2, NEON), nothing but the compiler's vector types.
#ifndef FA_SIMD_PORTABLE_H
#define FA_SIMD_PORTABLE_H

namespace fa::FA_ISA {
constexpr int VW = 4;
#if defined(__aarch64__)
constexpr int panel_vectors = 4;  ///< vectors of query rows worked on together
constexpr int vector_registers = 32;
#else
constexpr int panel_vectors = 3;
constexpr int vector_registers = 16;
#endif
}  // namespace fa::FA_ISA

#include "vector.h"

namespace fa::FA_ISA {

constexpr bool has_bf16_dot = false;
constexpr bool has_scale_exp2 = false;
constexpr bool has_plane_lookup = false;
constexpr bool has_tree_search = false;

/// Fused where the machine has the instruction; calling a library function for it would cost more than it is worth.
FA_INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }

FA_INLINE vf f16_to_f32(vh x) {
  const vu bits = __builtin_convertvector(x, vu);
  const vu magnitude = (bits & 0x7fff) << 13;
  const vf finite = as_float(magnitude) * 0x1p112f;  // moves the exponent's bias, subnormals included
  const vu special = magnitude | 0x7f800000;
  return as_float(((bits & 0x8000) << 16) | ((bits & 0x7c00) == 0x7c00 ? special : as_bits(finite)));
}

/// To nearest, ties to even; a NaN stays one.
FA_INLINE vh f32_to_f16(vf x) {
  const vu bits = as_bits(x);
  const vu magnitude = bits & 0x7fffffff;
  const vu normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  const vu subnormal = as_bits(as_float(magnitude) + 0.5f) - 0x3f000000;  // the addition rounds to units of 2^-24
  const vu beyond = magnitude > 0x7f800000 ? vu(0x7e00) : vu(0x7c00);
  const vu half = magnitude >= (143u << 23) ? beyond : magnitude < (113u << 23) ? subnormal : normal;
  return __builtin_convertvector(half | ((bits >> 16) & 0x8000), vh);
}
FA_INLINE vh f32_to_bf16(vf x) { return f32_to_bf16_by_bits(x); }

/// Transposes 4 vectors of 4 words.
FA_INLINE void transpose(vf (&rows)[VW]) {
  const vf a = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
  const vf b = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
  const vf c = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
  const vf d = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
  rows[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  rows[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  rows[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
  rows[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

template <typename V>
FA_INLINE V sum_four(V a, V b, V c, V d) {
  V rows[] = {a, b, c, d};
  transpose(rows);
  return (rows[0] + rows[1]) + (rows[2] + rows[3]);
}

template <typename V>
FA_INLINE V sum_quarters(const V (&shares)[VW / 4]) {
  return shares[0];
}

template <int bits>
struct CodeTable {
  const float *table;
  FA_METHOD explicit CodeTable(const float *from) : table(from) {}

  FA_METHOD vf operator[](vu code) const {
    const vu i = code & ((1 << bits) - 1);
    return vf{table[i[0]], table[i[1]], table[i[2]], table[i[3]]};
  }
};

}  // namespace fa::FA_ISA

#endif
