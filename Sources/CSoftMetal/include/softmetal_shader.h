// Compiled shaders: what they are compiled with, and how they are loaded and run.
//
// A kernel of a shader becomes C++ text, which a clang with the flags and headers from here turns into a shared
// object. A GPU thread is then a fiber on one of the pool's threads, 32 of them a simdgroup.
#ifndef SOFTMETAL_SHADER_H
#define SOFTMETAL_SHADER_H

#include <stdint.h>

#include "softmetal_checks.h"
#include "softmetal_native.h"

#ifdef __cplusplus
extern "C" {
#endif

// Compiling

typedef struct sm_shader_file {
  const char *name;
  const char *text;
} sm_shader_file;

/// The device library. `softmetal_device.h` is what a translated kernel includes; `metal_stdlib` and the other
/// `metal_…` files are what a shader's text includes while it is preprocessed, and hold macros only.
const sm_shader_file *sm_shader_files(uint32_t *count);

/// Arguments for clang++ besides input, output, include paths, SM_LOCKSTEP and SM_CHECKED. They suit the machine this
/// runs on, so they belong to the key of a cached object.
const char *const *sm_shader_flags(uint32_t checked, uint32_t *count);

/// The file that this code was loaded from; null if the system cannot tell.
const char *sm_shader_image(void);

// Running

typedef struct sm_shader sm_shader;

/// Null on failure, with the reason in `error`, which is always terminated if `error_bytes` is not 0.
sm_shader *sm_shader_load(const char *path, char *error, uint64_t error_bytes);

/// No dispatch of the shader may be running.
void sm_shader_unload(sm_shader *shader);

/// Bytes of the threadgroup variables in the kernel's body.
uint32_t sm_shader_static_bytes(const sm_shader *shader);

/// Most threads in a threadgroup, as the kernel's attribute says or else the device's limit.
uint32_t sm_shader_max_threads(const sm_shader *shader);

/// Which lane, simdgroup and threadgroup runs first where the shader leaves it open.
enum { SM_ORDER_FORWARD = 0, SM_ORDER_REVERSE = 1, SM_ORDER_RANDOM = 2 };

typedef struct sm_shader_options {
  uint32_t order;
  uint32_t interleave;  ///< not 0: a simdgroup may be left between any two of its rendezvous
  uint64_t seed;        ///< of the random order
  double time_limit;    ///< seconds a dispatch may take; 0 if any
  uint32_t checked;     ///< not 0: watch every access (the shader must have been compiled for it)
  uint32_t reserved;
  sm_check_history *history;  ///< of the checked dispatches that this one may overlap, or null
  /// By buffer slot, for the check: a byte for each bound one, not 0 once it was written, or null if all count as
  /// written. Null if all slots are such.
  uint8_t *const *initialised;
} sm_shader_options;

/// What kind of failure a dispatch ended with.
enum {
  SM_FAILURE_NONE = 0,
  SM_FAILURE_OTHER = 1,
  SM_FAILURE_TIME = 2,
  SM_FAILURE_MEMORY = 3,
  SM_FAILURE_STACK = 4,
  SM_FAILURE_FINDING = 5  ///< of the checks
};

/// What happened in a dispatch.
typedef struct sm_shader_stats {
  uint64_t collectives;  ///< simdgroup functions, simdgroup barriers and lockstep rendezvous, once for each simdgroup
  uint64_t divergent;  ///< functions and barriers that only some of the live threads had come to
  uint64_t barriers;  ///< threadgroup barriers, once for each threadgroup
  uint64_t switches;  ///< fiber switches that took the scheduler's decision
  uint32_t failure;  ///< SM_FAILURE_NONE if all is well
  uint32_t reserved;
} sm_shader_stats;

/// Runs a dispatch. Null if all is well, else why not: a fault, the time limit, a finding (thread-local text). A
/// kernel that fails has written some of its results; the process and the shader stay usable. `stats` may be null.
///
/// Results depend on neither the number of workers nor their speed, save through what the kernel itself exchanges
/// between threadgroups.
const char *sm_shader_run(sm_shader *shader, const sm_dispatch *dispatch, const sm_shader_options *options,
                          sm_shader_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
