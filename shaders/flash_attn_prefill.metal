// Attention of many query rows: O = softmax(scale * Q K^T + mask) V, one tile of BQ query rows per threadgroup.
// docs/kernels/flash_attn_prefill.md describes the scheme.

#include <metal_stdlib>

// Masking needs infinities that mean what they say, whatever options the library is compiled with.
#pragma METAL fp math_mode(safe)

#include "flash_attn_params.h"
#include "mma.h"
#include "online_softmax.h"
#include "tile_loader.h"
#include "unroll.h"

using namespace metal;

constant bool align_Q [[function_constant(200)]];    // qL is a multiple of BQ
constant bool align_K [[function_constant(201)]];    // kL is a multiple of BK
constant bool has_mask [[function_constant(300)]];   // slots 5 and 6 are bound
constant bool do_causal [[function_constant(301)]];  // row i attends keys 0 ... i + qL_off
constant bool has_lse [[function_constant(306)]];    // slot 9 is bound; may be left undefined
constant bool write_lse = is_function_constant_defined(has_lse) ? has_lse : false;

/// An additive mask is a bias of the score ...
template <typename M>
inline float masked(float score, M bias) {
  return score + float(bias);
}

/// ... and a boolean one says whether the key is attended.
template <>
inline float masked<uchar>(float score, uchar attends) {
  return attends != 0 ? score : -INFINITY;
}

inline long lesser(long a, long b) { return a < b ? a : b; }

/// How many of the tile's `keys` keys, counted from its first, lie within `reach`.
inline int keys_within(long reach, int keys) { return reach <= 0 ? 0 : reach < keys ? int(reach) : keys; }

