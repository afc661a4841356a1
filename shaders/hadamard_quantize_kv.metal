// Appends float tokens to a quantised KV cache of version 1; one simdgroup per vector. docs/codec.md has the formats.

#include <metal_stdlib>

// NaN and infinity in a vector must be noticed.
#pragma METAL fp math_mode(safe)

#include "flash_attn_params.h"
#include "fwht.h"
#include "kv_codec.h"
#include "kv_codec_v1.h"
#include "unroll.h"

using namespace metal;

constant bool has_rms [[function_constant(56)]];  // slot 4 is bound; may be left undefined
constant bool probe = is_function_constant_defined(has_rms) ? has_rms : false;

/// Where a vector comes from and goes to.
struct place {
  long from;  // number of the vector in src
  long row;   // in the cache
  bool kept;
};

/// A sequence has its tokens in y. Heads and slots that are not there are not kept, whatever the grid.
template <bool SEQUENCE, typename P>
inline place place_of(constant P &params, uint3 group, uint n_tokens) {
  const uint token = SEQUENCE ? group.y : 0;
  ulong slot = ulong(params.write_pos) + token;
  bool kept = group.x < params.num_kv_heads && params.cache_capacity != 0;
  if (kept && params.is_sliding != 0) {
    // Of tokens that share a slot the last one stays; two writers would race.
    kept = ulong(token) + params.cache_capacity >= (SEQUENCE ? n_tokens : 1);
    slot %= params.cache_capacity;
  }
  kept = kept && slot < params.cache_capacity;
  return {long(token) * params.num_kv_heads + group.x, long(group.x) * params.cache_capacity + long(slot), kept};
}

template <int E>
inline void load_row(device const float *src, long row, thread float (&x)[E], ushort lane) {
  device const float *from = src + row * (E * 32) + lane * E;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    x[i] = from[i];
  }
}

/// Looks up and writes a normalised vector.
template <int F, int E>
inline void quantise(thread const float (&y)[E], device uchar *packed, long row, ushort lane) {
  uint codes[E];
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    codes[i] = fa::nearest_code<F>(y[i]);
  }
  constexpr int bits = fa::kv_codec<F>::packed;
  fa::store_codes<bits>(packed + row * fa::packed_bytes<E * 32>(bits), codes, lane);
}

template <int D, bool SEQUENCE>
[[kernel, max_total_threads_per_threadgroup(32)]] void hadamard_quantize_kv_fast(
    device const float *src [[buffer(0)]],                              // [n, Hkv, D]
    device uchar *packed [[buffer(1)]],                                 // [Hkv, cap, D / 2]
    device float *norms [[buffer(2)]],                                  // [Hkv, cap], or [Hkv, cap, 2] for D 512
    constant fa_hadamard_quantize_kv_params &params [[buffer(3)]],      //
    device float *rms_scratch [[buffer(4), function_constant(probe)]],  // [n, Hkv, D]
    uint3 group [[threadgroup_position_in_grid]],                       // kv head, token
    uint3 groups [[threadgroups_per_grid]], ushort lane [[thread_index_in_simdgroup]]) {
  const place at = place_of<SEQUENCE>(params, group, groups.y);
  if (!at.kept) {
    return;
  }
  float x[D / 32];
  load_row(src, at.from, x, lane);
  fa::rotate(x, fa_default_signs, lane);
  fa::normalise_v1(x, norms, at.row, params.scale_factor_d512, lane);
  if (probe && params.rms_probe_enabled != 0) {
    FA_UNROLL
    for (int i = 0; i < D / 32; i++) {
      rms_scratch[at.from * D + lane * (D / 32) + i] = x[i];
    }
  }
  quantise<FA_KV_TQ4_V1>(x, packed, at.row, lane);
}

