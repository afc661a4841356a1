// Rows of a key tile as 8x8 matrices, from threadgroup memory or straight from device memory.
#ifndef FA_TILE_ROWS_H
#define FA_TILE_ROWS_H

#include "mma.h"

namespace fa {

/// Rows in threadgroup memory, all of them there.
template <typename T, int STRIDE>
struct staged_rows {
  threadgroup const T *rows;

  /// Rows row ... row + 7, columns col ... col + 7.
  inline matrix8x8<T> matrix(int row, int col) const {
    matrix8x8<T> m;
    metal::simdgroup_load(m, rows + row * STRIDE + col, STRIDE);
    return m;
  }

  inline matrix8x8<T> transposed(int row, int col) const {
    matrix8x8<T> m;
    metal::simdgroup_load(m, rows + row * STRIDE + col, STRIDE, ulong2(0), true);
    return m;
  }
};

/// Rows in device memory, of which `count` may be read; the others are zero. Worth it where each is read once.
template <typename T>
struct direct_rows {
  device const T *rows;
  long stride;
  int count;
  lane_position at;

  inline matrix8x8<T> matrix(int row, int col) const {
    if (row + 8 <= count) {
      matrix8x8<T> m;
      metal::simdgroup_load(m, rows + row * stride + col, ulong(stride));
      return m;
    }
    const bool there = row + at.row < count;
    device const T *from = rows + (there ? row + at.row : 0) * stride + col + at.col;
    return make_matrix(there ? from[0] : T(0.0f), there ? from[1] : T(0.0f));
  }

  inline matrix8x8<T> transposed(int row, int col) const {
    if (row + 8 <= count) {
      matrix8x8<T> m;
      metal::simdgroup_load(m, rows + row * stride + col, ulong(stride), ulong2(0), true);
      return m;
    }
    const int first = row + at.col;
    device const T *from = rows + col + at.row;
    return make_matrix(first < count ? from[first * stride] : T(0.0f),
                       first + 1 < count ? from[(first + 1) * stride] : T(0.0f));
  }
};

}  // namespace fa

#endif
