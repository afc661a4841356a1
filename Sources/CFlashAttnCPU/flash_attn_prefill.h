// Attention of many query rows, and the passes that prepare its masks: checks of a dispatch, and what the table of kernels
// says of them.
#ifndef FA_CPU_FLASH_ATTN_PREFILL_H
#define FA_CPU_FLASH_ATTN_PREFILL_H

#include "arguments.h"

namespace fa {

enum class Mask { additive, boolean };

/// What a host name of flash_attn_prefill or flash_attn_prefill_d512 stands for.
struct PrefillKernel {
  const char *name;
  Elem elem;
  int head_dim;
  Mask mask;
  int tile_rows, tile_keys;  ///< the shader's tile of the mask; a threadgroup takes tile_rows query rows
  int simdgroups;  ///< in a threadgroup; 0: the function constant nsg says
};

/// What a host name of flash_attn_prefill_blk or flash_attn_prefill_mask stands for.
struct MaskKernel {
  const char *name;
  Elem elem;
};

const char *run_prefill(const PrefillKernel &kernel, const sm_dispatch &dispatch);
const char *run_blk(const MaskKernel &kernel, const sm_dispatch &dispatch);
const char *run_mask_fill(const MaskKernel &kernel, const sm_dispatch &dispatch);

/// Slots and function constants of a room's kernels.
struct Signature {
  const sm_argument *arguments;
  uint32_t argument_count;
  const sm_constant_info *constants;
  uint32_t constant_count;
};

extern const Signature prefill_signature, prefill_d512_signature, blk_signature, mask_fill_signature;

template <uint32_t arguments, uint32_t constants>
constexpr Signature signature(const sm_argument (&a)[arguments], const sm_constant_info (&c)[constants]) {
  return {a, arguments, c, constants};
}

}  // namespace fa

#endif
