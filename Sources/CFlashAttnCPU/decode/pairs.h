// The passes of bf16 queries: pairs of bf16 are multiplied and summed up in float by one instruction. Codes become bf16 by
// half the lookups that a float takes, and weights are rounded to it.
#ifndef FA_CPU_DECODE_PAIRS_H
#define FA_CPU_DECODE_PAIRS_H

#include "phases.h"

namespace fa::FA_ISA {

/// Units of a row as two vectors of pairs of neighbours.
template <RowFormat F>
struct PairReader;

template <>
struct PairReader<RowFormat::bf16> {
  static constexpr Order keys = Order::natural, values = Order::octets;
  FA_METHOD PairReader(const KvFormat &, int) {}
  FA_METHOD void read_unit(const char *row, int u, vf (&x)[2]) const {
    FA_UNROLL
    for (int v = 0; v < 2; v++) x[v] = load<vf>(row + (u * 2 + v) * VW * 4);
  }
};

/// Codes of `bits` bits kept in `packed` of them.
template <int bits, int packed>
struct PairCodeReader {
  static constexpr Order keys = Order::halves, values = Order::planes;
  PairTable<bits> table;
  int head_dim;
  FA_METHOD PairCodeReader(const KvFormat &format, int dim) : table(format.pair_planes), head_dim(dim) {}

  FA_METHOD void read_unit(const char *row, int u, vf (&x)[2]) const {
    if constexpr (packed == 8) {
      table.read(load<vu>(row + int64_t(u) * 64), x);
    } else {
      const Parts parts = parts_of<packed>(row, u, head_dim);
      vu codes = join_parts<packed>(parts.low, parts.middle, parts.top);
      if constexpr (packed == 7) codes = add_top<7>(codes & 0x3f3f3f3f, parts.top);
      table.read(codes, x);
    }
  }
};

template <>
struct PairReader<RowFormat::q8> {
  static constexpr Order keys = Order::halves, values = Order::planes;
  PairTable<7> magnitudes;
  FA_METHOD PairReader(const KvFormat &format, int) : magnitudes(format.pair_planes) {}
  FA_METHOD void read_unit(const char *row, int u, vf (&x)[2]) const {
    magnitudes.read_numbers(load<vu>(row + int64_t(u) * 64), x);
  }
};

#define FA_PAIR_READER(FORMAT, BITS, PACKED)                                     \
  template <>                                                                    \
  struct PairReader<RowFormat::FORMAT> : PairCodeReader<BITS, PACKED> {          \
    FA_METHOD PairReader(const KvFormat &f, int dim) : PairCodeReader(f, dim) {} \
  };
FA_CODED_ROWS(FA_PAIR_READER)
#undef FA_PAIR_READER

template <RowFormat F>
struct PairDot : PairReader<F> {
  FA_METHOD PairDot(const KvFormat &format, int head_dim) : PairReader<F>(format, head_dim) {}
  typedef vf Unit[2];
  static constexpr int lag = is_dense<F> ? 0 : 1;
  static constexpr bool lean = true;
  FA_METHOD static vf add(vf x, vf q, vf acc) { return dot_bf16(acc, x, q); }
};

/// Vectors P * vectors ... of unit u of rows a and b, whose values are each other's neighbours.
template <int P, RowFormat F, int vectors>
FA_INLINE void read_rows(const PairReader<F> &reader, const char *a, const char *b, int u, vf (&x)[vectors]) {
  vf first[2], second[2] = {splat(0.0f), splat(0.0f)};
  reader.read_unit(a, u, first);
  if (b != nullptr) reader.read_unit(b, u, second);
  FA_UNROLL
  for (int i = 0; i < vectors; i++) {
    const int v = P * vectors + i;
    x[i] = v % 2 == 0 ? interleave_low(first[v / 2], second[v / 2]) : interleave_high(first[v / 2], second[v / 2]);
  }
}

template <int columns, int vectors>
FA_INLINE void add_pair(const vf (&x)[vectors], const vf (&weight)[columns], vf (&acc)[columns][vectors]) {
  FA_UNROLL
  for (int c = 0; c < columns; c++) {
    FA_UNROLL
    for (int v = 0; v < vectors; v++) acc[c][v] = dot_bf16(acc[c][v], x[v], weight[c]);
  }
}

template <RowFormat F, int columns, int vectors, int P>
FA_INLINE void gather_pairs_part(const PairReader<F> &reader, const RowRange &rows, int u, const char *weights,
                                 const float *decay, float *o) {
  constexpr int stride = column_stride * 4;
  float *at = o + u * unit_size + P * vectors * VW;
  vf acc[columns][vectors], weight[columns];
  load_sums(at, rows.head_dim, decay, acc);
  const int even = rows.count / 2 * 2;
  const char *row = rows.data;
  vf x[vectors], next[vectors];
  if (even > 0) read_rows<P>(reader, row, row + rows.row_bytes, u, x);
  for (int k = 0; k < even; k += 2) {
    if constexpr (P == 0) {
      prefetch_unit<F>(row, u, row_block * rows.row_bytes);
      prefetch_unit<F>(row + rows.row_bytes, u, row_block * rows.row_bytes);
    }
    row += k + 2 < even ? 2 * rows.row_bytes : 0;
    read_rows<P>(reader, row, row + rows.row_bytes, u, next);
    FA_UNROLL
    for (int c = 0; c < columns; c++) weight[c] = broadcast_word(weights + c * stride + k * 2);
    add_pair(x, weight, acc);
    FA_UNROLL
    for (int v = 0; v < vectors; v++) x[v] = next[v];
  }
  if (even < rows.count) {
    read_rows<P>(reader, rows.data + even * rows.row_bytes, nullptr, u, x);
    FA_UNROLL
    for (int c = 0; c < columns; c++) weight[c] = as_float(vu(load<uint16_t>(weights + c * stride + even * 2)));
    add_pair(x, weight, acc);
  }
  store_sums(acc, at, rows.head_dim);
}

/// As gather_values, with weights in bf16.
template <RowFormat F, int columns>
FA_NOINLINE void gather_pairs(const RowRange &rows, int first, int last, const char *weights, const float *decay,
                              float *o) {
  constexpr int vectors = columns * 4 <= most_sums ? 4 : 2;
  const PairReader<F> reader(*rows.format, rows.head_dim);
  for (int u = first; u < last; u++) {
    gather_pairs_part<F, columns, vectors, 0>(reader, rows, u, weights, decay, o);
    if constexpr (vectors == 2) gather_pairs_part<F, columns, vectors, 1>(reader, rows, u, weights, decay, o);
  }
}

template <RowFormat F>
constexpr RowPasses pair_passes() {
  return {
      PairReader<F>::keys,
      PairReader<F>::values,
      {row_dots<F, PairDot<F>, 1>, row_dots<F, PairDot<F>, 2>, row_dots<F, PairDot<F>, 4>, row_dots<F, PairDot<F>, 8>},
      {gather_pairs<F, 1>, gather_pairs<F, 2>, gather_pairs<F, 4>, gather_pairs<F, 8>},
      nullptr};
}

}  // namespace fa::FA_ISA

#endif
