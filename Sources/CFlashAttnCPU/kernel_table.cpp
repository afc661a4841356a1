#include "flash_attn_cpu.h"
#include "flash_attn_decode.h"
#include "flash_attn_params.h"
#include "flash_attn_prefill.h"
#include "flash_attn_vec.h"
#include "kv_codec.h"

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
#define FA_FWHT(D, NAME, FLIP) constexpr FwhtKernel NAME##_##D = {#NAME "_f32_d" #D, D, Flip::FLIP};
#define FA_HADAMARD(D, NAME, NIBBLES, SEQUENCE) \
  constexpr HadamardKernel hadamard_##NAME##_##D = {"hadamard_quantize_kv_" #NAME "_d" #D, D, NIBBLES, SEQUENCE};
#define FA_TQ_DEQUANTIZE(D, NAME, NIBBLES) constexpr TqDequantizeKernel NAME##_##D = {#NAME "_d" #D, D, NIBBLES};
#define FA_KV(DTYPE, D)                                                                       \
  constexpr KvKernel kv_encode_##DTYPE##_##D = {"kv_encode_" #DTYPE "_d" #D, Elem::DTYPE, D}; \
  constexpr KvKernel kv_decode_##DTYPE##_##D = {"kv_decode_" #DTYPE "_d" #D, Elem::DTYPE, D};
#define FA_VEC(ROOM, FORMAT, D, NAME) \
  constexpr VecKernel NAME##_##D = {"flash_attn_" #NAME "_dk" #D, VecRoom::ROOM, FORMAT, D, 0};
#define FA_VEC_PEER(D)                                                                                                \
  constexpr VecKernel vec_peer_##D = {"flash_attn_vec_peer_port_f16_dk" #D "_dv" #D, VecRoom::peer, FA_KV_F16, D, 1}; \
  constexpr VecKernel vec_peer_split_##D = {"flash_attn_vec_peer_port_f16_nwg32_dk" #D "_dv" #D, VecRoom::peer,       \
                                            FA_KV_F16, D, 32};                                                        \
  constexpr VecReduceKernel vec_peer_reduce_##D = {"flash_attn_vec_peer_port_f16_reduce_dv" #D "_nwg32", D, false, 32};
#define FA_VEC_REDUCE(D)                                                                   \
  constexpr VecReduceKernel vec_reduce_##D = {"flash_attn_vec_reduce_dk" #D, D, false, 0}; \
  constexpr VecReduceKernel vec_reduce_undo_##D = {"flash_attn_vec_reduce_tq_hb_undo_dk" #D, D, true, 0};
#define FA_DECODE(DTYPE, D)                                                                            \
  constexpr DecodeKernel decode_##DTYPE##_##D = {"flash_attn_decode_" #DTYPE "_d" #D, Elem::DTYPE, D}; \
  constexpr DecodeKernel decode_merge_##DTYPE##_##D = {"flash_attn_decode_merge_" #DTYPE "_d" #D, Elem::DTYPE, D};
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
#define FA_FWHT(D, NAME, FLIP) row<FwhtKernel, NAME##_##D, run_fwht>(fwht_signature, 32, 0),
#define FA_HADAMARD(D, NAME, NIBBLES, SEQUENCE)                                                                       \
  row<HadamardKernel, hadamard_##NAME##_##D, run_hadamard>(NIBBLES ? hadamard_fast_signature : hadamard_hb_signature, \
                                                           32, 0),
#define FA_TQ_DEQUANTIZE(D, NAME, NIBBLES)                \
  row<TqDequantizeKernel, NAME##_##D, run_tq_dequantize>( \
      NIBBLES ? tq_dequantize_signature : tq_dequantize_hb_signature, 32, 0),
#define FA_KV(DTYPE, D)                                                              \
  row<KvKernel, kv_encode_##DTYPE##_##D, run_kv_encode>(kv_encode_signature, 32, 0), \
      row<KvKernel, kv_decode_##DTYPE##_##D, run_kv_decode>(kv_decode_signature, 32, 0),
#define FA_VEC(ROOM, FORMAT, D, NAME) row<VecKernel, NAME##_##D, run_vec>(vec_signatures[int(VecRoom::ROOM)], 128, 0),
#define FA_VEC_PEER(D)                                                                         \
  row<VecKernel, vec_peer_##D, run_vec>(vec_signatures[int(VecRoom::peer)], 128, 0),           \
      row<VecKernel, vec_peer_split_##D, run_vec>(vec_signatures[int(VecRoom::peer)], 128, 0), \
      row<VecReduceKernel, vec_peer_reduce_##D, run_vec_reduce>(vec_peer_reduce_signature, 1024, 0),
#define FA_VEC_REDUCE(D)                                                               \
  row<VecReduceKernel, vec_reduce_##D, run_vec_reduce>(vec_reduce_signature, 1024, 0), \
      row<VecReduceKernel, vec_reduce_undo_##D, run_vec_reduce>(vec_reduce_undo_signature, 1024, 0),
#define FA_DECODE(DTYPE, D)                                                                      \
  row<DecodeKernel, decode_##DTYPE##_##D, run_decode>(decode_signature, D > 128 ? 128 : 256, 0), \
      row<DecodeKernel, decode_merge_##DTYPE##_##D, run_decode_merge>(decode_merge_signature, 256, 7 * D * 4),
#include "cpu_kernels.def"
};

}  // namespace
}  // namespace fa

extern "C" const sm_native_kernel *fa_cpu_kernels(uint32_t *count) {
  *count = sizeof fa::kernels / sizeof fa::kernels[0];
  return fa::kernels;
}
