// The passes of bf16 queries: pairs of bf16 are multiplied and summed up in float by one instruction. Codes become bf16 by
// half the lookups that a float takes, and weights are rounded to it.
#ifndef FA_CPU_DECODE_PAIRS_H
#define FA_CPU_DECODE_PAIRS_H

#include "transposed.h"

namespace fa::FA_ISA {

/// Rows in `span` units at a time: of one row as vectors of pairs of neighbours, of two as vectors whose pairs have a
/// value of each. Values are gathered by `vectors` for up to `together` columns, or as many as there are registers for.
template <RowFormat F>
struct PairReader;

template <int units>
struct DensePairReader {
  static constexpr Order keys = Order::natural, values = Order::octets;
  static constexpr int span = units, vectors = 4 * units, together = most_columns / (units * units);
  FA_METHOD DensePairReader(const KvFormat &, int) {}
  FA_METHOD void read_unit(const char *row, int u, vf (&x)[2 * units]) const {
    FA_UNROLL
    for (int v = 0; v < 2 * units; v++) x[v] = load<vf>(row + (u * 2 * units + v) * VW * 4);
  }
  template <int P, int N>
  FA_METHOD void read_rows(const char *a, const char *b, int u, vf (&x)[N]) const {
    FA_UNROLL
    for (int i = 0; i < N; i += 2) {
      const int at = (u * 2 * units + (P * N + i) / 2) * VW * 4;
      const vf first = load<vf>(a + at), second = load<vf>(b + at);
      x[i] = interleave_low(first, second);
      x[i + 1] = interleave_high(first, second);
    }
  }
};

template <>
struct PairReader<RowFormat::bf16> : DensePairReader<1> {
  FA_METHOD PairReader(const KvFormat &format, int dim) : DensePairReader(format, dim) {}
};

/// Codes of `bits` bits kept in `packed` of them.
template <int bits, int packed>
struct PairCodeReader {
  static constexpr Order keys = Order::halves, values = Order::planes;
  static constexpr int span = 1, vectors = 4, together = most_columns;
  PairTable<bits> table;
  int head_dim;
  FA_METHOD PairCodeReader(const KvFormat &format, int dim) : table(format.pair_planes), head_dim(dim) {}

  FA_METHOD void read_unit(const char *row, int u, vf (&x)[2]) const { table.read(codes(row, u), x); }
  template <int P, int N>
  FA_METHOD void read_rows(const char *a, const char *b, int u, vf (&x)[N]) const {
    const vu first = codes(a, u), second = codes(b, u);
    FA_UNROLL
    for (int i = 0; i < N; i += 2) {
      vf pairs[2];
      table.read(P * N + i == 0 ? interleave_bytes_low(first, second) : interleave_bytes_high(first, second), pairs);
      x[i] = pairs[0];
      x[i + 1] = pairs[1];
    }
  }

