// Attention of single queries over a dense K/V cache: O = softmax(scale * q K^T) V, one query and head per threadgroup.
// docs/kernels/flash_attn_vec.md describes the family.

#include <metal_stdlib>

// A row without keys is told by its sum, and missing keys by infinities, whatever options the library is compiled with.
#pragma METAL fp math_mode(safe)

#include "decode_vec.h"
#include "flash_attn_params.h"

using namespace metal;

template <typename T, int D>
[[kernel, max_total_threads_per_threadgroup(128)]] void flash_attn_vec(
    constant fa_vec_params &params [[buffer(0)]],
    device const float *Q [[buffer(1)]],  // [B, H, q_len, D]
    device const T *K [[buffer(2)]],  // [B, Hkv, capacity, D]
    device const T *V [[buffer(3)]],  // [B, Hkv, capacity, D]
    device float *dst [[buffer(4)]],  // partial results, or, if nwg is 1, [B, H, q_len, D]
    constant fa_decode_batch &batch [[buffer(7), function_constant(batched)]],
    device const uint *kv_lens [[buffer(8), function_constant(batched)]],  // [B]
    device const uint *ring_starts [[buffer(9), function_constant(batched)]],  // [B]
    device const float *sinks [[buffer(10), function_constant(with_sinks)]],  // [H]
    device float *LSE [[buffer(11), function_constant(write_lse)]],  // [B, H, q_len], if nwg is 1
    threadgroup float *memory [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
    ushort simdgroup [[simdgroup_index_in_threadgroup]], ushort simdgroups [[simdgroups_per_threadgroup]],
    ushort lane [[thread_index_in_simdgroup]]) {
  const fa::decode_problem problem = {
      params.heads,     params.kv_heads, params.kv_len, params.capacity, 0,
      params.mask_type, params.window,   params.nwg,    params.scale,    params.softcap};
  const fa::decode_options options = {batched ? &batch : nullptr, batched ? kv_lens : nullptr,
                                      batched ? ring_starts : nullptr, with_sinks ? sinks : nullptr,
                                      write_lse ? LSE : nullptr};
  fa::decode_vec<fa::dense_rows<T, D>> vec;
  vec.locate(problem, options, group, simdgroup, simdgroups, lane);
  vec.load_query(Q);
  vec.attend({K}, {V});
  vec.finish(dst, options, memory);
}

template [[host_name("flash_attn_vec_dk64")]] kernel decltype(flash_attn_vec<float, 64>) flash_attn_vec<float, 64>;
template [[host_name("flash_attn_vec_dk128")]] kernel decltype(flash_attn_vec<float, 128>) flash_attn_vec<float, 128>;
template [[host_name("flash_attn_vec_dk256")]] kernel decltype(flash_attn_vec<float, 256>) flash_attn_vec<float, 256>;
template [[host_name("flash_attn_vec_dk512")]] kernel decltype(flash_attn_vec<float, 512>) flash_attn_vec<float, 512>;
template [[host_name("flash_attn_vec_f16kv_dk64")]] kernel decltype(flash_attn_vec<half, 64>) flash_attn_vec<half, 64>;
template
    [[host_name("flash_attn_vec_f16kv_dk128")]] kernel decltype(flash_attn_vec<half, 128>) flash_attn_vec<half, 128>;
template
    [[host_name("flash_attn_vec_f16kv_dk256")]] kernel decltype(flash_attn_vec<half, 256>) flash_attn_vec<half, 256>;
template
    [[host_name("flash_attn_vec_f16kv_dk512")]] kernel decltype(flash_attn_vec<half, 512>) flash_attn_vec<half, 512>;
template
    [[host_name("flash_attn_vec_bf16kv_dk64")]] kernel decltype(flash_attn_vec<bfloat, 64>) flash_attn_vec<bfloat, 64>;
template [[host_name(
    "flash_attn_vec_bf16kv_dk128")]] kernel decltype(flash_attn_vec<bfloat, 128>) flash_attn_vec<bfloat, 128>;
template [[host_name(
    "flash_attn_vec_bf16kv_dk256")]] kernel decltype(flash_attn_vec<bfloat, 256>) flash_attn_vec<bfloat, 256>;
template [[host_name(
    "flash_attn_vec_bf16kv_dk512")]] kernel decltype(flash_attn_vec<bfloat, 512>) flash_attn_vec<bfloat, 512>;
