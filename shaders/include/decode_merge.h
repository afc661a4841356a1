// The second pass of a split decode: one threadgroup merges the work-groups' partial results of one row. A lane stands
// for a work-group, so there are 32 of those at most.
#ifndef FA_DECODE_MERGE_H
#define FA_DECODE_MERGE_H

#include <metal_stdlib>

#include "decode_options.h"

namespace fa {

template <int D>
struct decode_merge {
  ulong row;      // of the partial results
  ulong query;    // of the output
  uint splits;    // work-groups
  float share;    // what this lane's work-group counts, with the normalization
  device const float *values;

  inline void locate(device const float *tmp, ulong row_index, ulong rows, uint nwg, decode_options options,
                     ushort simdgroup, ushort lane) {
    const uint q_len = query_length(options);
    const uint heads = uint(rows / (ulong(batch_size(options)) * q_len));
    row = row_index;
    query = query_row(row, heads, q_len);
    splits = nwg;
    values = tmp + row * D * splits;

    device const float *state = tmp + (rows * D + row * 2) * splits + 2 * lane;
    const bool exists = lane < splits;
    const float maximum = exists ? state[1] : -FLT_MAX / 2;
    const float top = metal::simd_max(maximum);
    const float weight = exists ? metal::precise::exp(maximum - top) : 0.0f;
    const float sum = metal::simd_sum(exists ? state[0] * weight : 0.0f);
    share = sum == 0.0f ? 0.0f : weight / sum;
    if (write_lse && simdgroup == 0 && lane == 0) {
      options.lse[query] = log_sum_exp(top, sum);
    }
  }

  inline void write(device float *dst, ushort simdgroup, ushort simdgroups, ushort lane) {
    for (uint quad = simdgroup; quad < D / 4; quad += simdgroups) {
      const float4 v = merged(quad, lane);
      if (lane < 4) {
        dst[query * D + quad * 4 + lane] = v[lane];
      }
    }
  }

  /// Four coordinates of the output, the same in all lanes.
  inline float4 merged(uint quad, ushort lane) {
    float4 v = float4(0.0f);
    if (lane < splits) {
      v = float4(*(device const packed_float4 *)(values + (ulong(quad) * splits + lane) * 4)) * share;
    }
    return metal::simd_sum(v);
  }
};

}  // namespace fa

#endif
