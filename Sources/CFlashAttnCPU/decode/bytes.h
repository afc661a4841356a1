// The passes of rows of 8-bit numbers for queries of 16 bits. Queries, and weights block by block, become integers of 16
// bits in two bytes, and one instruction sums up four products of bytes: nothing is converted.
#ifndef FA_CPU_DECODE_BYTES_H
#define FA_CPU_DECODE_BYTES_H

#include "../simd/lanes.h"
#include "phases.h"

namespace fa::FA_ISA {

constexpr float most_integer = 127 * 256;  ///< so that its upper byte, rounded, is one with a sign

/// Numbers of a row. The instruction takes them without a sign: 128 is added to each, and taken out of the sums.
FA_INLINE vu read_bytes(const char *row, int u) { return load<vu>(row + int64_t(u) * 64) ^ 0x80808080; }

/// What goes with integers.
struct IntegerScale {
  float scale;
  int32_t offset;  ///< 128 times their sum
};

/// The larger sizes, as bits: in them infinity is above any number, and NaN above that.
FA_INLINE vu larger_sizes(vu sizes, vf x) { return Larger()(sizes, as_bits(x) & 0x7fffffff); }

/// What numbers up to `most` are multiplied with to become integers. Of numbers too small, or not all finite, any.
FA_INLINE vf to_integers(vf most) { return most > 1e-30f ? most_integer / most : splat(0.0f); }

/// Puts down the bytes of integers.
FA_INLINE vi write_integers(char *high, char *low, vf x) {
  const vi n = nearest_integers(x);
  store(high, __builtin_convertvector((n + 128) >> 8, vsb));
  store(low, __builtin_convertvector(n, vsb));
  return n;
}

/// A query's bytes: all upper ones, all lower ones, scale.
FA_NOINLINE void write_query_bytes(char *to, const float *x, int head_dim) {
  vu sizes = {};
  for (int i = 0; i < head_dim; i += VW) sizes = larger_sizes(sizes, load<vf>(x + i));
  const vf most = as_float(fold_lanes(sizes, Larger())), factor = to_integers(most);
  vi sum = {};
  for (int i = 0; i < head_dim; i += VW) sum += write_integers(to + i, to + head_dim + i, load<vf>(x + i) * factor);
  store(to + 2 * head_dim, IntegerScale{most[0] * (1 / most_integer), 128 * fold_lanes(sum, Plus())[0]});
}

struct ByteSum {
  vi high, low;
};

/// Products of the numbers of a row with the bytes of a query.
struct ByteDot {
  FA_METHOD ByteDot(const KvFormat &, int) {}
  static constexpr Products products = Products::bytes;
  typedef vu Unit[1];
  typedef ByteSum Sum;
  typedef vu Lanes;
  static constexpr int span = 1, lag = 1;
  static constexpr bool lean = false;
  FA_METHOD void read_unit(const char *row, int u, Unit &x) const { x[0] = read_bytes(row, u); }
  FA_METHOD static ByteSum add(vu x, const char *q, int head_dim, ByteSum acc) {
    return {dot_bytes(acc.high, x, load<vi>(q)), dot_bytes(acc.low, x, load<vi>(q + head_dim))};
  }
  // Sums may wrap around: what they come to in the end does not.
  FA_METHOD static vu lanes(ByteSum sum) { return (vu(sum.high) << 8) + vu(sum.low); }
  FA_METHOD static vf scores(vu sums, const char *q, int head_dim) {
    return scaled(sums, load<IntegerScale>(q + 2 * head_dim));
  }
  FA_METHOD static vf scaled(vu sums, IntegerScale of) {
    return __builtin_convertvector(vi(sums - uint32_t(of.offset)), vf) * of.scale;
  }
};

/// The sums of 8 columns are more than there are registers for.
FA_NOINLINE void byte_dots_of_8(const RowRange &rows, int first, int last, const char *q, float *scores) {
  for (int k = 0; k < rows.count; k += VW) {
    RowRange few = rows;
    few.data += k * rows.row_bytes;
    few.count = rows.count - k < VW ? rows.count - k : VW;
    for (int c = 0; c < 8; c += 4) {
      row_dots<RowFormat::q8, ByteDot, 4>(few, first, last, q + c * query_bytes(Products::bytes, rows.head_dim),
                                          scores + c * column_stride + k);
    }
  }
}

/// A column's weights in a block of keys: bytes of each key, then their scale.
struct ByteWeights {
  char high[row_block], low[row_block];
  IntegerScale of;
};
static_assert(sizeof(ByteWeights) <= column_stride * sizeof(float), "room");

/// Puts the bytes of columns' weights in their place.
template <int columns>
FA_INLINE void write_byte_weights(float (*to)[column_stride], const vf (&x)[columns][row_block / VW]) {
  vu sizes[columns];
  vi sums[columns];
  FA_UNROLL
  for (int c = 0; c < columns; c++) {
    sizes[c] = {};
    FA_UNROLL
    for (int i = 0; i < row_block / VW; i++) sizes[c] = larger_sizes(sizes[c], x[c][i]);
  }
  const vf most = as_float(fold_each(sizes, Larger())), factor = to_integers(most);
  FA_UNROLL
  for (int c = 0; c < columns; c++) {
    auto &column = *reinterpret_cast<ByteWeights *>(to[c]);
    sums[c] = {};
    FA_UNROLL
    for (int i = 0; i < row_block / VW; i++) {
      sums[c] += write_integers(column.high + i * VW, column.low + i * VW, x[c][i] * splat(factor[c]));
    }
  }
  const vf scale = most * (1 / most_integer);
  const vi offset = fold_each(sums, Plus()) * 128;
  FA_UNROLL
  for (int c = 0; c < columns; c++) reinterpret_cast<ByteWeights *>(to[c])->of = {scale[c], offset[c]};
}

/// Vectors P * N ... of unit u of four rows: a lane has a number of each.
template <int P, int N>
FA_INLINE void read_four(const char *const (&row)[4], int u, vu (&x)[N]) {
  const vu a = read_bytes(row[0], u), b = read_bytes(row[1], u), c = read_bytes(row[2], u), d = read_bytes(row[3], u);
  FA_UNROLL
  for (int i = 0; i < N; i++) {
    const int v = P * N + i;
    const vu ab = v / 2 == 0 ? interleave_bytes_low(a, b) : interleave_bytes_high(a, b);
    const vu cd = v / 2 == 0 ? interleave_bytes_low(c, d) : interleave_bytes_high(c, d);
    x[i] =
        as_bits(v % 2 == 0 ? interleave_low(as_float(ab), as_float(cd)) : interleave_high(as_float(ab), as_float(cd)));
  }
}

template <int columns, int vectors, int P>
FA_INLINE void gather_bytes_part(const RowRange &rows, int u, const char *weights, const float *decay, float *o) {
  constexpr int stride = column_stride * 4;
  ByteSum acc[columns][vectors] = {};
  const char *next = rows.data, *const last_row = next + (rows.count - 1) * rows.row_bytes;
  for (int k = 0; k < rows.count; k += 4) {
    const char *row[4];
    FA_UNROLL
    for (int i = 0; i < 4; i++) {
      row[i] = next;  // again the last one behind it, where weights are 0
      next += next < last_row ? rows.row_bytes : 0;
    }
    prefetch_next<RowFormat::q8, columns, 1, 4 / vectors, 4>(rows, u, P, k);
    vu x[vectors];
    read_four<P>(row, u, x);
    FA_UNROLL
    for (int c = 0; c < columns; c++) {
      const auto &block = *reinterpret_cast<const ByteWeights *>(weights + c * stride);
      const vi high = vi(as_bits(broadcast_word(block.high + k))), low = vi(as_bits(broadcast_word(block.low + k)));
      FA_UNROLL
      for (int v = 0; v < vectors; v++) {
        acc[c][v] = {dot_bytes(acc[c][v].high, x[v], high), dot_bytes(acc[c][v].low, x[v], low)};
      }
    }
  }
  float *at = o + u * unit_size + P * vectors * VW;
  FA_UNROLL
  for (int c = 0; c < columns; c++) {
    const IntegerScale of = reinterpret_cast<const ByteWeights *>(weights + c * stride)->of;
    FA_UNROLL
    for (int v = 0; v < vectors; v++) {
      float *values = at + c * rows.head_dim + v * VW;
      store(values, ByteDot::scaled(ByteDot::lanes(acc[c][v]), of) + load<vf>(values) * decay[c]);
    }
  }
}

/// As gather_values, with weights in bytes.
template <int columns>
FA_NOINLINE void gather_bytes(const RowRange &rows, int first, int last, const char *weights, const float *decay,
                              float *o) {
  constexpr int vectors = columns <= 2 ? 4 : 2, together = columns < 4 ? columns : 4;
  for (int u = first; u < last; u++) {
    for (int c = 0; c < columns; c += together) {
      const char *own = weights + c * column_stride * 4;
      float *values = o + c * rows.head_dim;
      gather_bytes_part<together, vectors, 0>(rows, u, own, decay + c, values);
      if constexpr (vectors == 2) gather_bytes_part<together, vectors, 1>(rows, u, own, decay + c, values);
    }
  }
}

constexpr RowPasses byte_passes() {
  constexpr auto q8 = RowFormat::q8;
  return {Products::bytes,
          Order::natural,
          Order::planes,
          {row_dots<q8, ByteDot, 1>, row_dots<q8, ByteDot, 2>, row_dots<q8, ByteDot, 4>, byte_dots_of_8},
          {gather_bytes<1>, gather_bytes<2>, gather_bytes<4>, gather_bytes<8>}};
}

}  // namespace fa::FA_ISA

#endif
