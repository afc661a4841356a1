// One byte for each tile of a mask: whether the prefill kernels may skip the tile, or its mask.
// docs/kernels/flash_attn_prefill_blk.md describes it.

#include <metal_stdlib>

#pragma METAL fp math_mode(safe)

#include "flash_attn_params.h"

using namespace metal;

constant int BQ [[function_constant(400)]];  // rows of a tile
constant int BK [[function_constant(401)]];  // keys of a tile

constant constexpr uchar all_excluded = 0;
constant constexpr uchar all_attended = 2;
constant constexpr uchar mixed = 1;

template <typename M>
inline bool excludes(M bias) {
  return float(bias) == -INFINITY;
}
template <>
inline bool excludes<uchar>(uchar attends) {
  return attends == 0;
}

/// Whether the element leaves its key as it is.
template <typename M>
inline bool is_plain(M bias) {
  return float(bias) == 0.0f;
}
template <>
inline bool is_plain<uchar>(uchar attends) {
  return attends != 0;
}

template <typename M>
[[kernel, max_total_threads_per_threadgroup(32)]] void flash_attn_prefill_blk(
    device const M *mask [[buffer(0)]],               // [batches, heads, qL, kL], by strides
    device uchar *blk [[buffer(1)]],                  // [batches, heads, NQ, NK], contiguous
    constant fa_blk_params &blk_params [[buffer(2)]],  // sizes, strides of the mask
    uint3 group [[threadgroup_position_in_grid]],     // key tile, query tile, plane
    ushort lane [[thread_index_in_simdgroup]]) {
  const long qL = blk_params.qL;
  const long kL = blk_params.kL;
  const long row = long(group.y) * BQ;
  const long key = long(group.x) * BK;
  const int rows = int(min(long(BQ), qL - row));
  const int keys = int(min(long(BK), kL - key));
  const long batch = int(group.z) / blk_params.heads;
  const long head = int(group.z) % blk_params.heads;
  device const M *tile =
      mask + batch * blk_params.M_strides[0] + head * blk_params.M_strides[1] + row * blk_params.M_strides[2] + key;

  // Lanes stay within a row as far as it reaches, and share out the rows where it is short.
  const int lanes_per_row = min(BK, 32);
  const int rows_at_once = 32 / lanes_per_row;
  bool any_attended = false;
  bool all_plain = keys == BK;
  if (lane < rows_at_once * lanes_per_row) {
    for (int i = lane / lanes_per_row; i < rows; i += rows_at_once) {
      for (int j = lane % lanes_per_row; j < keys; j += lanes_per_row) {
        const M element = tile[i * blk_params.M_strides[2] + j];
        any_attended = any_attended || !excludes(element);
        all_plain = all_plain && is_plain(element);
      }
    }
  }
  any_attended = simd_any(any_attended);
  all_plain = simd_all(all_plain);
  if (lane == 0) {
    const long NQ = (qL + BQ - 1) / BQ;
    const long NK = (kL + BK - 1) / BK;
    blk[(group.z * NQ + group.y) * NK + group.x] = !any_attended ? all_excluded : all_plain ? all_attended : mixed;
  }
}

#define FA_BLK(dtype, M) \
  template [[host_name(  \
      "flash_attn_prefill_blk_" #dtype)]] kernel decltype(flash_attn_prefill_blk<M>) flash_attn_prefill_blk<M>;

FA_BLK(bf16, bfloat)
FA_BLK(f16, half)
FA_BLK(f32, float)
FA_BLK(bool, uchar)
