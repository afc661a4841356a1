// Slots and function constants of the prefill kernels, and how their checks read them.
#ifndef FA_CPU_PREFILL_ARGUMENTS_H
#define FA_CPU_PREFILL_ARGUMENTS_H

#include <cinttypes>
#include <cstring>
#include <vector>

#include "flash_attn_params.h"
#include "flash_attn_prefill.h"
#include "prefill/problem.h"

namespace fa {

enum PrefillSlot {
  Q = 0,
  K = 1,
  V = 2,
  O = 3,
  PARAMS = 4,
  MASK_PARAMS = 5,
  MASK = 6,
  BLK = 7,
  SINKS = 8,
  LSE = 9,
  WINDOW = 10,
  BLK_PARAMS = 11,
  ALIBI = 12,
  Q_STARTS = 13,
  K_STARTS = 14,
  BLOCK_TABLE = 15,
  KV_LENS = 16,
  PAGE_PARAMS = 17,
  ALIBI_PARAMS = 18
};
enum PrefillConstant {
  ALIGN_Q = 200,
  ALIGN_K = 201,
  HAS_MASK = 300,
  DO_CAUSAL = 301,
  HAS_BLK = 303,
  HAS_SINKS = 304,
  HAS_LSE = 306,
  HAS_WINDOW = 307,
  HAS_SOFTCAP = 308,
  HAS_ALIBI = 309,
  HAS_VARLEN = 310,
  HAS_PAGES = 311,
  HAS_KV_LENS = 312,
  HAS_K_STARTS = 313,
  NSG = 322
};

/// A kernel and its dispatch, for checks that fill in a problem one argument at a time.
struct PrefillReader {
  const PrefillKernel &kernel;
  const sm_dispatch &dispatch;

  bool constant(PrefillConstant index) const { return bool_constant(dispatch, index, false); }

  template <typename Params>
  const char *read(PrefillSlot slot, const char *name, Params *params) const {
    if (const char *error = check_bound(kernel.name, dispatch, slot, name, sizeof *params)) return error;
    std::memcpy(params, dispatch.buffers[slot].data, sizeof *params);
    return nullptr;
  }

  /// Checks that [counts..., row] elements with these strides are bound to the slot, and makes an operand of them.
  const char *bind(PrefillSlot slot, const char *name, Elem elem, const int64_t (&counts)[3],
                   const int64_t (&strides)[3], int64_t row, Operand *operand) const {
    uint64_t bytes;
    if (!extent_bytes(counts, strides, 3, row, elem_bytes(elem), &bytes)) {
      return fail("%s: slot %d (%s): strides: needs non-negative ones and a size below 2^63 bytes, got (%" PRId64
                  ", %" PRId64 ", %" PRId64 ")",
                  kernel.name, slot, name, strides[0], strides[1], strides[2]);
    }
    if (const char *error = check_bound(kernel.name, dispatch, slot, name, bytes)) return error;
    operand->data = static_cast<char *>(dispatch.buffers[slot].data);
    // The stride of a dimension of length 1 is not used and may be too large to be one in bytes.
    for (int i = 0; i < 3; i++) operand->strides[i] = counts[i] <= 1 ? 0 : strides[i] * elem_bytes(elem);
    return nullptr;
  }

  /// Likewise of O, whose rows must not overlap.
  const char *bind_output(const int64_t (&counts)[3], const fa_attn_params &params, Operand *operand) const {
    const int64_t *strides = params.O_strides;
    const char *error = bind(O, "O", kernel.elem, counts, params.O_strides, params.D, operand);
    if (error || rows_disjoint(counts, strides, 3, params.D)) return error;
    return fail("%s: slot %d (O): strides: needs rows that do not overlap, got (%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                kernel.name, O, strides[0], strides[1], strides[2]);
  }
};

/// Where the bounds of causality and the window are from a row's position.
struct PrefillBounds {
  bool causal;
  int32_t left, right;  ///< -1: none

  int64_t lower(int64_t offset) const { return left < 0 ? -unbounded : offset - left; }
  int64_t upper(int64_t offset) const {
    const int64_t upper = causal ? offset : unbounded;
    return right >= 0 && offset + right < upper ? offset + right : upper;
  }
  /// The keys of `keys` that some of `rows` rows may attend: first_key ..< keys.
  void span(int64_t rows, int64_t offset, int64_t keys, int *first_key, int *end) const;
};

/// Whether sequences differ in length.
bool has_sequences(const PrefillReader &reader);

/// Reads the sequences of `batches` batches, and binds Q, K, V, O and LSE as they are then. `sequences` is what the
/// problem points at.
const char *bind_sequences(const PrefillReader &reader, const fa_attn_params &params, const PrefillBounds &bounds,
                           PrefillProblem *problem, std::vector<PrefillSequence> *sequences);

}  // namespace fa

#endif
