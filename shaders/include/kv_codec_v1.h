// Norms of version 1 of the KV codec: one for each vector, but two for head dimension 512, one for each half.
#ifndef FA_KV_CODEC_V1_H
#define FA_KV_CODEC_V1_H

#include <metal_stdlib>

#include "fwht.h"
#include "kv_codec.h"
#include "unroll.h"

namespace fa {

/// Norms of a vector.
template <int D>
inline constexpr int norms_v1() {
  return D == 512 ? 2 : 1;
}

/// Factor of head dimension 512, whose norms are root mean squares.
inline float factor_v1(float scale_factor_d512) { return scale_factor_d512 < 1e-6f ? 1.0f : scale_factor_d512; }

/// Turns a rotated vector into what is looked up in the table, and stores its norms.
template <int E>
inline void normalise_v1(thread float (&x)[E], device float *norms, long row, float scale_factor_d512, ushort lane) {
  constexpr int D = E * 32;
  constexpr ushort lanes = 32 / norms_v1<D>();  // to a norm
  float square = 0.0f;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    square = metal::fma(x[i], x[i], square);
  }
  FA_UNROLL
  for (ushort distance = 1; distance < lanes; distance *= 2) {
    square += metal::simd_shuffle_xor(square, distance);
  }
  const float norm = stored_norm(metal::sqrt(D == 512 ? square / 256.0f : square), false);
  const float factor = D == 512 ? factor_v1(scale_factor_d512) : metal::sqrt(float(D));
  const float scale = norm > least_norm ? factor / norm : 0.0f;
  FA_UNROLL
  for (int i = 0; i < E; i++) {
    // Not a product with 0, which would keep a NaN.
    x[i] = scale > 0.0f ? x[i] * scale : 0.0f;
  }
  if (lane % lanes == 0) {
    norms[row * norms_v1<D>() + lane / lanes] = norm;
  }
}

/// What a centroid is multiplied by; `norm` is the first of the vector's.
template <int D>
inline float scale_v1(device const float *norm, float scale_factor_d512, ushort lane) {
  return D == 512 ? norm[lane / 16] / factor_v1(scale_factor_d512) : norm[0] * inverse_sqrt<D>();
}

}  // namespace fa

#endif
