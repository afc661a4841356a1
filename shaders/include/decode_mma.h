// Attention of up to eight queries, which share a kv head, over a range of its keys, on 8x8 matrices:
// S^T = K Q^T and O^T += V^T P^T. A simdgroup takes 8 * tiles keys at a time. K and V are left factors, whose elements
// the lanes load from the cache themselves; the scores S^T lie in the lanes as the right factor P^T has to.
//
// The columns of a matrix of scores are queries, its rows keys: a lane has two queries and, of each tile, one key.
#ifndef FA_DECODE_MMA_H
#define FA_DECODE_MMA_H

#include <metal_stdlib>

#include "decode_formats.h"
#include "mma.h"
#include "online_softmax.h"
#include "unroll.h"

constant int k_format [[function_constant(70)]];        // fa_kv_format
constant int v_format [[function_constant(71)]];        // fa_kv_format
constant bool norms_f16 [[function_constant(72)]];      // norms of version 2 are half
constant bool has_softcap [[function_constant(74)]];    // scores are capped
constant bool has_window [[function_constant(75)]];     // queries attend the last keys alone
constant bool has_ring [[function_constant(76)]];       // slot 9 is bound
constant bool has_pages [[function_constant(79)]];      // slots 13 and 14 are bound
constant bool has_alibi [[function_constant(80)]];      // slot 15 is bound
constant bool half_norms = is_function_constant_defined(norms_f16) ? norms_f16 : false;
constant bool with_softcap = is_function_constant_defined(has_softcap) ? has_softcap : false;
constant bool with_window = is_function_constant_defined(has_window) ? has_window : false;
constant bool in_ring = is_function_constant_defined(has_ring) ? has_ring : false;
constant bool in_pages = is_function_constant_defined(has_pages) ? has_pages : false;
constant bool with_alibi = is_function_constant_defined(has_alibi) ? has_alibi : false;

namespace fa {

/// Factors of a product: half or bfloat where that loses nothing, else float.
template <typename T, typename S>
struct factor_type {
  typedef float type;
};
template <>
struct factor_type<half, half> {
  typedef half type;
};
template <>
struct factor_type<bfloat, bfloat> {
  typedef bfloat type;
};

/// Maximum, or sum, over the eight lanes that share a column.
inline float2 column_max(float2 x) {
  x = metal::max(x, metal::simd_shuffle_xor(x, ushort(2)));
  x = metal::max(x, metal::simd_shuffle_xor(x, ushort(4)));
  return metal::max(x, metal::simd_shuffle_xor(x, ushort(16)));
}
inline float2 column_sum(float2 x) {
  x += metal::simd_shuffle_xor(x, ushort(2));
  x += metal::simd_shuffle_xor(x, ushort(4));
  return x + metal::simd_shuffle_xor(x, ushort(16));
}

/// The slots of a kv head, which lie one after the other, maybe in a ring, or page by page.
struct cache_slots {
  ulong first_row;  // the cache's row that has slot 0; of page 0
  uint capacity;
  uint ring_start;            // slot of key 0
  device const uint *pages;   // of the sequence
  uint page_size;
  ulong page_stride;  // rows between pages ...
  ulong slot_stride;  // ... and between neighbours in a page

  inline ulong row(uint key) const {
    if (in_pages) {
      const uint page = key / page_size;
      return first_row + pages[page] * page_stride + (key - page * page_size) * slot_stride;
    }
    const ulong slot = ulong(ring_start) + key;
    return first_row + (slot < capacity ? slot : slot - capacity);
  }
};

/// K or V.
struct cache_rows {
  device const uchar *data;
  device const uchar *norms;
  code_table table;
};

/// Scores before they are masked.
struct score_scale {
  float scale;
  float softcap;
  float scale_factor_d512;
};

/// What the distance between a key and each of the lane's two queries takes from the score.
struct distance_bias {
  float2 slopes;
  int2 positions;  // of the queries among the keys
};

template <typename T, int D>
struct decode_mma {
  /// Simdgroups that share a key range, each with an equal part of the columns of K and V.
  static constant constexpr int slices = D > 256 ? 2 : 1;
  static constant constexpr int width = D / slices;
  static constant constexpr int fragments = width / 8;
  /// Tiles of keys; only one where O and Q leave no registers for more.
  static constant constexpr int tiles = width > 128 ? 1 : 2;
  static constant constexpr int keys = 8 * tiles;
  /// Lanes that share a row of K; of V.
  static constant constexpr int k_share = width / 4;
  static constant constexpr int v_share = width / 8;

