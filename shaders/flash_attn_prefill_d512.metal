// Attention of many query rows whose heads have 512 dimensions: eight rows per threadgroup, 64 keys at a time.
// docs/kernels/flash_attn_prefill_d512.md describes the scheme.

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
#include "tile_rows.h"
#include "unroll.h"

using namespace metal;

constant int nsg [[function_constant(322)]];  // simdgroups of a threadgroup: 4 or 8

constant constexpr int D = 512;
constant constexpr int BQ = 8;
constant constexpr int BK = 64;
constant constexpr int TK = BK / 8;
// With four simdgroups each owns two rows of the softmax and 16 blocks of columns of O, with eight half of that.
constant constexpr int most_rows = 2;
constant constexpr int most_blocks = 16;

/// Threadgroup memory. Rows of Q and of the weights are padded so that they begin in different banks.
template <typename T>
struct shared_memory {
  T q[BQ][D + 8];
  T weights[BQ][BK + 8];
  float scores[BQ][BK];
  float factors[BQ];  // of what has been accumulated; in the end, what turns sums into means
};

template <typename T, typename M>
[[kernel, max_total_threads_per_threadgroup(256)]] void flash_attn_prefill_d512(
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
    threadgroup char *memory [[threadgroup(0)]],                                         // 28,672 bytes
    uint3 group [[threadgroup_position_in_grid]],                                        // query tile, head, batch
    ushort simdgroup_index [[simdgroup_index_in_threadgroup]], ushort lane [[thread_index_in_simdgroup]],
    ushort thread_index [[thread_index_in_threadgroup]]) {
  static_assert(sizeof(shared_memory<T>) <= 28672, "too much for a threadgroup");
  threadgroup shared_memory<T> &shared = *(threadgroup shared_memory<T> *)memory;

  const long batch = group.z;
  const long head = group.y;
  const fa::sequence sequence = fa::sequence_of(batch, params, q_starts, k_starts, kv_lens);
  const long qL = sequence.qL;
  const long kL = sequence.kL;
  const long kv_head = int(group.y) / params.gqa_factor;
  const fa::lane_position at = fa::position_of(lane);
  const long group_row = long(group.x) * BQ;
  if (use_varlen && group_row >= qL) {
    return;
  }
  const int rows = align_Q ? BQ : fa::keys_within(qL - group_row, BQ);

  // Rows of a packed batch have no batches to step over.
  const long q_batch = use_varlen ? sequence.q_start * params.Q_strides[2] : batch * params.Q_strides[0];
  const long o_batch = use_varlen ? sequence.q_start * params.O_strides[2] : batch * params.O_strides[0];
  device const T *q_group = Q + q_batch + head * params.Q_strides[1] + group_row * params.Q_strides[2];
  for (int i = thread_index; i < BQ * D; i += nsg * 32) {
    const int row = i / D;
    shared.q[row][i % D] = row < rows ? q_group[row * params.Q_strides[2] + i % D] : T(0.0f);
  }

  fa::online_softmax<T> softmax[most_rows];
  fa::matrix8x8<float> o[most_blocks];
  FA_UNROLL
  for (int b = 0; b < most_blocks; b++) {
    o[b] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
  if (use_sinks) {
    FA_UNROLL
    for (int i = 0; i < most_rows; i++) {
      softmax[i].begin_at(sinks[head]);
    }
  }

  // The keys of any row of the threadgroup, and of the row whose scores this lane has.
  const int left = use_window ? window_params.left : -1;
  const int right = use_window ? window_params.right : -1;
  const long row = group_row + at.row;
  const fa::key_range group_keys =
      fa::keys_of_rows(group_row + sequence.qL_off, group_row + rows - 1 + sequence.qL_off, kL, left, right);
  const fa::key_range row_keys = fa::keys_of_row(row + sequence.qL_off, kL, left, right);

  const fa::key_rows<T> k_head = fa::rows_of(K, params.K_strides, batch, kv_head, sequence, block_table, page_params);
  const fa::key_rows<T> v_head = fa::rows_of(V, params.V_strides, batch, kv_head, sequence, block_table, page_params);
  const float slope = use_alibi ? alibi[batch * alibi_params.batch_stride + head] : 0.0f;
  const long mask_row = has_mask ? batch * mask_params.M_strides[0] + head * mask_params.M_strides[1] +
                                       (at.row < rows ? row : 0) * mask_params.M_strides[2]
                                 : 0;
  device const uchar *blk_row = nullptr;
  if (use_blk) {
    blk_row =
        blk + batch * blk_params.strides[0] + head * blk_params.strides[1] + group.x * ((params.kL + BK - 1) / BK);
  }
  const int blocks = D / 8 / nsg;
  const int first_column = simdgroup_index * blocks * 8;

  threadgroup_barrier(mem_flags::mem_threadgroup);

  uchar kind = 1;
  long k0 = fa::next_tile<BK>(group_keys.begin / BK * BK, group_keys.end, blk_row, kind);
  for (; k0 < group_keys.end; k0 = fa::next_tile<BK>(k0 + BK, group_keys.end, blk_row, kind)) {
    const bool has_bias = has_mask && (!use_blk || kind != fa::tile_attended);
    const int keys = align_K ? BK : fa::keys_within(kL - k0, BK);
    const fa::direct_rows<T, fa::key_rows<T>> k_rows = {k_head.from(k0), keys, at};
    const fa::direct_rows<T, fa::key_rows<T>> v_rows = {v_head.from(k0), keys, at};
    // The blocks of eight keys that any row attends.
    const int first_block = fa::keys_within(group_keys.begin - k0, BK) / 8;
    const int end_block = (fa::keys_within(group_keys.end - k0, BK) + 7) / 8;

    for (int k = simdgroup_index; k < TK; k += nsg) {
      // Two sums, so that a product need not wait for the one before it.
      fa::matrix8x8<float> even = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
      fa::matrix8x8<float> odd = even;
      if (k >= first_block && k < end_block) {
        for (int d0 = 0; d0 < D; d0 += 32) {
          FA_UNROLL
          for (int d = d0; d < d0 + 32; d += 16) {
            fa::matrix8x8<T> q;
            simdgroup_load(q, &shared.q[0][d], D + 8);
            simdgroup_multiply_accumulate(even, q, k_rows.transposed(k * 8, d), even);
            simdgroup_load(q, &shared.q[0][d + 8], D + 8);
            simdgroup_multiply_accumulate(odd, q, k_rows.transposed(k * 8, d + 8), odd);
          }
        }
      }
      FA_UNROLL
      for (int e = 0; e < 2; e++) {
        const int key = k * 8 + at.col + e;
        const bool attends = k0 + key >= row_keys.begin && k0 + key < row_keys.end;
        float x = fa::score_of(even.thread_elements()[e] + odd.thread_elements()[e], params);
        if (use_alibi) {
          x = fa::with_alibi(x, slope, row + sequence.qL_off - k0 - key);
        }
        if (has_bias && attends && at.row < rows) {
          x = fa::masked(x, mask[mask_row + k0 + key]);
        }
        shared.scores[at.row][key] = attends ? x : -INFINITY;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    FA_UNROLL
    for (int i = 0; i < most_rows; i++) {
      const int own = i * nsg + simdgroup_index;
      if (own < BQ) {
        const float first = shared.scores[own][lane];
        const float second = shared.scores[own][lane + 32];
        const float factor = softmax[i].advance(simd_max(max(first, second)));
        const float first_weight = softmax[i].weight(first);
        const float second_weight = softmax[i].weight(second);
        softmax[i].sum += first_weight + second_weight;
        shared.weights[own][lane] = T(first_weight);
        shared.weights[own][lane + 32] = T(second_weight);
        if (lane == 0) {
          shared.factors[own] = factor;
        }
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    bool excludes = false;
    for (int k = first_block; k < end_block; k++) {
      fa::matrix8x8<T> p;
      simdgroup_load(p, &shared.weights[0][k * 8], BK + 8);
      excludes =
          excludes || fa::is_excluded(float(p.thread_elements()[0])) || fa::is_excluded(float(p.thread_elements()[1]));
    }
    const bool partial = simd_any(excludes);

    const float factor = shared.factors[at.row];
    FA_UNROLL
    for (int b = 0; b < most_blocks; b++) {
      o[b].thread_elements()[0] *= factor;
      o[b].thread_elements()[1] *= factor;
    }
    bool special = false;
    for (int k = first_block; k < end_block; k++) {
      fa::matrix8x8<T> p;
      simdgroup_load(p, &shared.weights[0][k * 8], BK + 8);
      FA_UNROLL
      for (int b = 0; b < most_blocks; b++) {
        if (b < blocks) {
          fa::matrix8x8<T> v = v_rows.matrix(k * 8, first_column + b * 8);
          if (partial) {
            v = fa::finite_part(v, special);
          }
          simdgroup_multiply_accumulate(o[b], p, v, o[b]);
        }
      }
    }
    if (partial && simd_any(special)) {
      for (int b = 0; b < blocks; b++) {
        fa::matrix8x8<float> marks = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        for (int k = first_block; k < end_block; k++) {
          fa::matrix8x8<T> p;
          simdgroup_load(p, &shared.weights[0][k * 8], BK + 8);
          const fa::matrix8x8<T> v = fa::value_marks(v_rows.matrix(k * 8, first_column + b * 8));
          simdgroup_multiply_accumulate(marks, fa::weight_marks(p), v, marks);
        }
        const float first = fa::special_sum(marks.thread_elements()[0]);
        const float second = fa::special_sum(marks.thread_elements()[1]);
        FA_UNROLL
        for (int own = 0; own < most_blocks; own++) {
          o[own].thread_elements()[0] += own == b ? first : 0.0f;
          o[own].thread_elements()[1] += own == b ? second : 0.0f;
        }
      }
    }
  }

  // The last factors have been read; now they say what turns sums into means.
  threadgroup_barrier(mem_flags::mem_threadgroup);
  FA_UNROLL
  for (int i = 0; i < most_rows; i++) {
    const int own = i * nsg + simdgroup_index;
    if (own < BQ) {
      softmax[i].sum = simd_sum(softmax[i].sum);
      if (use_sinks) {
        softmax[i].sum += softmax[i].weight(sinks[head]);
      }
      if (lane == 0) {
        shared.factors[own] = softmax[i].normalizer();
        if (use_lse && own < rows) {
          LSE[fa::lse_row(sequence, batch, head, params, q_starts) + group_row + own] = softmax[i].log_sum_exp();
        }
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  if (at.row < rows) {
    const float normalizer = shared.factors[at.row];
    device T *to = O + o_batch + head * params.O_strides[1] + row * params.O_strides[2] + first_column + at.col;
    FA_UNROLL
    for (int b = 0; b < most_blocks; b++) {
      if (b < blocks) {
        // Adding 0 leaves one zero: which one accumulates depends on keys that do not matter.
        to[b * 8] = T(fma(o[b].thread_elements()[0], normalizer, 0.0f));
        to[b * 8 + 1] = T(fma(o[b].thread_elements()[1], normalizer, 0.0f));
      }
    }
  }
}

#define FA_INSTANCE(name, T, M) \
  template [[host_name(name)]] kernel decltype(flash_attn_prefill_d512<T, M>) flash_attn_prefill_d512<T, M>;
#define FA_D512(dtype, T)                                          \
  FA_INSTANCE("flash_attn_prefill_llamacpp_" #dtype "_d512", T, T) \
  FA_INSTANCE("flash_attn_prefill_llamacpp_" #dtype "_d512_boolmask", T, uchar)

FA_D512(f16, half)
FA_D512(bf16, bfloat)
