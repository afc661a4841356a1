// Attention of one query over cached keys, split over the simdgroups of a threadgroup: one head per threadgroup.
//
// Three barriers inside a simdgroup are left out where real kernels leave them out, unless `complete` puts them in. On
// hardware that runs a simdgroup in step nothing goes wrong; the language promises no such step. "hazard N" marks the
// store that comes too early, "victim N" the reads it can overtake.

#include <metal_stdlib>
using namespace metal;
#pragma METAL fp math_mode(safe)

constant bool complete [[function_constant(0)]];

constant constexpr int head_dim = 64;

struct decode_params {
  int keys;
  float scale;
};

void between_lanes() {
  if (complete) simdgroup_barrier(mem_flags::mem_threadgroup);
}

kernel void decode(device const float *q [[buffer(0)]],             // [H, 64]
                   device const float *k [[buffer(1)]],             // [keys, 64]
                   device const float *v [[buffer(2)]],             // [keys, 64]
                   device float *o [[buffer(3)]],                   // [H, 64]
                   constant decode_params &params [[buffer(4)]],
                   threadgroup float *shared
                   [[threadgroup(0)]],    // 32 scores, then 64 partial results, for each simdgroup
                   uint head [[threadgroup_position_in_grid]], ushort lane [[thread_index_in_simdgroup]],
                   ushort simdgroup [[simdgroup_index_in_threadgroup]],
                   ushort simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float *scores = shared + simdgroup * 32;
  threadgroup float *partial = shared + simdgroups * 32 + simdgroup * head_dim;
  device const float *query = q + head * head_dim;

  float largest = -INFINITY;
  float sum = 0;
  float2 result = 0;
  for (int first = simdgroup * 32; first < params.keys; first += simdgroups * 32) {
    const int key = first + lane;
    float score = -INFINITY;
    if (key < params.keys) {
      score = 0;
      for (int d = 0; d < head_dim; d++) score = fma(query[d], k[key * head_dim + d], score);
      score *= params.scale;
    }
    scores[lane] = score;  // hazard 1
    simdgroup_barrier(mem_flags::mem_threadgroup);

    const float before = largest;
    largest = max(largest, simd_max(scores[lane]));
    const float factor = precise::exp(before - largest);
    const float weight = precise::exp(scores[lane] - largest);
    sum = sum * factor + simd_sum(weight);
    scores[lane] = weight;
    simdgroup_barrier(mem_flags::mem_threadgroup);

    result *= factor;
    for (int j = 0; j < 32 && first + j < params.keys; j++) {
      device const float *row = v + (first + j) * head_dim + 2 * lane;
      result += scores[j] * float2(row[0], row[1]);  // victim 1, victim 2
    }
    between_lanes();
  }

  partial[2 * lane] = result.x;
  partial[2 * lane + 1] = result.y;
  if (lane == 0) {
    scores[0] = sum;  // hazard 2
    scores[1] = largest;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simdgroup > 0) return;

  largest = -INFINITY;
  for (int s = 0; s < simdgroups; s++) largest = max(largest, shared[s * 32 + 1]);
  sum = 0;
  result = 0;
  for (int s = 0; s < simdgroups; s++) {
    const float factor = precise::exp(shared[s * 32 + 1] - largest);
    sum += factor * shared[s * 32];  // victim 3
    threadgroup const float *other = shared + simdgroups * 32 + s * head_dim + 2 * lane;
    result += factor * float2(other[0], other[1]);
  }
  between_lanes();
  if (lane == 0) {
    scores[0] = 1 / sum;  // hazard 3
    scores[1] = largest;
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  o[head * head_dim + 2 * lane] = result.x * scores[0];
  o[head * head_dim + 2 * lane + 1] = result.y * scores[0];
}
