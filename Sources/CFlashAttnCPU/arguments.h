// Reading and checking what a dispatch binds. A check returns null or the text of the error.
#ifndef FA_CPU_ARGUMENTS_H
#define FA_CPU_ARGUMENTS_H

#include <cstdint>

#include "softmetal_native.h"

namespace fa {

/// Element types of operands. `boolean` is one byte, non-zero for true.
enum class Elem { f32, f16, bf16, boolean };

constexpr int elem_bytes(Elem elem) { return elem == Elem::f32 ? 4 : elem == Elem::boolean ? 1 : 2; }

enum { MTL_DATA_TYPE_BOOL = 53 };

/// Formats an error text that lives until the thread's next one.
__attribute__((format(printf, 1, 2))) const char *fail(const char *format, ...);

/// Value of a bool function constant, or `otherwise` if the pipeline was not specialised with it.
bool bool_constant(const sm_dispatch &dispatch, uint32_t index, bool otherwise);

/// Bytes from an operand's first element to the end of its last, for `rank` dimensions with strides in elements and
/// `row` elements in each innermost row. False if a stride is negative or the size is beyond 2^63.
bool extent_bytes(const int64_t *counts, const int64_t *strides, int rank, int64_t row, int elem_bytes,
                  uint64_t *bytes);

/// Whether no two rows of a written operand share an element.
bool rows_disjoint(const int64_t *counts, const int64_t *strides, int rank, int64_t row);

/// Checks that `bytes` bytes are bound to the slot.
const char *check_bound(const char *kernel, const sm_dispatch &dispatch, uint32_t slot, const char *name,
                        uint64_t bytes);

}  // namespace fa

#endif
