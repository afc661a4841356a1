// The two passes over a block of rows: dot products with the keys, and weighted sums of the values. Rows are read once
// for all columns, which are the queries that share them.
#ifndef FA_CPU_DECODE_PHASES_H
#define FA_CPU_DECODE_PHASES_H

#include "prefetch.h"
#include "problem.h"

namespace fa::FA_ISA {

constexpr int column_stride =
    row_block + VW;  ///< of their scores and weights: what is behind the last key is of no use
constexpr int most_sums = vector_registers == 32 ? 16 : 8;  ///< vectors of sums kept in registers

/// Bytes of a row that is best read by itself; 0 if none is.
template <RowFormat F>
constexpr int long_row = VW < 16 || looks_up<F> ? 0
                         : is_dense<F>          ? 512
                                                : 256;

/// Keys whose sums are kept in registers together.
template <typename Dot>
constexpr int keys_together(int columns) {
  return columns == 8 ? (Dot::lean && vector_registers == 32 ? 2 : 1) : columns == 4 ? 2 : 4;
}

/// What queries are multiplied with keys as, and weights with values: floats, pairs of bf16, or bytes of integers.
enum class Products { floats, pairs, bytes };

/// Bytes of a query as a dot product takes it.
constexpr int64_t query_bytes(Products products, int head_dim) {
  return products == Products::bytes ? head_dim * 2 + 64 : head_dim * (products == Products::pairs ? 2 : 4);
}

/// Sums that are scores as they are.
struct FloatSums {
  typedef vf Sum;
  typedef vf Lanes;
  FA_METHOD static vf lanes(vf sum) { return sum; }
  FA_METHOD static vf scores(vf sums, const char *, int) { return sums; }
};

/// Products of float queries, in the order of the rows.
template <RowFormat F>
struct FloatDot : Reader<F>, FloatSums {
  FA_METHOD FloatDot(const KvFormat &format, int head_dim) : Reader<F>(format, head_dim) {}
  static constexpr Products products = Products::floats;
  typedef vf Unit[4];
  static constexpr int span = 1;  ///< units read at a time
  static constexpr int lag = looks_up<F> ? 1 : 0;
  static constexpr bool lean = F == RowFormat::f32 || F == RowFormat::f16 || F == RowFormat::q8;  ///< of registers
  FA_METHOD void read_unit(const char *row, int u, Unit &x) const { this->template read<0>(row, u, x); }
  FA_METHOD static vf add(vf x, const char *q, int, vf acc) { return fma(x, load<vf>(q), acc); }
};

/// Adds the products of a unit of a row with that of each column of q.
template <typename Dot, int columns, typename V, int vectors>
FA_INLINE void add_unit(const V (&x)[vectors], int u, const char *q, int head_dim, typename Dot::Sum (&acc)[columns]) {
  const char *at = q + u * vectors * VW * 4;
  FA_UNROLL
  for (int v = 0; v < vectors; v++) {
    FA_UNROLL
    for (int c = 0; c < columns; c++) {
      acc[c] = Dot::add(x[v], at + c * query_bytes(Dot::products, head_dim) + v * VW * 4, head_dim, acc[c]);
    }
  }
}

/// Adds the products of units [first, last) of some rows.
template <RowFormat F, typename Dot, int columns, int keys>
FA_INLINE void add_units(const Dot &dot, const RowRange &rows, const char *const (&row)[keys], int first, int last,
                         const char *q, typename Dot::Sum (&acc)[keys][columns]) {
  typename Dot::Unit x[2];
  if constexpr (Dot::lag > 0 && keys == 1) {
    dot.read_unit(row[0], first, x[0]);
    for (int u = first; u < last; u++) {
      prefetch_after<F, Dot::span>(row[0], u, rows.other);
      dot.read_unit(row[0], u + 1 < last ? u + 1 : u, x[1]);
      add_unit<Dot>(x[0], u, q, rows.head_dim, acc[0]);
      __builtin_memcpy(x[0], x[1], sizeof x[0]);
    }
    return;
  }
  for (int u = first; u < last; u++) {
    FA_UNROLL
    for (int i = 0; i < keys + Dot::lag; i++) {
      if (i < keys) {
        prefetch_after<F, Dot::span>(row[i], u, rows.other);
        dot.read_unit(row[i], u, x[i % 2]);
      }
      if (i >= Dot::lag) add_unit<Dot>(x[(i - Dot::lag) % 2], u, q, rows.head_dim, acc[i - Dot::lag]);
    }
  }
}

/// scores[c * column_stride + k] = units [first, last) of row k . column c of q. Keys are taken VW at a time; what stands
/// behind the last one is of no use.
template <RowFormat F, typename Dot, int columns, int keys>
FA_NOINLINE void key_dots(const RowRange &rows, int first, int last, const char *q, float *scores) {
  const Dot dot(*rows.format, rows.head_dim);
  typename Dot::Lanes partial[columns][VW / 4];
  const char *next = rows.data, *const last_row = next + (rows.count - 1) * rows.row_bytes;
  for (int k0 = 0; k0 < rows.count; k0 += VW) {
    for (int k1 = 0; k1 < VW; k1 += 4) {
      typename Dot::Lanes acc[4][columns];
      FA_UNROLL
      for (int k2 = 0; k2 < 4; k2 += keys) {
        const char *row[keys];
        typename Dot::Sum group[keys][columns];
        FA_UNROLL
        for (int i = 0; i < keys; i++) {
          row[i] = next;
          next += next < last_row ? rows.row_bytes : 0;
          FA_UNROLL
          for (int c = 0; c < columns; c++) group[i][c] = {};
        }
        add_units<F>(dot, rows, row, first / Dot::span, last / Dot::span, q, group);
        FA_UNROLL
        for (int i = 0; i < keys; i++) {
          FA_UNROLL
          for (int c = 0; c < columns; c++) acc[k2 + i][c] = Dot::lanes(group[i][c]);
        }
      }
      FA_UNROLL
      for (int c = 0; c < columns; c++) partial[c][k1 / 4] = sum_four(acc[0][c], acc[1][c], acc[2][c], acc[3][c]);
    }
    FA_UNROLL
    for (int c = 0; c < columns; c++) {
      const char *column = q + c * query_bytes(Dot::products, rows.head_dim);
      store(scores + c * column_stride + k0, Dot::scores(sum_quarters(partial[c]), column, rows.head_dim));
    }
  }
}

/// Memory delivers long rows best one after the other, if the processor can look ahead to the next one.
template <RowFormat F, typename Dot, int columns>
FA_NOINLINE void row_dots(const RowRange &rows, int first, int last, const char *q, float *scores) {
  if constexpr (long_row<F> > 0 && columns < (is_dense<F> ? 8 : 4)) {
    if (rows.row_bytes >= long_row<F>) return key_dots<F, Dot, columns, 1>(rows, first, last, q, scores);
  }
  key_dots<F, Dot, columns, keys_together<Dot>(columns)>(rows, first, last, q, scores);
}

/// Sums of each column so far, times its decay.
template <int columns, int vectors>
FA_INLINE void load_sums(const float *at, int head_dim, const float *decay, vf (&acc)[columns][vectors]) {
  FA_UNROLL
  for (int c = 0; c < columns; c++) {
    FA_UNROLL
    for (int v = 0; v < vectors; v++) acc[c][v] = load<vf>(at + c * head_dim + v * VW) * decay[c];
  }
}

template <int columns, int vectors>
FA_INLINE void store_sums(const vf (&acc)[columns][vectors], float *at, int head_dim) {
  FA_UNROLL
  for (int c = 0; c < columns; c++) {
    FA_UNROLL
    for (int v = 0; v < vectors; v++) store(at + c * head_dim + v * VW, acc[c][v]);
  }
}

template <RowFormat F, int columns, int vectors, int P>
FA_INLINE void gather_part(const Reader<F> &reader, const RowRange &rows, int u, const float *weights,
                           const float *decay, float *o) {
  float *at = o + u * unit_size + P * vectors * VW;
  vf acc[columns][vectors];
  load_sums(at, rows.head_dim, decay, acc);
  const char *row = rows.data;
  // As for `looks_up`; other rows gain, too.
  vf x[vectors], next[vectors];
  reader.template read<P>(row, u, x);
  for (int k = 0; k < rows.count; k++) {
    prefetch_next<F, columns, 1, 4 / vectors, 1>(rows, u, P, k);
    row += k + 1 < rows.count ? rows.row_bytes : 0;
    reader.template read<P>(row, u, next);
    FA_UNROLL
    for (int c = 0; c < columns; c++) {
      const vf weight = splat(weights[c * column_stride + k]);
      FA_UNROLL
      for (int v = 0; v < vectors; v++) acc[c][v] = fma(x[v], weight, acc[c][v]);
    }
    FA_UNROLL
    for (int v = 0; v < vectors; v++) x[v] = next[v];
  }
  store_sums(acc, at, rows.head_dim);
}

/// Column c of o = decay[c] times itself + sum over k of weights[c * column_stride + k] times row k, in units [first, last).
template <RowFormat F, int columns>
FA_NOINLINE void gather_values(const RowRange &rows, int first, int last, const char *from, const float *decay,
                               float *o) {
  const float *weights = reinterpret_cast<const float *>(from);
  constexpr int vectors = columns * 4 <= most_sums ? 4 : most_sums / columns;
  const Reader<F> reader(*rows.format, rows.head_dim);
  for (int u = first; u < last; u++) {
    gather_part<F, columns, vectors, 0>(reader, rows, u, weights, decay, o);
    if constexpr (vectors <= 2) gather_part<F, columns, vectors, 1>(reader, rows, u, weights, decay, o);
    if constexpr (vectors == 1) {
      gather_part<F, columns, vectors, 2>(reader, rows, u, weights, decay, o);
      gather_part<F, columns, vectors, 3>(reader, rows, u, weights, decay, o);
    }
  }
}

/// A row in its order, without norm and factor.
template <RowFormat F>
FA_NOINLINE void expand_row(const KvFormat &format, const char *row, int head_dim, float *to) {
  const Reader<F> reader(format, head_dim);
  for (int u = 0; u < head_dim / unit_size; u++) {
    vf x[4];
    reader.template read<0>(row, u, x);
    FA_UNROLL
    for (int v = 0; v < 4; v++) store(to + u * unit_size + v * VW, x[v]);
  }
}

typedef void (*DotsPass)(const RowRange &, int, int, const char *, float *);
typedef void (*GatherPass)(const RowRange &, int, int, const char *, const float *, float *);

/// The passes for 1, 2, 4 and 8 columns.
struct RowPasses {
  Products products;
  Order keys, values;  ///< of queries, and of what is gathered
  DotsPass dots[4];
  GatherPass gather[4];
  void (*expand)(const KvFormat &, const char *, int, float *) = nullptr;  ///< in float alone
};

template <RowFormat F>
constexpr RowPasses row_passes() {
  return {Products::floats,
          Reader<F>::order,
          Reader<F>::order,
          {row_dots<F, FloatDot<F>, 1>, row_dots<F, FloatDot<F>, 2>, row_dots<F, FloatDot<F>, 4>,
           row_dots<F, FloatDot<F>, 8>},
          {gather_values<F, 1>, gather_values<F, 2>, gather_values<F, 4>, gather_values<F, 8>},
          expand_row<F>};
}

}  // namespace fa::FA_ISA

#endif
