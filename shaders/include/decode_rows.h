// Rows of a K or V cache as the 32 lanes of a simdgroup read them: a lane holds D / 32 coordinates of each row, in
// pieces of neighbours, and the lanes' pieces follow each other.
//
// A policy has `read`, which gives a lane's coordinates of a row up to a factor, and `factor`, which gives that. Rows
// need no more than the alignment of their elements.
#ifndef FA_DECODE_ROWS_H
#define FA_DECODE_ROWS_H

#include <metal_stdlib>

#include "kv_codec_v1.h"
#include "unroll.h"

namespace fa {

/// Vectors that are aligned like their elements.
template <typename T, int N>
struct unaligned;

#define FA_UNALIGNED(T)         \
  template <>                   \
  struct unaligned<T, 2> {      \
    typedef packed_##T##2 type; \
  };                            \
  template <>                   \
  struct unaligned<T, 4> {      \
    typedef packed_##T##4 type; \
  };
FA_UNALIGNED(float)
FA_UNALIGNED(half)
FA_UNALIGNED(bfloat)
FA_UNALIGNED(uchar)
#undef FA_UNALIGNED

/// How a row of D coordinates is spread over the lanes.
template <int D, int PIECE>
struct lane_layout {
  static constant constexpr int dimension = D;
  static constant constexpr int count = D / 32;
  static constant constexpr int step = PIECE < 4 ? PIECE : 4;  // neighbours that move as one vector
  static_assert(D % 64 == 0 && count % PIECE == 0, "a lane holds whole pieces");

  /// Coordinate of a lane's element `e`.
  static inline uint coordinate(ushort lane, int e) { return uint(e / PIECE * 32 + lane) * PIECE + e % PIECE; }

  template <typename T>
  static inline void load(device const T *row, ushort lane, thread float *x) {
    FA_UNROLL
    for (int e = 0; e < count; e += step) {
      typedef typename unaligned<T, step>::type vector;
      const vector v = *(device const vector *)(row + coordinate(lane, e));
      FA_UNROLL
      for (int i = 0; i < step; i++) {
        x[e + i] = float(v[i]);
      }
    }
  }
};

/// Rows of plain numbers.
template <typename T, int D>
struct dense_rows {
  typedef lane_layout<D, (D < 128 ? 2 : 4)> layout;

  device const T *data;

  inline void read(ulong row, ushort lane, thread float *x) { layout::load(data + row * D, lane, x); }
  inline float factor(ulong, ushort) { return 1.0f; }
};

/// What codes stand for, staged in threadgroup memory: all 256 bytes at most, so that no index needs a mask.
constant constexpr int code_table_size = 256;

/// Fills the table; smaller ones are repeated. The caller puts a threadgroup barrier after it.
template <int SIZE>
inline void stage_table(constant const float *centroids, threadgroup float *table, ushort thread_index,
                        ushort threads) {
  for (ushort i = thread_index; i < code_table_size; i += threads) {
    table[i] = centroids[i % SIZE];
  }
}

/// Rows of table indices with float norms: one a row, or, for D = 512, one for each half of a row.
template <int D>
struct coded_rows {
  // Contiguous, as the Walsh-Hadamard transform wants it and as a row's halves are halves of the simdgroup.
  typedef lane_layout<D, D / 32> layout;

  device const uchar *codes;
  device const float *norms;
  threadgroup const float *table;
  float scale_factor;  // of D = 512

  inline float factor(ulong row, ushort lane) { return scale_v1<D>(norms + row * norms_v1<D>(), scale_factor, lane); }
};

/// A byte for each coordinate.
template <int D>
struct byte_rows : coded_rows<D> {
  inline void read(ulong row, ushort lane, thread float *x) {
    constexpr int count = D / 32;
    constexpr int step = count < 4 ? count : 4;
    typedef typename unaligned<uchar, step>::type vector;
    device const uchar *from = this->codes + row * D + lane * count;
    FA_UNROLL
    for (int e = 0; e < count; e += step) {
      const vector v = *(device const vector *)(from + e);
      FA_UNROLL
      for (int i = 0; i < step; i++) {
        x[e + i] = this->table[v[i]];
      }
    }
  }
};

/// Half a byte for each coordinate, the even one in the low half.
template <int D>
struct nibble_rows : coded_rows<D> {
  inline void read(ulong row, ushort lane, thread float *x) {
    constexpr int bytes = D / 64;
    device const uchar *from = this->codes + row * (D / 2) + lane * bytes;
    FA_UNROLL
    for (int b = 0; b < bytes; b++) {
      const uint pair = from[b];
      x[2 * b] = this->table[pair & 15];
      x[2 * b + 1] = this->table[pair >> 4];
    }
  }
};

}  // namespace fa

#endif
