// How quantised KV vectors are looked up, packed and read back; docs/codec.md is the specification.
//
// As in fwht.h, a lane of a simdgroup has the E = D / 32 coordinates from lane * E on.
#ifndef FA_KV_CODEC_H
#define FA_KV_CODEC_H

#include <metal_stdlib>

#include "codebook.h"
#include "flash_attn_params.h"
#include "unroll.h"

namespace fa {

/// What is known of a quantised format F: `bits` of a code, `packed` of them stored, and the table.
template <int F>
struct kv_codec;

#define FA_KV_CODEC(FORMAT, BITS, PACKED, NAME)                                 \
  template <>                                                                   \
  struct kv_codec<FORMAT> {                                                     \
    static constant constexpr int bits = BITS;                                  \
    static constant constexpr int packed = PACKED;                              \
    static inline float centroid(uint code) { return NAME##_centroids[code]; }  \
    static inline float boundary(uint code) { return NAME##_boundaries[code]; } \
  };
FA_KV_CODEC(FA_KV_TQ2, 2, 2, fa_tq2)
FA_KV_CODEC(FA_KV_TQ3, 3, 3, fa_tq3)
FA_KV_CODEC(FA_KV_TQ4, 4, 4, fa_tq4)
FA_KV_CODEC(FA_KV_TQ5, 5, 5, fa_tq5)
FA_KV_CODEC(FA_KV_TQ6, 6, 6, fa_tq6)
FA_KV_CODEC(FA_KV_TQ7, 7, 7, fa_tq7)
FA_KV_CODEC(FA_KV_TQ8, 8, 8, fa_tq8)
FA_KV_CODEC(FA_KV_TQ4_V1, 4, 4, fa_tq4_v1)
FA_KV_CODEC(FA_KV_TQ_HB5, 5, 8, fa_tq_hb5)
FA_KV_CODEC(FA_KV_TQ_HB6, 6, 8, fa_tq_hb6)
FA_KV_CODEC(FA_KV_TQ_HB8, 8, 8, fa_tq_hb8)
#undef FA_KV_CODEC

/// Bytes of one vector whose codes have `packed` bits.
template <int D>
inline constexpr int packed_bytes(int packed) {
  return D * packed / 8;
}

/// The code of a value: how many boundaries lie below it. NaN has code 0.
template <int F>
inline uint nearest_code(float y) {
  uint code = 0;
  FA_UNROLL
  for (uint step = 1u << (kv_codec<F>::bits - 1); step != 0; step >>= 1) {
    code += y > kv_codec<F>::boundary(code + step - 1) ? step : 0u;
  }
  return code;
}

// ------------------------------------------------------------------------------------------------------------ norms

/// A vector whose norm is not above this counts as zeros.
constant constexpr float least_norm = 1e-10f;

/// What is stored for a vector without a norm, one that is not finite: the same NaN everywhere.
inline float no_norm() { return as_type<float>(0x7fc00000u); }

/// The norm that is read back if this one is stored.
inline float stored_norm(float norm, bool as_half) {
  const float stored = as_half ? float(half(norm)) : norm;
  return stored < INFINITY ? stored : no_norm();
}

inline void store_norm(device uchar *norms, long row, float norm, bool as_half) {
  if (as_half) {
    ((device half *)norms)[row] = half(norm);
  } else {
    ((device float *)norms)[row] = norm;
  }
}

inline float load_norm(device const uchar *norms, long row, bool as_half) {
  return as_half ? float(((device const half *)norms)[row]) : ((device const float *)norms)[row];
}

// ------------------------------------------------------------------------------------------------------------ parts

// Codes are kept in parts of 8, 4, 2 or 1 bits, each a field of W * D bits with coordinate 0 in the lowest ones. A lane
// has W * E bits of it, which are bytes of its own unless they are fewer than eight.

/// Writes bits SHIFT ... SHIFT + W - 1 of the codes.
template <int W, int SHIFT, int E>
inline void store_part(device uchar *part, thread const uint (&codes)[E], ushort lane) {
  constexpr int bits = W * E;
  constexpr int words = (bits + 31) / 32;
  uint word[words] = {};
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    word[i * W / 32] |= (codes[i] >> SHIFT & ((1u << W) - 1)) << (i * W % 32);
  }
  if (bits < 8) {
    constexpr ushort lanes = bits < 8 ? 8 / bits : 1;  // to a byte
    uint byte = word[0] << (lane % lanes * bits);
    FA_UNROLL
    for (ushort distance = 1; distance < lanes; distance *= 2) {
      byte |= metal::simd_shuffle_xor(byte, distance);
    }
    if (lane % lanes == 0) {
      part[lane / lanes] = uchar(byte);
    }
  } else if (bits == 8) {
    part[lane] = uchar(word[0]);
  } else if (bits == 16) {
    ((device ushort *)part)[lane] = ushort(word[0]);
  } else {
    FA_UNROLL
    for (int w = 0; w < words; w++) {
      ((device uint *)part)[lane * words + w] = word[w];
    }
  }
}

/// Adds the part to the codes.
template <int W, int SHIFT, int E>
inline void load_part(device const uchar *part, thread uint (&codes)[E], ushort lane) {
  constexpr int bits = W * E;
  constexpr int words = (bits + 31) / 32;
  uint word[words];
  if (bits < 8) {
    constexpr ushort lanes = bits < 8 ? 8 / bits : 1;
    word[0] = uint(part[lane / lanes]) >> (lane % lanes * bits);
  } else if (bits == 8) {
    word[0] = part[lane];
  } else if (bits == 16) {
    word[0] = ((device const ushort *)part)[lane];
  } else {
    FA_UNROLL
    for (int w = 0; w < words; w++) {
      word[w] = ((device const uint *)part)[lane * words + w];
    }
  }
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    codes[i] |= (word[i * W / 32] >> (i * W % 32) & ((1u << W) - 1)) << SHIFT;
  }
}

/// Writes a row of codes of PACKED bits: the widest part first, with the lowest bits.
template <int PACKED, int E>
inline void store_codes(device uchar *row, thread const uint (&codes)[E], ushort lane) {
  constexpr int D = E * 32;
  constexpr int low = PACKED == 8 ? 8 : PACKED >= 4 ? 4 : 2;
  store_part<low, 0>(row, codes, lane);
  if (PACKED == 6 || PACKED == 7) {
    store_part<2, 4>(row + D / 2, codes, lane);
  }
  if (PACKED == 3 || PACKED == 5 || PACKED == 7) {
    store_part<1, PACKED - 1>(row + packed_bytes<D>(PACKED - 1), codes, lane);
  }
}

/// Reads what `store_codes` wrote.
template <int PACKED, int E>
inline void load_codes(device const uchar *row, thread uint (&codes)[E], ushort lane) {
  constexpr int D = E * 32;
  constexpr int low = PACKED == 8 ? 8 : PACKED >= 4 ? 4 : 2;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    codes[i] = 0;
  }
  load_part<low, 0>(row, codes, lane);
  if (PACKED == 6 || PACKED == 7) {
    load_part<2, 4>(row + D / 2, codes, lane);
  }
  if (PACKED == 3 || PACKED == 5 || PACKED == 7) {
    load_part<1, PACKED - 1>(row + packed_bytes<D>(PACKED - 1), codes, lane);
  }
}

}  // namespace fa

#endif
