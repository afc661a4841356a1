// Packing of normalised numbers into the bits of an integer, and back. The first component has the lowest bits.
#pragma once

/// A field of `Bits` bits: an unsigned one spans 0 … 1, a signed one -1 … 1.
template <int Bits, bool Signed>
SM_STATIC float sm_unpack_field(uint bits) {
  constexpr float most = float((1u << (Bits - (Signed ? 1 : 0))) - 1);
  if constexpr (Signed) {
    const float x = float(int(bits << (32 - Bits)) >> (32 - Bits)) / most;
    return x < -1.0f ? -1.0f : x;
  } else {
    return float(bits & ((1u << Bits) - 1)) / most;
  }
}
/// Out of range is the nearest end, NaN is 0.
template <int Bits, bool Signed>
SM_STATIC uint sm_pack_field(float x) {
  constexpr float most = float((1u << (Bits - (Signed ? 1 : 0))) - 1), least = Signed ? -1.0f : 0.0f;
  x = x != x ? 0.0f : x < least ? least : x > 1.0f ? 1.0f : x;
  return uint(int(__builtin_rintf(x * most))) & ((1u << Bits) - 1);
}
SM_STATIC float sm_from_srgb(float x) {
  return x <= 0.04045f ? x / 12.92f : __builtin_powf((x + 0.055f) / 1.055f, 2.4f);
}
SM_STATIC float sm_to_srgb(float x) {
  if (!(x > 0.0f)) return 0.0f;
  return x < 0.0031308f ? 12.92f * x : x < 1.0f ? 1.055f * __builtin_powf(x, 1.0f / 2.4f) - 0.055f : 1.0f;
}

namespace metal {

/// Both directions, for float and half, of a format whose fields all have the same width.
#define SM_PACKING(format, Word, N, Bits, Signed)                                                              \
  SM_STATIC float##N unpack_##format##_to_float(Word word) {                                                   \
    float##N r;                                                                                                \
    for (int i = 0; i < N; ++i) r.s[i] = sm_unpack_field<Bits, Signed>(uint(word) >> (i * Bits));              \
    return r;                                                                                                  \
  }                                                                                                            \
  SM_STATIC half##N unpack_##format##_to_half(Word word) { return half##N(unpack_##format##_to_float(word)); } \
  SM_STATIC Word pack_float_to_##format(float##N x) {                                                          \
    uint word = 0;                                                                                             \
    for (int i = 0; i < N; ++i) word |= sm_pack_field<Bits, Signed>(x.s[i]) << (i * Bits);                     \
    return Word(word);                                                                                         \
  }                                                                                                            \
  SM_STATIC Word pack_half_to_##format(half##N x) { return pack_float_to_##format(float##N(x)); }
SM_PACKING(unorm4x8, uint, 4, 8, false)
SM_PACKING(snorm4x8, uint, 4, 8, true)
SM_PACKING(unorm2x16, uint, 2, 16, false)
SM_PACKING(snorm2x16, uint, 2, 16, true)
#undef SM_PACKING

// Colours in sRGB, with a linear alpha.
SM_STATIC float4 unpack_unorm4x8_srgb_to_float(uint word) {
  float4 r = unpack_unorm4x8_to_float(word);
  for (int i = 0; i < 3; ++i) r.s[i] = sm_from_srgb(r.s[i]);
  return r;
}
SM_STATIC half4 unpack_unorm4x8_srgb_to_half(uint word) { return half4(unpack_unorm4x8_srgb_to_float(word)); }
SM_STATIC uint pack_float_to_srgb_unorm4x8(float4 x) {
  for (int i = 0; i < 3; ++i) x.s[i] = sm_to_srgb(x.s[i]);
  return pack_float_to_unorm4x8(x);
}
SM_STATIC uint pack_half_to_srgb_unorm4x8(half4 x) { return pack_float_to_srgb_unorm4x8(float4(x)); }

// Fields of several widths.
SM_STATIC float4 unpack_unorm10a2_to_float(uint word) {
  return float4(sm_unpack_field<10, false>(word), sm_unpack_field<10, false>(word >> 10),
                sm_unpack_field<10, false>(word >> 20), sm_unpack_field<2, false>(word >> 30));
}
SM_STATIC half4 unpack_unorm10a2_to_half(uint word) { return half4(unpack_unorm10a2_to_float(word)); }
SM_STATIC uint pack_float_to_unorm10a2(float4 x) {
  return sm_pack_field<10, false>(x.x) | sm_pack_field<10, false>(x.y) << 10 | sm_pack_field<10, false>(x.z) << 20 |
         sm_pack_field<2, false>(x.w) << 30;
}
SM_STATIC uint pack_half_to_unorm10a2(half4 x) { return pack_float_to_unorm10a2(float4(x)); }
// The first component of this one has the highest bits.
SM_STATIC float3 unpack_unorm565_to_float(ushort word) {
  return float3(sm_unpack_field<5, false>(word >> 11), sm_unpack_field<6, false>(word >> 5),
                sm_unpack_field<5, false>(word));
}
SM_STATIC half3 unpack_unorm565_to_half(ushort word) { return half3(unpack_unorm565_to_float(word)); }
SM_STATIC ushort pack_float_to_unorm565(float3 x) {
  return ushort(sm_pack_field<5, false>(x.x) << 11 | sm_pack_field<6, false>(x.y) << 5 | sm_pack_field<5, false>(x.z));
}
SM_STATIC ushort pack_half_to_unorm565(half3 x) { return pack_float_to_unorm565(float3(x)); }

}  // namespace metal
