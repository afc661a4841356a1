// The rotation of the KV codec: R = H diag(s) / sqrt(D), a Walsh-Hadamard transform of the sign-flipped vector.
//
// A simdgroup holds one vector: lane l has the coordinates l * E ... l * E + E - 1, E = D / 32.
#ifndef FA_FWHT_H
#define FA_FWHT_H

#ifdef __METAL_VERSION__
#define FA_SIGN_TABLE constant
#else
#define FA_SIGN_TABLE static const
#endif

/// Signs of the default rotation: coordinate j is negated where bit j & 7 of byte j >> 3 is 1. A head dimension D uses
/// the first D / 8 bytes.
FA_SIGN_TABLE unsigned char fa_default_signs[64] = {
    0xa7, 0x3b, 0x91, 0xf4, 0x6d, 0xc2, 0x58, 0x0e, 0xb3, 0x7f, 0x24, 0xd6, 0x89, 0x45, 0xea, 0x1c,
    0x63, 0xaf, 0xd8, 0x52, 0x97, 0x0b, 0xe1, 0x3d, 0x76, 0xc4, 0x19, 0xfe, 0x4a, 0x85, 0x2c, 0xdb,
    0xd3, 0x4e, 0xa8, 0x17, 0x9c, 0x5b, 0xe6, 0x31, 0x72, 0xb9, 0x0d, 0xf5, 0x43, 0x8a, 0x6e, 0xc7,
    0x58, 0x2f, 0x94, 0xe1, 0xb6, 0x3d, 0x0a, 0x7c, 0xc5, 0x61, 0xd8, 0x4f, 0xa3, 0x97, 0x1e, 0x85,
};

#ifdef __METAL_VERSION__
#include <metal_stdlib>

#include "unroll.h"

namespace fa {

/// 1 / sqrt(D), to the last bit.
template <int D>
inline float inverse_sqrt() {
  static_assert(D == 64 || D == 128 || D == 256 || D == 512, "head dimension");
  return D == 64 ? 0.125f : D == 128 ? 0.0883883476f : D == 256 ? 0.0625f : 0.0441941738f;
}

/// Negates the coordinates that the table marks.
template <int E>
inline void flip_signs(thread float (&x)[E], constant const uchar *table, ushort lane) {
  const uint first = uint(lane) * E;
  uint bits = table[first >> 3];
  if (E > 8) {
    bits |= uint(table[(first >> 3) + 1]) << 8;
  }
  bits >>= first & 7;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    x[i] = as_type<float>(as_type<uint>(x[i]) ^ ((bits >> i & 1) << 31));
  }
}

/// The transform itself, without the factor 1 / sqrt(D).
template <int E>
inline void walsh_hadamard(thread float (&x)[E], ushort lane) {
  FA_UNROLL
  for (int distance = 1; distance < E; distance *= 2) {
    FA_UNROLL
    for (int i = 0; i < E; i++) {
      if ((i & distance) == 0) {
        const float a = x[i];
        const float b = x[i + distance];
        x[i] = a + b;
        x[i + distance] = a - b;
      }
    }
  }
  // Lanes exchange several coordinates at a time.
  constexpr int together = E < 4 ? E : 4;
  for (ushort distance = 1; distance < 32; distance *= 2) {
    const float sign = lane & distance ? -1.0f : 1.0f;
    FA_UNROLL
    for (int i = 0; i < E; i += together) {
      metal::vec<float, together> own;
      FA_UNROLL
      for (int j = 0; j < together; j++) {
        own[j] = x[i + j];
      }
      const metal::vec<float, together> other = metal::simd_shuffle_xor(own, distance);
      FA_UNROLL
      for (int j = 0; j < together; j++) {
        x[i + j] = metal::fma(sign, own[j], other[j]);
      }
    }
  }
}

/// x <- H x / sqrt(D), its own inverse.
template <int E>
inline void fwht(thread float (&x)[E], ushort lane) {
  walsh_hadamard(x, lane);
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    x[i] *= inverse_sqrt<E * 32>();
  }
}

/// x <- R x
template <int E>
inline void rotate(thread float (&x)[E], constant const uchar *table, ushort lane) {
  flip_signs(x, table, lane);
  fwht(x, lane);
}

/// x <- R^T x
template <int E>
inline void unrotate(thread float (&x)[E], constant const uchar *table, ushort lane) {
  fwht(x, lane);
  flip_signs(x, table, lane);
}

}  // namespace fa
#endif

#endif
