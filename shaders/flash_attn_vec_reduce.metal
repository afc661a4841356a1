// The second pass of a split decode: merges the work-groups' partial results of a row, and, for a rotated V, takes the
// rotation out of the output. docs/kernels/flash_attn_vec.md describes the family.

#include <metal_stdlib>

// A row without keys is told by its sum, and missing keys by infinities, whatever options the library is compiled with.
#pragma METAL fp math_mode(safe)

#include "decode_merge.h"
#include "flash_attn_params.h"
#include "fwht.h"

using namespace metal;

constant bool has_signs [[function_constant(55)]];  // slot 12 is bound; may be left undefined
constant bool own_signs = is_function_constant_defined(has_signs) ? has_signs : false;

template <int D>
[[kernel, max_total_threads_per_threadgroup(1024)]] void flash_attn_vec_reduce(
    constant fa_vec_reduce_params &params [[buffer(0)]],
    device const float *tmp [[buffer(1)]],  // partial results
    device float *dst [[buffer(2)]],        // [B, H, q_len, D]
    constant uint &nwg [[buffer(3)]], device float *LSE [[buffer(4), function_constant(write_lse)]],  // [B, H, q_len]
    constant fa_decode_batch &batch [[buffer(7), function_constant(batched)]],
    uint row [[threadgroup_position_in_grid]], ushort simdgroup [[simdgroup_index_in_threadgroup]],
    ushort simdgroups [[simdgroups_per_threadgroup]], ushort lane [[thread_index_in_simdgroup]]) {
  const fa::decode_options options = {batched ? &batch : nullptr, nullptr, nullptr, nullptr, write_lse ? LSE : nullptr};
  fa::decode_merge<D> merge;
  merge.locate(tmp, row, params.nrows, nwg, options, simdgroup, lane);
  merge.write(dst, simdgroup, simdgroups, lane);
}

template <int D>
[[kernel, max_total_threads_per_threadgroup(1024)]] void flash_attn_vec_reduce_tq_hb_undo(
    constant fa_vec_reduce_params &params [[buffer(0)]],
    device const float *tmp [[buffer(1)]],  // partial results
    device float *dst [[buffer(2)]],  // [B, H, q_len, D]
    constant uint &nwg [[buffer(3)]], device float *LSE [[buffer(4), function_constant(write_lse)]],  // [B, H, q_len]
    constant fa_decode_batch &batch [[buffer(7), function_constant(batched)]],
    constant uchar *signs [[buffer(12), function_constant(own_signs)]],  // [D / 8]
    threadgroup float *memory [[threadgroup(0)]], uint row [[threadgroup_position_in_grid]],
    ushort simdgroup [[simdgroup_index_in_threadgroup]], ushort simdgroups [[simdgroups_per_threadgroup]],
    ushort lane [[thread_index_in_simdgroup]]) {
  const fa::decode_options options = {batched ? &batch : nullptr, nullptr, nullptr, nullptr, write_lse ? LSE : nullptr};
  fa::decode_merge<D> merge;
  merge.locate(tmp, row, params.nrows, nwg, options, simdgroup, lane);
  for (uint quad = simdgroup; quad < D / 4; quad += simdgroups) {
    const float4 v = merge.merged(quad, lane);
    if (lane < 4) {
      memory[quad * 4 + lane] = v[lane];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simdgroup > 0) {
    return;
  }
  constexpr int count = D / 32;
  float x[count];
  FA_UNROLL
  for (int e = 0; e < count; e++) {
    x[e] = memory[lane * count + e];
  }
  fa::unrotate(x, own_signs ? signs : fa_default_signs, lane);
  FA_UNROLL
  for (int e = 0; e < count; e++) {
    dst[merge.query * D + lane * count + e] = x[e];
  }
}

template
    [[host_name("flash_attn_vec_reduce_dk64")]] kernel decltype(flash_attn_vec_reduce<64>) flash_attn_vec_reduce<64>;
template
    [[host_name("flash_attn_vec_reduce_dk128")]] kernel decltype(flash_attn_vec_reduce<128>) flash_attn_vec_reduce<128>;
template
    [[host_name("flash_attn_vec_reduce_dk256")]] kernel decltype(flash_attn_vec_reduce<256>) flash_attn_vec_reduce<256>;
template
    [[host_name("flash_attn_vec_reduce_dk512")]] kernel decltype(flash_attn_vec_reduce<512>) flash_attn_vec_reduce<512>;
template [[host_name("flash_attn_vec_reduce_tq_hb_undo_dk64")]] kernel decltype(flash_attn_vec_reduce_tq_hb_undo<64>)
    flash_attn_vec_reduce_tq_hb_undo<64>;
template [[host_name("flash_attn_vec_reduce_tq_hb_undo_dk128")]] kernel decltype(flash_attn_vec_reduce_tq_hb_undo<128>)
    flash_attn_vec_reduce_tq_hb_undo<128>;
template [[host_name("flash_attn_vec_reduce_tq_hb_undo_dk256")]] kernel decltype(flash_attn_vec_reduce_tq_hb_undo<256>)
    flash_attn_vec_reduce_tq_hb_undo<256>;
template [[host_name("flash_attn_vec_reduce_tq_hb_undo_dk512")]] kernel decltype(flash_attn_vec_reduce_tq_hb_undo<512>)
    flash_attn_vec_reduce_tq_hb_undo<512>;