template <typename T, typename M, int D, int BQ = 32, int BK = 16, int WM = 4>
[[kernel, max_total_threads_per_threadgroup(WM * 32)]] void flash_attn_prefill(
    device const T *Q [[buffer(0)]],                // [B, H, qL, D]
    device const T *K [[buffer(1)]],                // [B, Hkv, kL, D]
    device const T *V [[buffer(2)]],                // [B, Hkv, kL, D]
    device T *O [[buffer(3)]],                      // [B, H, qL, D]
    constant fa_attn_params &params [[buffer(4)]],  // strides of the four above
    constant fa_attn_mask_params &mask_params [[buffer(5), function_constant(has_mask)]],  // strides of the mask
    device const M *mask [[buffer(6), function_constant(has_mask)]],                       // [B, H, qL, kL]
    device float *LSE [[buffer(9), function_constant(write_lse)]],                         // [B, H, qL], contiguous
    uint3 group [[threadgroup_position_in_grid]],                                          // query tile, head, batch
    ushort simdgroup_index [[simdgroup_index_in_threadgroup]], ushort lane [[thread_index_in_simdgroup]],
    ushort thread_index [[thread_index_in_threadgroup]]) {
  using loader = fa::tile_loader<T, BK, D, WM * 32>;
  static_assert(BQ % (8 * WM) == 0, "a simdgroup owns whole matrices of query rows");
  static_assert(2 * loader::tile_vectors * sizeof(vec<T, 4>) <= 32768, "K and V tiles exceed threadgroup memory");
  constexpr int TQ = BQ / (8 * WM);  // 8-row matrices per simdgroup
  constexpr int TK = BK / 8;
  constexpr int TD = D / 8;

  threadgroup vec<T, 4> k_tile[loader::tile_vectors];
  threadgroup vec<T, 4> v_tile[loader::tile_vectors];

  const long qL = params.qL;
  const long kL = params.kL;
  const long batch = group.z;
  const long head = group.y;
  const long kv_head = int(group.y) / params.gqa_factor;
  const fa::lane_position at = fa::position_of(lane);

  // This simdgroup's rows begin at first_row, this lane's at lane_row (and every 8 rows further on).
  const long first_row = long(group.x) * BQ + simdgroup_index * (TQ * 8);
  const long lane_row = first_row + at.row;

  device const T *q_lane = Q + batch * params.Q_strides[0] + head * params.Q_strides[1] + at.col;
  fa::matrix8x8<T> q[TQ][TD];
  FA_UNROLL
  for (int i = 0; i < TQ; i++) {
    const long row = lane_row + i * 8;
    const bool valid = align_Q || row < qL;
    device const T *from = q_lane + (valid ? row : 0) * params.Q_strides[2];
    FA_UNROLL
    for (int d = 0; d < TD; d++) {
      const T first = valid ? from[d * 8] : T(0.0f);
      const T second = valid ? from[d * 8 + 1] : T(0.0f);
      q[i][d] = fa::make_matrix(first, second);
    }
  }

  // What a lane accumulates of O: two adjacent columns of each 8 x 8 block.
  float2 o[TQ][TD];
  fa::online_softmax<T> softmax[TQ];
  FA_UNROLL
  for (int i = 0; i < TQ; i++) {
    FA_UNROLL
    for (int d = 0; d < TD; d++) {
      o[i][d] = float2(0.0f);
    }
  }

  // Keys from here on are in the future of every row of the threadgroup, or of every row of this simdgroup.
  long group_end = kL;
  long simdgroup_end = first_row < qL ? kL : 0;
  if (do_causal) {
    group_end = lesser(group_end, lesser(long(group.x + 1) * BQ, qL) + params.qL_off);
    simdgroup_end = lesser(simdgroup_end, first_row + TQ * 8 + params.qL_off);
  }

  const long k_stride = params.K_strides[2];
  const long v_stride = params.V_strides[2];
  device const T *k_rows = K + batch * params.K_strides[0] + kv_head * params.K_strides[1];
  device const T *v_rows = V + batch * params.V_strides[0] + kv_head * params.V_strides[1];
  const long mask_head = has_mask ? batch * mask_params.M_strides[0] + head * mask_params.M_strides[1] : 0;
  threadgroup const T *k_elements = (threadgroup const T *)k_tile;
  threadgroup const T *v_elements = (threadgroup const T *)v_tile;

  loader k_loader;
  loader v_loader;
  int tile_keys = align_K ? BK : keys_within(kL, BK);
  if (group_end > 0) {
    k_loader.fetch(k_rows, k_stride, tile_keys, thread_index);
    v_loader.fetch(v_rows, v_stride, tile_keys, thread_index);
  }

  for (long k0 = 0; k0 < group_end; k0 += BK) {
    const int keys = tile_keys;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    k_loader.store(k_tile, thread_index);
    v_loader.store(v_tile, thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);

    if (k0 + BK < group_end) {
      tile_keys = align_K ? BK : keys_within(kL - k0 - BK, BK);
      k_rows += BK * k_stride;
      v_rows += BK * v_stride;
      k_loader.fetch(k_rows, k_stride, tile_keys, thread_index);
      v_loader.fetch(v_rows, v_stride, tile_keys, thread_index);
    }
    if (k0 >= simdgroup_end) {
      continue;
    }

    fa::matrix8x8<float> s[TQ][TK];
    FA_UNROLL
    for (int k = 0; k < TK; k++) {
      FA_UNROLL
      for (int i = 0; i < TQ; i++) {
        s[i][k] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
      }
      FA_UNROLL
      for (int d = 0; d < TD; d++) {
        fa::matrix8x8<T> k_transposed;
        simdgroup_load(k_transposed, k_elements + k * 8 * loader::row_stride + d * 8, loader::row_stride, ulong2(0),
                       true);
        FA_UNROLL
        for (int i = 0; i < TQ; i++) {
          simdgroup_multiply_accumulate(s[i][k], q[i][d], k_transposed, s[i][k]);
        }
      }
    }

    fa::matrix8x8<T> p[TQ][TK];
    float factor[TQ];
    FA_UNROLL
    for (int i = 0; i < TQ; i++) {
      const long row = lane_row + i * 8;
      // Length and causality leave this row the tile's first `attended` keys.
      const int attended = do_causal ? keys_within(row + params.qL_off + 1 - k0, keys) : keys;
      float score[TK][2];
      float tile_max = -INFINITY;
      FA_UNROLL
      for (int k = 0; k < TK; k++) {
        FA_UNROLL
        for (int e = 0; e < 2; e++) {
          const int key = k * 8 + at.col + e;
          float x = s[i][k].thread_elements()[e] * params.scale;
          if (params.softcap != 0.0f) {
            x = params.softcap * precise::tanh(x / params.softcap);
          }
          if (has_mask && key < attended && (align_Q || row < qL)) {
            x = masked(x, mask[mask_head + row * mask_params.M_strides[2] + k0 + key]);
          }
          score[k][e] = key < attended ? x : -INFINITY;
          tile_max = max(tile_max, score[k][e]);
        }
      }

      // The tile is summed on its own, here and in P V below: fewer roundings of the long sums.
      factor[i] = softmax[i].advance(fa::row_max(tile_max));
      float tile_sum = 0.0f;
      FA_UNROLL
      for (int k = 0; k < TK; k++) {
        const float first = softmax[i].weight(score[k][0]);
        const float second = softmax[i].weight(score[k][1]);
        p[i][k] = fa::make_matrix(T(first), T(second));
        tile_sum += first + second;
      }
      softmax[i].sum += tile_sum;
    }

    FA_UNROLL
    for (int d = 0; d < TD; d++) {
      fa::matrix8x8<float> pv[TQ];
      FA_UNROLL
      for (int i = 0; i < TQ; i++) {
        pv[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
      }
      FA_UNROLL
      for (int k = 0; k < TK; k++) {
        fa::matrix8x8<T> v;
        simdgroup_load(v, v_elements + k * 8 * loader::row_stride + d * 8, loader::row_stride);
        FA_UNROLL
        for (int i = 0; i < TQ; i++) {
          simdgroup_multiply_accumulate(pv[i], p[i][k], v, pv[i]);
        }
      }
      FA_UNROLL
      for (int i = 0; i < TQ; i++) {
        o[i][d] = fma(o[i][d], float2(factor[i]), float2(pv[i].thread_elements()[0], pv[i].thread_elements()[1]));
      }
    }
  }

  device T *o_lane = O + batch * params.O_strides[0] + head * params.O_strides[1] + at.col;
  FA_UNROLL
  for (int i = 0; i < TQ; i++) {
    const long row = lane_row + i * 8;
    softmax[i].sum = fa::row_sum(softmax[i].sum);
    if (align_Q || row < qL) {
      const float normalizer = softmax[i].normalizer();
      device T *to = o_lane + row * params.O_strides[2];
      FA_UNROLL
      for (int d = 0; d < TD; d++) {
        to[d * 8] = T(o[i][d].x * normalizer);
        to[d * 8 + 1] = T(o[i][d].y * normalizer);
      }
      if (write_lse && at.col == 0) {
        LSE[(batch * params.H + head) * qL + row] = softmax[i].log_sum_exp();
      }
    }
  }
}

template [[host_name("flash_attn_prefill_f32_d32")]] kernel decltype(flash_attn_prefill<float, float, 32>)
    flash_attn_prefill<float, float, 32>;
template [[host_name("flash_attn_prefill_f32_d32_boolmask")]] kernel decltype(flash_attn_prefill<float, uchar, 32>)
    flash_attn_prefill<float, uchar, 32>;
template [[host_name("flash_attn_prefill_f32_d64")]] kernel decltype(flash_attn_prefill<float, float, 64>)
    flash_attn_prefill<float, float, 64>;
template [[host_name("flash_attn_prefill_f32_d64_boolmask")]] kernel decltype(flash_attn_prefill<float, uchar, 64>)
    flash_attn_prefill<float, uchar, 64>;
template [[host_name("flash_attn_prefill_f16_d32")]] kernel decltype(flash_attn_prefill<half, half, 32>)
    flash_attn_prefill<half, half, 32>;
template [[host_name("flash_attn_prefill_f16_d32_boolmask")]] kernel decltype(flash_attn_prefill<half, uchar, 32>)
    flash_attn_prefill<half, uchar, 32>;
template [[host_name("flash_attn_prefill_f16_d64")]] kernel decltype(flash_attn_prefill<half, half, 64>)
    flash_attn_prefill<half, half, 64>;
template [[host_name("flash_attn_prefill_f16_d64_boolmask")]] kernel decltype(flash_attn_prefill<half, uchar, 64>)
    flash_attn_prefill<half, uchar, 64>;
template [[host_name("flash_attn_prefill_bf16_d32")]] kernel decltype(flash_attn_prefill<bfloat, bfloat, 32>)
    flash_attn_prefill<bfloat, bfloat, 32>;
template [[host_name("flash_attn_prefill_bf16_d32_boolmask")]] kernel decltype(flash_attn_prefill<bfloat, uchar, 32>)
    flash_attn_prefill<bfloat, uchar, 32>;
template [[host_name("flash_attn_prefill_bf16_d64")]] kernel decltype(flash_attn_prefill<bfloat, bfloat, 64>)
    flash_attn_prefill<bfloat, bfloat, 64>;
template [[host_name("flash_attn_prefill_bf16_d64_boolmask")]] kernel decltype(flash_attn_prefill<bfloat, uchar, 64>)
    flash_attn_prefill<bfloat, uchar, 64>;
