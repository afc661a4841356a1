// Attention of single queries over a cache of 4-bit codes. Q comes rotated and O leaves rotated.
// docs/kernels/flash_attn_vec.md describes the family.

#include <metal_stdlib>

// A row without keys is told by its sum, and missing keys by infinities, whatever options the library is compiled with.
#pragma METAL fp math_mode(safe)

#include "codebook.h"
#include "decode_vec.h"
#include "flash_attn_params.h"

using namespace metal;

template <int D>
[[kernel, max_total_threads_per_threadgroup(128)]] void flash_attn_vec_tq(
    constant fa_vec_tq_params &params [[buffer(0)]],
    device const float *Q [[buffer(1)]],        // [B, H, q_len, D], rotated
    device const uchar *K [[buffer(2)]],        // [B, Hkv, capacity, D / 2]
    device const float *K_norms [[buffer(3)]],  // [B, Hkv, capacity], for D = 512 [B, Hkv, capacity, 2]
    device const uchar *V [[buffer(4)]], device const float *V_norms [[buffer(5)]],
    device float *dst [[buffer(6)]],            // rotated: partial results, or, if nwg is 1, [B, H, q_len, D]
    constant fa_decode_batch &batch [[buffer(7), function_constant(batched)]],
    device const uint *kv_lens [[buffer(8), function_constant(batched)]],      // [B]
    device const uint *ring_starts [[buffer(9), function_constant(batched)]],  // [B]
    device const float *sinks [[buffer(10), function_constant(with_sinks)]],   // [H]
    device float *LSE [[buffer(11), function_constant(write_lse)]],            // [B, H, q_len], if nwg is 1
    threadgroup float *memory [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
    ushort simdgroup [[simdgroup_index_in_threadgroup]], ushort simdgroups [[simdgroups_per_threadgroup]],
    ushort lane [[thread_index_in_simdgroup]]) {
  typedef fa::nibble_rows<D> rows;
  fa::stage_table<16>(fa_tq4_v1_centroids, memory, simdgroup * 32 + lane, simdgroups * 32);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  rows keys;
  keys.codes = K;
  keys.norms = K_norms;
  keys.table = memory;
  keys.scale_factor = params.scale_factor_d512;
  rows values = keys;
  values.codes = V;
  values.norms = V_norms;
  const fa::decode_problem problem = {params.heads,      params.kv_heads,  params.kv_len, params.capacity,
                                      params.ring_start, params.mask_type, params.window, params.nwg,
                                      params.scale,      params.softcap};
  const fa::decode_options options = {batched ? &batch : nullptr, batched ? kv_lens : nullptr,
                                      batched ? ring_starts : nullptr, with_sinks ? sinks : nullptr,
                                      write_lse ? LSE : nullptr};
  fa::decode_vec<rows> vec;
  vec.locate(problem, options, group, simdgroup, simdgroups, lane);
  vec.load_query(Q);
  vec.round_query();
  vec.attend(keys, values);
  vec.finish(dst, options, memory);
}

template [[host_name("flash_attn_vec_tq_dk64")]] kernel decltype(flash_attn_vec_tq<64>) flash_attn_vec_tq<64>;
template [[host_name("flash_attn_vec_tq_dk128")]] kernel decltype(flash_attn_vec_tq<128>) flash_attn_vec_tq<128>;
template [[host_name("flash_attn_vec_tq_dk256")]] kernel decltype(flash_attn_vec_tq<256>) flash_attn_vec_tq<256>;
template [[host_name("flash_attn_vec_tq_dk512")]] kernel decltype(flash_attn_vec_tq<512>) flash_attn_vec_tq<512>;
