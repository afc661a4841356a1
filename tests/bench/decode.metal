// Attention of one query row with 32 lanes, key by key, in the way of decode kernels that count on the lanes of a
// simdgroup running in step: the stores to threadgroup memory at the loop's end and beginning have no barrier between
// them. Keys and values are bytes that stand for entries of a table, with a factor for each row.

#include <metal_stdlib>
using namespace metal;

constant constexpr int D = 256;             // of a head
constant constexpr int CHUNK = 32;          // keys between two corrections of the sum
constant constexpr int PARTS = D / 4 / 32;  // vectors of four in each lane

struct decode_params {
  uint keys;
  uint heads_per_kv;
  float scale;
};

inline float4 entries(constant float *table, device const uchar *codes, float factor) {
  return float4(table[codes[0]], table[codes[1]], table[codes[2]], table[codes[3]]) * factor;
}

kernel void bench_decode(device const float *q [[buffer(0)]],           // [heads, D]
                         device const uchar *k [[buffer(1)]],           // [kv heads, keys, D]
                         device const float *k_factors [[buffer(2)]],   // [kv heads, keys]
                         device const uchar *v [[buffer(3)]],           // as k
                         device const float *v_factors [[buffer(4)]],   // as k_factors
                         device float *o [[buffer(5)]],                 // [heads, D]
                         constant float *table [[buffer(6)]],           // [256]
                         constant decode_params &params [[buffer(7)]],  //
                         threadgroup half4 *shared [[threadgroup(0)]],  // D halfs, CHUNK floats, D floats
                         uint head [[threadgroup_position_in_grid]], ushort lane [[thread_index_in_simdgroup]]) {
  threadgroup half4 *query = shared;
  threadgroup float *scores = (threadgroup float *)(shared + D / 4);
  threadgroup float4 *sums = (threadgroup float4 *)(scores + CHUNK);

  for (int i = lane; i < D / 4; i += 32) {
    device const float *from = q + head * D + i * 4;
    query[i] = half4(from[0], from[1], from[2], from[3]);
    sums[i] = float4(0.0f);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const long first = long(head / params.heads_per_kv) * params.keys;
  float sum = 0.0f;
  float top = -FLT_MAX / 2;
  for (uint begin = 0; begin < params.keys; begin += CHUNK) {
    scores[lane] = begin + lane < params.keys ? 0.0f : -INFINITY;

    float score[CHUNK];
    for (int i = 0; i < CHUNK; i++) {
      if (begin + i >= params.keys) {
        score[i] = 0.0f;
        continue;
      }
      const long row = first + begin + i;
      float partial = 0.0f;
      for (int part = 0; part < PARTS; part++) {
        const int at = lane + part * 32;
        partial += dot(entries(table, k + row * D + at * 4, k_factors[row]), float4(query[at]));
      }
      score[i] = simd_sum(partial);
    }
    scores[lane] = fma(score[lane], params.scale, scores[lane]);
    simdgroup_barrier(mem_flags::mem_threadgroup);

    const float mine = scores[lane];
    const float before = top;
    top = simd_max(max(top, mine));
    const float correction = exp(before - top);
    const float weight = exp(mine - top);
    sum = sum * correction + simd_sum(weight);
    scores[lane] = weight;
    for (int part = 0; part < PARTS; part++) {
      sums[lane + part * 32] *= correction;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);

    float4 chunk[PARTS];
    for (int part = 0; part < PARTS; part++) {
      chunk[part] = float4(0.0f);
    }
    for (int i = 0; i < CHUNK; i++) {
      if (begin + i >= params.keys) {
        continue;
      }
      const long row = first + begin + i;
      const float factor = v_factors[row] * scores[i];
      for (int part = 0; part < PARTS; part++) {
        chunk[part] += entries(table, v + row * D + (lane + part * 32) * 4, factor);
      }
    }
    for (int part = 0; part < PARTS; part++) {
      sums[lane + part * 32] += chunk[part];
    }
  }

  threadgroup_barrier(mem_flags::mem_threadgroup);
  device float4 *out = (device float4 *)(o + head * D);
  for (int i = lane; i < D / 4; i += 32) {
    out[i] = sums[i] / sum;
  }
}

kernel void bench_launch(device uint *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  if (i == 0) {
    out[0] = 1;
  }
}
