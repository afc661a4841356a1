// The passes of every format, in float and in bf16.
#ifndef FA_CPU_DECODE_PASSES_H
#define FA_CPU_DECODE_PASSES_H

#include "phases.h"
#if defined(FA_BF16_DOT) && defined(FA_VBMI)
#define FA_PAIRS
#endif
#ifdef FA_PAIRS
#include "pairs.h"
#endif

namespace fa::FA_ISA {

#define FA_EACH_CODED(FORMAT)                                                                            \
  FORMAT(q8), FORMAT(tq2), FORMAT(tq3), FORMAT(tq4), FORMAT(tq5), FORMAT(tq6), FORMAT(tq7), FORMAT(tq8), \
      FORMAT(byte5), FORMAT(byte6)
#define FA_FLOAT_PASSES(FORMAT) row_passes<RowFormat::FORMAT>()
#define FA_PAIR_PASSES(FORMAT) pair_passes<RowFormat::FORMAT>()

/// Indexed by RowFormat.
constexpr RowPasses float_passes[row_format_count] = {FA_FLOAT_PASSES(f32), FA_FLOAT_PASSES(f16), FA_FLOAT_PASSES(bf16),
                                                      FA_EACH_CODED(FA_FLOAT_PASSES)};
#ifdef FA_PAIRS
constexpr RowPasses bf16_passes[row_format_count] = {{}, {}, FA_PAIR_PASSES(bf16), FA_EACH_CODED(FA_PAIR_PASSES)};
#endif
#undef FA_EACH_CODED
#undef FA_FLOAT_PASSES
#undef FA_PAIR_PASSES

/// Whether rows are worked on in bf16, for queries of that type.
FA_INLINE bool in_pairs(RowFormat rows, Elem queries) {
#ifdef FA_PAIRS
  return queries == Elem::bf16 && bf16_passes[int(rows)].dots[0] != nullptr;
#else
  return false;
#endif
}

FA_INLINE const RowPasses &passes(RowFormat rows, bool pairs) {
#ifdef FA_PAIRS
  if (pairs) return bf16_passes[int(rows)];
#endif
  return float_passes[int(rows)];
}

}  // namespace fa::FA_ISA

#undef FA_PAIRS

#endif
