// A block of the mask for one vector of query rows: which of its keys matter, and the biases, transposed.
#ifndef FA_CPU_PREFILL_MASK_H
#define FA_CPU_PREFILL_MASK_H

#include "pack.h"
#include "problem.h"

namespace fa::FA_ISA {

/// Keys begin ..< end of a block; none if begin is not below end. `begin` is a multiple of most_tile_keys.
struct Keys {
  int begin, end;
  bool plain;  ///< each of them attended without bias

  bool empty() const { return begin >= end; }
};

/// The mask of one head.
struct MaskPlane {
  const char *rows;    ///< null without a mask
  const uint8_t *blk;  ///< null if nothing is known
};

/// Narrows keys of a block, whose first key is `key`, to what the block bytes leave of them for VW rows from `row` on.
/// A block is a whole number of tiles, and a tile of most_tile_keys.
FA_INLINE Keys narrow_by_blk(const Blk &blk, const uint8_t *plane, int64_t row, int64_t rows, int64_t key, Keys keys) {
  const int64_t last_row = (row + VW < rows ? row + VW : rows) - 1;
  const int64_t first = (key + keys.begin) / blk.keys, last = (key + keys.end - 1) / blk.keys;
  Keys left = {block_keys, 0, true};
  bool gap = false;
  for (int64_t tile = first; tile <= last; tile++) {
    bool skip = true, attended = true;
    for (int64_t r = row / blk.rows; r <= last_row / blk.rows; r++) {
      const uint8_t byte = plane[r * blk.row_tiles + tile];
      skip &= byte == Blk::skip;
      attended &= byte == Blk::attended;
    }
    if (skip) {
      gap = !left.empty();
      continue;
    }
    const int64_t begin = tile * blk.keys - key, end = begin + blk.keys;
    if (left.empty()) left.begin = begin < keys.begin ? keys.begin : int(begin);
    left.end = end < keys.end ? int(end) : keys.end;
    left.plain &= attended && !gap;
  }
  return left;
}

/// The biases of keys for VW rows from `row` on: [keys][panel_rows]. Narrows the keys, by vectors of them, to those
/// that some row attends.
template <Elem elem>
FA_NOINLINE Keys pack_mask(const char *mask, int64_t stride, int64_t row, int64_t rows, Keys keys, float *packed) {
  constexpr int bytes = elem_bytes(elem);
  Keys left = {block_keys, 0, true};
  vu biased = vu(0);
  for (int key = keys.begin; key < keys.end; key += VW) {
    vf x[VW];
    const int count = keys.end - key < VW ? keys.end - key : VW;
    vu open = vu(0);
    FA_UNROLL
    for (int i = 0; i < VW; i++) {
      const char *from = mask + (row + i < rows ? row + i : rows - 1) * stride + int64_t(key) * bytes;
      if (count == VW) {
        x[i] = widen<elem>(from);
      } else {
        char tail[VW * bytes];
        __builtin_memset(tail, 0, sizeof tail);
        __builtin_memcpy(tail, from, count * bytes);
        x[i] = widen<elem>(tail);
      }
    }
    transpose(x);
    FA_UNROLL
    for (int i = 0; i < VW; i++) {
      if (i < count) {
        open |= as_bits(x[i]) ^ as_bits(splat(-infinity()));
        biased |= as_bits(x[i]);
        store(packed + (key + i) * panel_rows, x[i]);
      }
    }
    if (any(open)) {
      if (left.empty()) left.begin = key / most_tile_keys * most_tile_keys;
      left.end = key + count;
    }
  }
  left.plain = !any(biased);
  return left;
}

/// What the mask leaves of keys of a block. The biases are packed unless the result is plain.
FA_INLINE Keys apply_mask(const PrefillProblem &problem, const MaskPlane &plane, int64_t row, int64_t key, Keys keys,
                          float *packed) {
  if (plane.blk != nullptr) keys = narrow_by_blk(problem.blk, plane.blk, row, problem.rows, key, keys);
  if (keys.plain || keys.empty()) return keys;
  const char *mask = plane.rows + key * elem_bytes(problem.mask_elem);
  const int64_t stride = problem.mask.strides[2];
  switch (problem.mask_elem) {
    case Elem::f32:
      return pack_mask<Elem::f32>(mask, stride, row, problem.rows, keys, packed);
    case Elem::f16:
      return pack_mask<Elem::f16>(mask, stride, row, problem.rows, keys, packed);
    case Elem::bf16:
      return pack_mask<Elem::bf16>(mask, stride, row, problem.rows, keys, packed);
    case Elem::boolean:
      return pack_mask<Elem::boolean>(mask, stride, row, problem.rows, keys, packed);
  }
}

}  // namespace fa::FA_ISA

#endif
