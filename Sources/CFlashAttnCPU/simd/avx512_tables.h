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

constexpr bool has_tree_search = true;

/// Entry `i` of 2^bits, up to 128.
template <int bits>
FA_INLINE __m512 look_up(const float *table, __m512i i) {
  if constexpr (bits <= 4) {
    return _mm512_permutexvar_ps(i, load<vf>(table));
  } else if constexpr (bits == 5) {
    return _mm512_permutex2var_ps(load<vf>(table), i, load<vf>(table + VW));
  } else {
    constexpr int half = 1 << (bits - 1);
    const __mmask16 upper = _mm512_test_epi32_mask(i, _mm512_set1_epi32(half));
    return _mm512_mask_mov_ps(look_up<bits - 1>(table, i), upper, look_up<bits - 1>(table + half, i));
  }
}

/// Goes down the positive half of a tree from a node of a level of it.
template <int bits, int level, int N>
FA_INLINE void descend(const float *tree, const __m512 (&y)[N], __m512i one, __m512i (&node)[N]) {
  if constexpr (level < bits) {
    constexpr int width = 1 << (level - 1);
    FA_UNROLL
    for (int i = 0; i < N; i++) {
      const __mmask16 right = _mm512_cmp_ps_mask(y[i], look_up<level - 1>(tree + 3 * width, node[i]), _CMP_GT_OQ);
      node[i] = _mm512_add_epi32(node[i], node[i]);
      node[i] = _mm512_mask_add_epi32(node[i], right, node[i], one);
    }
    descend<bits, level + 1>(tree, y, one, node);
  }
}

template <int bits, int N>
FA_INLINE void count_below(const float *tree, const vf (&y)[N], vu (&count)[N]) {
  const __m512i half = _mm512_set1_epi32(1 << (bits - 1)), infinite = _mm512_set1_epi32(0x7f800000);
  const __m512i ones = _mm512_set1_epi32(-1);
  __m512i one = _mm512_set1_epi32(1);
  asm("" : "+v"(one));  // to add a known 1 by a mask, the compiler would take three instructions
  __m512 size[N];
  __m512i node[N];
  __mmask16 other[N];
  FA_UNROLL
  for (int i = 0; i < N; i++) {
    // Below 0 those are counted that are not above |y|: they are below the next larger float. NaN counts as -infinity.
    other[i] = _mm512_cmp_ps_mask(y[i], _mm512_setzero_ps(), _CMP_NGT_UQ);
    __m512i magnitude = _mm512_and_si512(__builtin_bit_cast(__m512i, y[i]), _mm512_set1_epi32(0x7fffffff));
    magnitude = _mm512_mask_min_epu32(magnitude, other[i], _mm512_add_epi32(magnitude, one), infinite);
    size[i] = _mm512_castsi512_ps(magnitude);
    node[i] = _mm512_setzero_si512();
  }
  descend<bits, 1>(tree, size, one, node);
  FA_UNROLL
  for (int i = 0; i < N; i++) {
    // half + node, or half - 1 - node
    node[i] = _mm512_mask_xor_epi32(node[i], other[i], node[i], ones);
    count[i] = __builtin_bit_cast(vu, _mm512_add_epi32(half, node[i]));
  }
}

#ifdef FA_VBMI
constexpr bool has_plane_lookup = true;

/// 64 fields of `width` bits as bytes, each from bit `at` on; the other bits are of no use.
template <int width, int at>
FA_INLINE vu spread_fields(const char *part) {
  __m512i fields;
  if constexpr (width == 4) {
    fields = _mm512_cvtepu32_epi64(load<__m256i>(part));
  } else {
    fields = _mm512_cvtepu16_epi64(load<__m128i>(part));
  }
  constexpr uint64_t each = 0x0101010101010101, steps = uint64_t(width) * 0x0706050403020100;
  const __m512i from = _mm512_set1_epi64(int64_t((steps + (64 - at) * each) & (63 * each)));
  return __builtin_bit_cast(vu, _mm512_multishift_epi64_epi8(from, fields));
}

/// 64 codes of `bits` bits, of which only the top ones are missing.
template <int bits>
FA_INLINE vu add_top(vu codes, const char *top) {
  const __m512i bytes = __builtin_bit_cast(__m512i, codes), bit = _mm512_set1_epi8(1 << (bits - 1));
  return __builtin_bit_cast(vu, _mm512_mask_add_epi8(bytes, load<uint64_t>(top), bytes, bit));
}

/// 64 codes as bytes, from their parts of 4, 2 and 1 bits. Of those of 7 bits the top one is left out, and those of 2, 4
/// and 6 have anything above them.
template <int packed>
FA_INLINE vu join_parts(const char *low, const char *middle, const char *top) {
  vu codes;
  if constexpr (packed == 2 || packed == 4) {
    return spread_fields<packed, 0>(low);
  } else if constexpr (packed == 3) {
    codes = spread_fields<2, 0>(low) & 0x03030303;
  } else if constexpr (packed == 5) {
    codes = spread_fields<4, 0>(low) & 0x0f0f0f0f;
  } else {
    codes = (spread_fields<4, 0>(low) & 0x0f0f0f0f) | (spread_fields<2, 4>(middle) & 0xf0f0f0f0);
  }
  if constexpr (packed == 3 || packed == 5) codes = add_top<packed>(codes, top);
  return codes;
}

/// What makes an index of a code whose top bit is its sign: one product of bits, which flips those below the top one where
/// that is 0, and sets bit 7 there. Row i of the matrix, in byte 7 - i, has the bits whose parity is bit i of the index.
constexpr uint64_t index_bits(int bits) {
  const uint64_t top = uint64_t(1) << (bits - 1);
  uint64_t matrix = top;  // bit 7
  for (int i = 0; i < bits - 1; i++) matrix |= (top | uint64_t(1) << i) << (8 * (7 - i));
  return matrix;
}