  ushort lane;
  ushort row;    // of the lane's two elements of a matrix
  ushort col;    // of the first one
  ushort slice;  // of the columns of K and V
  ushort group;  // of simdgroups with the same keys
  ushort groups;

  float2 q[fragments];
  matrix8x8<float> o[fragments];
  online_softmax<T> softmax[2];

  inline void locate(ushort simdgroup, ushort simdgroups, ushort lane_index) {
    const lane_position at = position_of(lane_index);
    lane = lane_index;
    row = at.row;
    col = at.col;
    slice = simdgroup % slices;
    group = simdgroup / slices;
    groups = simdgroups / slices;
  }

  /// Coordinate of Q and K that row `row` of Q^T's fragment `t` has.
  inline uint k_coordinate(int t) const {
    const int size = piece_size(k_format, k_share);
    const int piece = t / (size / 2) * 4 + row / 2;
    return slice * width + piece * size + t % (size / 2) * 2 + row % 2;
  }

  /// Coordinate of V and O that row `row` of O^T's fragment `t` has.
  inline uint v_coordinate(int t) const {
    const int size = piece_size(v_format, v_share);
    return slice * width + (t / size * 8 + row) * size + t % size;
  }

  /// Takes eight queries of D coordinates each, one after the other.
  inline void load_queries(threadgroup const float *queries) {
    FA_UNROLL
    for (int t = 0; t < fragments; t++) {
      const uint d = k_coordinate(t);
      q[t] = float2(queries[col * D + d], queries[(col + 1) * D + d]);
      o[t] = metal::make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    }
  }

  /// Attends keys `begin` ... `end` - 1, which is one at least; of those, each of the lane's two queries sees the keys
  /// `from` ... `to` - 1. All simdgroups of the threadgroup call this; `exchange` is for `slices` > 1.
  inline void attend(cache_rows k, cache_rows v, cache_slots slots, score_scale how, distance_bias bias, uint begin,
                     uint end, uint2 from, uint2 to, threadgroup float2 *exchange) {
    const uint2 limit = metal::min(to, uint2(end));
    ushort parity = 0;
    for (uint base = begin; base < end; base += groups * keys) {
      const uint first = base + group * keys;
      if (slices == 1 && first >= end) {
        break;
      }
      // A lane's key of each tile, and its two columns of V^T. The last key stands in for those beyond it.
      ulong k_rows[tiles];
      ulong v_rows[tiles][2];
      float k_factors[tiles];
      float v_factors[tiles];
      FA_UNROLL
      for (int a = 0; a < tiles; a++) {
        const uint tile = first + a * 8;
        k_rows[a] = slots.row(metal::min(tile + row, end - 1));
        v_rows[a][0] = slots.row(metal::min(tile + col, end - 1));
        v_rows[a][1] = slots.row(metal::min(tile + col + 1, end - 1));
        k_factors[a] = row_factor<D>(k_format, k.norms, k_rows[a], half_norms, slice, how.scale_factor_d512);
        v_factors[a] = row_factor<D>(v_format, v.norms, k_rows[a], half_norms, slice, how.scale_factor_d512);
      }

      float2 s[tiles];
      scores(k, k_rows, s);
      FA_UNROLL
      for (int a = 0; a < tiles; a++) {
        s[a] *= k_factors[a];
      }
      if (slices > 1) {
        add_slices(s, exchange + parity * (groups * slices * tiles * 32));
        parity ^= 1;
      }

      float2 top = float2(-INFINITY);
      FA_UNROLL
      for (int a = 0; a < tiles; a++) {
        const uint key = first + a * 8 + row;
        s[a] *= how.scale;
        if (with_softcap && how.softcap > 0.0f) {
          s[a] = how.softcap * metal::precise::tanh(s[a] / how.softcap);
        }
        if (with_alibi) {
          s[a] -= bias.slopes * float2(metal::abs(bias.positions - int(key)));
        }
        s[a] = metal::select(float2(-INFINITY), s[a], uint2(key) >= from && uint2(key) < limit);
        top = metal::max(top, s[a]);
      }
      top = column_max(top);
      const float2 factor = float2(softmax[0].advance(top.x), softmax[1].advance(top.y));
      if (factor.x != 1.0f || factor.y != 1.0f) {
        FA_UNROLL
        for (int t = 0; t < fragments; t++) {
          o[t].thread_elements() *= factor;
        }
      }
      FA_UNROLL
      for (int a = 0; a < tiles; a++) {
        s[a] = float2(softmax[0].weight(s[a].x), softmax[1].weight(s[a].y));
        softmax[0].sum += s[a].x;
        softmax[1].sum += s[a].y;
        s[a] *= v_factors[a];
      }
      gather(v, v_rows, s);
    }
    const float2 sum = column_sum(float2(softmax[0].sum, softmax[1].sum));
    softmax[0].sum = sum.x;
    softmax[1].sum = sum.y;
  }

