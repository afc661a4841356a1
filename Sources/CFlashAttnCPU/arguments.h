// Reading and checking what a dispatch binds. A check returns null or the text of the error.
#ifndef FA_CPU_ARGUMENTS_H
#define FA_CPU_ARGUMENTS_H

#include <cstdint>

#include "softmetal_native.h"

namespace fa {

/// Element types of operands. `boolean` is one byte, non-zero for true.
enum class Elem { f32, f16, bf16, boolean };

constexpr int elem_bytes(Elem elem) { return elem == Elem::f32 ? 4 : elem == Elem::boolean ? 1 : 2; }

enum { MTL_DATA_TYPE_INT = 29, MTL_DATA_TYPE_BOOL = 53 };

/// Formats an error text that lives until the thread's next one.
__attribute__((format(printf, 1, 2))) const char *fail(const char *format, ...);

/// Value of a bool function constant, or `otherwise` if the pipeline was not specialised with it.
bool bool_constant(const sm_dispatch &dispatch, uint32_t index, bool otherwise);

/// Value of an int function constant, or `otherwise` if the pipeline was not specialised with it.
int32_t int_constant(const sm_dispatch &dispatch, uint32_t index, int32_t otherwise);

/// How many of `count` items a grid of `threadgroups`, each taking `per_group`, covers.
inline int64_t covered(int64_t count, uint32_t threadgroups, int64_t per_group = 1) {
  const int64_t most = int64_t(threadgroups) * per_group;
  return count < most ? count : most;
}

/// Runs a task for each index below `tasks`, on the caller alone if waking others would take longer than it saves.
inline void for_each(const sm_executor &executor, bool parallel, uint64_t tasks,
                     void (*task)(void *context, uint64_t index, uint32_t worker), void *context) {
  if (parallel) {
    executor.parallel(executor.self, tasks, task, context);
  } else {
    for (uint64_t i = 0; i < tasks; i++) task(context, i, 0);
  }
}

/// a / b, rounded up.
constexpr int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

/// Bytes from an operand's first element to the end of its last, for `rank` dimensions with strides in elements and
/// `row` elements in each innermost row; 0 if there are no elements. False if a stride is negative or the size is beyond 2^63.
bool extent_bytes(const int64_t *counts, const int64_t *strides, int rank, int64_t row, int elem_bytes,
                  uint64_t *bytes);

/// Whether no two rows of a written operand share an element.
bool rows_disjoint(const int64_t *counts, const int64_t *strides, int rank, int64_t row);

/// Checks the threads of a threadgroup.
const char *check_threads(const char *kernel, const sm_dispatch &dispatch, uint32_t x, uint32_t y);

/// Checks that `bytes` bytes are bound to the slot.
const char *check_bound(const char *kernel, const sm_dispatch &dispatch, uint32_t slot, const char *name,
                        uint64_t bytes);

}  // namespace fa

#endif
