// Attention of the last queries of each sequence over its K/V cache of any format: one threadgroup for each kv head,
// up to eight of its queries, and a share of the keys. docs/kernels/flash_attn_decode.md describes the scheme.

#include <metal_stdlib>

// Masking needs infinities that mean what they say, whatever options the library is compiled with.
#pragma METAL fp math_mode(safe)

#include "decode_mma.h"
#include "decode_mma_merge.h"
#include "decode_options.h"
#include "flash_attn_params.h"
#include "fwht.h"
#include "unroll.h"

using namespace metal;

constant bool has_rotate_q [[function_constant(78)]];  // queries are rotated here
constant bool rotate_q = is_function_constant_defined(has_rotate_q) ? has_rotate_q : false;
constant bool k_quantised = k_format >= FA_KV_Q8;
constant bool v_quantised = v_format >= FA_KV_Q8;

/// A column of scores: a query head of a token. Those of a token are next to each other.
struct decode_query {
  uint head;
  uint token;
  ulong row;   // of the partial results: sequence, token, head
  ulong dense;  // of the LSE: sequence, head, token
  uint from;   // the first key it attends ...
  uint to;     // ... and the one after the last
};

inline decode_query query_of(constant fa_decode_params &params, uint sequence, uint kv_head, uint column, uint kv_len) {
  const uint group = params.heads / params.kv_heads;
  decode_query query;
  query.token = column / group;
  query.head = kv_head * group + column % group;
  query.row = (ulong(sequence) * params.q_len + query.token) * params.heads + query.head;
  query.dense = (ulong(sequence) * params.heads + query.head) * params.q_len + query.token;
  // The last query's own key is the last one.
  const uint later = params.q_len - 1 - query.token;
  const uint own_end = kv_len > later ? kv_len - later : 0;
  query.to = params.causal != 0 ? own_end : kv_len;
  query.from = with_window && params.window != 0 && own_end > params.window ? own_end - params.window : 0;
  return query;
}

inline long output_offset(constant fa_decode_params &params, uint sequence, decode_query query) {
  return long(sequence) * params.o_strides[0] + long(query.head) * params.o_strides[1] +
         long(query.token) * params.o_strides[2];
}

/// Copies of the values of the tables of K and V, 16 KiB in all at most.
inline int copies_of(int format) {
  return fa::table_size(format) == 0 ? 0 : fa::table_copies(format, k_format == v_format ? 4096 : 2048);
}

inline fa::code_table table_at(int format, threadgroup const float *values, ushort lane) {
  fa::code_table table;
  table.copies = copies_of(format);
  table.values = values + (table.copies == 0 ? 0 : lane % table.copies);
  table.mask = fa::table_size(format) - 1;
  return table;
}

inline void stage_table(int format, threadgroup float *values, ushort thread_index, ushort threads) {
  const uint copies = copies_of(format);
  for (uint i = thread_index; i < fa::table_size(format) * copies / 4; i += threads) {
    ((threadgroup float4 *)values)[i] = float4(fa::centroid_of(format, i * 4 / copies));
  }
}

