// Dot products with VW keys at a time: their rows are transposed word by word, so that a lane is a key and nothing has to
// be summed up across lanes. That pays where many columns share rows of no more than a vector.
#ifndef FA_CPU_DECODE_TRANSPOSED_H
#define FA_CPU_DECODE_TRANSPOSED_H

#include "phases.h"

namespace fa::FA_ISA {

/// As key_dots, with rows of VW words. Of each word `Dot::read_word` makes `Dot::vectors`, each of which is multiplied with
/// a word of a query.
template <RowFormat F, typename Dot, int columns>
FA_NOINLINE void transposed_dots(const RowRange &rows, int, int, const char *q, float *scores) {
  constexpr int bytes = VW * 4;
  const Dot dot(*rows.format, rows.head_dim);
  const int64_t query = query_bytes(Dot::products, rows.head_dim);
  for (int k0 = 0; k0 < rows.count; k0 += VW) {
    const char *from = rows.data + k0 * rows.row_bytes;
    int64_t step = rows.row_bytes;
    alignas(64) char few[VW][bytes];
    if (const int left = rows.count - k0; left < VW) {
      __builtin_memset(few, 0, sizeof few);
      for (int i = 0; i < left; i++) __builtin_memcpy(few[i], from + i * step, bytes);
      from = few[0];
      step = bytes;
    }
    vf words[VW];
    FA_UNROLL
    for (int i = 0; i < VW; i++) {
      words[i] = load<vf>(from + i * step);
      prefetch_after<F, bytes / unit_bytes<F>()>(from + i * step, 0, rows.other);
    }
    transpose(words);
    typename Dot::Sum sums[columns] = {};
    FA_UNROLL
    for (int i = 0; i < VW; i++) {
      vf x[Dot::vectors];
      dot.read_word(as_bits(words[i]), x);
      FA_UNROLL
      for (int v = 0; v < Dot::vectors; v++) {
        FA_UNROLL
        for (int c = 0; c < columns; c++) {
          Dot::add_word(x[v], q + c * query + (i * Dot::vectors + v) * 4, v, sums[c]);
        }
      }
    }
    FA_UNROLL
    for (int c = 0; c < columns; c++) store(scores + c * column_stride + k0, Dot::scores(sums[c]));
  }
}

}  // namespace fa::FA_ISA

#endif
