// The kernel's link to its host, and the C library's functions that the compiler may call.
#pragma once

/// Filled in by the host before the first kernel runs; defined by SM_KERNEL.
extern "C" __attribute__((visibility("protected"))) softmetal::Module softmetal_module;

// The symbols have the library's names and the functions do not, so that a shader may use those names itself.
#define SM_FORWARD extern "C" __attribute__((used, visibility("hidden"), no_instrument_function, no_sanitize("thread")))
#define SM_HOST_X1(name)                              \
  SM_FORWARD float sm_##name(float x) __asm__(#name); \
  float sm_##name(float x) { return softmetal_module.host->name(x); }
#define SM_HOST_X2(name)                                       \
  SM_FORWARD float sm_##name(float x, float y) __asm__(#name); \
  float sm_##name(float x, float y) { return softmetal_module.host->name(x, y); }
SM_LIBM(SM_HOST_X1, SM_HOST_X2)
#undef SM_HOST_X1
#undef SM_HOST_X2
SM_FORWARD float sm_fmaf(float x, float y, float z) __asm__("fmaf");
float sm_fmaf(float x, float y, float z) { return softmetal_module.host->fmaf(x, y, z); }
SM_FORWARD float sm_ldexpf(float x, int n) __asm__("ldexpf");
float sm_ldexpf(float x, int n) { return softmetal_module.host->ldexpf(x, n); }
SM_FORWARD float sm_frexpf(float x, int *n) __asm__("frexpf");
float sm_frexpf(float x, int *n) { return softmetal_module.host->frexpf(x, n); }
SM_FORWARD void sm_sincosf(float x, float *sine, float *cosine) __asm__("sincosf");
void sm_sincosf(float x, float *sine, float *cosine) {
  *sine = softmetal_module.host->sinf(x);
  *cosine = softmetal_module.host->cosf(x);
}
SM_FORWARD float sm_exp10f(float x) __asm__("exp10f");
float sm_exp10f(float x) { return softmetal_module.host->powf(10.0f, x); }
SM_FORWARD void *sm_memcpy(void *to, const void *from, size_t bytes) __asm__("memcpy");
void *sm_memcpy(void *to, const void *from, size_t bytes) { return softmetal_module.host->memcpy(to, from, bytes); }
SM_FORWARD void *sm_memmove(void *to, const void *from, size_t bytes) __asm__("memmove");
void *sm_memmove(void *to, const void *from, size_t bytes) { return softmetal_module.host->memmove(to, from, bytes); }
SM_FORWARD void *sm_memset(void *to, int value, size_t bytes) __asm__("memset");
void *sm_memset(void *to, int value, size_t bytes) { return softmetal_module.host->memset(to, value, bytes); }

SM_FORWARD int sm_memcmp(const void *a, const void *b, size_t bytes) __asm__("memcmp");
int sm_memcmp(const void *a, const void *b, size_t bytes) { return softmetal_module.host->memcmp(a, b, bytes); }
SM_FORWARD int sm_bcmp(const void *a, const void *b, size_t bytes) __asm__("bcmp");
int sm_bcmp(const void *a, const void *b, size_t bytes) { return softmetal_module.host->memcmp(a, b, bytes); }
SM_FORWARD size_t sm_strlen(const char *text) __asm__("strlen");
size_t sm_strlen(const char *text) { return softmetal_module.host->strlen(text); }

// Conversions that a machine without instructions for them leaves to the compiler's own library.
SM_FORWARD bfloat sm_truncsfbf2(float x) __asm__("__truncsfbf2");
bfloat sm_truncsfbf2(float x) {
  uint bits = __builtin_bit_cast(uint, x);
  // To nearest even; the carry out of a NaN's bits could make an infinity of it.
  bits = (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1);
  return __builtin_bit_cast(bfloat, ushort(bits >> 16));
}
#ifndef __F16C__
SM_FORWARD half sm_truncsfhf2(float x) __asm__("__truncsfhf2");
half sm_truncsfhf2(float x) {
  const uint bits = __builtin_bit_cast(uint, x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  uint r;
  if (size > 0x7f800000u) {
    r = 0x7e00u | (size >> 13 & 0x1ffu);
  } else if (size >= 0x477ff000u) {  // rounds to more than the greatest half
    r = 0x7c00u;
  } else if (size >= 0x38800000u) {
    r = (size - 0x38000000u + 0xfffu + (size >> 13 & 1)) >> 13;
  } else {
    // Adding 0.5 leaves the subnormal half in the low bits, rounded by the addition.
    r = __builtin_bit_cast(uint, __builtin_bit_cast(float, size) + 0.5f) - 0x3f000000u;
  }
  return __builtin_bit_cast(half, ushort(r | sign));
}
SM_FORWARD float sm_extendhfsf2(half x) __asm__("__extendhfsf2");
float sm_extendhfsf2(half x) {
  const uint bits = __builtin_bit_cast(ushort, x), sign = (bits & 0x8000u) << 16, size = bits & 0x7fffu;
  uint r;
  if (size >= 0x7c00u) {
    r = 0x7f800000u | size << 13;
  } else if (size >= 0x400u) {
    r = (size << 13) + 0x38000000u;
  } else {
    r = __builtin_bit_cast(uint, float(int(size)) * 0x1p-24f);
  }
  return __builtin_bit_cast(float, r | sign);
}
#endif
#undef SM_FORWARD
