// The native kernels: what runs in place of the shaders where there is no GPU.
#ifndef FLASH_ATTN_CPU_H
#define FLASH_ATTN_CPU_H

#include <stdint.h>

#include "softmetal_native.h"

#ifdef __cplusplus
extern "C" {
#endif

// The library exports fa_* to the world; these two are for its own Swift code.
#pragma GCC visibility push(hidden)

/// Every native kernel, one row for each host name. `count` receives how many.
const sm_native_kernel *fa_cpu_kernels(uint32_t *count);

/// The instruction set the kernels use on this machine: "avx512bf16", "avx512", "x86-64-v3" or "portable".
/// The environment variable PYFA_ISA names a lesser one to use instead; it is read once. If it names none that this
/// machine has, every kernel fails, and this is the text of the error.
const char *fa_cpu_isa(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
