// Attention of one query per threadgroup over a K/V cache. The keys are shared out, 32 at a time, to the work-groups
// (`splits`) of the query and to the simdgroups of each; all that a simdgroup knows stays in its registers.
//
// A kernel goes through the steps of `decode_vec` in order: locate, load_query, (change query), attend, finish.
#ifndef FA_DECODE_VEC_H
#define FA_DECODE_VEC_H

#include <metal_stdlib>

#include "decode_options.h"
#include "decode_rows.h"
#include "unroll.h"

namespace fa {

/// Sums eight values over the simdgroup: lane l gets the sum of part[l % 8].
inline float sum_of_eight(thread float *part, ushort lane) {
  FA_UNROLL
  for (ushort half_width = 4; half_width > 0; half_width /= 2) {
    const bool upper = (lane & half_width) != 0;
    FA_UNROLL
    for (ushort i = 0; i < half_width; i++) {
      const float kept = upper ? part[i + half_width] : part[i];
      const float given = upper ? part[i] : part[i + half_width];
      part[i] = kept + metal::simd_shuffle_xor(given, half_width);
    }
  }
  const float sum = part[0] + metal::simd_shuffle_xor(part[0], ushort(8));
  return sum + metal::simd_shuffle_xor(sum, ushort(16));
}

template <typename Rows>
struct decode_vec {
  typedef typename Rows::layout layout;
  static constant constexpr int D = layout::dimension;
  static constant constexpr int count = layout::count;

  // What the threadgroup works on.
  ulong row;         // of the partial results, which lie sequence, query, head
  ulong rows;        // how many of those there are
  ulong query;       // row of Q, O and LSE, which lie sequence, head, query
  ulong cache;       // the cache's row that has slot 0 of this sequence and kv head
  uint capacity;     // slots of the cache
  uint ring_start;   // slot of key 0
  uint begin;        // the first key that is attended ...
  uint end;          // ... and the one after the last
  uint splits;       // work-groups that share these keys ...
  uint split;        // ... and which one this is
  float scale;
  float softcap;

  ushort simdgroup;
  ushort simdgroups;
  ushort lane;

  // The running maximum, the sum of the weights relative to it, and the values they have gathered.
  float maximum;
  float sum;
  float o[count];
  float q[count];

  /// `group` is (query, head, sequence * splits + split).
  inline void locate(decode_problem problem, decode_options options, uint3 group, ushort simdgroup_index,
                     ushort simdgroup_count, ushort lane_index) {
    simdgroup = simdgroup_index;
    simdgroups = simdgroup_count;
    lane = lane_index;
    splits = problem.splits;
    split = group.z % splits;
    scale = problem.scale;
    softcap = problem.softcap;

    const uint q_len = query_length(options);
    const ulong sequence = batched ? group.z / splits : 0;
    const uint token = batched ? group.x : 0;
    const uint head = group.y;
    const uint kv_head = head / (problem.heads / problem.kv_heads);
    row = (sequence * q_len + token) * problem.heads + head;
    rows = ulong(batch_size(options)) * q_len * problem.heads;
    query = query_row(row, problem.heads, q_len);
    capacity = problem.capacity;
    cache = (sequence * problem.kv_heads + kv_head) * capacity;
    ring_start = (batched ? options.ring_starts[sequence] : problem.ring_start) % capacity;

    // The last query sees every key, the ones before it one less each; the window counts the query's own key.
    end = metal::min(batched ? options.kv_lens[sequence] : problem.kv_len, problem.capacity);
    if (problem.mask_type != 0) {
      const uint later = q_len - 1 - token;
      end = end > later ? end - later : 0;
    }
    const bool windowed = problem.mask_type == 2 && problem.window != 0 && end > problem.window;
    begin = windowed ? end - problem.window : 0;

    maximum = -FLT_MAX / 2;
    sum = 0.0f;
    if (with_sinks && split == 0 && simdgroup == 0) {
      // A sink is a key without a value.
      maximum = metal::max(maximum, options.sinks[head]);
      sum = metal::precise::exp(options.sinks[head] - maximum);
    }
    FA_UNROLL
    for (int e = 0; e < count; e++) {
      o[e] = 0.0f;
    }
  }

  inline void load_query(device const float *Q) { layout::load(Q + query * D, lane, q); }

  /// What the rooms with codes and the peer port promise: the query has the precision of half.
  inline void round_query() {
    FA_UNROLL
    for (int e = 0; e < count; e++) {
      q[e] = float(half(q[e]));
    }
  }

  inline void attend(Rows keys, Rows values) {
    const ulong stride = 32ul * splits * simdgroups;
    for (ulong first = begin + 32ul * (split * simdgroups + simdgroup); first < end; first += stride) {
      const uint valid = metal::min(end - uint(first), 32u);
      const ulong slot = ring_start + first;
      const uint first_slot = uint(slot < capacity ? slot : slot - capacity);
      const float score = scores(keys, first_slot, valid);
      const bool attended = lane < valid;
      const float next = metal::max(maximum, metal::simd_max(attended ? score : maximum));
      const float factor = next > maximum ? metal::precise::exp(maximum - next) : 1.0f;
      const float weight = attended ? metal::precise::exp(score - next) : 0.0f;
      maximum = next;
      sum = sum * factor + metal::simd_sum(weight);
      gather(values, first_slot, valid, weight, factor);
    }
  }

