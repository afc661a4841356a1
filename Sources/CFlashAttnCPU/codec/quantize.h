// Codes of one vector: normalised, looked up and packed. docs/codec.md is the specification.
#ifndef FA_CPU_CODEC_QUANTIZE_H
#define FA_CPU_CODEC_QUANTIZE_H

#include "problem.h"
#include "rotate.h"
#include "vectors.h"

namespace fa::FA_ISA {

constexpr float least_norm = 1e-10f;  ///< a vector whose norm is not above it counts as zeros

/// The norm that is read back if this one is stored; NaN for one that is not finite.
FA_INLINE float stored_norm(float norm, bool as_half) {
  const float stored = as_half ? f16_to_f32(f32_to_f16(splat(norm)))[0] : norm;
  return stored < infinity() ? stored : __builtin_nanf("");
}

FA_INLINE void store_norm(char *norms, int64_t i, float norm, bool as_half) {
  if (as_half) {
    store<uint16_t>(norms + i * 2, f32_to_f16(splat(norm))[0]);
  } else {
    store(norms + i * 4, norm);
  }
}

FA_INLINE float squared_length(const float *x, int count) {
  vf sum = splat(0.0f);
  for (int i = 0; i < count; i += VW) {
    const vf v = load<vf>(x + i);
    sum = fma(v, v, sum);
  }
  return sum_lanes(sum);
}

/// How many boundaries lie below each y; 0 for NaN.
template <int bits, int N>
FA_INLINE void nearest_code(const KvFormat &format, const vf (&y)[N], vu (&code)[N]) {
  if constexpr (has_tree_search) {
    count_below<bits>(format.tree, y, code);
  } else {
    for (int i = 0; i < N; i++) {
      code[i] = vu(0);
      for (uint32_t step = 1u << (bits - 1); step != 0; step >>= 1) {
        const vu next = code[i] + (step - 1);
        vf boundary;
        FA_UNROLL
        for (int lane = 0; lane < VW; lane++) boundary[lane] = format.boundaries[next[lane]];
        code[i] += y[i] > boundary ? vu(step) : vu(0);
      }
    }
  }
}

template <int bits>
FA_NOINLINE void nearest_codes(const KvFormat &format, float *x, int count, float scale, uint8_t *codes) {
  constexpr int N = 4;
  for (int i = 0; i < count; i += N * VW) {
    vf y[N];
    vu code[N];
    FA_UNROLL
    for (int j = 0; j < N; j++) y[j] = scale > 0.0f ? load<vf>(x + i + j * VW) * scale : splat(0.0f);
    nearest_code<bits>(format, y, code);
    FA_UNROLL
    for (int j = 0; j < N; j++) {
      store(x + i + j * VW, y[j]);
      store(codes + i + j * VW, __builtin_convertvector(code[j], vb));
    }
  }
}

/// Codes of scaled values; a scale of 0 means values of 0.
FA_INLINE void nearest_codes(const KvFormat &format, float *x, int count, float scale, uint8_t *codes) {
  typedef void (*Pass)(const KvFormat &, float *, int, float, uint8_t *);
  constexpr Pass by_bits[] = {nearest_codes<2>, nearest_codes<3>, nearest_codes<4>, nearest_codes<5>,
                              nearest_codes<6>, nearest_codes<7>, nearest_codes<8>};
  by_bits[format.bits - 2](format, x, count, scale, codes);
}

/// Multiples of a scale, which stands in for the norm.
FA_NOINLINE float linear_codes(const float *x, int count, bool norms_f16, uint8_t *codes) {
  vf largest = splat(0.0f);
  for (int i = 0; i < count; i += VW) largest = max(largest, as_float(as_bits(load<vf>(x + i)) & 0x7fffffff));
  const float most = largest_lane(largest);
  float scale = squared_length(x, count) < infinity() ? stored_norm(most / 127.0f, norms_f16) : __builtin_nanf("");
  if (scale < __FLT_MIN__) scale = 0.0f;
  for (int i = 0; i < count; i += VW) {
    vf code = splat(0.0f);
    if (scale > 0.0f) {
      // A scale that was rounded down to half would lead beyond 127.
      code = __builtin_elementwise_rint(load<vf>(x + i) / scale);
      code = code > 127.0f ? splat(127.0f) : code < -127.0f ? splat(-127.0f) : code;
    }
    store(codes + i, __builtin_convertvector(__builtin_convertvector(code, vi), vsb));
  }
  return scale;
}

/// Writes `width` bits of every code from bit `shift` on.
template <int width>
FA_INLINE void store_part(char *part, const uint8_t *codes, int shift, int count) {
  constexpr int each = 8 / width;
  for (int i = 0; i < count / each; i++) {
    uint32_t byte = 0;
    FA_UNROLL
    for (int j = 0; j < each; j++) byte |= (codes[i * each + j] >> shift & ((1u << width) - 1)) << (j * width);
    part[i] = char(byte);
  }
}

FA_NOINLINE void store_codes(char *row, const uint8_t *codes, int packed, int count) {
  if (packed == 8) {
    __builtin_memcpy(row, codes, uint64_t(count));
  } else if (packed >= 4) {
    store_part<4>(row, codes, 0, count);
  } else {
    store_part<2>(row, codes, 0, count);
  }
  if (packed == 6 || packed == 7) store_part<2>(row + count / 2, codes, 4, count);
  if (packed == 3 || packed == 5 || packed == 7) {
    store_part<1>(row + count * (packed - 1) / 8, codes, packed - 1, count);
  }
}

}  // namespace fa::FA_ISA

#endif
