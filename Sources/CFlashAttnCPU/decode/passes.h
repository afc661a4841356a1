// The passes of every format, in float and in bf16.
#ifndef FA_CPU_DECODE_PASSES_H
#define FA_CPU_DECODE_PASSES_H

#include "phases.h"
#if defined(FA_BF16_DOT) && defined(FA_VBMI)
#include "pairs.h"
#endif

namespace fa::FA_ISA {

#define FA_FLOAT_PASSES(FORMAT, BITS, PACKED) row_passes<RowFormat::FORMAT>(),
#define FA_PAIR_PASSES(FORMAT, BITS, PACKED) pair_passes<RowFormat::FORMAT>(),

/// Indexed by RowFormat. Of those in bf16 some are not there.
constexpr RowPasses float_passes[row_format_count] = {row_passes<RowFormat::f32>(), row_passes<RowFormat::f16>(),
                                                      row_passes<RowFormat::bf16>(), row_passes<RowFormat::q8>(),
                                                      FA_CODED_ROWS(FA_FLOAT_PASSES)};
#if defined(FA_BF16_DOT) && defined(FA_VBMI)
constexpr RowPasses bf16_passes[row_format_count] = {
    {}, {}, pair_passes<RowFormat::bf16>(), pair_passes<RowFormat::q8>(), FA_CODED_ROWS(FA_PAIR_PASSES)};
#else
constexpr RowPasses bf16_passes[row_format_count] = {};
#endif
#undef FA_FLOAT_PASSES
#undef FA_PAIR_PASSES

/// Whether rows are worked on in bf16, for queries of that type.
FA_INLINE bool in_pairs(RowFormat rows, Elem queries) {
  return queries == Elem::bf16 && bf16_passes[int(rows)].dots[0] != nullptr;
}

FA_INLINE const RowPasses &passes(RowFormat rows, bool pairs) {
  return pairs ? bf16_passes[int(rows)] : float_passes[int(rows)];
}

}  // namespace fa::FA_ISA

#endif
