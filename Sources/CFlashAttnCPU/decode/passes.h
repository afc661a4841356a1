// The passes of every format, in float and in bf16.
#ifndef FA_CPU_DECODE_PASSES_H
#define FA_CPU_DECODE_PASSES_H

#include "phases.h"
#if defined(FA_BF16_DOT) && defined(FA_VBMI)
#include "pairs.h"
#endif

namespace fa::FA_ISA {

#define FA_EACH_CODED(FORMAT)                                                                            \
  FORMAT(q8), FORMAT(tq2), FORMAT(tq3), FORMAT(tq4), FORMAT(tq5), FORMAT(tq6), FORMAT(tq7), FORMAT(tq8), \
      FORMAT(byte5), FORMAT(byte6)
#define FA_FLOAT_PASSES(FORMAT) row_passes<RowFormat::FORMAT>()
#define FA_PAIR_PASSES(FORMAT) pair_passes<RowFormat::FORMAT>()

/// Indexed by RowFormat. Of those in bf16 some are not there.
constexpr RowPasses float_passes[row_format_count] = {FA_FLOAT_PASSES(f32), FA_FLOAT_PASSES(f16), FA_FLOAT_PASSES(bf16),
                                                      FA_EACH_CODED(FA_FLOAT_PASSES)};
#if defined(FA_BF16_DOT) && defined(FA_VBMI)
constexpr RowPasses bf16_passes[row_format_count] = {{}, {}, FA_PAIR_PASSES(bf16), FA_EACH_CODED(FA_PAIR_PASSES)};
#else
constexpr RowPasses bf16_passes[row_format_count] = {};
#endif
#undef FA_EACH_CODED
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
