// 8x8 simdgroup matrices as the lanes hold them.
//
// Two things here go beyond the text of the Metal specification; every Apple GPU with simdgroup matrices has them:
// - the place of a lane's two elements in the matrix (`lane_position`);
// - simdgroup_multiply_accumulate with half or bfloat factors and a float accumulator.
#ifndef FA_MMA_H
#define FA_MMA_H

#include <metal_simdgroup>
#include <metal_simdgroup_matrix>
#include <metal_stdlib>

namespace fa {

template <typename T>
using matrix8x8 = metal::simdgroup_matrix<T, 8, 8>;

/// A lane holds the elements (row, col) and (row, col + 1) of every matrix.
struct lane_position {
  ushort row;
  ushort col;
};

inline lane_position position_of(ushort lane) {
  const ushort quad = lane / 4;
  lane_position at;
  at.row = (quad & 4) + (lane / 2) % 4;
  at.col = (quad & 2) * 2 + (lane % 2) * 2;
  return at;
}

/// Maximum over the four lanes that share a row.
inline float row_max(float x) {
  x = metal::max(x, metal::simd_shuffle_xor(x, ushort(1)));
  return metal::max(x, metal::simd_shuffle_xor(x, ushort(8)));
}

/// Sum over the four lanes that share a row.
inline float row_sum(float x) {
  x += metal::simd_shuffle_xor(x, ushort(1));
  return x + metal::simd_shuffle_xor(x, ushort(8));
}

template <typename T>
inline matrix8x8<T> make_matrix(T first, T second) {
  matrix8x8<T> m;
  m.thread_elements()[0] = first;
  m.thread_elements()[1] = second;
  return m;
}

}  // namespace fa

#endif
