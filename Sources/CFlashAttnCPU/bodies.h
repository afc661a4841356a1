// The implementations of every room: one table for each instruction set.
#ifndef FA_CPU_BODIES_H
#define FA_CPU_BODIES_H

#include "isa.h"
#include "prefill/mask_problem.h"
#include "prefill/problem.h"

namespace fa {

/// Indexed by element type; boolean ones are masks.
struct Bodies {
  PrefillBody prefill[3];
  BlkBody blk[4];
  MaskFillBody mask_fill[4];
};

#if defined(__x86_64__)
namespace avx512bf16 {
extern const Bodies bodies;
}
namespace avx512 {
extern const Bodies bodies;
}
namespace avx2 {
extern const Bodies bodies;
}
#endif
namespace portable {
extern const Bodies bodies;
}

inline const Bodies &bodies_for(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx512bf16:
      return avx512bf16::bodies;
    case Isa::avx512:
      return avx512::bodies;
    case Isa::avx2:
      return avx2::bodies;
#endif
    default:
      return portable::bodies;
  }
}

}  // namespace fa

#endif
