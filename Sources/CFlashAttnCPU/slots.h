// Checks of a dispatch, one argument at a time: the first one that fails keeps its error, and the others do nothing.
#ifndef FA_CPU_SLOTS_H
#define FA_CPU_SLOTS_H

#include <cinttypes>
#include <cstring>

#include "arguments.h"
#include "isa.h"

namespace fa {

/// Function constants and slots that several rooms share.
enum { HAS_SIGNS = 55, HAS_BATCH = 60, HAS_SINKS = 61, HAS_LSE = 62, K_FORMAT = 70, NORMS_F16 = 72 };

/// The product of sizes; the largest number if it is beyond that.
template <typename... Sizes>
uint64_t product(Sizes... sizes) {
  uint64_t result = 1;
  const uint64_t factors[] = {uint64_t(sizes)...};
  for (uint64_t size : factors) {
    if (__builtin_mul_overflow(result, size, &result)) return UINT64_MAX;
  }
  return result;
}

class Slots {
 public:
  Slots(const char *kernel, const sm_dispatch &dispatch) : kernel(kernel), dispatch(dispatch) {
    error = isa_choice().error;
  }

  const char *const kernel;
  const sm_dispatch &dispatch;
  const char *error;  ///< null while all is well

  bool constant(uint32_t index) const { return bool_constant(dispatch, index, false); }

  /// Null unless `bytes` bytes are bound.
  char *bind(uint32_t slot, const char *name, uint64_t bytes) {
    if (error == nullptr) error = check_bound(kernel, dispatch, slot, name, bytes);
    return error == nullptr ? static_cast<char *>(dispatch.buffers[slot].data) : nullptr;
  }

  template <typename Params>
  Params read(uint32_t slot, const char *name) {
    Params params = {};
    if (const char *from = bind(slot, name, sizeof params)) std::memcpy(&params, from, sizeof params);
    return params;
  }

  /// The default signs, or those in the slot if the function constant has_signs is set.
  const uint8_t *signs(uint32_t slot, int head_dim, const uint8_t *otherwise) {
    if (!constant(HAS_SIGNS)) return otherwise;
    return reinterpret_cast<const uint8_t *>(bind(slot, "signs", uint64_t(head_dim) / 8));
  }

  /// Fails unless the number is in least ... most.
  void require(const char *what, uint64_t got, uint64_t least, uint64_t most) {
    if (error != nullptr || (got >= least && got <= most)) return;
    if (least == most) {
      error = fail("%s: %s: needs %" PRIu64 ", got %" PRIu64, kernel, what, least, got);
    } else if (most == UINT64_MAX) {
      error = fail("%s: %s: needs %" PRIu64 " or more, got %" PRIu64, kernel, what, least, got);
    } else {
      error = fail("%s: %s: needs %" PRIu64 " to %" PRIu64 ", got %" PRIu64, kernel, what, least, most, got);
    }
  }

  void require_threads(uint32_t x, uint32_t y) {
    if (error == nullptr) error = check_threads(kernel, dispatch, x, y);
  }

  /// Fails unless the grid is this one.
  void require_grid(uint64_t x, uint64_t y, uint64_t z) {
    const uint32_t *got = dispatch.threadgroups;
    if (error != nullptr || (got[0] == x && got[1] == y && got[2] == z)) return;
    error = fail("%s: threadgroups: needs (%" PRIu64 ", %" PRIu64 ", %" PRIu64 "), got (%" PRIu32 ", %" PRIu32
                 ", %" PRIu32 ")",
                 kernel, x, y, z, got[0], got[1], got[2]);
  }

  void require_threadgroup_bytes(uint64_t bytes) {
    if (error != nullptr || dispatch.threadgroup_bytes[0] >= bytes) return;
    error = fail("%s: threadgroup memory 0: needs %" PRIu64 " bytes, got %" PRIu64, kernel, bytes,
                 dispatch.threadgroup_bytes[0]);
  }

  /// Fails unless the number is finite and not negative.
  void require_finite(const char *what, float got) {
    if (error != nullptr || (got >= 0.0f && got < __builtin_inff())) return;
    error = fail("%s: %s: needs a finite number, 0 or more, got %g", kernel, what, double(got));
  }
};

}  // namespace fa

#endif
