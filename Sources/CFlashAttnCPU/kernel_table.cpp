#include "flash_attn_cpu.h"
#include "flash_attn_prefill.h"

namespace fa {
namespace {

/// The entry point of a kernel: a dispatch carries no pointer to the table row it runs for.
template <const PrefillKernel &kernel>
const char *run(const sm_dispatch *dispatch) {
  return run_flash_attn_prefill(kernel, *dispatch);
}

#define FA_PREFILL(DTYPE, D, MASK, SUFFIX, BQ, BK)                                                                    \
  constexpr PrefillKernel prefill_##DTYPE##_##D##_##MASK = {"flash_attn_prefill_" #DTYPE "_d" #D SUFFIX, Elem::DTYPE, \
                                                            D, Mask::MASK, BQ};
#include "cpu_kernels.def"

/// The shader's threadgroup memory: a tile of K and one of V, their rows padded by 16 bytes.
constexpr uint32_t prefill_tile_bytes(Elem elem, int head_dim, int keys) {
  return uint32_t(2 * keys * (head_dim * elem_bytes(elem) + 16));
}

const sm_native_kernel kernels[] = {
#define FA_PREFILL(DTYPE, D, MASK, SUFFIX, BQ, BK) \
  {prefill_##DTYPE##_##D##_##MASK.name,            \
   run<prefill_##DTYPE##_##D##_##MASK>,            \
   prefill_arguments,                              \
   prefill_argument_count,                         \
   prefill_constants,                              \
   prefill_constant_count,                         \
   PREFILL_THREADS,                                \
   prefill_tile_bytes(Elem::DTYPE, D, BK)},
#include "cpu_kernels.def"
};

}  // namespace
}  // namespace fa

extern "C" const sm_native_kernel *fa_cpu_kernels(uint32_t *count) {
  *count = sizeof fa::kernels / sizeof fa::kernels[0];
  return fa::kernels;
}
