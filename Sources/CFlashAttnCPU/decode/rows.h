// Rows of a K or V cache as vectors of floats. A reader takes a row apart in units of 4 VW coordinates and gives each as
// four vectors, in whatever order of the coordinates is the quickest.
#ifndef FA_CPU_DECODE_ROWS_H
#define FA_CPU_DECODE_ROWS_H

#include "../codec/formats.h"

namespace fa::FA_ISA {

constexpr int unit_size = 4 * VW;

/// Where the coordinates of a unit are.
enum class Order { natural, pairs, quads, planes, halves, octets, words, word_pairs, eights };

/// Place of coordinate `e`.
FA_INLINE constexpr int place(Order order, int e) {
  const int unit = e / unit_size * unit_size, in_pair = e % (2 * VW), in_unit = e % unit_size,
            in_two = e % (2 * unit_size);
  switch (order) {
    case Order::natural:
      return e;
    case Order::pairs:
      return e - in_pair + in_pair % 2 * VW + in_pair / 2;
    case Order::quads:
      return unit + in_unit % 4 * VW + in_unit / 4;
    case Order::planes:
      return unit + in_unit % 16 / 4 * 16 + in_unit / 16 * 4 + in_unit % 4;
    case Order::halves:
      return unit + in_unit % 16 / 8 * 32 + in_unit / 16 * 8 + in_unit % 8;
    case Order::octets:
      return unit + in_unit / 32 * 32 + in_unit % 8 / 4 * 16 + in_unit % 32 / 8 * 4 + in_unit % 4;
    case Order::words:
      return e - in_two + in_two % 4 * 32 + in_two / 4;
    case Order::word_pairs:
      return e - in_two + in_two / 16 % 2 * 64 + in_two % 4 * 16 + in_two / 32 * 4 + in_two / 4 % 4;
    case Order::eights:
      return e - e % 8 + e % 4 * 2 + e % 8 / 4;
  }
}

/// Where each coordinate is.
struct Places {
  uint16_t at[most_coordinates];
  constexpr explicit Places(Order order) : at() {
    for (int e = 0; e < most_coordinates; e++) at[e] = uint16_t(place(order, e));
  }
};

FA_INLINE const Places &places_of(Order order) {
  static constexpr Places places[] = {Places(Order::natural), Places(Order::pairs),      Places(Order::quads),
                                      Places(Order::planes),  Places(Order::halves),     Places(Order::octets),
                                      Places(Order::words),   Places(Order::word_pairs), Places(Order::eights)};
  return places[int(order)];
}

/// Vectors `P` * N ... of unit `u` of the row that starts at `row`.
template <RowFormat F>
struct Reader;

template <>
struct Reader<RowFormat::f32> {
  static constexpr Order order = Order::natural;
  FA_METHOD Reader(const KvFormat &, int) {}
  template <int P, int N>
  FA_METHOD void read(const char *row, int u, vf (&x)[N]) const {
    FA_UNROLL
    for (int i = 0; i < N; i++) x[i] = load<vf>(row + int64_t(u * 4 + P * N + i) * VW * 4);
  }
};

template <>
struct Reader<RowFormat::f16> {
  static constexpr Order order = Order::natural;
  FA_METHOD Reader(const KvFormat &, int) {}
  template <int P, int N>
  FA_METHOD void read(const char *row, int u, vf (&x)[N]) const {
    FA_UNROLL
    for (int i = 0; i < N; i++) x[i] = f16_to_f32(load<vh>(row + int64_t(u * 4 + P * N + i) * VW * 2));
  }
};

template <>
struct Reader<RowFormat::bf16> {
  static constexpr Order order = Order::pairs;
  FA_METHOD Reader(const KvFormat &, int) {}
  template <int P, int N>
  FA_METHOD void read(const char *row, int u, vf (&x)[N]) const {
    FA_UNROLL
    for (int i = 0; i < N; i++) {
      const int vector = P * N + i;
      const vu words = load<vu>(row + int64_t(u * 2 + vector / 2) * VW * 4);
      x[i] = as_float(vector % 2 == 0 ? words << 16 : words & 0xffff0000);
    }
  }
};

template <>
struct Reader<RowFormat::q8> {
  static constexpr Order order = Order::natural;
  FA_METHOD Reader(const KvFormat &, int) {}
  template <int P, int N>
  FA_METHOD void read(const char *row, int u, vf (&x)[N]) const {
    FA_UNROLL
    for (int i = 0; i < N; i++) {
      x[i] = __builtin_convertvector(load<vsb>(row + int64_t(u * 4 + P * N + i) * VW), vf);
    }
  }
};

// Lane l has coordinates 4 l ... 4 l + 3 of a unit: neighbours in each of the parts that a code is kept in.

/// The part of 8, 4, 2 or 1 bits that starts at `part`.
template <int width>
FA_INLINE vu load_part(const char *part, int u) {
  const char *from = part + int64_t(u) * (VW * width / 2);
  if constexpr (width == 8) return load<vu>(from);
  if constexpr (width == 4) return __builtin_convertvector(load<vh>(from), vu);
  if constexpr (width == 2) return __builtin_convertvector(load<vb>(from), vu);
  const vu shift = __builtin_convertvector(lane_index(), vu) % 8 * 4;
  uint32_t words[2] = {};
  __builtin_memcpy(words, from, VW / 2);
  return (VW > 8 ? (lane_index() < 8 ? vu(words[0]) : vu(words[1])) : vu(words[0])) >> shift;
}

/// The parts of a unit of codes.
struct Parts {
  const char *low, *middle, *top;
};

template <int packed>
FA_INLINE Parts parts_of(const char *row, int u, int head_dim) {
  constexpr int low = packed >= 4 ? 4 : 2;
  return {row + int64_t(u) * (VW * low / 2), row + head_dim / 2 + int64_t(u) * VW,
          row + head_dim * (packed - 1) / 8 + int64_t(u) * (VW / 2)};
}

/// Codes of `bits` bits kept in `packed` of them.
template <int bits, int packed, bool planes = (has_plane_lookup && bits >= 6)>
struct CodeReader {
  static constexpr Order order = Order::quads;
  CodeTable<bits> table;
  int head_dim;
  FA_METHOD CodeReader(const KvFormat &format, int dim) : table(format.centroids), head_dim(dim) {}

