// What becomes of the results of a threadgroup's simdgroups, and of the threadgroups that share a sequence's keys.
#ifndef FA_DECODE_MMA_MERGE_H
#define FA_DECODE_MMA_MERGE_H

#include <metal_stdlib>

#include "decode_mma.h"
#include "fwht.h"
#include "online_softmax.h"
#include "unroll.h"

constant bool has_signs [[function_constant(55)]];  // slot 12 is bound
constant bool has_undo [[function_constant(77)]];   // the output is rotated back
constant bool own_signs = is_function_constant_defined(has_signs) ? has_signs : false;
constant bool undo_rotation = is_function_constant_defined(has_undo) ? has_undo : false;

namespace fa {

/// What counts of a sum relative to `maximum` where the maximum has become `top`.
template <typename T>
inline float share_of(float maximum, float top) {
  return maximum < top ? weight_policy<T>::exp2((maximum - top) * M_LOG2E_F) : 1.0f;
}

/// Takes in the sum and the maximum of other keys.
template <typename T>
inline void absorb(thread online_softmax<T> &softmax, float2 other) {
  softmax.advance(other.y);
  softmax.sum += other.x * share_of<T>(other.y, softmax.maximum);
}

/// Takes in a key without a value.
template <typename T>
inline void absorb_sink(thread online_softmax<T> &softmax, float sink) {
  softmax.advance(sink);
  softmax.sum += softmax.weight(sink);
}

/// Merges the simdgroups' results: afterwards `banks` has eight rows of D values, and `totals` their sums and maxima.
/// `banks` has room for the results of half the groups, eight rows of D values each, one at least; `states` for eight
/// pairs a group. All simdgroups call this.
template <typename T, int D>
inline void merge_simdgroups(thread decode_mma<T, D> &mma, float2 sinks, threadgroup float *banks,
                             threadgroup float2 *states, threadgroup float2 *totals) {
  typedef decode_mma<T, D> core;
  if (mma.slice == 0 && mma.row == 0) {
    FA_UNROLL
    for (int e = 0; e < 2; e++) {
      states[mma.group * 8 + mma.col + e] = float2(mma.softmax[e].sum, mma.softmax[e].maximum);
    }
  }
  threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  online_softmax<T> total[2];
  float2 share;
  FA_UNROLL
  for (int e = 0; e < 2; e++) {
    for (ushort group = 0; group < mma.groups; group++) {
      absorb(total[e], states[group * 8 + mma.col + e]);
    }
    absorb_sink(total[e], sinks[e]);
    share[e] = share_of<T>(mma.softmax[e].maximum, total[e].maximum);
  }
  FA_UNROLL
  for (int t = 0; t < core::fragments; t++) {
    mma.o[t].thread_elements() *= share;
  }

  // The upper half of the groups leaves what it has to the lower half, until one is left.
  threadgroup float2 *elements = (threadgroup float2 *)banks;
  for (ushort count = mma.groups; count > 1;) {
    const ushort kept = (count + 1) / 2;
    if (mma.group >= kept && mma.group < count) {
      FA_UNROLL
      for (int t = 0; t < core::fragments; t++) {
        elements[(((mma.group - kept) * core::slices + mma.slice) * core::fragments + t) * 32 + mma.lane] =
            mma.o[t].thread_elements();
      }
    }
    threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    if (mma.group < count - kept) {
      FA_UNROLL
      for (int t = 0; t < core::fragments; t++) {
        mma.o[t].thread_elements() +=
            elements[((mma.group * core::slices + mma.slice) * core::fragments + t) * 32 + mma.lane];
      }
    }
    threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    count = kept;
  }
  if (mma.group == 0) {
    FA_UNROLL
    for (int e = 0; e < 2; e++) {
      FA_UNROLL
      for (int t = 0; t < core::fragments; t++) {
        banks[(mma.col + e) * D + mma.v_coordinate(t)] = mma.o[t].thread_elements()[e];
      }
      if (mma.slice == 0 && mma.row == 0) {
        totals[mma.col + e] = float2(total[e].sum, total[e].maximum);
      }
    }
  }
  threadgroup_barrier(metal::mem_flags::mem_threadgroup);
}

/// Writes a row of the output from its sum and what it has gathered, of which a lane has D / 32 neighbours.
template <typename T, int E>
inline void write_output(thread float (&x)[E], float normalizer, constant const uchar *signs, device T *to,
                         ushort lane) {
  FA_UNROLL
  for (int e = 0; e < E; e++) {
    x[e] *= normalizer;
  }
  if (undo_rotation) {
    unrotate(x, signs, lane);
  }
  FA_UNROLL
  for (int e = 0; e < E; e++) {
    to[lane * E + e] = T(x[e]);
  }
}

}  // namespace fa

#endif
