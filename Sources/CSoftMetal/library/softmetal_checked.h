// The checked flavour of a kernel: what the compiler's instrumentation calls, passed on to the host.
//
// Clang puts a call before each memory access (-fsanitize=thread), misaligned access (-fsanitize=alignment) and wrong
// index (-fsanitize=array-bounds). No sanitizer's runtime is linked: the functions it would bring are here.
#pragma once

/// The flags of the flavour. Function entries are of no interest; atomics are announced by the library, which knows all
/// of them; a read that a write of the same place follows, as in `x += 1`, counts too.
#define SM_CHECKED_FLAGS                                                                                          \
  "-O1", "-gline-tables-only", "-gdwarf-5", "-fsanitize=thread,alignment,array-bounds", "-fsanitize-recover=all", \
      "-mllvm", "-tsan-instrument-func-entry-exit=0", "-mllvm", "-tsan-instrument-atomics=0", "-mllvm",           \
      "-tsan-instrument-read-before-write=1"

/// Bits of an access: softmetal::AccessKind's.
enum { SM_CHECK_READ = 0, SM_CHECK_WRITE = 1, SM_CHECK_ATOMIC = 2, SM_CHECK_UPDATE = 4, SM_CHECK_ALIGNED = 8 };

#if SM_CHECKED

#define SM_CHECK_FUNCTION extern "C" __attribute__((visibility("hidden"), noinline, used, no_sanitize("all")))
#define SM_CHECK_INLINE static inline __attribute__((always_inline, no_sanitize("all")))

/// Stacks and records of lanes, which lie in one region, are of no interest, and nearly free. Nor is what runs while the
/// module is loaded, before it has a host.
SM_CHECK_INLINE void sm_check_access(const void *address, unsigned long bytes, unsigned kind, const void *pc) {
  unsigned long here = (unsigned long)__builtin_frame_address(0);
  const softmetal::Host *host = softmetal_module.host;
  if (((unsigned long)address ^ here) >= softmetal::kRegionBytes && host != nullptr)
    host->access(softmetal::CurrentLane(), address, bytes, kind, pc);
}

// What is not called unaligned is of a type aligned to its size, or to 8.
#define SM_CHECK_SIZE(n)                                                                                              \
  SM_CHECK_FUNCTION void __tsan_read##n(void *p) { sm_check_access(p, n, 8, __builtin_return_address(0)); }           \
  SM_CHECK_FUNCTION void __tsan_write##n(void *p) { sm_check_access(p, n, 9, __builtin_return_address(0)); }          \
  SM_CHECK_FUNCTION void __tsan_unaligned_read##n(void *p) { sm_check_access(p, n, 0, __builtin_return_address(0)); } \
  SM_CHECK_FUNCTION void __tsan_unaligned_write##n(void *p) { sm_check_access(p, n, 1, __builtin_return_address(0)); }
SM_CHECK_SIZE(1)
SM_CHECK_SIZE(2)
SM_CHECK_SIZE(4)
SM_CHECK_SIZE(8)
SM_CHECK_SIZE(16)
#undef SM_CHECK_SIZE

SM_CHECK_FUNCTION void __tsan_init() {}

SM_CHECK_FUNCTION void __tsan_read_range(void *p, unsigned long n) {
  if (n) sm_check_access(p, n, SM_CHECK_READ, __builtin_return_address(0));
}
SM_CHECK_FUNCTION void __tsan_write_range(void *p, unsigned long n) {
  if (n) sm_check_access(p, n, SM_CHECK_WRITE, __builtin_return_address(0));
}
SM_CHECK_FUNCTION void *__tsan_memcpy(void *to, const void *from, unsigned long n) {
  const void *pc = __builtin_return_address(0);
  if (n) sm_check_access(from, n, SM_CHECK_READ, pc), sm_check_access(to, n, SM_CHECK_WRITE, pc);
  return __builtin_memcpy(to, from, n);
}
SM_CHECK_FUNCTION void *__tsan_memmove(void *to, const void *from, unsigned long n) {
  const void *pc = __builtin_return_address(0);
  if (n) sm_check_access(from, n, SM_CHECK_READ, pc), sm_check_access(to, n, SM_CHECK_WRITE, pc);
  return __builtin_memmove(to, from, n);
}
SM_CHECK_FUNCTION void *__tsan_memset(void *to, int value, unsigned long n) {
  if (n) sm_check_access(to, n, SM_CHECK_WRITE, __builtin_return_address(0));
  return __builtin_memset(to, value, n);
}

// What the compiler says of a place: laid out as clang does for -fsanitize=alignment and array-bounds.

struct sm_check_place {
  const char *file;
  unsigned line, column;
};
struct sm_check_type {
  unsigned short kind, info;  // of an integer: log2(bits) << 1 | signed
  char name[1];
};
struct sm_check_misaligned {
  sm_check_place place;
  const sm_check_type *type;
  unsigned char log_alignment, kind;
};
struct sm_check_index {
  sm_check_place place;
  const sm_check_type *array, *index;
};

SM_CHECK_FUNCTION void __ubsan_handle_type_mismatch_v1(sm_check_misaligned *what, void *p) {
  softmetal_module.host->misaligned(softmetal::CurrentLane(), p, 1ul << what->log_alignment,
                                    __builtin_return_address(0));
}
SM_CHECK_FUNCTION void __ubsan_handle_out_of_bounds(sm_check_index *what, void *value) {
  long index = (long)value;
  unsigned bits = 1u << (what->index->info >> 1);
  if (what->index->info & 1 && bits < 64) index = (long)((unsigned long)index << (64 - bits)) >> (64 - bits);
  softmetal_module.host->index(softmetal::CurrentLane(), index, what->array->name, __builtin_return_address(0));
}

/// To be called before each operation on an atomic object. `kind`: SM_CHECK_READ for a load, SM_CHECK_WRITE for a
/// store, SM_CHECK_WRITE | SM_CHECK_UPDATE for all others.
SM_CHECK_FUNCTION void sm_check_atomic(const volatile void *p, unsigned bytes, unsigned kind) {
  sm_check_access((const void *)p, bytes, SM_CHECK_ATOMIC | kind, __builtin_return_address(0));
}

#undef SM_CHECK_FUNCTION
#undef SM_CHECK_INLINE
#endif
