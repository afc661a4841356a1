#include "flash_attn_cpu.h"
#include "flash_attn_prefill.h"

namespace fa {
namespace {

/// The entry point of a kernel: a dispatch carries no pointer to the table row it runs for.
template <typename Kernel, const Kernel &kernel, const char *(*body)(const Kernel &, const sm_dispatch &)>
const char *run(const sm_dispatch *dispatch) {
  return body(kernel, *dispatch);
}

/// Simdgroups in a threadgroup of a shader with tiles of so many rows.
constexpr int simdgroups(int tile_rows) { return tile_rows / 8; }

#define FA_PREFILL(DTYPE, D, MASK, SUFFIX, BQ, BK)           \
  constexpr PrefillKernel prefill_##DTYPE##_##D##_##MASK = { \
      "flash_attn_prefill_" #DTYPE "_d" #D SUFFIX, Elem::DTYPE, D, Mask::MASK, BQ, BK, simdgroups(BQ)};
#define FA_PREFILL_D512(DTYPE, MASK, SUFFIX)                \
  constexpr PrefillKernel prefill_d512_##DTYPE##_##MASK = { \
      "flash_attn_prefill_llamacpp_" #DTYPE "_d512" SUFFIX, Elem::DTYPE, 512, Mask::MASK, 8, 64, 0};
#define FA_BLK(DTYPE, SUFFIX) constexpr MaskKernel blk_##DTYPE = {"flash_attn_prefill_blk_" SUFFIX, Elem::DTYPE};
#define FA_MASK_FILL(DTYPE, SUFFIX) \
  constexpr MaskKernel mask_fill_##DTYPE = {"flash_attn_prefill_mask_fill_" SUFFIX, Elem::DTYPE};
#include "cpu_kernels.def"

/// The shader's threadgroup memory: a tile of K and one of V, their rows padded by 16 bytes. A lone simdgroup shares no
/// tiles and keeps its output there instead.
constexpr uint32_t prefill_tile_bytes(Elem elem, int head_dim, int rows, int keys) {
  return simdgroups(rows) == 1 ? uint32_t(rows * head_dim * 4)
                               : uint32_t(2 * keys * (head_dim * elem_bytes(elem) + 16));
}

template <typename Kernel, const Kernel &kernel, const char *(*body)(const Kernel &, const sm_dispatch &)>
sm_native_kernel row(const Signature &signature, uint32_t max_threads, uint32_t threadgroup_bytes) {
  return {kernel.name,         run<Kernel, kernel, body>, signature.arguments, signature.argument_count,
          signature.constants, signature.constant_count,  max_threads,         threadgroup_bytes};
}

const sm_native_kernel kernels[] = {
#define FA_PREFILL(DTYPE, D, MASK, SUFFIX, BQ, BK)                                                        \
  row<PrefillKernel, prefill_##DTYPE##_##D##_##MASK, run_prefill>(prefill_signature, simdgroups(BQ) * 32, \
                                                                  prefill_tile_bytes(Elem::DTYPE, D, BQ, BK)),
#define FA_PREFILL_D512(DTYPE, MASK, SUFFIX) \
  row<PrefillKernel, prefill_d512_##DTYPE##_##MASK, run_prefill>(prefill_d512_signature, 256, 0),
#define FA_BLK(DTYPE, SUFFIX) row<MaskKernel, blk_##DTYPE, run_blk>(blk_signature, 32, 0),
#define FA_MASK_FILL(DTYPE, SUFFIX) row<MaskKernel, mask_fill_##DTYPE, run_mask_fill>(mask_fill_signature, 256, 0),
#include "cpu_kernels.def"
};

}  // namespace
}  // namespace fa

extern "C" const sm_native_kernel *fa_cpu_kernels(uint32_t *count) {
  *count = sizeof fa::kernels / sizeof fa::kernels[0];
  return fa::kernels;
}
