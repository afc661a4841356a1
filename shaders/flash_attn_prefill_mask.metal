// Fills a mask with causality and a sliding window. docs/kernels/flash_attn_prefill_mask.md describes it.

#include <metal_stdlib>

#pragma METAL fp math_mode(safe)

#include "flash_attn_params.h"

using namespace metal;

/// What an element of the mask says: a bias of 0 or -infinity ...
template <typename M>
inline M element(bool attends) {
  return M(attends ? 0.0f : -INFINITY);
}

/// ... or whether the key is attended.
template <>
inline uchar element<uchar>(bool attends) {
  return attends ? 1 : 0;
}

template <typename M>
[[kernel]] void flash_attn_prefill_mask_fill(device M *mask [[buffer(0)]],  // [qL, kL], contiguous
                                             constant fa_mask_fill_params &fill_params [[buffer(1)]],  //
                                             uint row [[threadgroup_position_in_grid]],
                                             uint thread_index [[thread_index_in_threadgroup]],
                                             uint threads [[threads_per_threadgroup]]) {
  const long keys = fill_params.seq_len_k;
  const long position = long(row) + fill_params.q_abs_offset;
  // The row attends the keys begin ... end - 1.
  const long begin = fill_params.n_swa > 0 ? position - fill_params.n_swa + 1 : 0;
  const long end = fill_params.causal != 0 ? position + 1 : keys;
  device M *elements = mask + row * keys;
  for (long key = thread_index; key < keys; key += threads) {
    elements[key] = element<M>(key >= begin && key < end);
  }
}

#define FA_MASK_FILL(dtype, M)                                                                                    \
  template [[host_name("flash_attn_prefill_mask_fill_" #dtype)]] kernel decltype(flash_attn_prefill_mask_fill<M>) \
      flash_attn_prefill_mask_fill<M>;

FA_MASK_FILL(bf16, bfloat)
FA_MASK_FILL(f16, half)
FA_MASK_FILL(f32, float)
FA_MASK_FILL(bool, uchar)