template <int bits>
FA_INLINE __m512i fold_sign(vu codes) {
  constexpr uint64_t matrix = index_bits(bits);
  return _mm512_gf2p8affine_epi64_epi8(__builtin_bit_cast(__m512i, codes), _mm512_set1_epi64(int64_t(matrix)), 0xff);
}

/// Flips the top bit of each byte where bit 7 of `sign` is set.
FA_INLINE __m512i flip_signs(__m512i bytes, __m512i sign) {
  constexpr int flip_where_both = 0x78;  // a ^ (b & c)
  return _mm512_ternarylogic_epi32(bytes, sign, _mm512_set1_epi8(char(0x80)), flip_where_both);
}

/// Codes of 6 bits or more; the top one is the sign. A lookup of bytes gives one plane of 64 floats, and interleaving four of those the floats.
template <int bits>
struct PlaneTable {
  static constexpr int vectors = bits == 8 ? 2 : 1;
  __m512i planes[4][vectors];

  FA_METHOD explicit PlaneTable(const uint8_t *bytes) {
    FA_UNROLL
    for (int i = 0; i < 4 * vectors; i++)
      planes[i / vectors][i % vectors] = load<__m512i>(bytes + (i / vectors * 2 + i % vectors) * 64);
  }

  /// 64 codes of a byte each, with anything above their bits.
  template <int P, int N>
  FA_METHOD void read(vu codes, vf (&x)[N]) const {
    const __m512i index = fold_sign<bits>(codes);
    look_up<P, N>(index, index, x);
  }

  /// The same without their top bits, which are these.
  template <int P, int N>
  FA_METHOD void read(vu codes, uint64_t top, vf (&x)[N]) const {
    const __m512i code = __builtin_bit_cast(__m512i, codes);
    look_up<P, N>(_mm512_mask_sub_epi8(code, ~top, _mm512_set1_epi8((1 << (bits - 1)) - 1), code),
                  _mm512_maskz_set1_epi8(~top, char(0x80)), x);
  }

 private:
  /// Entries of the positive half, negated where bit 7 of `sign` is set.
  template <int P, int N>
  FA_METHOD void look_up(__m512i i, __m512i sign, vf (&x)[N]) const {
    static_assert(N >= 2, "halves");
    __m512i byte[4];
    FA_UNROLL
    for (int p = 0; p < 4; p++) {
      byte[p] = vectors == 2 ? _mm512_permutex2var_epi8(planes[p][0], i, planes[p][vectors - 1])
                             : _mm512_permutexvar_epi8(i, planes[p][0]);
    }
    byte[3] = flip_signs(byte[3], sign);
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

/// Codes of any width, of which 64 become bf16 by two lookups of bytes and interleaving.
template <int bits>
struct PairTable {
  static constexpr int vectors = bits >= 7 ? 2 : 1;
  __m512i planes[2][vectors];

  FA_METHOD explicit PairTable(const uint8_t *bytes) {
    FA_UNROLL
    for (int i = 0; i < 2 * vectors; i++)
      planes[i / vectors][i % vectors] = load<__m512i>(bytes + (i / vectors * 2 + i % vectors) * 64);
  }

  /// 64 codes of a byte each, with anything above their bits.
  FA_METHOD void read(vu codes, vf (&x)[2]) const {
    if constexpr (bits == 8) {
      // The larger of a code and its mirror image has the index below its top bit; negative are those that are smaller.
      const __m512i code = __builtin_bit_cast(__m512i, codes), mirrored = __builtin_bit_cast(__m512i, ~codes);
      const __m512i index = _mm512_max_epu8(code, mirrored);
      interleave(look_up(0, index), flip_signs(look_up(1, index), mirrored), x);
    } else {
      const __m512i index = __builtin_bit_cast(__m512i, codes);
      interleave(look_up(0, index), look_up(1, index), x);
    }
  }

 private:
  FA_METHOD __m512i look_up(int plane, __m512i index) const {
    return vectors == 2 ? _mm512_permutex2var_epi8(planes[plane][0], index, planes[plane][vectors - 1])
                        : _mm512_permutexvar_epi8(index, planes[plane][0]);
  }
  FA_METHOD static void interleave(__m512i low, __m512i high, vf (&x)[2]) {
    x[0] = __builtin_bit_cast(vf, _mm512_unpacklo_epi8(low, high));
    x[1] = __builtin_bit_cast(vf, _mm512_unpackhi_epi8(low, high));
  }
};

/// Codes of 4 bits, four in a word: a lookup of words makes bf16 of one in each.
struct WordTable {
  __m512i words;
  FA_METHOD explicit WordTable(const uint8_t *bytes) {
    const __m512i low = _mm512_cvtepu8_epi16(load<__m256i>(bytes)),
                  high = _mm512_cvtepu8_epi16(load<__m256i>(bytes + 128));
    words = _mm512_or_si512(low, _mm512_slli_epi16(high, 8));
  }
  /// Codes `first` ... of each word.
  template <int first, int N>
  FA_METHOD void read(vu codes, vf (&x)[N]) const {
    FA_UNROLL
    for (int i = 0; i < N; i++) {
      const __m512i code = _mm512_srli_epi16(__builtin_bit_cast(__m512i, codes), 4 * (first + i));
      x[i] = __builtin_bit_cast(vf, _mm512_permutexvar_epi16(code, words));
    }
  }
};

#else
constexpr bool has_plane_lookup = false;
#endif

}  // namespace fa::FA_ISA

#endif
