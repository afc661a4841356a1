// What every decode kernel of the vec family can be asked for besides its parameters, by function constants that may
// be left undefined.
#ifndef FA_DECODE_OPTIONS_H
#define FA_DECODE_OPTIONS_H

#include <metal_stdlib>

#include "flash_attn_params.h"

constant bool has_batch [[function_constant(60)]];  // slots 7, 8 and 9 are bound
constant bool has_sinks [[function_constant(61)]];  // slot 10 is bound
constant bool has_lse [[function_constant(62)]];    // the LSE is wanted
constant bool batched = is_function_constant_defined(has_batch) ? has_batch : false;
constant bool with_sinks = is_function_constant_defined(has_sinks) ? has_sinks : false;
constant bool write_lse = is_function_constant_defined(has_lse) ? has_lse : false;

namespace fa {

/// The optional arguments; null where the function constant leaves them out.
struct decode_options {
  constant fa_decode_batch *batch;
  device const uint *kv_lens;
  device const uint *ring_starts;
  device const float *sinks;
  device float *lse;
};

/// The parameters that the kernels share, whatever struct they came in.
struct decode_problem {
  uint heads;
  uint kv_heads;
  uint kv_len;
  uint capacity;
  uint ring_start;
  uint mask_type;
  uint window;
  uint splits;
  float scale;
  float softcap;
};

/// Sizes of the batch; one query of one sequence without slot 7.
inline uint batch_size(decode_options options) { return batched ? options.batch->batch : 1; }
inline uint query_length(decode_options options) { return batched ? options.batch->q_len : 1; }

/// Where a partial result's row (sequence, query, head) lies in Q, O and LSE (sequence, head, query).
inline ulong query_row(ulong row, uint heads, uint q_len) {
  const ulong head = row % heads;
  const ulong query = row / heads;
  return (query / q_len * heads + head) * q_len + query % q_len;
}

/// Natural logarithm of a sum of exponentials that was taken relative to `maximum`; -infinity for an empty sum.
inline float log_sum_exp(float maximum, float sum) {
  return sum == 0.0f ? -INFINITY : maximum + metal::precise::log(sum);
}

}  // namespace fa

#endif
