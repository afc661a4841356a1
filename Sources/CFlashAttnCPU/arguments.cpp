#include "arguments.h"

#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace fa {

const char *fail(const char *format, ...) {
  static thread_local char text[320];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

bool bool_constant(const sm_dispatch &dispatch, uint32_t index, bool otherwise) {
  for (uint32_t i = 0; i < dispatch.constant_count; i++) {
    if (dispatch.constants[i].index == index) return dispatch.constants[i].value[0] != 0;
  }
  return otherwise;
}

int32_t int_constant(const sm_dispatch &dispatch, uint32_t index, int32_t otherwise) {
  int32_t value = otherwise;
  for (uint32_t i = 0; i < dispatch.constant_count; i++) {
    if (dispatch.constants[i].index == index) std::memcpy(&value, dispatch.constants[i].value, sizeof value);
  }
  return value;
}

bool extent_bytes(const int64_t *counts, const int64_t *strides, int rank, int64_t row, int elem_bytes,
                  uint64_t *bytes) {
  int64_t elements = row;
  bool empty = row == 0;
  for (int i = 0; i < rank; i++) {
    int64_t span;
    empty |= counts[i] == 0;
    if (strides[i] < 0 || __builtin_mul_overflow(counts[i] - 1, strides[i], &span) ||
        __builtin_add_overflow(elements, span, &elements)) {
      return false;
    }
  }
  int64_t total;
  if (__builtin_mul_overflow(elements, int64_t(elem_bytes), &total)) return false;
  *bytes = empty ? 0 : uint64_t(total);
  return true;
}

bool rows_disjoint(const int64_t *counts, const int64_t *strides, int rank, int64_t row) {
  // Taken from the smallest stride to the largest, each dimension must step over all the smaller ones together.
  int64_t span = row;
  uint32_t taken = 0;
  for (int i = 0; i < rank; i++) {
    int next = -1;
    for (int d = 0; d < rank; d++) {
      if ((taken >> d & 1) == 0 && (next < 0 || strides[d] < strides[next])) next = d;
    }
    taken |= 1u << next;
    if (counts[next] == 1) continue;
    if (strides[next] < span) return false;
    span += (counts[next] - 1) * strides[next];
  }
  return true;
}

const char *check_threads(const char *kernel, const sm_dispatch &dispatch, uint32_t x, uint32_t y) {
  const uint32_t *got = dispatch.threads;
  if (got[0] == x && got[1] == y && got[2] == 1) return nullptr;
  return fail("%s: threads per threadgroup: needs (%" PRIu32 ", %" PRIu32 ", 1), got (%" PRIu32 ", %" PRIu32
              ", %" PRIu32 ")",
              kernel, x, y, got[0], got[1], got[2]);
}

const char *check_bound(const char *kernel, const sm_dispatch &dispatch, uint32_t slot, const char *name,
                        uint64_t bytes) {
  const sm_binding &bound = dispatch.buffers[slot];
  const uint64_t got = bound.data == nullptr ? 0 : bound.bytes;
  if (got >= bytes) return nullptr;
  return fail("%s: slot %" PRIu32 " (%s): needs %" PRIu64 " bytes, got %" PRIu64, kernel, slot, name, bytes, got);
}

}  // namespace fa