template <int D, bool SEQUENCE>
[[kernel, max_total_threads_per_threadgroup(32)]] void hadamard_quantize_kv_hb(
    device const float *src [[buffer(0)]],                             // [n, Hkv, D]
    device uchar *packed [[buffer(1)]],                                // [Hkv, cap, D]
    device float *norms [[buffer(2)]],                                 // [Hkv, cap], or [Hkv, cap, 2] for D 512
    constant fa_hadamard_quantize_kv_hb_params &params [[buffer(3)]],  //
    uint3 group [[threadgroup_position_in_grid]],                      // kv head, token
    uint3 groups [[threadgroups_per_grid]], ushort lane [[thread_index_in_simdgroup]]) {
  const place at = place_of<SEQUENCE>(params, group, groups.y);
  if (!at.kept) {
    return;
  }
  float x[D / 32];
  load_row(src, at.from, x, lane);
  fa::rotate(x, fa_default_signs, lane);
  fa::normalise_v1(x, norms, at.row, params.scale_factor_d512, lane);
  if (params.codebook_bits == 5) {
    quantise<FA_KV_TQ_HB5>(x, packed, at.row, lane);
  } else if (params.codebook_bits == 6) {
    quantise<FA_KV_TQ_HB6>(x, packed, at.row, lane);
  } else {
    quantise<FA_KV_TQ_HB8>(x, packed, at.row, lane);
  }
}

template [[host_name("hadamard_quantize_kv_fast_d64")]] kernel decltype(hadamard_quantize_kv_fast<64, false>)
    hadamard_quantize_kv_fast<64, false>;
template [[host_name("hadamard_quantize_kv_fast_d128")]] kernel decltype(hadamard_quantize_kv_fast<128, false>)
    hadamard_quantize_kv_fast<128, false>;
template [[host_name("hadamard_quantize_kv_fast_d256")]] kernel decltype(hadamard_quantize_kv_fast<256, false>)
    hadamard_quantize_kv_fast<256, false>;
template [[host_name("hadamard_quantize_kv_fast_d512")]] kernel decltype(hadamard_quantize_kv_fast<512, false>)
    hadamard_quantize_kv_fast<512, false>;
template [[host_name("hadamard_quantize_kv_fast_seq_d64")]] kernel decltype(hadamard_quantize_kv_fast<64, true>)
    hadamard_quantize_kv_fast<64, true>;
template [[host_name("hadamard_quantize_kv_fast_seq_d128")]] kernel decltype(hadamard_quantize_kv_fast<128, true>)
    hadamard_quantize_kv_fast<128, true>;
template [[host_name("hadamard_quantize_kv_fast_seq_d256")]] kernel decltype(hadamard_quantize_kv_fast<256, true>)
    hadamard_quantize_kv_fast<256, true>;
template [[host_name("hadamard_quantize_kv_fast_seq_d512")]] kernel decltype(hadamard_quantize_kv_fast<512, true>)
    hadamard_quantize_kv_fast<512, true>;
template [[host_name("hadamard_quantize_kv_hb_d64")]] kernel decltype(hadamard_quantize_kv_hb<64, false>)
    hadamard_quantize_kv_hb<64, false>;
template [[host_name("hadamard_quantize_kv_hb_d128")]] kernel decltype(hadamard_quantize_kv_hb<128, false>)
    hadamard_quantize_kv_hb<128, false>;
template [[host_name("hadamard_quantize_kv_hb_d256")]] kernel decltype(hadamard_quantize_kv_hb<256, false>)
    hadamard_quantize_kv_hb<256, false>;
template [[host_name("hadamard_quantize_kv_hb_d512")]] kernel decltype(hadamard_quantize_kv_hb<512, false>)
    hadamard_quantize_kv_hb<512, false>;
template [[host_name("hadamard_quantize_kv_hb_seq_d64")]] kernel decltype(hadamard_quantize_kv_hb<64, true>)
    hadamard_quantize_kv_hb<64, true>;
template [[host_name("hadamard_quantize_kv_hb_seq_d128")]] kernel decltype(hadamard_quantize_kv_hb<128, true>)
    hadamard_quantize_kv_hb<128, true>;
template [[host_name("hadamard_quantize_kv_hb_seq_d256")]] kernel decltype(hadamard_quantize_kv_hb<256, true>)
    hadamard_quantize_kv_hb<256, true>;
template [[host_name("hadamard_quantize_kv_hb_seq_d512")]] kernel decltype(hadamard_quantize_kv_hb<512, true>)
    hadamard_quantize_kv_hb<512, true>;