 private:
  inline void scores(cache_rows k, thread const ulong (&rows)[tiles], thread float2 (&s)[tiles]) {
#define FA_SCORES(F)                                      \
  case F:                                                 \
    multiply_keys<F, piece_size(F, k_share)>(k, rows, s); \
    break;
    switch (storage_of(k_format)) { FA_EACH_STORAGE(FA_SCORES) }
#undef FA_SCORES
  }

  /// O^T += V^T P^T
  inline void gather(cache_rows v, thread const ulong (&rows)[tiles][2], thread const float2 (&p)[tiles]) {
#define FA_GATHER(F)                                        \
  case F:                                                   \
    multiply_values<F, piece_size(F, v_share)>(v, rows, p); \
    break;
    switch (storage_of(v_format)) { FA_EACH_STORAGE(FA_GATHER) }
#undef FA_GATHER
  }

  template <int F, int C>
  inline void multiply_keys(cache_rows k, thread const ulong (&rows)[tiles], thread float2 (&s)[tiles]) {
    typedef kv_piece<F, D, C> piece;
    typedef typename factor_type<T, typename piece::element>::type factor;
    // Two sums, so that a product need not wait for the one before it.
    matrix8x8<float> sums[2];
    sums[0] = metal::make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    sums[1] = sums[0];
    FA_UNROLL
    for (int i = 0; i < width / (4 * C); i++) {
      piece pieces[tiles];
      FA_UNROLL
      for (int a = 0; a < tiles; a++) {
        pieces[a].load(k.data + rows[a] * piece::row_bytes, slice * width + (i * 4 + col / 2) * C);
      }
      FA_UNROLL
      for (int j = 0; j < C / 2; j++) {
        const int t = i * (C / 2) + j;
        const matrix8x8<factor> queries = make_matrix<factor>(factor(q[t].x), factor(q[t].y));
        FA_UNROLL
        for (int a = 0; a < tiles; a++) {
          const matrix8x8<factor> part =
              make_matrix<factor>(factor(pieces[a].at(2 * j, k.table)), factor(pieces[a].at(2 * j + 1, k.table)));
          thread matrix8x8<float> &sum = sums[tiles == 1 ? j % 2 : a];
          metal::simdgroup_multiply_accumulate(sum, part, queries, sum);
        }
      }
    }
    s[0] = sums[0].thread_elements();
    if (tiles == 1) {
      s[0] += sums[1].thread_elements();
    } else {
      s[tiles - 1] = sums[1].thread_elements();
    }
  }

  template <int F, int C>
  inline void multiply_values(cache_rows v, thread const ulong (&rows)[tiles][2], thread const float2 (&p)[tiles]) {
    typedef kv_piece<F, D, C> piece;
    typedef typename factor_type<T, typename piece::element>::type factor;
    FA_UNROLL
    for (int a = 0; a < tiles; a++) {
      const matrix8x8<factor> weights = make_matrix<factor>(factor(p[a].x), factor(p[a].y));
      FA_UNROLL
      for (int i = 0; i < width / (8 * C); i++) {
        piece pieces[2];
        FA_UNROLL
        for (int e = 0; e < 2; e++) {
          pieces[e].load(v.data + rows[a][e] * piece::row_bytes, slice * width + (i * 8 + row) * C);
        }
        FA_UNROLL
        for (int j = 0; j < C; j++) {
          const matrix8x8<factor> part =
              make_matrix<factor>(factor(pieces[0].at(j, v.table)), factor(pieces[1].at(j, v.table)));
          metal::simdgroup_multiply_accumulate(o[i * C + j], part, weights, o[i * C + j]);
        }
      }
    }
  }

  /// Adds what the simdgroups with the same keys have found, in the same order in each of them.
  inline void add_slices(thread float2 (&s)[tiles], threadgroup float2 *exchange) {
    FA_UNROLL
    for (int a = 0; a < tiles; a++) {
      exchange[((group * slices + slice) * tiles + a) * 32 + lane] = s[a];
    }
    threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    FA_UNROLL
    for (int a = 0; a < tiles; a++) {
      s[a] = float2(0.0f);
      FA_UNROLL
      for (int other = 0; other < slices; other++) {
        s[a] += exchange[((group * slices + other) * tiles + a) * 32 + lane];
      }
    }
  }
};

}  // namespace fa

#endif
