// Every room's implementation, for the instruction set whose vectors have been included.
#ifndef FA_CPU_ROOMS_H
#define FA_CPU_ROOMS_H

#include "bodies.h"
#include "prefill/blk.h"
#include "prefill/mask_fill.h"
#include "prefill/prefill.h"

namespace fa::FA_ISA {

extern const Bodies bodies = {
    {prefill<Elem::f32>, prefill<Elem::f16>, prefill<Elem::bf16>},
    {blk<Elem::f32>, blk<Elem::f16>, blk<Elem::bf16>, blk<Elem::boolean>},
    {mask_fill<Elem::f32>, mask_fill<Elem::f16>, mask_fill<Elem::bf16>, mask_fill<Elem::boolean>},
};

}  // namespace fa::FA_ISA

#endif
