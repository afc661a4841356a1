// Reads one position back from a quantised KV cache of version 1; one simdgroup per vector. The vectors stay rotated.
// docs/codec.md has the formats.

#include <metal_stdlib>

#pragma METAL fp math_mode(safe)

#include "flash_attn_params.h"
#include "kv_codec.h"
#include "kv_codec_v1.h"
#include "unroll.h"

using namespace metal;

template <int F, int D>
inline void dequantize(device const uchar *packed, float scale, long row, device float *out, ushort lane) {
  constexpr int E = D / 32;
  constexpr int bits = fa::kv_codec<F>::packed;
  uint codes[E];
  fa::load_codes<bits>(packed + row * fa::packed_bytes<D>(bits), codes, lane);
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    // A byte may hold more bits than a code has.
    out[lane * E + i] = fa::kv_codec<F>::centroid(codes[i] & ((1u << fa::kv_codec<F>::bits) - 1)) * scale;
  }
}

template <int D>
[[kernel, max_total_threads_per_threadgroup(32)]] void tq_dequantize_kv(
    device const uchar *packed [[buffer(0)]],                   // [Hkv, cap, D / 2]
    device const float *norms [[buffer(1)]],                    // [Hkv, cap], or [Hkv, cap, 2] for D 512
    device float *out [[buffer(2)]],                            // [Hkv, D]
    constant fa_tq_dequantize_kv_params &params [[buffer(3)]],  //
    uint head [[threadgroup_position_in_grid]], ushort lane [[thread_index_in_simdgroup]]) {
  if (head >= params.num_kv_heads || params.read_pos >= params.cache_capacity) {
    return;
  }
  const long row = long(head) * params.cache_capacity + params.read_pos;
  const float scale = fa::scale_v1<D>(norms + row * params.norms_per_pos, params.scale_factor_d512, lane);
  dequantize<FA_KV_TQ4_V1, D>(packed, scale, row, out + long(head) * D, lane);
}

template <int D>
[[kernel, max_total_threads_per_threadgroup(32)]] void tq_dequantize_hb_kv(
    device const uchar *packed [[buffer(0)]],                      // [Hkv, cap, D]
    device const float *norms [[buffer(1)]],                       // [Hkv, cap], or [Hkv, cap, 2] for D 512
    device float *out [[buffer(2)]],                               // [Hkv, D]
    constant fa_tq_dequantize_hb_kv_params &params [[buffer(3)]],  //
    uint head [[threadgroup_position_in_grid]], ushort lane [[thread_index_in_simdgroup]]) {
  if (head >= params.num_kv_heads || params.read_pos >= params.cache_capacity) {
    return;
  }
  const long row = long(head) * params.cache_capacity + params.read_pos;
  const float scale = fa::scale_v1<D>(norms + row * params.norms_per_pos, params.scale_factor_d512, lane);
  device float *to = out + long(head) * D;
  if (params.codebook_bits == 5) {
    dequantize<FA_KV_TQ_HB5, D>(packed, scale, row, to, lane);
  } else if (params.codebook_bits == 6) {
    dequantize<FA_KV_TQ_HB6, D>(packed, scale, row, to, lane);
  } else {
    dequantize<FA_KV_TQ_HB8, D>(packed, scale, row, to, lane);
  }
}

template [[host_name("tq_dequantize_kv_d64")]] kernel decltype(tq_dequantize_kv<64>) tq_dequantize_kv<64>;
template [[host_name("tq_dequantize_kv_d128")]] kernel decltype(tq_dequantize_kv<128>) tq_dequantize_kv<128>;
template [[host_name("tq_dequantize_kv_d256")]] kernel decltype(tq_dequantize_kv<256>) tq_dequantize_kv<256>;
template [[host_name("tq_dequantize_kv_d512")]] kernel decltype(tq_dequantize_kv<512>) tq_dequantize_kv<512>;
template [[host_name("tq_dequantize_hb_kv_d64")]] kernel decltype(tq_dequantize_hb_kv<64>) tq_dequantize_hb_kv<64>;
template [[host_name("tq_dequantize_hb_kv_d128")]] kernel decltype(tq_dequantize_hb_kv<128>) tq_dequantize_hb_kv<128>;
template [[host_name("tq_dequantize_hb_kv_d256")]] kernel decltype(tq_dequantize_hb_kv<256>) tq_dequantize_hb_kv<256>;
template [[host_name("tq_dequantize_hb_kv_d512")]] kernel decltype(tq_dequantize_hb_kv<512>) tq_dequantize_hb_kv<512>;
