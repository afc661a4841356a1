// A prefill dispatch after its checks: what the instruction sets' implementations are given.
#ifndef FA_CPU_PREFILL_PROBLEM_H
#define FA_CPU_PREFILL_PROBLEM_H

#include <cstdint>

#include "../arguments.h"
#include "../isa.h"

namespace fa {

enum class Mask { none, additive, boolean };

/// Strides in bytes, of batch, head and row.
struct Operand {
  char *data;
  int64_t strides[3];

  char *at(int64_t batch, int64_t head, int64_t row) const {
    return data + batch * strides[0] + head * strides[1] + row * strides[2];
  }
};

struct PrefillProblem {
  Operand q, k, v, o, mask;
  float *lse;           ///< [B, H, qL], or null
  int batches, heads;   ///< those the grid covers, as are the rows
  int rows;
  int keys;             ///< those some row may attend, length and causality considered
  int all_heads, all_rows;  ///< H and qL
  int group;            ///< query heads per kv head
  bool causal;
  int64_t causal_offset;  ///< row i attends keys up to i + causal_offset
  float scale, softcap;
  Mask mask_kind;
  const sm_executor *executor;
};

/// Computes the problem. Null, or the text of an error with nothing written.
using PrefillBody = const char *(*)(const PrefillProblem &problem);

/// The implementation for one element type and head dimension.
#if defined(__x86_64__)
namespace avx512bf16 { PrefillBody prefill_body(Elem elem, int head_dim); }
namespace avx512 { PrefillBody prefill_body(Elem elem, int head_dim); }
namespace avx2 { PrefillBody prefill_body(Elem elem, int head_dim); }
#endif
namespace portable { PrefillBody prefill_body(Elem elem, int head_dim); }

}  // namespace fa

#endif
