// Tables of codes in AVX-512 registers.
#ifndef FA_SIMD_AVX512_TABLES_H
#define FA_SIMD_AVX512_TABLES_H

namespace fa::FA_ISA {

/// Up to 32 entries as they are, else the positive half: the top bit of a code is its sign.
template <int bits>
struct CodeTable {
  static constexpr bool halved = bits > 5;
  static constexpr int vectors = bits < 5 ? 1 : halved ? 1 << (bits - 5) : 2;
  vf entries[vectors];

  FA_METHOD explicit CodeTable(const float *table) {
    FA_UNROLL
    for (int i = 0; i < vectors; i++) entries[i] = load<vf>(table + (halved ? 1 << (bits - 1) : 0) + i * VW);
  }

  FA_METHOD vf operator[](vu code) const {
    __m512i i = __builtin_bit_cast(__m512i, code);
    if constexpr (bits < 5) return _mm512_permutexvar_ps(i, entries[0]);
    if constexpr (bits == 5) return pair(i, 0);
    const __mmask16 negative = _mm512_testn_epi32_mask(i, _mm512_set1_epi32(1 << (bits - 1)));
    const __m512i ones = _mm512_set1_epi32(-1);
    i = _mm512_mask_xor_epi32(i, negative, i, ones);
    __m512 x = pair(i, 0);
    if constexpr (bits >= 7) {
      const __mmask16 upper = _mm512_test_epi32_mask(i, _mm512_set1_epi32(32));
      x = _mm512_mask_mov_ps(x, upper, pair(i, 2));
      if constexpr (bits == 8) {
        const __m512 high = _mm512_mask_mov_ps(pair(i, 4), upper, pair(i, 6));
        x = _mm512_mask_mov_ps(x, _mm512_test_epi32_mask(i, _mm512_set1_epi32(64)), high);
      }
    }
    return _mm512_mask_xor_ps(x, negative, x, _mm512_set1_ps(-0.0f));
  }

 private:
  FA_METHOD __m512 pair(__m512i i, int first) const {
    return _mm512_permutex2var_ps(entries[first % vectors], i, entries[(first + 1) % vectors]);
  }
};

#ifdef FA_VBMI
constexpr bool has_plane_lookup = true;

/// Codes of 7 or 8 bits. A lookup of bytes gives one plane of 64 floats, and interleaving four of those the floats.
template <int bits>
struct PlaneTable {
  static constexpr int vectors = bits == 8 ? 2 : 1;
  __m512i planes[4][vectors];

  FA_METHOD explicit PlaneTable(const uint8_t *bytes) {
    FA_UNROLL
    for (int i = 0; i < 4 * vectors; i++) planes[i / vectors][i % vectors] = load<__m512i>(bytes + (i / vectors * 2 + i % vectors) * 64);
  }

  /// 64 codes of a byte each.
  template <int P, int N>
  FA_METHOD void read(const char *codes, vf (&x)[N]) const {
    look_up<P, N>(load<__m512i>(codes), x);
  }

  /// 64 codes whose low 4 bits, next 2 and top one are in parts.
  template <int P, int N>
  FA_METHOD void read_parts(const char *low, const char *middle, const char *top, vf (&x)[N]) const {
    const vu words = __builtin_bit_cast(vu, _mm512_cvtepu8_epi16(load<__m256i>(low)));
    const vu quads = __builtin_convertvector(load<vb>(middle), vu);
    // Field s of a byte goes to bits 4 and 5 of byte s.
    const vu spread = (quads << 4 & 0x30) | (quads << 10 & 0x3000) | (quads << 16 & 0x300000) | (quads << 22 & 0x30000000);
    // A word's two nibbles go to its two bytes.
    const __m512i six = __builtin_bit_cast(__m512i, ((words | words << 4) & 0x0f0f0f0f) | spread);
    look_up<P, N>(_mm512_mask_add_epi8(six, load<__mmask64>(top), six, _mm512_set1_epi8(64)), x);
  }

 private:
  template <int P, int N>
  FA_METHOD void look_up(__m512i code, vf (&x)[N]) const {
    static_assert(N >= 2, "halves");
    constexpr int top = 1 << (bits - 1);
    const __mmask64 negative = _mm512_testn_epi8_mask(code, _mm512_set1_epi8(char(top)));
    const __m512i i = _mm512_mask_sub_epi8(code, negative, _mm512_set1_epi8(char(top - 1)), code);
    __m512i byte[4];
    FA_UNROLL
    for (int p = 0; p < 4; p++) {
      byte[p] = vectors == 2 ? _mm512_permutex2var_epi8(planes[p][0], i, planes[p][vectors - 1])
                             : _mm512_permutexvar_epi8(i, planes[p][0]);
    }
    byte[3] = _mm512_mask_add_epi8(byte[3], negative, byte[3], _mm512_set1_epi8(char(0x80)));
    FA_UNROLL
    for (int h = 0; h < 2; h++) {
      if (N == 2 && h != P) continue;
      const __m512i low = h == 0 ? _mm512_unpacklo_epi8(byte[0], byte[1]) : _mm512_unpackhi_epi8(byte[0], byte[1]);
      const __m512i high = h == 0 ? _mm512_unpacklo_epi8(byte[2], byte[3]) : _mm512_unpackhi_epi8(byte[2], byte[3]);
      x[N == 2 ? 0 : 2 * h] = __builtin_bit_cast(vf, _mm512_unpacklo_epi16(low, high));
      x[N == 2 ? 1 : 2 * h + 1] = __builtin_bit_cast(vf, _mm512_unpackhi_epi16(low, high));
    }
  }
};
#else
constexpr bool has_plane_lookup = false;
#endif

}  // namespace fa::FA_ISA

#endif
