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
    const vf other = swap_lanes<distance>(x);
    return (lane_index() & distance) == 0 ? other + x : other - x;
  }
}

/// x <- H x / sqrt(head_dim)
FA_NOINLINE void fwht(float *x, int head_dim) {
  for (int i = 0; i < head_dim; i += VW) {
    store(x + i, butterfly<8>(butterfly<4>(butterfly<2>(butterfly<1>(load<vf>(x + i))))));
  }
  for (int distance = VW; distance < head_dim; distance *= 2) {
    for (int i = 0; i < head_dim; i += 2 * distance) {
      for (int j = i; j < i + distance; j += VW) {
        const vf low = load<vf>(x + j), high = load<vf>(x + j + distance);
        store(x + j, low + high);
        store(x + j + distance, low - high);
      }
    }
  }
  const float factor = head_dim == 64    ? 0.125f
                       : head_dim == 128 ? 0.0883883476f
                       : head_dim == 256 ? 0.0625f
                                         : 0.0441941738f;
  for (int i = 0; i < head_dim; i += VW) store(x + i, load<vf>(x + i) * factor);
}

FA_NOINLINE void flip_signs(float *x, int head_dim, const uint8_t *signs) {
  for (int i = 0; i < head_dim; i += VW) {
    uint32_t bits = signs[i / 8] >> (i % 8);
    if (VW > 8) bits |= uint32_t(signs[i / 8 + 1]) << 8;
    const vu flips = (vu(bits) >> __builtin_convertvector(lane_index(), vu)) << 31;
    store(x + i, as_float(as_bits(load<vf>(x + i)) ^ flips));
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
