#if defined(__x86_64__)
#include <immintrin.h>

#include "bodies.h"

#define FA_ISA avx512bf16
#define FA_BF16_DOT
#define FA_VBMI
#define FA_VNNI
#pragma clang attribute push(                                                                                          \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx512vnni,gfni,avx2,fma,f16c"))), \
    apply_to = function)
#include "simd/avx512.h"

#include "rooms.h"
#pragma clang attribute pop
#endif
