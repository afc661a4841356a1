// Reads vectors back from a KV cache; one simdgroup per vector. docs/codec.md has the formats.

#include <metal_stdlib>

#pragma METAL fp math_mode(safe)

#include "flash_attn_params.h"
#include "fwht.h"
#include "kv_codec.h"
#include "kv_codec_v1.h"
#include "unroll.h"

using namespace metal;

constant bool has_signs [[function_constant(55)]];  // slot 5 is bound; may be left undefined
constant int format [[function_constant(70)]];      // fa_kv_format
constant bool norms_f16 [[function_constant(72)]];  // norms are half; may be left undefined
constant bool own_signs = is_function_constant_defined(has_signs) ? has_signs : false;
constant bool half_norms = is_function_constant_defined(norms_f16) ? norms_f16 : false;
constant bool quantised = format >= FA_KV_Q8;
constant bool version_1 = format >= FA_KV_TQ4_V1;

template <int F, int E>
inline void decode_table(device const uchar *data, float scale, long row, thread float (&x)[E], ushort lane) {
  constexpr int packed = fa::kv_codec<F>::packed;
  uint codes[E];
  fa::load_codes<packed>(data + row * fa::packed_bytes<E * 32>(packed), codes, lane);
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    // A byte may hold more bits than a code of version 1 has.
    x[i] = fa::kv_codec<F>::centroid(codes[i] & ((1u << fa::kv_codec<F>::bits) - 1)) * scale;
  }
}

template <int E>
inline void decode_linear(device const uchar *data, float scale, long row, thread float (&x)[E], ushort lane) {
  uint codes[E];
  fa::load_codes<8>(data + row * (E * 32), codes, lane);
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    x[i] = float(char(codes[i])) * scale;
  }
}

template <typename S, int E>
inline void load_dense(device const uchar *data, long row, thread float (&x)[E], ushort lane) {
  device const S *from = (device const S *)data + row * (E * 32) + lane * E;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    x[i] = float(from[i]);
  }
}

template <typename T, int D>
[[kernel, max_total_threads_per_threadgroup(32)]] void kv_decode(
    device const uchar *data [[buffer(0)]],                                 // [B, Hkv, cap, bytes of a vector]
    device const uchar *norms [[buffer(1), function_constant(quantised)]],  // [B, Hkv, cap], or [B, Hkv, cap, 2]
    device T *out [[buffer(2)]],                                            // [B, Hkv, n, D]
    constant fa_kv_decode_params &params [[buffer(3)]],                     //
    constant uchar *signs [[buffer(5), function_constant(own_signs)]],      // D / 8 bytes
    uint3 group [[threadgroup_position_in_grid]],                           // token, kv head, sequence
    ushort lane [[thread_index_in_simdgroup]]) {
  constexpr int E = D / 32;
  if (group.x >= params.n_tokens || group.y >= params.kv_heads || group.z >= params.batch || params.capacity == 0) {
    return;
  }
  ulong slot = ulong(params.read_pos) + group.x;
  if (params.is_ring != 0) {
    slot %= params.capacity;
  } else if (slot >= params.capacity) {
    return;
  }
  const long head = long(group.z) * params.kv_heads + group.y;
  const long row = head * params.capacity + long(slot);
  float x[E];
  if (format == FA_KV_F32) {
    load_dense<float>(data, row, x, lane);
  } else if (format == FA_KV_F16) {
    load_dense<half>(data, row, x, lane);
  } else if (format == FA_KV_BF16) {
    load_dense<bfloat>(data, row, x, lane);
  }
  if (quantised) {
    float scale;
    if (version_1) {
      scale = fa::scale_v1<D>((device const float *)norms + row * fa::norms_v1<D>(), params.scale_factor_d512, lane);
    } else {
      scale = fa::load_norm(norms, row, half_norms) * (format == FA_KV_Q8 ? 1.0f : fa::inverse_sqrt<D>());
    }
#define FA_DECODE(F)                            \
  case F:                                       \
    decode_table<F>(data, scale, row, x, lane); \
    break;
    switch (format) {
      case FA_KV_Q8:
        decode_linear(data, scale, row, x, lane);
        break;
        FA_DECODE(FA_KV_TQ2)
        FA_DECODE(FA_KV_TQ3)
        FA_DECODE(FA_KV_TQ4)
        FA_DECODE(FA_KV_TQ5)
        FA_DECODE(FA_KV_TQ6)
        FA_DECODE(FA_KV_TQ7)
        FA_DECODE(FA_KV_TQ8)
        FA_DECODE(FA_KV_TQ4_V1)
        FA_DECODE(FA_KV_TQ_HB5)
        FA_DECODE(FA_KV_TQ_HB6)
        FA_DECODE(FA_KV_TQ_HB8)
    }
#undef FA_DECODE
    if (params.undo_rotation != 0) {
      fa::unrotate(x, own_signs ? signs : fa_default_signs, lane);
    }
  }
  device T *to = out + (head * params.n_tokens + group.x) * D + lane * E;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    to[i] = T(x[i]);
  }
}

template [[host_name("kv_decode_f32_d64")]] kernel decltype(kv_decode<float, 64>) kv_decode<float, 64>;
template [[host_name("kv_decode_f32_d128")]] kernel decltype(kv_decode<float, 128>) kv_decode<float, 128>;
template [[host_name("kv_decode_f32_d256")]] kernel decltype(kv_decode<float, 256>) kv_decode<float, 256>;
template [[host_name("kv_decode_f32_d512")]] kernel decltype(kv_decode<float, 512>) kv_decode<float, 512>;
template [[host_name("kv_decode_f16_d64")]] kernel decltype(kv_decode<half, 64>) kv_decode<half, 64>;
template [[host_name("kv_decode_f16_d128")]] kernel decltype(kv_decode<half, 128>) kv_decode<half, 128>;
template [[host_name("kv_decode_f16_d256")]] kernel decltype(kv_decode<half, 256>) kv_decode<half, 256>;
template [[host_name("kv_decode_f16_d512")]] kernel decltype(kv_decode<half, 512>) kv_decode<half, 512>;
template [[host_name("kv_decode_bf16_d64")]] kernel decltype(kv_decode<bfloat, 64>) kv_decode<bfloat, 64>;
template [[host_name("kv_decode_bf16_d128")]] kernel decltype(kv_decode<bfloat, 128>) kv_decode<bfloat, 128>;
template [[host_name("kv_decode_bf16_d256")]] kernel decltype(kv_decode<bfloat, 256>) kv_decode<bfloat, 256>;
template [[host_name("kv_decode_bf16_d512")]] kernel decltype(kv_decode<bfloat, 512>) kv_decode<bfloat, 512>;
