// Attention of many query rows: checks of a dispatch, and the table rows of its kernels.
#ifndef FA_CPU_FLASH_ATTN_PREFILL_H
#define FA_CPU_FLASH_ATTN_PREFILL_H

#include "prefill/problem.h"

namespace fa {

enum class Mask { additive, boolean };

/// What a host name stands for.
struct PrefillKernel {
  const char *name;
  Elem elem;
  int head_dim;
  Mask mask;
  int tile_rows;  ///< query rows a threadgroup of the shader takes
};

const char *run_flash_attn_prefill(const PrefillKernel &kernel, const sm_dispatch &dispatch);

/// The slots of every prefill kernel, and their function constants.
extern const sm_argument prefill_arguments[];
extern const uint32_t prefill_argument_count;
extern const sm_constant_info prefill_constants[];
extern const uint32_t prefill_constant_count;

enum { PREFILL_THREADS = 128 };

}  // namespace fa

#endif
