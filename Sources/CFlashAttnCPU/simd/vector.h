// Vectors of VW 32-bit lanes, in the compiler's own vector types. An instruction set's header sets VW, includes this
// and adds what it has instructions for. Everything is in the instruction set's namespace and always inlined, so no
// function of one instruction set can stand in for another's; templates of the standard library may not be used here.
#ifndef FA_SIMD_VECTOR_H
#define FA_SIMD_VECTOR_H

#include <cstdint>

#include "../arguments.h"

#define FA_INLINE static inline __attribute__((always_inline))
#define FA_NOINLINE static __attribute__((noinline))
#define FA_METHOD inline __attribute__((always_inline))
#define FA_UNROLL _Pragma("clang loop unroll(full)")

namespace fa::FA_ISA {

typedef float vf __attribute__((ext_vector_type(VW)));
typedef int32_t vi __attribute__((ext_vector_type(VW)));
typedef uint32_t vu __attribute__((ext_vector_type(VW)));
typedef uint16_t vh __attribute__((ext_vector_type(VW)));
typedef uint8_t vb __attribute__((ext_vector_type(VW)));
typedef int8_t vsb __attribute__((ext_vector_type(VW)));
typedef uint32_t vquad __attribute__((ext_vector_type(4)));

FA_INLINE float infinity() { return __builtin_inff(); }

FA_INLINE vf splat(float x) { return vf(x); }
FA_INLINE vf as_float(vu x) { return __builtin_bit_cast(vf, x); }
FA_INLINE vu as_bits(vf x) { return __builtin_bit_cast(vu, x); }

/// Memory operands need no alignment.
template <typename V>
FA_INLINE V load(const void *from) {
  V v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
template <typename V>
FA_INLINE void store(void *to, V v) {
  __builtin_memcpy(to, &v, sizeof v);
}

/// The 32-bit word at `from` in every lane.
FA_INLINE vf broadcast_word(const void *from) {
  uint32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return as_float(vu(word));
}

struct Plus {
  template <typename V>
  FA_METHOD V operator()(V a, V b) const {
    return a + b;
  }
};

/// b where either is NaN.
struct Larger {
  template <typename V>
  FA_METHOD V operator()(V a, V b) const {
    return a > b ? a : b;
  }
};
FA_INLINE vf max(vf a, vf b) { return Larger()(a, b); }

FA_INLINE vi lane_index() {
  vi v;
  FA_UNROLL
  for (int i = 0; i < VW; i++) v[i] = i;
  return v;
}

FA_INLINE bool any(vu bits) { return __builtin_reduce_or(bits) != 0; }

/// Lanes 4 i ..< 4 i + 4.
template <int I>
FA_INLINE vquad quad(vf v) {
  const vu bits = as_bits(v);
  return __builtin_shufflevector(bits, bits, 4 * I, 4 * I + 1, 4 * I + 2, 4 * I + 3);
}

/// Only where has_bf16_dot, defined by the instruction set's header. A word holds two bf16, the first in its low half.
/// acc + a.low * b.low + a.high * b.high
FA_INLINE vf dot_bf16(vf acc, vf a, vf b);
/// Words of the pairs (low, high), rounded.
FA_INLINE vf pair_bf16(vf low, vf high);

/// Pairs of a bf16 of a and its neighbour in b: of the first, or of the last, four in each eight.
FA_INLINE vf interleave_low(vf a, vf b);
FA_INLINE vf interleave_high(vf a, vf b);
/// The same of bytes: eight in each sixteen.
FA_INLINE vu interleave_bytes_low(vu a, vu b);
FA_INLINE vu interleave_bytes_high(vu a, vu b);

/// Only where FA_VNNI is defined.
/// acc + the four products, in each lane, of bytes of a, without sign, and of b, with one.
FA_INLINE vi dot_bytes(vi acc, vu a, vi b);
/// Of NaN and of what is too large, any.
FA_INLINE vi nearest_integers(vf x);

/// Only where has_scale_exp2.
/// The nearest integers; infinities are their own.
FA_INLINE vf nearest(vf x);
/// x * 2^n for integers n; 0 if n is -infinity, NaN x included.
FA_INLINE vf scale_exp2(vf x, vf n);

/// What codes of some bits stand for, by ascending code; the table is symmetric about 0. An index may have anything
/// above its bits.
template <int bits>
struct CodeTable;

/// Only where has_plane_lookup: the same for 64 codes at a time, by tables of the bytes of what they stand for.
template <int bits>
struct PlaneTable;
template <int packed>
FA_INLINE vu join_parts(const char *low, const char *middle, const char *top);

/// Only where has_tree_search: how many of 2^bits - 1 ascending numbers, symmetric about 0 and given as a tree, lie below
/// each y; 0 for NaN. Several vectors are searched for at once, because each step has to wait for the one before.
template <int bits, int N>
FA_INLINE void count_below(const float *tree, const vf (&y)[N], vu (&count)[N]);

/// Each group of four lanes has shares of the sums of a's, b's, c's and d's lanes, floats or integers.
template <typename V>
FA_INLINE V sum_four(V a, V b, V c, V d);
/// Only where VW is 16: the same for another operation than a sum.
template <typename V, typename Op>
FA_INLINE V fold_four(V a, V b, V c, V d, Op op);
/// Such shares put together: lanes 4 i ..< 4 i + 4 have the sums whose shares are in shares[i].
template <typename V>
FA_INLINE V sum_quarters(const V (&shares)[VW / 4]);

FA_INLINE vf bf16_to_f32(vh x) { return as_float(__builtin_convertvector(x, vu) << 16); }

/// To nearest, ties to even; a NaN stays one.
FA_INLINE vh f32_to_bf16_by_bits(vf x) {
  const vu bits = as_bits(x);
  const vu rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const vu quiet = (bits >> 16) | 0x40;
  return __builtin_convertvector(x == x ? rounded : quiet, vh);
}

}  // namespace fa::FA_ISA

#endif