  template <int P, int N>
  FA_METHOD void read(const char *row, int u, vf (&x)[N]) const {
    constexpr bool parted = packed == 3 || packed >= 5;
    if constexpr (packed == 8) {
      look_up<P, 8>(load_part<8>(row, u), x);
    } else if constexpr (!parted) {
      look_up<P, packed>(load_part<packed>(row, u), x);
    } else if constexpr (has_plane_lookup) {
      const Parts parts = parts_of<packed>(row, u, head_dim);
      look_up<P, 8>(join_parts<packed>(parts.low, parts.middle, parts.top), x);
    } else {
      constexpr int low = packed >= 4 ? 4 : 2;
      constexpr bool middle = packed >= 6, top = packed != 6;
      const vu lows = load_part<low>(row, u);
      vu middles = {}, tops = {};
      if constexpr (middle) middles = load_part<2>(row + head_dim / 2, u) << 4;
      if constexpr (top) tops = load_part<1>(row + head_dim * (packed - 1) / 8, u) << (packed - 1);
      FA_UNROLL
      for (int i = 0; i < N; i++) {
        const int s = P * N + i;
        vu code = lows >> (low * s);
        if constexpr (middle) code = (code & 15) | ((middles >> (2 * s)) & ~15u);
        if constexpr (top) {
          constexpr uint32_t below = (1u << (packed - 1)) - 1;
          code = (code & below) | ((tops >> s) & ~below);
        }
        x[i] = table[code];
      }
    }
  }

 private:
  /// A lane's neighbours are `step` bits apart.
  template <int P, int step, int N>
  FA_METHOD void look_up(vu codes, vf (&x)[N]) const {
    FA_UNROLL
    for (int i = 0; i < N; i++) x[i] = table[codes >> (step * (P * N + i))];
  }
};

/// The same by bytes of 64 codes, where there are instructions for it.
template <int bits, int packed>
struct CodeReader<bits, packed, true> {
  static constexpr Order order = Order::planes;
  PlaneTable<bits> table;
  int head_dim;
  FA_METHOD CodeReader(const KvFormat &format, int dim) : table(format.planes), head_dim(dim) {}

  template <int P, int N>
  FA_METHOD void read(const char *row, int u, vf (&x)[N]) const {
    if constexpr (packed == 8) {
      table.template read<P>(load<vu>(row + int64_t(u) * 64), x);
    } else {
      const Parts parts = parts_of<packed>(row, u, head_dim);
      const vu codes = join_parts<packed>(parts.low, parts.middle, parts.top);
      if constexpr (packed == 6) {
        table.template read<P>(codes, x);
      } else {
        table.template read<P>(codes, load<uint64_t>(parts.top), x);
      }
    }
  }
};

/// Rows of codes: their format, bits of a code, and bits that it is kept in.
#define FA_CODED_ROWS(ROWS) \
  ROWS(tq2, 2, 2)           \
  ROWS(tq3, 3, 3)           \
  ROWS(tq4, 4, 4)           \
  ROWS(tq5, 5, 5)           \
  ROWS(tq6, 6, 6)           \
  ROWS(tq7, 7, 7)           \
  ROWS(tq8, 8, 8)           \
  ROWS(byte5, 5, 8)         \
  ROWS(byte6, 6, 8)

#define FA_CODE_READER(FORMAT, BITS, PACKED)                             \
  template <>                                                            \
  struct Reader<RowFormat::FORMAT> : CodeReader<BITS, PACKED> {          \
    FA_METHOD Reader(const KvFormat &f, int dim) : CodeReader(f, dim) {} \
  };
FA_CODED_ROWS(FA_CODE_READER)
#undef FA_CODE_READER

/// Bytes of a unit, all parts of it together.
template <RowFormat F>
constexpr int unit_bytes() {
  constexpr int packed[row_format_count] = {32, 16, 16, 8, 2, 3, 4, 5, 6, 7, 8, 8, 8};
  return packed[int(F)] * unit_size / 8;
}

}  // namespace fa::FA_ISA

#endif
