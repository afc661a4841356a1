// What the Swift half of SoftMetal asks of the C++ half: threads, locks, memory and the services of a running kernel.
#ifndef SOFTMETAL_RUNTIME_H
#define SOFTMETAL_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "softmetal_native.h"

#ifdef __cplusplus
extern "C" {
#endif

// Executor

/// The services one executing queue offers to its kernels: the process's thread pool and the queue's own scratch.
typedef struct sm_context sm_context;

/// Never null: without memory for so small an object the process ends, as it does for any Swift object.
sm_context *sm_context_create(void);
void sm_context_destroy(sm_context *context);
const sm_executor *sm_context_executor(const sm_context *context);

/// Threads a parallel region may use, the caller's included: the cores, or what SOFTMETAL_THREADS says.
uint32_t sm_worker_count(void);

// Threads and locks

/// Runs `work(argument)` soon on another thread. Zero if no thread could be had; the work is then not run.
int32_t sm_async(void (*work)(void *argument), void *argument);

/// A number that no other living thread has, never 0.
uintptr_t sm_thread_id(void);

/// A mutex with one condition. Not recursive.
typedef struct sm_monitor sm_monitor;

/// Never null, as `sm_context_create`.
sm_monitor *sm_monitor_create(void);
void sm_monitor_destroy(sm_monitor *monitor);
void sm_monitor_lock(sm_monitor *monitor);
void sm_monitor_unlock(sm_monitor *monitor);
/// Wakes up on a broadcast, and sometimes for no reason.
void sm_monitor_wait(sm_monitor *monitor);
/// Also wakes up once `sm_now()` has reached `deadline`.
void sm_monitor_wait_until(sm_monitor *monitor, double deadline);
void sm_monitor_broadcast(sm_monitor *monitor);

/// Seconds on a clock that never goes back.
double sm_now(void);

// Memory

uint64_t sm_page_bytes(void);
uint64_t sm_physical_bytes(void);

/// Zeroed memory, 64-byte aligned; `*reserved` receives the bytes really taken. Null if memory is short.
void *sm_memory_allocate(uint64_t bytes, uint64_t *reserved);
void sm_memory_free(void *memory, uint64_t reserved);

// A C array in a struct reaches Swift as a tuple; these reach it as pointers.

static inline sm_binding *sm_dispatch_buffers(sm_dispatch *dispatch) { return dispatch->buffers; }
static inline uint64_t *sm_dispatch_threadgroup_bytes(sm_dispatch *dispatch) { return dispatch->threadgroup_bytes; }
static inline uint8_t *sm_constant_bytes(sm_constant *constant) { return constant->value; }

#ifdef __cplusplus
}
#endif
#endif
