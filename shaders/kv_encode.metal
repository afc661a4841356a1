// Appends tokens to a KV cache: float, half and bfloat vectors as they are or quantised; one simdgroup per vector.
// docs/codec.md has the formats.

#include <metal_stdlib>

// NaN and infinity in a vector must be noticed.
#pragma METAL fp math_mode(safe)

#include "flash_attn_params.h"
#include "fwht.h"
#include "kv_codec.h"
#include "unroll.h"

using namespace metal;

constant bool has_signs [[function_constant(55)]];  // slot 5 is bound; may be left undefined
constant int format [[function_constant(70)]];      // fa_kv_format, of version 2 or dense
constant bool norms_f16 [[function_constant(72)]];  // norms are half; may be left undefined
constant bool own_signs = is_function_constant_defined(has_signs) ? has_signs : false;
constant bool half_norms = is_function_constant_defined(norms_f16) ? norms_f16 : false;
constant bool quantised = format >= FA_KV_Q8;

/// Codes of a rotated vector of squared length `square`; returns the norm to store.
template <int F, int E>
inline float table_codes(thread const float (&r)[E], float square, thread uint (&codes)[E]) {
  float norm = fa::stored_norm(sqrt(square), half_norms);
  norm = norm <= fa::least_norm ? 0.0f : norm;
  const float scale = norm > 0.0f ? sqrt(float(E * 32)) / norm : 0.0f;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    // Not a product with 0, which would keep a NaN.
    codes[i] = fa::nearest_code<F>(scale > 0.0f ? r[i] * scale : 0.0f);
  }
  return norm;
}

/// The same for codes that are multiples of a scale, which is stored as the norm.
template <int E>
inline float linear_codes(thread const float (&r)[E], float square, thread uint (&codes)[E]) {
  float largest = 0.0f;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    largest = max(largest, fabs(r[i]));
  }
  float scale = simd_max(largest) / 127.0f;
  scale = square < INFINITY ? fa::stored_norm(scale, half_norms) : fa::no_norm();
  scale = scale < FLT_MIN ? 0.0f : scale;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    // A scale that was rounded down to half would lead beyond 127.
    const float code = scale > 0.0f ? clamp(rint(r[i] / scale), -127.0f, 127.0f) : 0.0f;
    codes[i] = uint(int(code)) & 0xff;
  }
  return scale;
}

/// A row of the cache.
struct place {
  device uchar *data;
  device uchar *norms;
  long row;
};

template <int PACKED, int E>
inline void store(place at, thread const uint (&codes)[E], float norm, ushort lane) {
  fa::store_codes<PACKED>(at.data + at.row * fa::packed_bytes<E * 32>(PACKED), codes, lane);
  if (lane == 0) {
    fa::store_norm(at.norms, at.row, norm, half_norms);
  }
}

template <int F, int E>
inline void encode_table(thread const float (&r)[E], float square, place at, ushort lane) {
  uint codes[E];
  const float norm = table_codes<F>(r, square, codes);
  store<fa::kv_codec<F>::packed>(at, codes, norm, lane);
}

template <int E>
inline void encode_linear(thread const float (&r)[E], float square, place at, ushort lane) {
  uint codes[E];
  const float scale = linear_codes(r, square, codes);
  store<8>(at, codes, scale, lane);
}

template <typename S, typename T, int E>
inline void copy_dense(device const T *from, device uchar *data, long row, ushort lane) {
  device S *to = (device S *)data + row * (E * 32) + lane * E;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    to[i] = S(float(from[i]));
  }
}

