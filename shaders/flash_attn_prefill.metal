// Attention of many query rows: O = softmax(scale * Q K^T + mask) V, one tile of BQ query rows per threadgroup.
// docs/kernels/flash_attn_prefill.md describes the scheme.

#include <metal_stdlib>

// Masking needs infinities that mean what they say, whatever options the library is compiled with.
#pragma METAL fp math_mode(safe)
// And bits must not depend on which options an instance was specialised for; what is fused says so.
#pragma METAL fp contract(off)

#include "flash_attn_params.h"
#include "mma.h"
#include "online_softmax.h"
#include "prefill.h"
#include "prefill_sequences.h"
#include "special_values.h"
#include "tile_loader.h"
#include "tile_rows.h"
#include "unroll.h"

using namespace metal;

/// A tile's rows of K or V: in threadgroup memory, where several simdgroups share them, ...
template <typename T, int STRIDE, bool STAGED>
struct tile_rows {
  using type = fa::staged_rows<T, STRIDE>;
  static inline type at(threadgroup const vec<T, 4> *tile, fa::key_rows<T>, int, fa::lane_position) {
    return {(threadgroup const T *)tile};
  }
};

/// ... or where they are.
template <typename T, int STRIDE>
struct tile_rows<T, STRIDE, false> {
  using type = fa::direct_rows<T, fa::key_rows<T>>;
  static inline type at(threadgroup const vec<T, 4> *, fa::key_rows<T> rows, int count, fa::lane_position lane) {
    return {rows, count, lane};
  }
};

/// Eight columns of a query row's matrix, as the lane holds them.
template <typename T>
inline fa::matrix8x8<T> q_matrix(device const T *row, bool exists, int d) {
  return fa::make_matrix(exists ? row[d * 8] : T(0.0f), exists ? row[d * 8 + 1] : T(0.0f));
}