 private:
  FA_METHOD vu codes(const char *row, int u) const {
    if constexpr (packed == 8) return load<vu>(row + int64_t(u) * 64);
    const Parts parts = parts_of<packed>(row, u, head_dim);
    const vu codes = join_parts<packed>(parts.low, parts.middle, parts.top);
    return packed == 7 ? add_top<7>(codes & 0x3f3f3f3f, parts.top) : codes;
  }
};

#define FA_PAIR_READER(FORMAT, BITS, PACKED)                                     \
  template <>                                                                    \
  struct PairReader<RowFormat::FORMAT> : PairCodeReader<BITS, PACKED> {          \
    FA_METHOD PairReader(const KvFormat &f, int dim) : PairCodeReader(f, dim) {} \
  };
FA_CODED_ROWS(FA_PAIR_READER)
#undef FA_PAIR_READER

/// Codes of 4 bits as words of four: a lookup of words needs no more than a shift.
struct NibbleReader {
  static constexpr Order keys = Order::words, values = Order::word_pairs;
  static constexpr int span = 2, vectors = 4, together = most_columns;
  WordTable table;
  FA_METHOD NibbleReader(const KvFormat &format, int) : table(format.pair_planes) {}
  FA_METHOD void read_unit(const char *row, int u, vf (&x)[4]) const {
    table.read<0>(load<vu>(row + int64_t(u) * 64), x);
  }
  template <int P, int N>
  FA_METHOD void read_rows(const char *a, const char *b, int u, vf (&x)[N]) const {
    const vf first = load<vf>(a + int64_t(u) * 64), second = load<vf>(b + int64_t(u) * 64);
    const vf words = P * N < 4 ? interleave_low(first, second) : interleave_high(first, second);
    table.read<P * N % 4>(as_bits(words), x);
  }
};

template <typename Reader>
struct PairDot : Reader, FloatSums {
  FA_METHOD PairDot(const KvFormat &format, int head_dim) : Reader(format, head_dim) {}
  static constexpr Products products = Products::pairs;
  typedef vf Unit[2 * Reader::span];
  static constexpr int lag = Reader::keys == Order::natural ? 0 : 1;
  static constexpr bool lean = true;
  FA_METHOD static vf add(vf x, const char *q, int, vf acc) { return dot_bf16(acc, x, load<vf>(q)); }
};

/// The same codes, a word of VW rows at a time.
struct NibbleWordDot {
  static constexpr Products products = Products::pairs;
  static constexpr Order keys = Order::eights;
  static constexpr int vectors = 4;
  struct Sum {
    vf even, odd;  // one would have to wait for itself
  };
  WordTable table;
  FA_METHOD NibbleWordDot(const KvFormat &format, int) : table(format.pair_planes) {}
  FA_METHOD void read_word(vu word, vf (&x)[4]) const { table.read<0>(word, x); }
  FA_METHOD static void add_word(vf x, const char *q, int vector, Sum &sum) {
    vf &part = vector % 2 == 0 ? sum.even : sum.odd;
    part = dot_bf16(part, x, broadcast_word(q));
  }
  FA_METHOD static vf scores(Sum sum) { return sum.even + sum.odd; }
};

template <int columns, int vectors>
FA_INLINE void add_pair(const vf (&x)[vectors], const vf (&weight)[columns], vf (&acc)[columns][vectors]) {
  FA_UNROLL
  for (int c = 0; c < columns; c++) {
    FA_UNROLL
    for (int v = 0; v < vectors; v++) acc[c][v] = dot_bf16(acc[c][v], x[v], weight[c]);
  }
}

/// What the last row is paired with, if it is alone.
alignas(64) constexpr char zero_row[2 * most_coordinates] = {};

template <RowFormat F, int columns, int vectors, int P, typename Reader>
FA_INLINE void gather_pairs_part(const Reader &reader, const RowRange &rows, int u, const char *weights,
                                 const float *decay, float *o) {
  constexpr int stride = column_stride * 4;
  float *at = o + u * Reader::span * unit_size + P * vectors * VW;
  vf acc[columns][vectors], weight[columns];
  load_sums(at, rows.head_dim, decay, acc);
  const int even = rows.count / 2 * 2;
  const char *row = rows.data;
  vf x[vectors], next[vectors];
  if (even > 0) reader.template read_rows<P>(row, row + rows.row_bytes, u, x);
  for (int k = 0; k < even; k += 2) {
    prefetch_next<F, columns, Reader::span, 4 * Reader::span / vectors, 2>(rows, u, P, k);
    row += k + 2 < even ? 2 * rows.row_bytes : 0;
    reader.template read_rows<P>(row, row + rows.row_bytes, u, next);
    FA_UNROLL
    for (int c = 0; c < columns; c++) weight[c] = broadcast_word(weights + c * stride + k * 2);
    add_pair(x, weight, acc);
    FA_UNROLL
    for (int v = 0; v < vectors; v++) x[v] = next[v];
  }
  if (even < rows.count) {
    reader.template read_rows<P>(rows.data + even * rows.row_bytes, zero_row, u, x);
    FA_UNROLL
    for (int c = 0; c < columns; c++) weight[c] = as_float(vu(load<uint16_t>(weights + c * stride + even * 2)));
    add_pair(x, weight, acc);
  }
  store_sums(acc, at, rows.head_dim);
}

/// As gather_values, with weights in bf16.
template <RowFormat F, typename Reader, int columns>
FA_NOINLINE void gather_pairs(const RowRange &rows, int first, int last, const char *weights, const float *decay,
                              float *o) {
  constexpr int together = columns < Reader::together ? columns : Reader::together;
  constexpr int vectors = together * Reader::vectors <= most_sums ? Reader::vectors : most_sums / together;
  constexpr int parts = 4 * Reader::span / vectors;
  const Reader reader(*rows.format, rows.head_dim);
  for (int u = first / Reader::span; u < last / Reader::span; u++) {
    // Each of the columns' turns prefetches what a processor short of room has ignored before.
    for (int c = 0; c < columns; c += together) {
      const char *own = weights + c * column_stride * 4;
      float *to = o + c * rows.head_dim;
      gather_pairs_part<F, together, vectors, 0>(reader, rows, u, own, decay + c, to);
      if constexpr (parts > 1) gather_pairs_part<F, together, vectors, 1>(reader, rows, u, own, decay + c, to);
      if constexpr (parts > 2) {
        gather_pairs_part<F, together, vectors, 2>(reader, rows, u, own, decay + c, to);
        gather_pairs_part<F, together, vectors, 3>(reader, rows, u, own, decay + c, to);
      }
    }
  }
}

template <RowFormat F, typename Reader = PairReader<F>>
constexpr RowPasses pair_passes() {
  return {
      Products::pairs,
      Reader::keys,
      Reader::values,
      {row_dots<F, PairDot<Reader>, 1>, row_dots<F, PairDot<Reader>, 2>, row_dots<F, PairDot<Reader>, 4>,
       row_dots<F, PairDot<Reader>, 8>},
      {gather_pairs<F, Reader, 1>, gather_pairs<F, Reader, 2>, gather_pairs<F, Reader, 4>, gather_pairs<F, Reader, 8>}};
}

/// Rows of two units: memory delivers them best whole, which does not pay for 8 columns.
constexpr RowPasses pair_passes_of_two_units() {
  RowPasses passes = pair_passes<RowFormat::bf16, DensePairReader<2>>();
  constexpr RowPasses unit_by_unit = pair_passes<RowFormat::bf16>();
  passes.dots[3] = unit_by_unit.dots[3];
  passes.gather[3] = unit_by_unit.gather[3];
  return passes;
}

/// Codes of 4 bits, 128 to a row, that 4 or 8 columns share.
constexpr RowPasses nibble_word_passes() {
  constexpr auto tq4 = RowFormat::tq4;
  RowPasses passes = pair_passes<tq4, NibbleReader>();
  passes.keys = NibbleWordDot::keys;
  passes.dots[0] = transposed_dots<tq4, NibbleWordDot, 1>;
  passes.dots[1] = transposed_dots<tq4, NibbleWordDot, 2>;
  passes.dots[2] = transposed_dots<tq4, NibbleWordDot, 4>;
  passes.dots[3] = transposed_dots<tq4, NibbleWordDot, 8>;
  return passes;
}

}  // namespace fa::FA_ISA

#endif
