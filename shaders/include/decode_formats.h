// Rows of a K or V cache of any format as pieces of neighbouring coordinates, the way matrices want them: a lane has
// one piece of several rows at a time, with as few loads as possible. docs/codec.md has the formats.
#ifndef FA_DECODE_FORMATS_H
#define FA_DECODE_FORMATS_H

#include <metal_stdlib>

#include "flash_attn_params.h"
#include "kv_codec.h"
#include "kv_codec_v1.h"
#include "unroll.h"

namespace fa {

/// Formats that differ in table or norms alone have the same storage.
inline constexpr int storage_of(int format) {
  return format == FA_KV_TQ4_V1 ? FA_KV_TQ4 : format > FA_KV_TQ4_V1 ? FA_KV_TQ8 : format;
}

/// Every storage there is.
#define FA_EACH_STORAGE(DO) \
  DO(FA_KV_F32)             \
  DO(FA_KV_F16)             \
  DO(FA_KV_BF16)            \
  DO(FA_KV_Q8)              \
  DO(FA_KV_TQ2)             \
  DO(FA_KV_TQ3)             \
  DO(FA_KV_TQ4)             \
  DO(FA_KV_TQ5)             \
  DO(FA_KV_TQ6)             \
  DO(FA_KV_TQ7)             \
  DO(FA_KV_TQ8)

inline constexpr bool is_quantised(int format) { return format >= FA_KV_Q8; }
inline constexpr bool is_version_1(int format) { return format >= FA_KV_TQ4_V1; }

/// Bits of a coordinate in the widest part of a row.
inline constexpr int widest_bits(int storage) {
  return storage == FA_KV_F32                            ? 32
         : storage == FA_KV_F16 || storage == FA_KV_BF16 ? 16
         : storage == FA_KV_Q8 || storage == FA_KV_TQ8   ? 8
         : storage >= FA_KV_TQ4                          ? 4
                                                         : 2;
}

/// Coordinates of a piece: 16 bytes of the widest part, unless a lane's share of a row is less.
inline constexpr int piece_size(int format, int share) {
  return 128 / widest_bits(storage_of(format)) < share ? 128 / widest_bits(storage_of(format)) : share;
}

// ----------------------------------------------------------------------------------------------------------- tables

/// Values of a format's table; 0 for one without.
inline constexpr int table_size(int format) {
  return format <= FA_KV_Q8 ? 0 : 1 << (is_version_1(format) ? format - 20 : format - 10);
}

inline float centroid_of(int format, uint code) {
#define FA_CENTROID(F) \
  case F:              \
    return kv_codec<F>::centroid(code);
  switch (format) {
    FA_CENTROID(FA_KV_TQ2)
    FA_CENTROID(FA_KV_TQ3)
    FA_CENTROID(FA_KV_TQ4)
    FA_CENTROID(FA_KV_TQ5)
    FA_CENTROID(FA_KV_TQ6)
    FA_CENTROID(FA_KV_TQ7)
    FA_CENTROID(FA_KV_TQ8)
    FA_CENTROID(FA_KV_TQ4_V1)
    FA_CENTROID(FA_KV_TQ_HB5)
    FA_CENTROID(FA_KV_TQ_HB6)
    FA_CENTROID(FA_KV_TQ_HB8)
    default:
      return 0.0f;
  }
#undef FA_CENTROID
}

/// Copies of each value of a table, next to each other: lanes that look up different codes then seldom meet in a bank.
/// `budget` is how many floats the table may take.
inline constexpr int table_copies(int format, int budget) {
  return budget / table_size(format) < 32 ? budget / table_size(format) : 32;
}

/// A table in threadgroup memory as a lane sees it.
struct code_table {
  threadgroup const float *values;  // the lane's copy of the first
  uint copies;
  uint mask;

