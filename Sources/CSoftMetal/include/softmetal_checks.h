// The checks of running shaders, as far as they outlast a dispatch or are of use without a shader.
#ifndef SOFTMETAL_CHECKS_C_H
#define SOFTMETAL_CHECKS_C_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Dispatches that may overlap

/// What the dispatches of one encoder with concurrent dispatch did to device memory since its last barrier. They are
/// run one after the other, and still checked as if they had overlapped.
typedef struct sm_check_history sm_check_history;

/// Never null, as `sm_context_create`.
sm_check_history *sm_check_history_create(void);
void sm_check_history_destroy(sm_check_history *history);
/// memoryBarrier(scope: .buffers): what follows is ordered after all before.
void sm_check_history_barrier(sm_check_history *history);
/// memoryBarrier(resources:): the same for these bytes.
void sm_check_history_barrier_range(sm_check_history *history, const void *data, uint64_t bytes);

// The checker by itself: for a sequence of accesses and barriers that no shader made

typedef struct sm_checker sm_checker;

enum { SM_CHECKER_READ = 0, SM_CHECKER_WRITE = 1, SM_CHECKER_ATOMIC = 2, SM_CHECKER_UPDATE = 4 };
enum { SM_CHECKER_NONE = 0, SM_CHECKER_DEVICE = 1, SM_CHECKER_THREADGROUP = 2 };

/// A dispatch of `threads` threads in a threadgroup, 32 to a simdgroup. `lockstep`: collectives order memory.
/// `shadow_limit`: bytes of bookkeeping, 0 for as many as usual. `history` may be null.
sm_checker *sm_checker_create(const char *kernel, uint32_t threads, uint32_t lockstep, uint64_t shadow_limit,
                              sm_check_history *history);
void sm_checker_destroy(sm_checker *checker);
/// Memory of the dispatch, before its first threadgroup. `initialised` has a byte for each byte, or is null.
void sm_checker_add_buffer(sm_checker *checker, uint32_t slot, void *data, uint64_t bytes, uint8_t *initialised);
/// `slot` is -1 for variables declared in the shader.
void sm_checker_add_threadgroup(sm_checker *checker, int32_t slot, void *data, uint64_t bytes);
void sm_checker_start_threadgroup(sm_checker *checker, uint32_t x, uint32_t y, uint32_t z);
void sm_checker_end_threadgroup(sm_checker *checker);
/// To be called before the access, which the caller makes before the next call. `line` is of a source named "test".
/// Zero if the dispatch would have to end.
uint32_t sm_checker_access(sm_checker *checker, uint32_t lane, const void *data, uint64_t bytes, uint32_t kind,
                           uint32_t line);
void sm_checker_misaligned(sm_checker *checker, uint32_t lane, const void *data, uint64_t alignment, uint32_t line);
void sm_checker_fence(sm_checker *checker, uint32_t lane, uint32_t flags, uint32_t acquire, uint32_t release);
void sm_checker_simdgroup_barrier(sm_checker *checker, uint32_t simdgroup, uint32_t flags);
void sm_checker_threadgroup_barrier(sm_checker *checker, uint32_t flags);
/// A collective function or a lockstep store.
void sm_checker_collective(sm_checker *checker, uint32_t simdgroup);
/// Empty, or a line for each finding. Valid until the next call with the same checker.
const char *sm_checker_report(sm_checker *checker);

/// The source line and those of the calls it was inlined from, "file:line" and innermost first, one to a line, of an
/// address in an ELF object. Bytes needed with the terminating zero; `text` receives as many as there is room for.
uint64_t sm_source_lines(const uint8_t *object, uint64_t bytes, uint64_t address, char *text, uint64_t text_bytes);

#ifdef __cplusplus
}
#endif
#endif