  /// Writes what the work-group has found: the output if it is the only one, else its partial result. `memory` has
  /// room for the banks of the other simdgroups after a table of codes.
  inline void finish(device float *dst, decode_options options, threadgroup float *memory) {
    if (simdgroups > 1) {
      threadgroup float *banks = memory + code_table_size;
      if (simdgroup > 0) {
        deposit(banks + (simdgroup - 1) * bank_size);
      }
      threadgroup_barrier(metal::mem_flags::mem_threadgroup);
      if (simdgroup > 0) {
        return;
      }
      for (ushort other = 1; other < simdgroups; other++) {
        absorb(banks + (other - 1) * bank_size);
      }
    }

    const bool complete = splits == 1;
    const float normalizer = !complete ? 1.0f : sum == 0.0f ? 0.0f : 1.0f / sum;
    FA_UNROLL
    for (int e = 0; e < count; e += layout::step) {
      const uint at = layout::coordinate(lane, e);
      device float *to =
          complete ? dst + query * D + at : dst + ((row * (D / 4) + at / 4) * splits + split) * 4 + at % 4;
      typedef typename unaligned<float, layout::step>::type vector;
      vector v;
      FA_UNROLL
      for (int i = 0; i < layout::step; i++) {
        v[i] = o[e + i] * normalizer;
      }
      *(device vector *)to = v;
    }
    if (lane == 0 && !complete) {
      device float *to = dst + (rows * D + row * 2) * splits + 2 * split;
      to[0] = sum;
      to[1] = maximum;
    }
    if (write_lse && lane == 0 && complete) {
      options.lse[query] = log_sum_exp(maximum, sum);
    }
  }

 private:
  static constant constexpr int bank_size = D + 2;

  /// The cache's row of key `i` of a chunk whose first has this slot. Where there are less than 32 keys, the last one
  /// stands in for those that are missing; what becomes of it is dropped.
  inline ulong row_of(uint first_slot, uint i, uint valid) {
    const uint slot = first_slot + metal::min(i, valid - 1);
    return cache + (slot < capacity ? slot : slot - capacity);
  }

  /// Scores of a chunk's keys; lane l gets that of key l.
  inline float scores(Rows keys, uint first_slot, uint valid) {
    float score = 0.0f;
    for (uint group = 0; group < valid; group += 8) {
      float part[8];
      FA_UNROLL
      for (uint i = 0; i < 8; i++) {
        const ulong from = row_of(first_slot, group + i, valid);
        float k[count];
        keys.read(from, lane, k);
        float dot = 0.0f;
        FA_UNROLL
        for (int e = 0; e < count; e++) {
          dot = metal::fma(q[e], k[e], dot);
        }
        part[i] = dot * keys.factor(from, lane);
      }
      const float total = sum_of_eight(part, lane);
      score = lane / 8 == group / 8 ? total : score;
    }
    score *= scale;
    return softcap > 0.0f ? softcap * metal::precise::tanh(score / softcap) : score;
  }

  /// O = factor * O + weights . V; lane l has the weight of key l. The chunk is summed on its own first.
  inline void gather(Rows values, uint first_slot, uint valid, float weight, float factor) {
    float chunk[count];
    FA_UNROLL
    for (int e = 0; e < count; e++) {
      chunk[e] = 0.0f;
    }
    for (uint group = 0; group < valid; group += 8) {
      FA_UNROLL
      for (uint i = 0; i < 8; i++) {
        const ulong from = row_of(first_slot, group + i, valid);
        const float w = metal::simd_shuffle(weight, ushort(group + i)) * values.factor(from, lane);
        float v[count];
        values.read(from, lane, v);
        FA_UNROLL
        for (int e = 0; e < count; e++) {
          chunk[e] = metal::fma(w, v[e], chunk[e]);
        }
      }
    }
    FA_UNROLL
    for (int e = 0; e < count; e++) {
      o[e] = metal::fma(o[e], factor, chunk[e]);
    }
  }

  /// Leaves this simdgroup's result in a bank.
  inline void deposit(threadgroup float *bank) {
    FA_UNROLL
    for (int e = 0; e < count; e++) {
      bank[e * 32 + lane] = o[e];
    }
    if (lane == 0) {
      bank[D] = sum;
      bank[D + 1] = maximum;
    }
  }

  /// Takes in another simdgroup's result.
  inline void absorb(threadgroup const float *bank) {
    const float next = metal::max(maximum, bank[D + 1]);
    const float mine = metal::precise::exp(maximum - next);
    const float theirs = metal::precise::exp(bank[D + 1] - next);
    maximum = next;
    sum = sum * mine + bank[D] * theirs;
    FA_UNROLL
    for (int e = 0; e < count; e++) {
      o[e] = o[e] * mine + bank[e * 32 + lane] * theirs;
    }
  }
};

}  // namespace fa

#endif
