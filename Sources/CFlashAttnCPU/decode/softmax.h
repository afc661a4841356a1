// The online softmax over a block of keys, of some columns at a time: what passes between lanes, and what becomes of what
// was gathered before, is then computed for all of them at once.
#ifndef FA_CPU_DECODE_SOFTMAX_H
#define FA_CPU_DECODE_SOFTMAX_H

#include "../codec/vectors.h"
#include "../simd/lanes.h"
#include "../simd/math.h"
#include "tasks.h"

namespace fa::FA_ISA {

/// What a running maximum starts from: finite, so that a difference from it is a number.
constexpr float least_maximum = -0x1.fffffep126f;
constexpr float log2_e = 1.442695041f;
constexpr int block_vectors = row_block / VW;

/// b where either is NaN.
FA_INLINE float larger(float a, float b) { return Larger()(a, b); }

/// e^x for x <= 0.
FA_INLINE vf exponential(vf x) { return exp2_nonpositive<5>(x * log2_e); }
FA_INLINE float exponential(float x) { return exponential(splat(x))[0]; }

/// What distance takes from a column's scores.
struct DistanceBias {
  float slope;
  int64_t position;  ///< of the query
};

/// A block of keys.
struct KeyBlock {
  typedef float Column[column_stride];
  int64_t first;
  int count;
  int k_halves, v_halves;  ///< norms of a row, 1 or 2; what follows is of each half
  const Column *k_norms, *v_norms;  ///< 1 if rows have none
  Column *dots[2];  ///< of each column
  Column *weights[2];  ///< of each column
  const DistanceBias *bias;  ///< of each column; null if there is none

  /// v where there are keys.
  FA_METHOD vf where_keys(int vector, vf v, float elsewhere) const {
    return count == row_block ? v : lane_index() < count - vector * VW ? v : splat(elsewhere);
  }
};

/// Makes a column's dot products its scores, whatever that takes.
FA_NOINLINE void finish_scores(const DecodeProblem &p, const KeyBlock &block, int c) {
  for (int i = 0; i < block_vectors; i++) {
    const int k = i * VW;
    vf s = load<vf>(block.dots[0][c] + k) * load<vf>(block.k_norms[0] + k);
    if (block.k_halves > 1) s = fma(load<vf>(block.dots[1][c] + k), load<vf>(block.k_norms[1] + k), s);
    s *= p.scale;
    if (p.softcap > 0.0f) s = tanh(s / p.softcap) * p.softcap;
    if (block.bias != nullptr) {
      const float ahead = float(block.bias[c].position - block.first - k);
      const vf steps = __builtin_convertvector(lane_index(), vf) - ahead;
      s -= max(steps, -steps) * block.bias[c].slope;
    }
    store(block.dots[0][c] + k, block.where_keys(i, s, -infinity()));
  }
}

/// Puts down weights of columns c ... as what they are gathered as.
template <Products products, int columns>
FA_INLINE void write_weights(const KeyBlock &block, int c, const vf (&x)[columns][block_vectors]) {
  for (int h = 0; h < block.v_halves; h++) {
    KeyBlock::Column *to = block.weights[h] + c;
    vf w[columns][block_vectors];
    FA_UNROLL
    for (int j = 0; j < columns; j++) {
      FA_UNROLL
      for (int i = 0; i < block_vectors; i++) {
        w[j][i] = x[j][i] * load<vf>(block.v_norms[h] + i * VW);
        if constexpr (products == Products::floats) store(to[j] + i * VW, w[j][i]);
        if constexpr (products == Products::pairs) {
          store(reinterpret_cast<uint16_t *>(to[j]) + i * VW, f32_to_bf16(w[j][i]));
        }
        if constexpr (products == Products::bytes) w[j][i] = block.where_keys(i, w[j][i], 0.0f);
      }
    }
    if constexpr (products == Products::bytes) write_byte_weights(to, w);
  }
}

/// Turns dot products of columns c ... into weights, times the norms of V, and takes them into what has been found so far.
/// decay[c] ... become the factors of what has been gathered.
template <Products products, int columns>
FA_NOINLINE void softmax_of(const DecodeProblem &p, const KeyBlock &block, int c, ChunkResult &result, float *decay) {
  const bool simple = !(p.softcap > 0.0f) && block.bias == nullptr && block.k_halves == 1 && block.count == row_block;
  vf factors[block_vectors];
  for (int j = 0; !simple && j < columns; j++) finish_scores(p, block, c + j);
  FA_UNROLL
  for (int i = 0; i < block_vectors; i++) {
    factors[i] = simple ? load<vf>(block.k_norms[0] + i * VW) * p.scale : splat(1.0f);
  }
  vf x[columns][block_vectors], most[columns], total[columns], maximum = {}, sum = {};
  FA_UNROLL
  for (int j = 0; j < columns; j++) {
    most[j] = splat(-infinity());
    FA_UNROLL
    for (int i = 0; i < block_vectors; i++) {
      x[j][i] = load<vf>(block.dots[0][c + j] + i * VW) * factors[i];
      most[j] = max(most[j], x[j][i]);
    }
    maximum[j] = result.maximum[c + j];
    sum[j] = result.sum[c + j];
  }
  const vf next = max(fold_each(most, Larger()), maximum), decayed = exponential(maximum - next);
  FA_UNROLL
  for (int j = 0; j < columns; j++) {
    total[j] = splat(0.0f);
    FA_UNROLL
    for (int i = 0; i < block_vectors; i++) {
      x[j][i] = exponential(x[j][i] - splat(next[j]));
      total[j] += x[j][i];
    }
  }
  sum = fma(sum, decayed, fold_each(total, Plus()));
  FA_UNROLL
  for (int j = 0; j < columns; j++) {
    result.maximum[c + j] = next[j];
    result.sum[c + j] = sum[j];
    decay[c + j] = decayed[j];
  }
  write_weights<products>(block, c, x);
}

/// The same for columns [first, first + count).
template <Products products>
FA_INLINE void softmax_as(const DecodeProblem &p, const KeyBlock &block, int first, int count, ChunkResult &result,
                          float *decay) {
  const int end = first + count;
  int c = first;
  if constexpr (VW == 16) {
    for (; c + 4 <= end; c += 4) softmax_of<products, 4>(p, block, c, result, decay);
    if (c + 2 <= end) {
      softmax_of<products, 2>(p, block, c, result, decay);
      c += 2;
    }
  }
  for (; c < end; c++) softmax_of<products, 1>(p, block, c, result, decay);
}

/// The same, with weights for `products`.
FA_INLINE void softmax(const DecodeProblem &p, Products products, const KeyBlock &block, int first, int count,
                       ChunkResult &result, float *decay) {
  if (products == Products::floats) softmax_as<Products::floats>(p, block, first, count, result, decay);
#ifdef FA_BF16_DOT
  if (products == Products::pairs) softmax_as<Products::pairs>(p, block, first, count, result, decay);
#endif
#ifdef FA_VNNI
  if (products == Products::bytes) softmax_as<Products::bytes>(p, block, first, count, result, decay);
#endif
}

}  // namespace fa::FA_ISA

#endif