template <typename T, typename M, int D, int BQ, int BK, int WM>
[[kernel, max_total_threads_per_threadgroup(WM * 32)]] void flash_attn_prefill(
    device const T *Q [[buffer(0)]],                // [B, H, qL, D]
    device const T *K [[buffer(1)]],                // [B, Hkv, kL, D]
    device const T *V [[buffer(2)]],                // [B, Hkv, kL, D]
    device T *O [[buffer(3)]],                      // [B, H, qL, D]
    constant fa_attn_params &params [[buffer(4)]],  // strides of the four above
    constant fa_attn_mask_params &mask_params [[buffer(5), function_constant(has_mask)]],  // strides of the mask
    device const M *mask [[buffer(6), function_constant(has_mask)]],                       // [B, H, qL, kL]
    device const uchar *blk [[buffer(7), function_constant(use_blk)]],                     // [B, H, NQ, NK]
    device const float *sinks [[buffer(8), function_constant(use_sinks)]],                 // [H]
    device float *LSE [[buffer(9), function_constant(use_lse)]],                           // [B, H, qL], contiguous
    constant fa_attn_window_params &window_params [[buffer(10), function_constant(use_window)]],
    constant fa_attn_blk_params &blk_params [[buffer(11), function_constant(use_blk)]],  // strides of slot 7
    device const float *alibi [[buffer(12), function_constant(use_alibi)]],              // [H] or [B, H]
    device const uint *q_starts [[buffer(13), function_constant(use_varlen)]],           // [B + 1]
    device const uint *k_starts [[buffer(14), function_constant(use_k_starts)]],         // [B + 1]
    device const uint *block_table [[buffer(15), function_constant(use_pages)]],         // [B, pages of a sequence]
    device const uint *kv_lens [[buffer(16), function_constant(use_kv_lens)]],           // [B]
    constant fa_attn_page_params &page_params [[buffer(17), function_constant(use_pages)]],
    constant fa_attn_alibi_params &alibi_params [[buffer(18), function_constant(use_alibi)]],
    uint3 group [[threadgroup_position_in_grid]],                                        // query tile, head, batch
    ushort simdgroup_index [[simdgroup_index_in_threadgroup]], ushort lane [[thread_index_in_simdgroup]],
    ushort thread_index [[thread_index_in_threadgroup]]) {
  constexpr int TQ = BQ / (8 * WM);  // 8-row matrices per simdgroup
  constexpr int TK = BK / 8;
  constexpr int TD = D / 8;
  // Registers are for what is used most. A lane has about a hundred for Q, its part of O, and the next tile.
  constexpr bool keep_q = D <= 128;
  constexpr bool keep_o = D <= 256;
  constexpr bool staged = WM > 1;
  using loader = fa::tile_loader<T, BK, D, WM * 32>;
  using rows = tile_rows<T, loader::row_stride, staged>;
  static_assert(BQ % (8 * WM) == 0, "a simdgroup owns whole matrices of query rows");
  constexpr int tile_vectors = staged ? loader::tile_vectors : 1;
  constexpr int o_pairs = keep_o ? 1 : TQ * TD * WM * 32;
  static_assert(2 * tile_vectors * sizeof(vec<T, 4>) + o_pairs * sizeof(float2) <= 32768, "too much for a threadgroup");

  threadgroup vec<T, 4> k_tile[tile_vectors];
  threadgroup vec<T, 4> v_tile[tile_vectors];
  threadgroup float2 o_tile[o_pairs];

  const long batch = group.z;
  const long head = group.y;
  const fa::sequence sequence = fa::sequence_of(batch, params, q_starts, k_starts, kv_lens);
  const long qL = sequence.qL;
  const long kL = sequence.kL;
  const long kv_head = int(group.y) / params.gqa_factor;
  const fa::lane_position at = fa::position_of(lane);

  // This simdgroup's rows begin at first_row, this lane's at lane_row (and every 8 rows further on).
  const long group_row = long(group.x) * BQ;
  if (use_varlen && group_row >= qL) {
    return;
  }
  const long first_row = group_row + simdgroup_index * (TQ * 8);
  const long lane_row = first_row + at.row;

  // Rows of a packed batch have no batches to step over.
  const long q_batch = use_varlen ? sequence.q_start * params.Q_strides[2] : batch * params.Q_strides[0];
  const long o_batch = use_varlen ? sequence.q_start * params.O_strides[2] : batch * params.O_strides[0];
  device const T *q_lane = Q + q_batch + head * params.Q_strides[1] + at.col;
  fa::matrix8x8<T> q[TQ][keep_q ? TD : 1];
  // What a lane accumulates of O: two adjacent columns of each 8 x 8 block, in registers or in its own o_tile places.
  float2 o[TQ][keep_o ? TD : 1];
  threadgroup float2 *o_own = o_tile + (keep_o ? 0 : thread_index);
  fa::online_softmax<T> softmax[TQ];
  device const T *q_rows[TQ];
  bool has_row[TQ];
  FA_UNROLL
  for (int i = 0; i < TQ; i++) {
    const long row = lane_row + i * 8;
    has_row[i] = align_Q || row < qL;
    q_rows[i] = q_lane + (has_row[i] ? row : 0) * params.Q_strides[2];
    if (keep_q) {
      FA_UNROLL
      for (int d = 0; d < TD; d++) {
        q[i][keep_q ? d : 0] = q_matrix(q_rows[i], has_row[i], d);
      }
    }
    FA_UNROLL
    for (int d = 0; d < TD; d++) {
      if (keep_o) {
        o[i][keep_o ? d : 0] = float2(0.0f);
      } else {
        o_own[(i * TD + d) * WM * 32] = float2(0.0f);
      }
    }
    if (use_sinks) {
      softmax[i].begin_at(sinks[head]);
    }
  }

  // The keys of any row of the threadgroup, and of any row of this simdgroup.
  const int left = use_window ? window_params.left : -1;
  const int right = use_window ? window_params.right : -1;
  const long group_end = fa::lesser(group_row + BQ, qL);
  const long simdgroup_end = fa::lesser(first_row + TQ * 8, qL);
  const fa::key_range group_keys =
      fa::keys_of_rows(group_row + sequence.qL_off, group_end - 1 + sequence.qL_off, kL, left, right);
  const fa::key_range own_keys =
      fa::keys_of_rows(first_row + sequence.qL_off, simdgroup_end - 1 + sequence.qL_off, kL, left, right);
  const bool own_rows = first_row < qL;

  const fa::key_rows<T> k_head = fa::rows_of(K, params.K_strides, batch, kv_head, sequence, block_table, page_params);
  const fa::key_rows<T> v_head = fa::rows_of(V, params.V_strides, batch, kv_head, sequence, block_table, page_params);
  const float slope = use_alibi ? alibi[batch * alibi_params.batch_stride + head] : 0.0f;
  const long mask_head = has_mask ? batch * mask_params.M_strides[0] + head * mask_params.M_strides[1] : 0;
  device const uchar *blk_row = nullptr;
  if (use_blk) {
    blk_row =
        blk + batch * blk_params.strides[0] + head * blk_params.strides[1] + group.x * ((params.kL + BK - 1) / BK);
  }

  loader k_loader;
  loader v_loader;
  uchar next_kind = 1;
  long k0 = fa::next_tile<BK>(group_keys.begin / BK * BK, group_keys.end, blk_row, next_kind);
  if (staged && k0 < group_keys.end) {
    const int keys = align_K ? BK : fa::keys_within(kL - k0, BK);
    k_loader.fetch(k_head.from(k0), keys, thread_index);
    v_loader.fetch(v_head.from(k0), keys, thread_index);
  }

  for (long next; k0 < group_keys.end; k0 = next) {
    const int keys = align_K ? BK : fa::keys_within(kL - k0, BK);
    const bool has_bias = has_mask && (!use_blk || next_kind != fa::tile_attended);
    if (staged) {
      threadgroup_barrier(mem_flags::mem_threadgroup);
      k_loader.store(k_tile, thread_index);
      v_loader.store(v_tile, thread_index);
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    next = fa::next_tile<BK>(k0 + BK, group_keys.end, blk_row, next_kind);
    if (staged && next < group_keys.end) {
      const int next_keys = align_K ? BK : fa::keys_within(kL - next, BK);
      k_loader.fetch(k_head.from(next), next_keys, thread_index);
      v_loader.fetch(v_head.from(next), next_keys, thread_index);
    }
    if (!own_rows || k0 >= own_keys.end || k0 + BK <= own_keys.begin) {
      continue;
    }
    const typename rows::type k_rows = rows::at(k_tile, k_head.from(k0), keys, at);
    const typename rows::type v_rows = rows::at(v_tile, v_head.from(k0), keys, at);

    fa::matrix8x8<float> s[TQ][TK];
    FA_UNROLL
    for (int i = 0; i < TQ; i++) {
      FA_UNROLL
      for (int k = 0; k < TK; k++) {
        s[i][k] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
      }
    }
    FA_UNROLL
    for (int d = 0; d < TD; d++) {
      if (!keep_q) {
        FA_UNROLL
        for (int i = 0; i < TQ; i++) {
          q[i][0] = q_matrix(q_rows[i], has_row[i], d);
        }
      }
      FA_UNROLL
      for (int k = 0; k < TK; k++) {
        const fa::matrix8x8<T> k_transposed = k_rows.transposed(k * 8, d * 8);
        FA_UNROLL
        for (int i = 0; i < TQ; i++) {
          simdgroup_multiply_accumulate(s[i][k], q[i][keep_q ? d : 0], k_transposed, s[i][k]);
        }
      }
    }

    fa::matrix8x8<T> p[TQ][TK];
    float factor[TQ];
    bool excludes = false;
    FA_UNROLL
    for (int i = 0; i < TQ; i++) {
      const long row = lane_row + i * 8;
      const fa::key_range attended = fa::keys_of_row(row + sequence.qL_off, kL, left, right);
      const int begin = fa::keys_within(attended.begin - k0, BK);
      const int end = fa::keys_within(attended.end - k0, BK);
      float score[TK][2];
      float tile_max = -INFINITY;
      FA_UNROLL
      for (int k = 0; k < TK; k++) {
        FA_UNROLL
        for (int e = 0; e < 2; e++) {
          const int key = k * 8 + at.col + e;
          const bool attends = key >= begin && key < end;
          float x = fa::score_of(s[i][k].thread_elements()[e], params);
          if (use_alibi) {
            x = fa::with_alibi(x, slope, row + sequence.qL_off - k0 - key);
          }
          if (has_bias && attends && has_row[i]) {
            x = fa::masked(x, mask[mask_head + row * mask_params.M_strides[2] + k0 + key]);
          }
          score[k][e] = attends ? x : -INFINITY;
          tile_max = max(tile_max, score[k][e]);
          excludes = excludes || score[k][e] == -INFINITY;
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

    const bool partial = simd_any(excludes);
    bool special = false;
    FA_UNROLL
    for (int d = 0; d < TD; d++) {
      fa::matrix8x8<float> pv[TQ];
      FA_UNROLL
      for (int i = 0; i < TQ; i++) {
        pv[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
      }
      FA_UNROLL
      for (int k = 0; k < TK; k++) {
        fa::matrix8x8<T> v = v_rows.matrix(k * 8, d * 8);
        if (partial) {
          v = fa::finite_part(v, special);
        }
        FA_UNROLL
        for (int i = 0; i < TQ; i++) {
          simdgroup_multiply_accumulate(pv[i], p[i][k], v, pv[i]);
        }
      }
      FA_UNROLL
      for (int i = 0; i < TQ; i++) {
        const float2 weighted = float2(pv[i].thread_elements()[0], pv[i].thread_elements()[1]);
        if (keep_o) {
          o[i][keep_o ? d : 0] = fma(o[i][keep_o ? d : 0], float2(factor[i]), weighted);
        } else {
          threadgroup float2 &own = o_own[(i * TD + d) * WM * 32];
          own = fma(own, float2(factor[i]), weighted);
        }
      }
    }

    if (partial && simd_any(special)) {
      for (int d = 0; d < TD; d++) {
        FA_UNROLL
        for (int i = 0; i < TQ; i++) {
          fa::matrix8x8<float> marks = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
          FA_UNROLL
          for (int k = 0; k < TK; k++) {
            const fa::matrix8x8<T> v = fa::value_marks(v_rows.matrix(k * 8, d * 8));
            simdgroup_multiply_accumulate(marks, fa::weight_marks(p[i][k]), v, marks);
          }
          const float2 extra =
              float2(fa::special_sum(marks.thread_elements()[0]), fa::special_sum(marks.thread_elements()[1]));
          if (keep_o) {
            FA_UNROLL
            for (int own = 0; own < (keep_o ? TD : 1); own++) {
              o[i][own] += own == d ? extra : float2(0.0f);
            }
          } else {
            o_own[(i * TD + d) * WM * 32] += extra;
          }
        }
      }
    }
  }

  device T *o_lane = O + o_batch + head * params.O_strides[1] + at.col;
  FA_UNROLL
  for (int i = 0; i < TQ; i++) {
    const long row = lane_row + i * 8;
    softmax[i].sum = fa::row_sum(softmax[i].sum);
    if (use_sinks) {
      softmax[i].sum += softmax[i].weight(sinks[head]);
    }
    if (has_row[i]) {
      const float normalizer = softmax[i].normalizer();
      device T *to = o_lane + row * params.O_strides[2];
      FA_UNROLL
      for (int d = 0; d < TD; d++) {
        const float2 own = keep_o ? o[i][keep_o ? d : 0] : o_own[keep_o ? 0 : (i * TD + d) * WM * 32];
        // Adding 0 leaves one zero: which one accumulates depends on tiles that do not matter.
        const float2 mean = fma(own, float2(normalizer), float2(0.0f));
        to[d * 8] = T(mean.x);
        to[d * 8 + 1] = T(mean.y);
      }
      if (use_lse && at.col == 0) {
        LSE[fa::lse_row(sequence, batch, head, params, q_starts) + row] = softmax[i].log_sum_exp();
      }
    }
  }
}

// One row for each dtype and head dimension: an additive mask has the type of Q, a boolean one a byte for each key.
#define FA_INSTANCE(name, T, M, D, BQ, BK, WM) \
  template [[host_name(                        \
      name)]] kernel decltype(flash_attn_prefill<T, M, D, BQ, BK, WM>) flash_attn_prefill<T, M, D, BQ, BK, WM>;
#define FA_PREFILL(dtype, T, D, BQ, BK, WM)                              \
  FA_INSTANCE("flash_attn_prefill_" #dtype "_d" #D, T, T, D, BQ, BK, WM) \
  FA_INSTANCE("flash_attn_prefill_" #dtype "_d" #D "_boolmask", T, uchar, D, BQ, BK, WM)

FA_PREFILL(f32, float, 32, 32, 16, 4)
FA_PREFILL(f32, float, 64, 32, 16, 4)
FA_PREFILL(f32, float, 80, 32, 16, 4)
FA_PREFILL(f32, float, 96, 32, 16, 4)
FA_PREFILL(f32, float, 128, 32, 16, 4)
FA_PREFILL(f32, float, 192, 32, 16, 4)
FA_PREFILL(f32, float, 256, 32, 8, 4)
FA_PREFILL(f32, float, 512, 8, 8, 1)
FA_PREFILL(f16, half, 32, 32, 16, 4)
FA_PREFILL(f16, half, 64, 32, 16, 4)
FA_PREFILL(f16, half, 80, 32, 16, 4)
FA_PREFILL(f16, half, 96, 32, 16, 4)
FA_PREFILL(f16, half, 128, 32, 16, 4)
FA_PREFILL(f16, half, 192, 32, 16, 4)
FA_PREFILL(f16, half, 256, 32, 16, 4)
FA_PREFILL(f16, half, 512, 8, 8, 1)
FA_PREFILL(bf16, bfloat, 32, 32, 16, 4)
FA_PREFILL(bf16, bfloat, 64, 32, 16, 4)
FA_PREFILL(bf16, bfloat, 80, 32, 16, 4)
FA_PREFILL(bf16, bfloat, 96, 32, 16, 4)
FA_PREFILL(bf16, bfloat, 128, 32, 16, 4)
FA_PREFILL(bf16, bfloat, 192, 32, 16, 4)
FA_PREFILL(bf16, bfloat, 256, 32, 16, 4)
FA_PREFILL(bf16, bfloat, 512, 8, 8, 1)
