// The passes of every format, in float and in bf16.
#ifndef FA_CPU_DECODE_PASSES_H
#define FA_CPU_DECODE_PASSES_H

#include "phases.h"
#if defined(FA_BF16_DOT) && defined(FA_VBMI)
#include "pairs.h"
#endif
#ifdef FA_VNNI
#include "bytes.h"
#endif

namespace fa::FA_ISA {

#define FA_FLOAT_PASSES(FORMAT, BITS, PACKED) row_passes<RowFormat::FORMAT>(),
#define FA_PAIR_PASSES(FORMAT, BITS, PACKED) pair_passes<RowFormat::FORMAT>(),

/// Indexed by RowFormat.
constexpr RowPasses float_passes[row_format_count] = {row_passes<RowFormat::f32>(), row_passes<RowFormat::f16>(),
                                                      row_passes<RowFormat::bf16>(), row_passes<RowFormat::q8>(),
                                                      FA_CODED_ROWS(FA_FLOAT_PASSES)};
#if defined(FA_BF16_DOT) && defined(FA_VBMI)
/// Not of all formats.
constexpr RowPasses bf16_passes[row_format_count] = {
    {}, {}, pair_passes<RowFormat::bf16>(), {}, FA_CODED_ROWS(FA_PAIR_PASSES)};
constexpr RowPasses whole_row_passes = pair_passes_of_two_units();
constexpr RowPasses nibble_passes = pair_passes<RowFormat::tq4, NibbleReader>();
constexpr RowPasses shared_nibble_passes = nibble_word_passes();
#endif
#ifdef FA_VNNI
constexpr RowPasses integer_passes = byte_passes();
#endif
#undef FA_FLOAT_PASSES
#undef FA_PAIR_PASSES

/// Queries of 16 bits are worked on in less than floats, where there are instructions for it.
FA_INLINE const RowPasses &passes(RowFormat rows, [[maybe_unused]] int head_dim, [[maybe_unused]] Elem queries,
                                  [[maybe_unused]] int columns) {
#ifdef FA_VNNI
  if (rows == RowFormat::q8 && queries != Elem::f32) return integer_passes;
#endif
#if defined(FA_BF16_DOT) && defined(FA_VBMI)
  if (queries == Elem::bf16 && rows == RowFormat::bf16 && head_dim == 2 * unit_size) return whole_row_passes;
  if (queries == Elem::bf16 && rows == RowFormat::tq4 && head_dim >= 2 * unit_size) {
    return head_dim == 2 * unit_size && columns >= 4 ? shared_nibble_passes : nibble_passes;
  }
  if (queries == Elem::bf16 && bf16_passes[int(rows)].dots[0] != nullptr) return bf16_passes[int(rows)];
#endif
  return float_passes[int(rows)];
}

}  // namespace fa::FA_ISA

#endif
