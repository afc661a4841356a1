// A native kernel: C or C++ code that stands in for one kernel of a Metal shader.
//
// It is known by the shader's host name and has the shader's buffer slots, function constants and grid, so a
// dispatcher cannot tell which of the two runs. SoftMetal hands it one whole dispatch at a time.
#ifndef SOFTMETAL_NATIVE_H
#define SOFTMETAL_NATIVE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SM_BUFFER_SLOTS = 31, SM_THREADGROUP_SLOTS = 31 };

/// What is bound to a buffer slot: the bytes from the bound offset to the buffer's end. `data` is null if nothing is.
typedef struct sm_binding {
  void *data;
  uint64_t bytes;
} sm_binding;

/// One function constant the pipeline was specialised with.
typedef struct sm_constant {
  uint32_t index;
  uint32_t type;      ///< MTLDataType's raw value
  uint8_t value[32];  ///< the constant's bytes, little-endian, zero-padded
} sm_constant;

/// What a running kernel may ask of the executor.
typedef struct sm_executor {
  void *self;
  uint32_t workers;  ///< worker numbers passed to a task are 0 ..< workers
  /// Runs `task` for every index in 0 ..< tasks, on all workers, lowest index first; returns when all are done.
  void (*parallel)(void *self, uint64_t tasks, void (*task)(void *context, uint64_t index, uint32_t worker),
                   void *context);
  /// At least `bytes` bytes, 64-byte aligned, undefined contents, valid until the kernel returns; null if there are
  /// none to be had. Kept and grown between dispatches. A second call in one dispatch replaces the first's memory.
  void *(*scratch)(void *self, uint64_t bytes);
} sm_executor;

/// One dispatch.
typedef struct sm_dispatch {
  sm_binding buffers[SM_BUFFER_SLOTS];
  uint64_t threadgroup_bytes[SM_THREADGROUP_SLOTS];
  uint32_t threadgroups[3];  ///< threadgroups in the grid, edge groups included
  uint32_t grid_threads[3];  ///< threads in the grid
  uint32_t threads[3];       ///< threads in a full threadgroup
  const sm_constant *constants;  ///< sorted by index
  uint32_t constant_count;
  const sm_executor *executor;
} sm_dispatch;

enum { SM_READ = 0, SM_READ_WRITE = 1 };
enum { SM_ALWAYS = -1, SM_IF_BOUND = -2 };

/// One buffer argument of a kernel.
typedef struct sm_argument {
  const char *name;
  uint32_t slot;
  uint32_t access;      ///< SM_READ or SM_READ_WRITE
  uint64_t min_bytes;   ///< least size of the bound range, as for a `constant T&`; 0 if any
  int32_t guard;        ///< index of the bool constant that must be true for the argument to exist, or SM_ALWAYS, or
                        ///< SM_IF_BOUND: the kernel itself decides whether it needs the argument
} sm_argument;

/// One function constant a kernel reads.
typedef struct sm_constant_info {
  const char *name;
  uint32_t index;
  uint32_t type;      ///< MTLDataType's raw value
  uint32_t required;  ///< 0 if the kernel has a default for it
} sm_constant_info;

typedef struct sm_native_kernel {
  const char *name;  ///< host name
  /// Runs the dispatch. Null on success, else why not (static or thread-local text), with nothing written.
  const char *(*run)(const sm_dispatch *dispatch);
  const sm_argument *arguments;
  uint32_t argument_count;
  const sm_constant_info *constants;
  uint32_t constant_count;
  uint32_t max_threads;               ///< most threads in a threadgroup
  uint32_t static_threadgroup_bytes;  ///< as the shader declares, for reflection
} sm_native_kernel;

#ifdef __cplusplus
}
#endif
#endif
