// Slots and function constants of a room's kernels, as the table of kernels has them.
#ifndef FA_CPU_SIGNATURE_H
#define FA_CPU_SIGNATURE_H

#include "softmetal_native.h"

namespace fa {

struct Signature {
  const sm_argument *arguments;
  uint32_t argument_count;
  const sm_constant_info *constants;
  uint32_t constant_count;
};

template <uint32_t arguments, uint32_t constants>
constexpr Signature signature(const sm_argument (&a)[arguments], const sm_constant_info (&c)[constants]) {
  return {a, arguments, c, constants};
}

template <uint32_t arguments>
constexpr Signature signature(const sm_argument (&a)[arguments]) {
  return {a, arguments, nullptr, 0};
}

}  // namespace fa

#endif
