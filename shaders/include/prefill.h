// What the prefill kernels share: their function constants, the keys of a row, and the score of a key.
#ifndef FA_PREFILL_H
#define FA_PREFILL_H

#include <metal_stdlib>

#include "flash_attn_params.h"

constant bool align_Q [[function_constant(200)]];    // qL is a multiple of BQ
constant bool align_K [[function_constant(201)]];    // kL is a multiple of BK
constant bool has_mask [[function_constant(300)]];   // slots 5 and 6 are bound
constant bool do_causal [[function_constant(301)]];  // row i attends keys 0 ... i + qL_off

// These may be left undefined, which means no.
constant bool has_blk [[function_constant(303)]];      // slots 7 and 11 are bound, for the mask in slot 6
constant bool has_sinks [[function_constant(304)]];    // slot 8 is bound
constant bool has_lse [[function_constant(306)]];      // slot 9 is bound
constant bool has_window [[function_constant(307)]];   // slot 10 is bound
constant bool has_softcap [[function_constant(308)]];  // params.softcap applies, unless it is 0
constant bool has_alibi [[function_constant(309)]];    // slots 12 and 18 are bound
constant bool use_blk = is_function_constant_defined(has_blk) ? has_blk : false;
constant bool use_sinks = is_function_constant_defined(has_sinks) ? has_sinks : false;
constant bool use_lse = is_function_constant_defined(has_lse) ? has_lse : false;
constant bool use_window = is_function_constant_defined(has_window) ? has_window : false;
constant bool use_softcap = is_function_constant_defined(has_softcap) ? has_softcap : false;
constant bool use_alibi = is_function_constant_defined(has_alibi) ? has_alibi : false;

namespace fa {

// What a byte of slot 7 says of its tile.
constant constexpr uchar tile_excluded = 0;
constant constexpr uchar tile_attended = 2;

inline long lesser(long a, long b) { return a < b ? a : b; }
inline long greater(long a, long b) { return a > b ? a : b; }

/// Keys begin ... end - 1; none where that is empty.
struct key_range {
  long begin;
  long end;
};

/// What length, causality and window leave to the row at `position` among the keys.
inline key_range keys_of_row(long position, long kL, int left, int right) {
  key_range keys;
  keys.begin = use_window && left >= 0 ? greater(position - left, 0) : 0;
  keys.end = kL;
  if (do_causal) {
    keys.end = lesser(keys.end, position + 1);
  }
  if (use_window && right >= 0) {
    keys.end = lesser(keys.end, position + right + 1);
  }
  return keys;
}

/// What it leaves to any of the rows at `first` ... `last`: neither bound falls from row to row.
inline key_range keys_of_rows(long first, long last, long kL, int left, int right) {
  key_range keys;
  keys.begin = keys_of_row(first, kL, left, right).begin;
  keys.end = keys_of_row(last, kL, left, right).end;
  return keys;
}

/// How many of a tile's `keys` keys, counted from its first, lie within `reach`.
inline int keys_within(long reach, int keys) { return reach <= 0 ? 0 : reach < keys ? int(reach) : keys; }

/// The first key of the next tile to visit: `k0`, or after it, where bytes of slot 7 say that a tile is excluded.
/// `kind` receives that tile's byte.
template <int BK>
inline long next_tile(long k0, long end, device const uchar *bytes, thread uchar &kind) {
  if (use_blk) {
    for (; k0 < end; k0 += BK) {
      kind = bytes[k0 / BK];
      if (kind != tile_excluded) {
        break;
      }
    }
  }
  return k0;
}

/// A score before its mask.
inline float score_of(float product, constant fa_attn_params &params) {
  const float x = product * params.scale;
  if (use_softcap && params.softcap > 0.0f) {
    return params.softcap * metal::precise::tanh(x / params.softcap);
  }
  return x;
}

/// What a head's ALiBi slope leaves of a score, `distance` keys away.
inline float with_alibi(float score, float slope, long distance) {
  return metal::fma(-slope, metal::fabs(float(distance)), score);
}

/// An additive mask is a bias of the score; -infinity excludes the key, whatever its score is ...
template <typename M>
inline float masked(float score, M bias) {
  return float(bias) == -INFINITY ? -INFINITY : score + float(bias);
}

/// ... and a boolean one says whether the key is attended.
template <>
inline float masked<uchar>(float score, uchar attends) {
  return attends != 0 ? score : -INFINITY;
}

}  // namespace fa

#endif