template <typename T, int D>
[[kernel, max_total_threads_per_threadgroup(32)]] void kv_encode(
    device const T *src [[buffer(0)]],                                     // [B, Hkv, n, D]
    device uchar *data [[buffer(1)]],                                      // [B, Hkv, cap, bytes of a vector]
    device uchar *norms [[buffer(2), function_constant(quantised)]],       // [B, Hkv, cap]
    constant fa_kv_encode_params &params [[buffer(3)]],                    //
    device const uint *write_pos [[buffer(4)]],                            // [B]: position of the first token
    constant uchar *signs [[buffer(5), function_constant(own_signs)]],     // D / 8 bytes
    uint3 group [[threadgroup_position_in_grid]],                          // token, kv head, sequence
    ushort lane [[thread_index_in_simdgroup]]) {
  constexpr int E = D / 32;
  if (group.x >= params.n_tokens || group.y >= params.kv_heads || group.z >= params.batch) {
    return;
  }
  ulong slot = ulong(write_pos[group.z]) + group.x;
  if (params.is_ring != 0) {
    // Of tokens that share a slot the last one stays; two writers would race.
    if (ulong(group.x) + params.capacity < params.n_tokens) {
      return;
    }
    slot %= params.capacity;
  } else if (slot >= params.capacity) {
    return;
  }
  const long row = (long(group.z) * params.kv_heads + group.y) * params.capacity + long(slot);
  device const T *from = src + long(group.z) * params.src_strides[0] + long(group.y) * params.src_strides[1] +
                         long(group.x) * params.src_strides[2] + lane * E;
  if (format == FA_KV_F32) {
    copy_dense<float, T, E>(from, data, row, lane);
  } else if (format == FA_KV_F16) {
    copy_dense<half, T, E>(from, data, row, lane);
  } else if (format == FA_KV_BF16) {
    copy_dense<bfloat, T, E>(from, data, row, lane);
  }
  if (quantised) {
    float r[E];
    FA_UNROLL
    for (int i = 0; i < E; i++) {
      r[i] = float(from[i]);
    }
    fa::rotate(r, own_signs ? signs : fa_default_signs, lane);
    float square = 0.0f;
    FA_UNROLL
    for (int i = 0; i < E; i++) {
      square = fma(r[i], r[i], square);
    }
    square = simd_sum(square);
    const place at = {data, norms, row};
    if (format == FA_KV_Q8) {
      encode_linear(r, square, at, lane);
    } else if (format == FA_KV_TQ2) {
      encode_table<FA_KV_TQ2>(r, square, at, lane);
    } else if (format == FA_KV_TQ3) {
      encode_table<FA_KV_TQ3>(r, square, at, lane);
    } else if (format == FA_KV_TQ4) {
      encode_table<FA_KV_TQ4>(r, square, at, lane);
    } else if (format == FA_KV_TQ5) {
      encode_table<FA_KV_TQ5>(r, square, at, lane);
    } else if (format == FA_KV_TQ6) {
      encode_table<FA_KV_TQ6>(r, square, at, lane);
    } else if (format == FA_KV_TQ7) {
      encode_table<FA_KV_TQ7>(r, square, at, lane);
    } else if (format == FA_KV_TQ8) {
      encode_table<FA_KV_TQ8>(r, square, at, lane);
    }
  }
}

template [[host_name("kv_encode_f32_d64")]] kernel decltype(kv_encode<float, 64>) kv_encode<float, 64>;
template [[host_name("kv_encode_f32_d128")]] kernel decltype(kv_encode<float, 128>) kv_encode<float, 128>;
template [[host_name("kv_encode_f32_d256")]] kernel decltype(kv_encode<float, 256>) kv_encode<float, 256>;
template [[host_name("kv_encode_f32_d512")]] kernel decltype(kv_encode<float, 512>) kv_encode<float, 512>;
template [[host_name("kv_encode_f16_d64")]] kernel decltype(kv_encode<half, 64>) kv_encode<half, 64>;
template [[host_name("kv_encode_f16_d128")]] kernel decltype(kv_encode<half, 128>) kv_encode<half, 128>;
template [[host_name("kv_encode_f16_d256")]] kernel decltype(kv_encode<half, 256>) kv_encode<half, 256>;
template [[host_name("kv_encode_f16_d512")]] kernel decltype(kv_encode<half, 512>) kv_encode<half, 512>;
template [[host_name("kv_encode_bf16_d64")]] kernel decltype(kv_encode<bfloat, 64>) kv_encode<bfloat, 64>;
template [[host_name("kv_encode_bf16_d128")]] kernel decltype(kv_encode<bfloat, 128>) kv_encode<bfloat, 128>;
template [[host_name("kv_encode_bf16_d256")]] kernel decltype(kv_encode<bfloat, 256>) kv_encode<bfloat, 256>;
template [[host_name("kv_encode_bf16_d512")]] kernel decltype(kv_encode<bfloat, 512>) kv_encode<bfloat, 512>;
