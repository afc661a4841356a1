// What each tile of a mask is: skipped, attended or mixed. A mask is compared by its bits, as many elements at a time as
// a vector holds, and each of its rows is read once.
#ifndef FA_CPU_PREFILL_BLK_H
#define FA_CPU_PREFILL_BLK_H

#include "../simd/vector.h"
#include "mask_problem.h"

namespace fa::FA_ISA {

/// Bits of a mask's elements.
template <Elem elem>
struct MaskBits;
template <>
struct MaskBits<Elem::f32> {
  using Word = uint32_t;
  static constexpr Word excluded = 0xff800000, attended = 0, sign = 0x80000000;
};
template <>
struct MaskBits<Elem::f16> {
  using Word = uint16_t;
  static constexpr Word excluded = 0xfc00, attended = 0, sign = 0x8000;
};
template <>
struct MaskBits<Elem::bf16> {
  using Word = uint16_t;
  static constexpr Word excluded = 0xff80, attended = 0, sign = 0x8000;
};
template <>
struct MaskBits<Elem::boolean> {
  using Word = uint8_t;
  static constexpr Word excluded = 0, attended = 1;
};

/// Elements of a row looked at together.
constexpr int blk_span = 1024;

/// Of each key, the union over the rows so far: non-zero if some row does not exclude it, and if some does not attend it
/// without bias.
template <Elem elem>
struct KeyUnions {
  using Bits = MaskBits<elem>;
  using Word = typename Bits::Word;
  static constexpr int lanes = VW * 4 / int(sizeof(Word));
  typedef Word V __attribute__((ext_vector_type(VW * 4 / sizeof(Word))));

  Word open[blk_span], biased[blk_span];

  void clear(int keys) {
    __builtin_memset(open, 0, keys * sizeof(Word));
    __builtin_memset(biased, 0, keys * sizeof(Word));
  }

  /// T is the word or a vector of them.
  template <typename T>
  void add(const char *row, int key) {
    const T x = load<T>(row + key * sizeof(Word));
    T not_excluded, not_attended;
    if constexpr (elem == Elem::boolean) {
      not_excluded = x;
      not_attended = T(x == T(0));
    } else {
      not_excluded = x ^ T(Bits::excluded);
      not_attended = x & T(Word(~Bits::sign));
    }
    store(open + key, T(load<T>(open + key) | not_excluded));
    store(biased + key, T(load<T>(biased + key) | not_attended));
  }

  void add_row(const char *row, int keys) {
    int key = 0;
    for (; key + lanes <= keys; key += lanes) add<V>(row, key);
    for (; key < keys; key++) add<Word>(row, key);
  }
};

/// One row of tiles of one plane.
template <Elem elem>
FA_NOINLINE void blk_tiles(const BlkProblem &problem, int64_t plane, int64_t row_tile) {
  const int64_t batch = plane / problem.heads, head = plane % problem.heads;
  const int64_t first_row = row_tile * problem.tile_rows;
  const int64_t end_row = problem.rows - first_row < problem.tile_rows ? problem.rows : first_row + problem.tile_rows;
  uint8_t *out = problem.out + (plane * problem.row_tiles + row_tile) * problem.key_tiles;
  // Whole tiles together if they are short, a tile in parts if it is long.
  const int64_t group = problem.tile_keys < blk_span ? blk_span / problem.tile_keys : 1;

  alignas(64) KeyUnions<elem> unions;
  for (int64_t tile = 0; tile < problem.grid_key_tiles; tile += group) {
    const int64_t tiles = problem.grid_key_tiles - tile < group ? problem.grid_key_tiles - tile : group;
    const int64_t begin = tile * problem.tile_keys;
    const int64_t whole_end = begin + tiles * problem.tile_keys;
    const int64_t end = whole_end < problem.keys ? whole_end : problem.keys;
    uint8_t open[blk_span] = {}, biased[blk_span] = {};
    for (int64_t key = begin; key < end; key += blk_span) {
      const int keys = int(end - key < blk_span ? end - key : blk_span);
      unions.clear(keys);
      for (int64_t row = first_row; row < end_row; row++) {
        unions.add_row(problem.mask.at(batch, head, row) + key * elem_bytes(elem), keys);
      }
      int i = 0;
      for (int64_t t = (key - begin) / problem.tile_keys; i < keys; t++) {
        const int64_t tile_end = begin + (t + 1) * problem.tile_keys - key;
        typename KeyUnions<elem>::Word any_open = 0, any_biased = 0;
        for (; i < tile_end && i < keys; i++) {
          any_open |= unions.open[i];
          any_biased |= unions.biased[i];
        }
        open[t] |= any_open != 0;
        biased[t] |= any_biased != 0;
      }
    }
    for (int64_t t = 0; t < tiles; t++) {
      const bool ragged = begin + (t + 1) * problem.tile_keys > problem.keys;
      out[tile + t] = open[t] == 0 ? Blk::skip : biased[t] == 0 && !ragged ? Blk::attended : Blk::mixed;
    }
  }
}

template <Elem elem>
FA_NOINLINE void blk(const BlkProblem &problem) {
  const auto task = [](void *context, uint64_t index, uint32_t) {
    const BlkProblem &problem = *static_cast<const BlkProblem *>(context);
    blk_tiles<elem>(problem, int64_t(index) / problem.grid_row_tiles, int64_t(index) % problem.grid_row_tiles);
  };
  const double elements = double(problem.planes) * double(problem.rows) * double(problem.keys);
  for_each(*problem.executor, elements >= mask_parallel_threshold, uint64_t(problem.planes * problem.grid_row_tiles),
           task, const_cast<BlkProblem *>(&problem));
}

}  // namespace fa::FA_ISA

#endif
