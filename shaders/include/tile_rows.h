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

/// Rows in device memory, where `rows` says, of which `count` may be read; the others are zero. Worth it where each is
/// read once.
template <typename T, typename Rows>
struct direct_rows {
  Rows rows;
  int count;
  lane_position at;

  inline matrix8x8<T> matrix(int row, int col) const {
    if (row + 8 <= count && rows.is_run(row)) {
      matrix8x8<T> m;
      metal::simdgroup_load(m, rows.at(row) + col, ulong(rows.stride));
      return m;
    }
    const bool there = row + at.row < count;
    device const T *from = rows.at(there ? row + at.row : 0) + col + at.col;
    return make_matrix(there ? from[0] : T(0.0f), there ? from[1] : T(0.0f));
  }

  inline matrix8x8<T> transposed(int row, int col) const {
    if (row + 8 <= count && rows.is_run(row)) {
      matrix8x8<T> m;
      metal::simdgroup_load(m, rows.at(row) + col, ulong(rows.stride), ulong2(0), true);
      return m;
    }
    const int first = row + at.col;
    return make_matrix(first < count ? rows.at(first)[col + at.row] : T(0.0f),
                       first + 1 < count ? rows.at(first + 1)[col + at.row] : T(0.0f));
  }
};

}  // namespace fa

#endif
