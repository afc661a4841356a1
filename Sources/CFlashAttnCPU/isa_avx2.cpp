#if defined(__x86_64__)
#include <immintrin.h>

#include "bodies.h"

#define FA_ISA avx2
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "simd/avx2.h"

#include "rooms.h"
#pragma clang attribute pop
#endif
