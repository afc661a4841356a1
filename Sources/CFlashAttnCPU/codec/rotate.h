// The rotation of the KV codec: R = H diag(s) / sqrt(D). Every step rounds as the shaders' does.
#ifndef FA_CPU_CODEC_ROTATE_H
#define FA_CPU_CODEC_ROTATE_H

#include "../simd/lanes.h"

namespace fa::FA_ISA {

/// One step of the transform between the lanes of a vector.
template <int distance>
FA_INLINE vf butterfly(vf x) {
  if constexpr (distance >= VW) {
    return x;
  } else {
    return fma(x, (lane_index() & distance) == 0 ? splat(1.0f) : splat(-1.0f), swap_lanes<distance>(x));
  }
}

/// The first steps, within `count` vectors, times a factor.
template <int count>
FA_INLINE void transform_block(float *x, float factor) {
  vf v[count];
  FA_UNROLL
  for (int i = 0; i < count; i++) v[i] = butterfly<8>(butterfly<4>(butterfly<2>(butterfly<1>(load<vf>(x + i * VW)))));
  FA_UNROLL
  for (int distance = 1; distance < count; distance *= 2) {
    FA_UNROLL
    for (int i = 0; i < count; i++) {
      if ((i & distance) != 0) continue;
      const vf low = v[i], high = v[i + distance];
      v[i] = low + high;
      v[i + distance] = low - high;
    }
  }
  FA_UNROLL
  for (int i = 0; i < count; i++) store(x + i * VW, v[i] * factor);
}

/// x <- H x / sqrt(head_dim)
FA_NOINLINE void fwht(float *x, int head_dim) {
  const float factor = head_dim == 64    ? 0.125f
                       : head_dim == 128 ? 0.0883883476f
                       : head_dim == 256 ? 0.0625f
                                         : 0.0441941738f;
  constexpr int most = vector_registers / 2;
  if (head_dim == most / 4 * VW) return transform_block<most / 4>(x, factor);
  if (head_dim == most / 2 * VW) return transform_block<most / 2>(x, factor);
  if (head_dim == most * VW) return transform_block<most>(x, factor);
  for (int i = 0; i < head_dim; i += most * VW) transform_block<most>(x + i, 1.0f);
  for (int distance = most * VW; distance < head_dim; distance *= 2) {
    const float last = 2 * distance == head_dim ? factor : 1.0f;
    for (int i = 0; i < head_dim; i += 2 * distance) {
      for (int j = i; j < i + distance; j += VW) {
        const vf low = load<vf>(x + j), high = load<vf>(x + j + distance);
        store(x + j, (low + high) * last);
        store(x + j + distance, (low - high) * last);
      }
    }
  }
}

FA_NOINLINE void flip_signs(float *x, int head_dim, const uint8_t *signs) {
  for (int i = 0; i < head_dim; i += VW) {
    const uint32_t bits = VW > 8 ? load<uint16_t>(signs + i / 8) : uint32_t(signs[i / 8] >> (i % 8));
    store(x + i, negate_where(bits, load<vf>(x + i)));
  }
}

/// x <- R x
FA_INLINE void rotate(float *x, int head_dim, const uint8_t *signs) {
  flip_signs(x, head_dim, signs);
  fwht(x, head_dim);
}

/// x <- R^T x
FA_INLINE void unrotate(float *x, int head_dim, const uint8_t *signs) {
  fwht(x, head_dim);
  flip_signs(x, head_dim, signs);
}

}  // namespace fa::FA_ISA

#endif