template <typename T, int D, int SIMDGROUPS = (D > 128 ? 4 : 8)>
[[kernel, max_total_threads_per_threadgroup(SIMDGROUPS * 32)]] void flash_attn_decode(
    constant fa_decode_params &params [[buffer(0)]],
    device const T *Q [[buffer(1)]],                                            // [B, H, q_len, D]
    device const uchar *K [[buffer(2)]],  // [B, Hkv, cap, bytes of a row], or pages
    device const uchar *K_norms [[buffer(3), function_constant(k_quantised)]],  // [B, Hkv, cap]
    device const uchar *V [[buffer(4)]],  // [B, Hkv, cap, bytes of a row]
    device const uchar *V_norms [[buffer(5), function_constant(v_quantised)]],  // [B, Hkv, cap]
    device uchar *out [[buffer(6)]],  // O, or partial results as floats
    device float2 *partial_states [[buffer(7)]],  // sums and maxima of partial results
    device const uint *kv_lens [[buffer(8)]],  // [B]
    device const uint *ring_starts [[buffer(9), function_constant(in_ring)]],  // [B]
    device const float *sinks [[buffer(10), function_constant(with_sinks)]],  // [H]
    device float *LSE [[buffer(11), function_constant(write_lse)]],  // [B, H, q_len]
    constant uchar *signs [[buffer(12), function_constant(own_signs)]],  // D / 8 bytes
    constant fa_decode_pages &paging [[buffer(13), function_constant(in_pages)]],
    device const uint *block_table [[buffer(14), function_constant(in_pages)]],  // [B, pages of a sequence]
    device const float *alibi [[buffer(15), function_constant(with_alibi)]],  // [H] or [B, H]
    threadgroup float *memory [[threadgroup(0)]],
    uint3 group [[threadgroup_position_in_grid]],  // eight columns, kv head, sequence * splits + split
    ushort simdgroup [[simdgroup_index_in_threadgroup]], ushort simdgroups [[simdgroups_per_threadgroup]],
    ushort lane [[thread_index_in_simdgroup]], ushort thread_index [[thread_index_in_threadgroup]]) {
  typedef fa::decode_mma<T, D> core;
  constexpr int E = D / 32;
  const ushort threads = simdgroups * 32;
  const uint sequence = group.z / params.splits;
  const uint split = group.z % params.splits;
  const uint kv_head = group.y;
  const uint first_column = group.x * 8;
  const uint all_columns = params.heads / params.kv_heads * params.q_len;
  if (first_column >= all_columns || kv_head >= params.kv_heads || sequence >= params.batch) {
    return;
  }
  const uint columns = min(all_columns - first_column, 8u);
  const uint kv_len = min(kv_lens[sequence], params.capacity);
  core mma;
  mma.locate(simdgroup, simdgroups, lane);

  // Threadgroup memory: the queries, then tables, then the simdgroups' results; beside them, sums and maxima and what
  // the slices exchange.
  const int k_table = fa::table_size(k_format) * copies_of(k_format);
  const int v_table = k_format == v_format ? 0 : fa::table_size(v_format) * copies_of(v_format);
  const int banks = 8 * D * max(mma.groups / 2, 1);
  threadgroup float2 *totals = (threadgroup float2 *)(memory + max(k_table + v_table, banks));
  threadgroup float2 *group_states = totals + 8;
  threadgroup float2 *exchange = group_states + 8 * mma.groups;

  for (uint c = simdgroup; c < 8; c += simdgroups) {
    float x[E] = {};
    if (c < columns) {
      const decode_query query = query_of(params, sequence, kv_head, first_column + c, kv_len);
      device const T *from = Q + long(sequence) * params.q_strides[0] + long(query.head) * params.q_strides[1] +
                             long(query.token) * params.q_strides[2] + lane * E;
      FA_UNROLL
      for (int e = 0; e < E; e++) {
        x[e] = float(from[e]);
      }
      if (rotate_q) {
        fa::rotate(x, own_signs ? signs : fa_default_signs, lane);
      }
    }
    FA_UNROLL
    for (int e = 0; e < E; e++) {
      memory[c * D + lane * E + e] = x[e];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  mma.load_queries(memory);
  if (k_table + v_table > 0) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    stage_table(k_format, memory, thread_index, threads);
    if (v_table > 0) {
      stage_table(v_format, memory + k_table, thread_index, threads);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }

  // The keys that any of the queries attends, of which this threadgroup has a share.
  const decode_query oldest = query_of(params, sequence, kv_head, first_column, kv_len);
  const decode_query newest = query_of(params, sequence, kv_head, first_column + columns - 1, kv_len);
  const uint step = core::keys * mma.groups;
  const uint count = newest.to > oldest.from ? newest.to - oldest.from : 0;
  const ulong share = ulong((count + params.splits - 1) / params.splits + step - 1) / step * step;
  const uint begin = oldest.from + uint(min(share * split, ulong(count)));
  const uint end = oldest.from + uint(min(share * (split + 1), ulong(count)));

  uint2 from;
  uint2 to;
  float2 own_sinks = float2(-INFINITY);
  fa::distance_bias bias = {float2(0.0f), int2(0)};
  FA_UNROLL
  for (int e = 0; e < 2; e++) {
    const uint column = min(mma.col + uint(e), columns - 1);
    const decode_query query = query_of(params, sequence, kv_head, first_column + column, kv_len);
    from[e] = query.from;
    to[e] = query.to;
    if (with_sinks && split == 0) {
      own_sinks[e] = sinks[query.head];
    }
    if (with_alibi) {
      bias.slopes[e] = alibi[ulong(sequence) * params.slope_stride + query.head];
      bias.positions[e] = int(kv_len - params.q_len + query.token);
    }
  }
  fa::cache_slots slots;
  slots.first_row = (ulong(sequence) * params.kv_heads + kv_head) * params.capacity;
  slots.capacity = params.capacity;
  slots.ring_start = in_ring && params.capacity != 0 ? ring_starts[sequence] % params.capacity : 0;
  if (in_pages) {
    slots.first_row = kv_head * ulong(paging.head_stride);
    slots.pages = block_table + ulong(sequence) * paging.table_stride;
    slots.page_size = paging.page_size;
    slots.page_stride = paging.page_stride;
    slots.slot_stride = paging.slot_stride;
  }
  const fa::cache_rows keys = {K, k_quantised ? K_norms : nullptr, table_at(k_format, memory, lane)};
  const fa::cache_rows values = {V, v_quantised ? V_norms : nullptr,
                                 table_at(v_format, memory + (v_table > 0 ? k_table : 0), lane)};
  const fa::score_scale how = {params.scale, params.softcap, params.scale_factor_d512};
  mma.attend(keys, values, slots, how, bias, begin, end, from, to, exchange);
  fa::merge_simdgroups(mma, own_sinks, memory, group_states, totals);

  for (uint c = simdgroup; c < columns; c += simdgroups) {
    const decode_query query = query_of(params, sequence, kv_head, first_column + c, kv_len);
    fa::online_softmax<T> softmax;
    softmax.sum = totals[c].x;
    softmax.maximum = totals[c].y;
    float x[E];
    FA_UNROLL
    for (int e = 0; e < E; e++) {
      x[e] = memory[c * D + lane * E + e];
    }
    if (params.splits > 1) {
      constexpr float unit = 1.0f / fa::weight_policy<T>::scale;
      const ulong partial = query.row * params.splits + split;
      FA_UNROLL
      for (int e = 0; e < E; e++) {
        ((device float *)out)[partial * D + lane * E + e] = x[e] * unit;
      }
      if (lane == 0) {
        partial_states[partial] = float2(softmax.sum * unit, softmax.maximum);
      }
    } else {
      device T *to_row = (device T *)out + output_offset(params, sequence, query);
      fa::write_output(x, softmax.normalizer(), own_signs ? signs : fa_default_signs, to_row, lane);
      if (write_lse && lane == 0) {
        LSE[query.dense] = softmax.log_sum_exp();
      }
    }
  }
}

/// Merges the partial results of a query.
template <typename T, int D>
[[kernel, max_total_threads_per_threadgroup(256)]] void flash_attn_decode_merge(
    constant fa_decode_params &params [[buffer(0)]],
    device T *O [[buffer(3)]],  // [B, H, q_len, D]
    device const float *partials [[buffer(6)]],  // [B, q_len, H, splits, D]
    device const float2 *partial_states [[buffer(7)]],  // [B, q_len, H, splits]
    device float *LSE [[buffer(11), function_constant(write_lse)]],  // [B, H, q_len]
    constant uchar *signs [[buffer(12), function_constant(own_signs)]],  // D / 8 bytes
    uint3 group [[threadgroup_position_in_grid]],  // token, head, sequence
    ushort simdgroup [[simdgroup_index_in_threadgroup]], ushort simdgroups [[simdgroups_per_threadgroup]],
    ushort lane [[thread_index_in_simdgroup]]) {
  constexpr int E = D / 32;
  threadgroup float banks[7 * D];
  if (group.x >= params.q_len || group.y >= params.heads || group.z >= params.batch) {
    return;
  }
  decode_query query;
  query.token = group.x;
  query.head = group.y;
  query.row = (ulong(group.z) * params.q_len + group.x) * params.heads + group.y;
  query.dense = (ulong(group.z) * params.heads + group.y) * params.q_len + group.x;
  device const float2 *states = partial_states + query.row * params.splits;

  fa::online_softmax<float> total;
  for (uint split = lane; split < params.splits; split += 32) {
    total.maximum = max(total.maximum, states[split].y);
  }
  total.maximum = simd_max(total.maximum);
  for (uint split = lane; split < params.splits; split += 32) {
    total.sum = fma(states[split].x, fa::share_of<float>(states[split].y, total.maximum), total.sum);
  }
  total.sum = simd_sum(total.sum);
  float x[E] = {};
  for (uint split = simdgroup; split < params.splits; split += simdgroups) {
    const float share = fa::share_of<float>(states[split].y, total.maximum);
    device const float *from = partials + (query.row * params.splits + split) * D + lane * E;
    FA_UNROLL
    for (int e = 0; e < E; e++) {
      x[e] = fma(from[e], share, x[e]);
    }
  }
  if (simdgroup > 0) {
    FA_UNROLL
    for (int e = 0; e < E; e++) {
      banks[((simdgroup - 1) * E + e) * 32 + lane] = x[e];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simdgroup > 0) {
    return;
  }
  for (ushort other = 1; other < simdgroups; other++) {
    FA_UNROLL
    for (int e = 0; e < E; e++) {
      x[e] += banks[((other - 1) * E + e) * 32 + lane];
    }
  }
  device T *to = O + output_offset(params, group.z, query);
  fa::write_output(x, total.normalizer(), own_signs ? signs : fa_default_signs, to, lane);
  if (write_lse && lane == 0) {
    LSE[query.dense] = total.log_sum_exp();
  }
}

#define FA_INSTANTIATE(NAME, T, D)                                                                  \
  template [[host_name("flash_attn_decode_" NAME                                                    \
                       "_d" #D)]] kernel decltype(flash_attn_decode<T, D>) flash_attn_decode<T, D>; \
  template [[host_name("flash_attn_decode_merge_" NAME                                              \
                       "_d" #D)]] kernel decltype(flash_attn_decode_merge<T, D>) flash_attn_decode_merge<T, D>;
#define FA_INSTANTIATE_EACH_DIMENSION(NAME, T) \
  FA_INSTANTIATE(NAME, T, 64)                  \
  FA_INSTANTIATE(NAME, T, 128)                 \
  FA_INSTANTIATE(NAME, T, 256)                 \
  FA_INSTANTIATE(NAME, T, 512)
FA_INSTANTIATE_EACH_DIMENSION("f32", float)
FA_INSTANTIATE_EACH_DIMENSION("f16", half)
FA_INSTANTIATE_EACH_DIMENSION("bf16", bfloat)
