// Ranges of rows, and what the passes over them ask memory for ahead of time.
#ifndef FA_CPU_DECODE_PREFETCH_H
#define FA_CPU_DECODE_PREFETCH_H

#include "rows.h"

namespace fa::FA_ISA {

constexpr int row_block = 64;  ///< keys worked on together
constexpr int key_prefetch = 8192;  ///< bytes ahead

template <RowFormat F>
constexpr bool is_dense = F == RowFormat::f32 || F == RowFormat::f16 || F == RowFormat::bf16;
/// Whether a row is read through a table. The next row is then looked up beside this one's products: one after the
/// other, they would take turns at units of the processor that can work side by side.
template <RowFormat F>
constexpr bool looks_up = !is_dense<F> && F != RowFormat::q8;

/// Rows in memory, one after the other.
struct RowRange {
  const KvFormat *format;
  const char *data;
  int64_t row_bytes;
  int head_dim;
  int count;          ///< 1 ... row_block
  int64_t other = 0;  ///< bytes from a row to the same key's on the other side, if these rows are alike; or 0
};

/// Prefetches what the bytes of `span` units lie `ahead` of.
template <RowFormat F, int span = 1>
FA_INLINE void prefetch_unit(const char *row, int u, int64_t ahead) {
  constexpr int bytes = span * unit_bytes<F>();
  FA_UNROLL
  for (int line = 0; line < bytes; line += 64) __builtin_prefetch(row + int64_t(u) * bytes + line + ahead, 0, 2);
}

/// Prefetches what is needed after unit u of a row of keys: keys further on, and the row of values. A processor drops
/// requests while too many are under way: what is quickly worked on is asked for twice.
template <RowFormat F, int span>
FA_INLINE void prefetch_after(const char *row, int u, int64_t other) {
  prefetch_unit<F, span>(row, u, key_prefetch);
  if (is_dense<F>) prefetch_unit<F, span>(row, u, key_prefetch / 2);
  if (other != 0) prefetch_unit<F, span>(row, u, other);
}

/// Prefetches a block of rows, step by step of the passes over this one: row k, part P of unit u.
template <RowFormat F, int span, int parts, int rows_a_step>
FA_INLINE void prefetch_step(const RowRange &rows, const char *block, int u, int P, int k) {
  constexpr int bytes = span * unit_bytes<F>() / parts;
  // Memory delivers best in its own order. Codes take longer to look up than to arrive.
  if (!looks_up<F> && rows.row_bytes == int64_t(unit_bytes<F>()) * (rows.head_dim / unit_size)) {
    const char *from = block + int64_t((u * parts + P) * rows.count + k) * bytes;
    FA_UNROLL
    for (int line = 0; line < rows_a_step * bytes; line += 64) __builtin_prefetch(from + line, 0, 2);
  } else if (P == 0) {
    FA_UNROLL
    for (int i = 0; i < rows_a_step; i++) prefetch_unit<F, span>(block + (k + i) * rows.row_bytes, u, 0);
  }
}

/// Prefetches the block that follows, and the keys' next one where that costs less than it saves.
template <RowFormat F, int columns, int span, int parts, int rows_a_step>
FA_INLINE void prefetch_next(const RowRange &rows, int u, int P, int k) {
  const char *block = rows.data + row_block * rows.row_bytes;
  prefetch_step<F, span, parts, rows_a_step>(rows, block, u, P, k);
  if (is_dense<F> && columns <= 2 && rows.other != 0) {
    prefetch_step<F, span, parts, rows_a_step>(rows, block + rows.other, u, P, k);
  }
}

}  // namespace fa::FA_ISA

#endif
