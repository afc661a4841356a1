// Outputs and partial results of decoding, and the pass that merges the latter.
#ifndef FA_CPU_DECODE_MERGE_H
#define FA_CPU_DECODE_MERGE_H

#include "softmax.h"

namespace fa::FA_ISA {

/// A row of the output: its number among the partial results, and where it belongs.
struct OutputRow {
  int64_t number, b, head, token;
};

FA_INLINE void add_scaled(float *to, const float *from, float factor, int count) {
  for (int i = 0; i < count; i += VW) store(to + i, fma(load<vf>(from + i), splat(factor), load<vf>(to + i)));
}

/// Writes what a row has gathered relative to `maximum`, unless it has attended nothing: then zeros.
FA_INLINE void write_row(const Vectors &o, char *lse, const uint8_t *undo_v, const OutputRow &row, int heads, int q_len,
                         int head_dim, float *x, float sum, float maximum) {
  const float share = sum == 0.0f ? 0.0f : 1.0f / sum;
  for (int i = 0; i < head_dim; i += VW) store(x + i, load<vf>(x + i) * share);
  if (undo_v != nullptr) unrotate(x, head_dim, undo_v);
  write_vector(o.data + row.b * o.strides[0] + row.head * o.strides[1] + row.token * o.strides[2], x, o.elem, head_dim);
  if (lse != nullptr) {
    const float value = sum == 0.0f ? -infinity() : maximum + __builtin_logf(sum);
    store(lse + ((row.b * heads + row.head) * q_len + row.token) * 4, value);
  }
}

/// Writes a row's partial results: work-group 0 has all the keys, the others are empty.
FA_INLINE void write_partial(const Partials &to, const OutputRow &row, const float *x, int head_dim, float sum,
                             float maximum) {
  float *values = to.values + row.number * to.row;
  for (int w = 0; w < to.splits; w++) {
    float *state = to.state + (row.number * to.splits + w) * 2;
    store(state, w == 0 ? sum : 0.0f);
    store(state + 1, w == 0 ? maximum : least_maximum);
  }
  typedef float quad __attribute__((ext_vector_type(4)));
  for (int e = 0; e < head_dim; e += 4) {
    float *at = values + e / 4 * to.quad;
    store(at, load<quad>(x + e));
    for (int w = 1; w < to.splits; w++) store(at + w * to.group, quad(0.0f));
  }
}

FA_NOINLINE void merge_row(void *context, uint64_t index, uint32_t) {
  const MergeProblem &p = *static_cast<const MergeProblem *>(context);
  const Partials &from = p.partials;
  const float *state = from.state + index * from.splits * 2;
  float maximum = least_maximum, sum = 0.0f;
  for (int w = 0; w < from.splits; w++) maximum = larger(maximum, state[2 * w + 1]);
  alignas(64) float x[most_coordinates] = {};
  typedef float quad __attribute__((ext_vector_type(4)));
  for (int w = 0; w < from.splits; w++) {
    // A work-group without keys has nothing but zeros.
    if (state[2 * w] == 0.0f) continue;
    const float share = exponential(state[2 * w + 1] - maximum);
    sum += state[2 * w] * share;
    const float *values = from.values + int64_t(index) * from.row + w * from.group;
    for (int e = 0; e < p.head_dim; e += 4) {
      store(x + e, load<quad>(x + e) + load<quad>(values + e / 4 * from.quad) * share);
    }
  }
  const int64_t head = int64_t(index) % p.heads, token = int64_t(index) / p.heads % p.q_len,
                b = int64_t(index) / p.heads / p.q_len;
  write_row(p.o, p.lse, p.undo_v, {int64_t(index), b, head, token}, p.heads, p.q_len, p.head_dim, x, sum, maximum);
}

static const char *merge(const MergeProblem &problem) {
  MergeProblem p = problem;
  const uint64_t rows = uint64_t(p.batch) * p.q_len * p.heads;
  run(p.executor, rows, merge_row, &p, rows * p.head_dim);
  return nullptr;
}

}  // namespace fa::FA_ISA

#endif