  inline float operator[](uint code) const { return values[code * copies]; }
};

// ----------------------------------------------------------------------------------------------------------- pieces

/// Loads a power of two of bytes; from 4 on they lie at a multiple of 4.
template <int BYTES>
inline void load_words(device const uchar *from, thread uint *words) {
  if (BYTES >= 16) {
    FA_UNROLL
    for (int i = 0; i < BYTES / 16; i++) {
      const uint4 quad = uint4(((device const packed_uint4 *)from)[i]);
      FA_UNROLL
      for (int w = 0; w < 4; w++) {
        words[4 * i + w] = quad[w];
      }
    }
  } else if (BYTES == 8) {
    const uint2 pair = uint2(*(device const packed_uint2 *)from);
    words[0] = pair.x;
    words[1] = pair.y;
  } else if (BYTES == 4) {
    words[0] = *(device const uint *)from;
  } else if (BYTES == 2) {
    words[0] = *(device const ushort *)from;
  } else {
    words[0] = *from;
  }
}

/// C coordinates of a row of codes, of a storage with a table.
template <int F, int D, int C>
struct kv_piece {
  typedef float element;
  static constant constexpr int packed = kv_codec<F>::packed;
  static constant constexpr int row_bytes = packed_bytes<D>(packed);

  inline void load(device const uchar *row, uint first) {
    load_words<C * low / 8>(row + first * low / 8, low_words);
    if (has_middle) {
      load_words<C / 4>(row + D / 2 + first / 4, middle_words);
    }
    if (has_top) {
      load_words<C / 8>(row + packed_bytes<D>(packed - 1) + first / 8, top_words);
    }
  }

  inline float at(int i, code_table table) const {
    uint code = field<low>(low_words, i);
    if (has_middle) {
      code |= field<2>(middle_words, i) << 4;
    }
    if (has_top) {
      code |= field<1>(top_words, i) << (packed - 1);
    }
    // Bytes may have bits that the table of a format of version 1 has no use for.
    return table[packed == 8 ? code & table.mask : code];
  }

 private:
  static constant constexpr int low = widest_bits(F);
  static constant constexpr bool has_middle = packed == 6 || packed == 7;
  static constant constexpr bool has_top = packed == 3 || packed == 5 || packed == 7;

  uint low_words[(C * low + 31) / 32];
  uint middle_words[(C * 2 + 31) / 32];
  uint top_words[(C + 31) / 32];

  template <int W>
  static inline uint field(thread const uint *words, int i) {
    return words[i * W / 32] >> (i * W % 32) & ((1u << W) - 1);
  }
};

/// Codes that are the values, up to the row's factor.
template <int D, int C>
struct kv_piece<FA_KV_Q8, D, C> {
  typedef float element;
  static constant constexpr int row_bytes = D;

  inline void load(device const uchar *row, uint first) { load_words<C>(row + first, words); }
  inline float at(int i, code_table) const { return float(int(words[i / 4] << (24 - i % 4 * 8)) >> 24); }

 private:
  uint words[C / 4];
};

/// Plain numbers.
template <typename S, int D, int C>
struct dense_piece {
  typedef S element;
  static constant constexpr int row_bytes = D * sizeof(S);

  inline void load(device const uchar *row, uint first) { load_words<C * sizeof(S)>(row + first * sizeof(S), words); }
  inline S at(int i, code_table) const {
    constexpr int each = 4 / sizeof(S);  // of a word
    return as_type<metal::vec<S, each>>(words[i / each])[i % each];
  }

 private:
  uint words[C * sizeof(S) / 4];
};

template <int D, int C>
struct dense_piece<float, D, C> {
  typedef float element;
  static constant constexpr int row_bytes = D * 4;

  inline void load(device const uchar *row, uint first) { load_words<C * 4>(row + first * 4, words); }
  inline float at(int i, code_table) const { return as_type<float>(words[i]); }

 private:
  uint words[C];
};

template <int D, int C>
struct kv_piece<FA_KV_F32, D, C> : dense_piece<float, D, C> {};
template <int D, int C>
struct kv_piece<FA_KV_F16, D, C> : dense_piece<half, D, C> {};
template <int D, int C>
struct kv_piece<FA_KV_BF16, D, C> : dense_piece<bfloat, D, C> {};

// ---------------------------------------------------------------------------------------------------------- factors

/// What the pieces of a row must be multiplied by; `half_row` says which one of D 512's two norms of version 1.
template <int D>
inline float row_factor(int format, device const uchar *norms, ulong row, bool as_half, ushort half_row,
                        float scale_factor_d512) {
  if (!is_quantised(format)) {
    return 1.0f;
  }
  if (is_version_1(format)) {
    return scale_v1<D>((device const float *)norms + row * norms_v1<D>(), scale_factor_d512, half_row * 16);
  }
  const float norm = load_norm(norms, long(row), as_half);
  return format == FA_KV_Q8 ? norm : norm * inverse_sqrt<D>();
}

}  // namespace fa

#endif
