// A prefill dispatch after its checks: what the instruction sets' implementations are given.
#ifndef FA_CPU_PREFILL_PROBLEM_H
#define FA_CPU_PREFILL_PROBLEM_H

#include <cstdint>

#include "../arguments.h"
#include "../isa.h"

namespace fa {

/// Strides in bytes, of batch, head and row.
struct Operand {
  char *data;
  int64_t strides[3];

  char *at(int64_t batch, int64_t head, int64_t row) const {
    return data + batch * strides[0] + head * strides[1] + row * strides[2];
  }
};

struct PrefillProblem {
  const char *kernel;  ///< host name
  const sm_executor *executor;
  Operand q, k, v, o;
  Operand mask;  ///< if `masked`
  Operand lse;   ///< data is null if it is not wanted
  Elem mask_elem;
  bool masked;
  bool causal;
  int64_t causal_offset;     ///< row i attends keys up to i + causal_offset
  int batches, heads, rows;  ///< those the grid covers
  int keys;                  ///< those some row may attend, length and causality considered
  int group;                 ///< query heads per kv head
  float scale, softcap;
};

/// Computes the problem. Null, or the text of an error with nothing written.
using PrefillBody = const char *(*)(const PrefillProblem &problem);

/// The implementation for one element type and head dimension.
#if defined(__x86_64__)
namespace avx512bf16 {
PrefillBody prefill_body(Elem elem, int head_dim);
}
namespace avx512 {
PrefillBody prefill_body(Elem elem, int head_dim);
}
namespace avx2 {
PrefillBody prefill_body(Elem elem, int head_dim);
}
#endif
namespace portable {
PrefillBody prefill_body(Elem elem, int head_dim);
}

}  // namespace fa

#endif
