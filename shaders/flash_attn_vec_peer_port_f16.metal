// Attention of single queries over a half-precision ring of keys, with the parameters and the two fixed splits of the
// peer port: 1 work-group, or 32 and a merging pass. docs/kernels/flash_attn_vec.md describes the family.

#include <metal_stdlib>

// A row without keys is told by its sum, and missing keys by infinities, whatever options the library is compiled with.
#pragma METAL fp math_mode(safe)

#include "decode_merge.h"
#include "decode_vec.h"
#include "flash_attn_params.h"

using namespace metal;

template <int D, int NWG>
[[kernel, max_total_threads_per_threadgroup(128)]] void flash_attn_vec_peer_port_f16(
    constant fa_vec_peer_port_params &params [[buffer(0)]],
    device const float *Q [[buffer(1)]],  // [B, H, q_len, D]
    device const half *K [[buffer(2)]],   // [B, Hkv, capacity, D]
    device const half *V [[buffer(3)]],   // [B, Hkv, capacity, D]
    device float *dst [[buffer(4)]],      // partial results, or, if NWG is 1, [B, H, q_len, D]
    constant fa_decode_batch &batch [[buffer(7), function_constant(batched)]],
    device const uint *kv_lens [[buffer(8), function_constant(batched)]],      // [B]
    device const uint *ring_starts [[buffer(9), function_constant(batched)]],  // [B]
    device const float *sinks [[buffer(10), function_constant(with_sinks)]],   // [H]
    device float *LSE [[buffer(11), function_constant(write_lse)]],            // [B, H, q_len], if nwg is 1
    threadgroup float *memory [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
    ushort simdgroup [[simdgroup_index_in_threadgroup]], ushort simdgroups [[simdgroups_per_threadgroup]],
    ushort lane [[thread_index_in_simdgroup]]) {
  const fa::decode_problem problem = {
      params.heads,     params.kv_heads, params.kv_len, params.capacity, params.ring_start,
      params.mask_type, params.window,   NWG,           params.scale,    0.0f};
  const fa::decode_options options = {batched ? &batch : nullptr, batched ? kv_lens : nullptr,
                                      batched ? ring_starts : nullptr, with_sinks ? sinks : nullptr,
                                      write_lse ? LSE : nullptr};
  fa::decode_vec<fa::dense_rows<half, D>> vec;
  vec.locate(problem, options, group, simdgroup, simdgroups, lane);
  vec.load_query(Q);
  vec.round_query();
  vec.attend({K}, {V});
  vec.finish(dst, options, memory);
}

template <int D>
[[kernel, max_total_threads_per_threadgroup(1024)]] void flash_attn_vec_peer_port_f16_reduce(
    constant fa_vec_reduce_params &params [[buffer(0)]],
    device const float *tmp [[buffer(1)]],  // partial results
    device float *dst [[buffer(2)]],        // [B, H, q_len, D]
    device float *LSE [[buffer(4), function_constant(write_lse)]],  // [B, H, q_len]
    constant fa_decode_batch &batch [[buffer(7), function_constant(batched)]],
    uint row [[threadgroup_position_in_grid]], ushort simdgroup [[simdgroup_index_in_threadgroup]],
    ushort simdgroups [[simdgroups_per_threadgroup]], ushort lane [[thread_index_in_simdgroup]]) {
  const fa::decode_options options = {batched ? &batch : nullptr, nullptr, nullptr, nullptr, write_lse ? LSE : nullptr};
  fa::decode_merge<D> merge;
  merge.locate(tmp, row, params.nrows, 32, options, simdgroup, lane);
  merge.write(dst, simdgroup, simdgroups, lane);
}

template [[host_name("flash_attn_vec_peer_port_f16_dk64_dv64")]] kernel decltype(flash_attn_vec_peer_port_f16<64, 1>)
    flash_attn_vec_peer_port_f16<64, 1>;
template [[host_name("flash_attn_vec_peer_port_f16_dk128_dv128")]] kernel decltype(flash_attn_vec_peer_port_f16<128, 1>)
    flash_attn_vec_peer_port_f16<128, 1>;
template [[host_name("flash_attn_vec_peer_port_f16_dk256_dv256")]] kernel decltype(flash_attn_vec_peer_port_f16<256, 1>)
    flash_attn_vec_peer_port_f16<256, 1>;
template [[host_name("flash_attn_vec_peer_port_f16_dk512_dv512")]] kernel decltype(flash_attn_vec_peer_port_f16<512, 1>)
    flash_attn_vec_peer_port_f16<512, 1>;
template
    [[host_name("flash_attn_vec_peer_port_f16_nwg32_dk64_dv64")]] kernel decltype(flash_attn_vec_peer_port_f16<64, 32>)
        flash_attn_vec_peer_port_f16<64, 32>;
template [[host_name(
    "flash_attn_vec_peer_port_f16_nwg32_dk128_dv128")]] kernel decltype(flash_attn_vec_peer_port_f16<128, 32>)
    flash_attn_vec_peer_port_f16<128, 32>;
template [[host_name(
    "flash_attn_vec_peer_port_f16_nwg32_dk256_dv256")]] kernel decltype(flash_attn_vec_peer_port_f16<256, 32>)
    flash_attn_vec_peer_port_f16<256, 32>;
template [[host_name(
    "flash_attn_vec_peer_port_f16_nwg32_dk512_dv512")]] kernel decltype(flash_attn_vec_peer_port_f16<512, 32>)
    flash_attn_vec_peer_port_f16<512, 32>;
template [[host_name(
    "flash_attn_vec_peer_port_f16_reduce_dv64_nwg32")]] kernel decltype(flash_attn_vec_peer_port_f16_reduce<64>)
    flash_attn_vec_peer_port_f16_reduce<64>;
template [[host_name(
    "flash_attn_vec_peer_port_f16_reduce_dv128_nwg32")]] kernel decltype(flash_attn_vec_peer_port_f16_reduce<128>)
    flash_attn_vec_peer_port_f16_reduce<128>;
template [[host_name(
    "flash_attn_vec_peer_port_f16_reduce_dv256_nwg32")]] kernel decltype(flash_attn_vec_peer_port_f16_reduce<256>)
    flash_attn_vec_peer_port_f16_reduce<256>;
template [[host_name(
    "flash_attn_vec_peer_port_f16_reduce_dv512_nwg32")]] kernel decltype(flash_attn_vec_peer_port_f16_reduce<512>)
    flash_attn_vec_peer_port_f16_reduce<512>;
