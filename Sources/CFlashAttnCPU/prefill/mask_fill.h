// The mask of a causal or sliding-window problem.
#ifndef FA_CPU_PREFILL_MASK_FILL_H
#define FA_CPU_PREFILL_MASK_FILL_H

#include "blk.h"

namespace fa::FA_ISA {

/// Rows one task takes.
constexpr int64_t fill_rows = 16;

template <Elem elem>
FA_INLINE void fill(char *row, int64_t begin, int64_t end, typename MaskBits<elem>::Word word) {
  using V = typename KeyUnions<elem>::V;
  int64_t key = begin;
  for (; key + KeyUnions<elem>::lanes <= end; key += KeyUnions<elem>::lanes) {
    store(row + key * elem_bytes(elem), V(word));
  }
  for (; key < end; key++) store(row + key * elem_bytes(elem), word);
}

template <Elem elem>
FA_NOINLINE void mask_fill(const MaskFillProblem &problem) {
  const auto task = [](void *context, uint64_t index, uint32_t) {
    using Bits = MaskBits<elem>;
    const MaskFillProblem &problem = *static_cast<const MaskFillProblem *>(context);
    const auto key = [&](int64_t x) { return x < 0 ? 0 : x < problem.keys ? x : problem.keys; };
    for (int64_t row = int64_t(index) * fill_rows; row < problem.rows && row < int64_t(index + 1) * fill_rows; row++) {
      char *out = problem.out + row * problem.keys * elem_bytes(elem);
      const int64_t begin = key(row + problem.lower), last = key(row + problem.upper + 1);
      const int64_t end = last < begin ? begin : last;
      fill<elem>(out, 0, begin, Bits::excluded);
      fill<elem>(out, begin, end, Bits::attended);
      fill<elem>(out, end, problem.keys, Bits::excluded);
    }
  };
  const bool parallel = double(problem.rows) * double(problem.keys) >= mask_parallel_threshold;
  for_each(*problem.executor, parallel, uint64_t(ceil_div(problem.rows, fill_rows)), task,
           const_cast<MaskFillProblem *>(&problem));
}

}  // namespace fa::FA_ISA

#endif
