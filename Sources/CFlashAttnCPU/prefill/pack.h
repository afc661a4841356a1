// Conversion and rearrangement of operands, a vector of elements at a time. Nothing is read past a row's end.
#ifndef FA_CPU_PREFILL_PACK_H
#define FA_CPU_PREFILL_PACK_H

#include "tiles.h"

namespace fa::FA_ISA {

/// VW elements as floats. A boolean mask becomes the additive one: 0 for true, -infinity for false.
template <Elem elem>
FA_INLINE vf widen(const char *from) {
  if constexpr (elem == Elem::f32) {
    return load<vf>(from);
  } else if constexpr (elem == Elem::f16) {
    return f16_to_f32(load<vh>(from));
  } else if constexpr (elem == Elem::bf16) {
    return bf16_to_f32(load<vh>(from));
  } else {
    return __builtin_convertvector(load<vb>(from), vi) != 0 ? splat(0.0f) : splat(-infinity());
  }
}

template <Elem elem>
FA_INLINE void narrow(char *to, vf x) {
  if constexpr (elem == Elem::f32) {
    store(to, x);
  } else if constexpr (elem == Elem::f16) {
    store(to, f32_to_f16(x));
  } else {
    store(to, f32_to_bf16(x));
  }
}

/// Words w ..< w + VW of a row of `words`, zero beyond its end. Head dimensions are multiples of 16.
template <Elem elem, Arithmetic arithmetic>
FA_INLINE vf row_words(const char *row, int w, int words) {
  if constexpr (arithmetic == Arithmetic::f32) {
    return widen<elem>(row + w * elem_bytes(elem));
  } else {
    if (words - w >= VW) return load<vf>(row + w * 4);
    vf x = splat(0.0f);
    __builtin_memcpy(&x, row + w * 4, VW / 2 * 4);
    return x;
  }
}

/// Q^T of the panel whose lane 0 is query row `first` (before the problem's rows if its first vectors are left out):
/// [words][panel_rows]. Lanes past the last row repeat it.
template <Elem elem, Arithmetic arithmetic>
FA_NOINLINE void pack_queries(const char *q, int64_t stride, int head_dim, int64_t first, int lead, int64_t rows,
                              float *packed) {
  const int words = head_dim / keys_per_word<arithmetic>;
  for (int n = lead; n < panel_vectors; n++) {
    for (int w = 0; w < words; w += VW) {
      vf x[VW];
      FA_UNROLL
      for (int i = 0; i < VW; i++) {
        const int64_t row = first + n * VW + i;
        x[i] = row_words<elem, arithmetic>(q + (row < rows ? row : rows - 1) * stride, w, words);
      }
      transpose(x);
      FA_UNROLL
      for (int i = 0; i < VW; i++) {
        if (w + i < words) store(packed + (w + i) * panel_rows + n * VW, x[i]);
      }
    }
  }
}

/// Bytes of a packed key.
template <Arithmetic arithmetic>
constexpr int packed_key_bytes(int head_dim) {
  return head_dim / keys_per_word<arithmetic> * 4;
}

/// K's rows as words, contiguous.
template <Elem elem, Arithmetic arithmetic>
FA_NOINLINE void pack_keys(const char *const *rows, int head_dim, int keys, char *packed) {
  for (int key = 0; key < keys; key++) {
    char *to = packed + key * packed_key_bytes<arithmetic>(head_dim);
    if constexpr (arithmetic == Arithmetic::bf16_pairs) {
      __builtin_memcpy(to, rows[key], packed_key_bytes<arithmetic>(head_dim));
    } else {
      for (int d = 0; d < head_dim; d += VW) store(to + d * 4, widen<elem>(rows[key] + d * elem_bytes(elem)));
    }
  }
}

template <Arithmetic arithmetic, int I = 0>
FA_INLINE void store_quads(uint32_t *to, vf words) {
  if constexpr (4 * I < VW) {
    store(to + I * block_words<arithmetic> * 4, quad<I>(words));
    store_quads<arithmetic, I + 1>(to, words);
  }
}

/// A block of V as value_tile reads it, [head_dim / 4][block_words][4] words, zero after the last key up to a multiple
/// of four words. True if all of it is finite.
template <Elem elem, Arithmetic arithmetic>
FA_NOINLINE bool pack_values(const char *const *rows, int head_dim, int keys, uint32_t *packed) {
  vf probe = splat(0.0f);  // 0 times anything finite
  for (int w0 = 0; w0 * keys_per_word<arithmetic> < keys; w0 += 4) {
    for (int d = 0; d < head_dim; d += VW) {
      // Four words of a quad of dimensions make a whole cache line.
      FA_UNROLL
      for (int i = 0; i < 4; i++) {
        const int w = w0 + i;
        vf words = splat(0.0f);
        if constexpr (arithmetic == Arithmetic::f32) {
          if (w < keys) words = widen<elem>(rows[w] + d * elem_bytes(elem));
          probe = fma(words, splat(0.0f), probe);
        } else {
          vh low = {}, high = {};
          if (2 * w < keys) low = load<vh>(rows[2 * w] + d * 2);
          if (2 * w + 1 < keys) high = load<vh>(rows[2 * w + 1] + d * 2);
          words = as_float(__builtin_convertvector(low, vu) | __builtin_convertvector(high, vu) << 16);
          probe = dot_bf16(probe, words, splat(0.0f));
        }
        store_quads<arithmetic>(packed + d * block_words<arithmetic> + w * 4, words);
      }
    }
  }
  return !any(__builtin_bit_cast(vu, probe != probe));
}

/// Rows of O from O^T, each times its lane's `normalizer`; a lane whose normalizer is 0 gives 0.
template <Elem elem>
FA_NOINLINE void store_rows(const float *o, int head_dim, const float *normalizer, int lead, int64_t first,
                            int64_t rows, char *to, int64_t stride) {
  for (int n = lead; n < panel_vectors; n++) {
    const int64_t row = first + n * VW;
    const int count = rows - row < VW ? int(rows - row) : VW;
    const vf f = load<vf>(normalizer + n * VW);
    for (int d = 0; d < head_dim; d += VW) {
      vf x[VW];
      FA_UNROLL
      for (int i = 0; i < VW; i++) {
        const vf sum = load<vf>(o + (d + i) * panel_rows + n * VW);
        // A sum that underflowed to -0 must not differ from one that other blocks' zeros made +0.
        x[i] = f == 0.0f ? splat(0.0f) : sum * f + 0.0f;
      }
      transpose(x);
      FA_UNROLL
      for (int i = 0; i < VW; i++) {
        if (i < count) narrow<elem>(to + (row + i) * stride + d * elem_bytes(elem), x[i]);
      }
    }
  }
}

}  // namespace fa::FA_ISA

#endif
