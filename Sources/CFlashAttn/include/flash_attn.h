// flash_attn.h - the C interface of libpyfa, and, with the headers it includes, its only declaration: Swift implements
// it, cffi parses it.
//
// Conventions
//   Every function that can fail returns an fa_status; results come back through pointers and are written on success
//   only. After a failure the fa_last_error family tells operation, argument and message, per thread.
//   Handles are counted references. A released or foreign handle is refused with FA_INVALID_ARGUMENT, never followed.
//   Strings that are returned are borrowed: valid until the same thread's next call of the same function (or of any
//   failing function, for the fa_last_error family), forever where the text is constant.
//   Sizes are in elements unless a name says bytes. Any function may be called from any thread.
#ifndef FLASH_ATTN_H
#define FLASH_ATTN_H

#include <stddef.h>
#include <stdint.h>

#include "flash_attn_params.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------------------------------------------------- status

typedef enum fa_status {
  FA_OK = 0,
  FA_INVALID_ARGUMENT = 1,   // a value, size, shape, dtype, alignment or handle that cannot be used
  FA_UNSUPPORTED = 2,        // a sound request that no kernel serves; the message names the nearest choices
  FA_DEVICE_NOT_FOUND = 3,   // no Metal device
  FA_ALLOCATION_FAILED = 4,  // the device would not give that much memory
  FA_KERNEL_NOT_FOUND = 5,   // no registered source has a kernel of that name
  FA_COMPILE_FAILED = 6,     // shader source or specialisation; fa_last_error_log has the compiler's text
  FA_COMMAND_FAILED = 7,     // the device refused or aborted submitted work
  FA_SHADER_CHECK = 8,       // a race, an access out of bounds or a read of unset memory, found in check mode
  FA_IO = 9,                 // a file could not be opened, read or mapped
  FA_INTERNAL = 10           // a defect of this library
} fa_status;

// The text of the calling thread's last failure: "operation: argument: what was expected, got what".
const char *fa_last_error(void);
const char *fa_last_error_operation(void);
const char *fa_last_error_argument(void);
// Compiler output with the shader's own line numbers, or "".
const char *fa_last_error_log(void);

// --------------------------------------------------------------------------------------------------------- version

// Raised by a release whenever a declaration of this header has changed incompatibly.
enum { FA_ABI_VERSION = 1 };
uint32_t fa_abi_version(void);
// "major.minor.patch"
const char *fa_version(void);

typedef enum fa_struct_kind {
  FA_STRUCT_ATTN_PARAMS = 0,
  FA_STRUCT_ATTN_MASK_PARAMS = 1,
  FA_STRUCT_DEVICE_INFO = 2,
  FA_STRUCT_BUFFER_INFO = 3,
  FA_STRUCT_POOL_INFO = 4,
  FA_STRUCT_CONSTANT = 5,
  FA_STRUCT_ARGUMENT = 6,
  FA_STRUCT_DISPATCH = 7,
  FA_STRUCT_NODE_INFO = 8,
  FA_STRUCT_COUNTERS = 9,
  FA_STRUCT_PREFILL_PROBLEM = 10,
  FA_STRUCT_PREFILL_BUFFERS = 11,
  FA_STRUCT_TENSOR = 12,
  FA_STRUCT_ATTENTION = 13,
  FA_STRUCT_ATTN_WINDOW_PARAMS = 14,
  FA_STRUCT_ATTN_BLK_PARAMS = 15,
  FA_STRUCT_BLK_PARAMS = 16,
  FA_STRUCT_MASK_FILL_PARAMS = 17,
  FA_STRUCT_BLK_PROBLEM = 18,
  FA_STRUCT_MASK_PROBLEM = 19,
  FA_STRUCT_FWHT_PARAMS = 20,
  FA_STRUCT_HADAMARD_QUANTIZE_KV_PARAMS = 21,
  FA_STRUCT_HADAMARD_QUANTIZE_KV_HB_PARAMS = 22,
  FA_STRUCT_TQ_DEQUANTIZE_KV_PARAMS = 23,
  FA_STRUCT_TQ_DEQUANTIZE_HB_KV_PARAMS = 24,
  FA_STRUCT_KV_ENCODE_PARAMS = 25,
  FA_STRUCT_KV_DECODE_PARAMS = 26,
  FA_STRUCT_VEC_PARAMS = 27,
  FA_STRUCT_VEC_PEER_PORT_PARAMS = 28,
  FA_STRUCT_VEC_TQ_PARAMS = 29,
  FA_STRUCT_VEC_TQ_HB_PARAMS = 30,
  FA_STRUCT_VEC_REDUCE_PARAMS = 31,
  FA_STRUCT_DECODE_BATCH = 32,
  FA_STRUCT_FWHT_PROBLEM = 33,
  FA_STRUCT_KV_ENCODE_PROBLEM = 34,
  FA_STRUCT_KV_DECODE_PROBLEM = 35,
  FA_STRUCT_HADAMARD_QUANTIZE_KV_PROBLEM = 36,
  FA_STRUCT_TQ_DEQUANTIZE_KV_PROBLEM = 37,
  FA_STRUCT_VEC_PROBLEM = 38,
  FA_STRUCT_VEC_BUFFERS = 39,
  FA_STRUCT_VEC_REDUCE_PROBLEM = 40,
  FA_STRUCT_KV_FORMAT_INFO = 41,
  FA_STRUCT_KV_CACHE_CONFIG = 42,
  FA_STRUCT_KV_CACHE_INFO = 43,
  FA_STRUCT_KV_CACHE_QUERIES = 44,
  FA_STRUCT_DECODE_PARAMS = 45,
  FA_STRUCT_DECODE_PROBLEM = 46,
  FA_STRUCT_DECODE_BUFFERS = 47,
  FA_STRUCT_SHADER_OPTIONS = 48,
  FA_STRUCT_ATTN_ALIBI_PARAMS = 49,
  FA_STRUCT_ATTN_PAGE_PARAMS = 50,
  FA_STRUCT_ATTENTION_VARLEN = 51,
  FA_STRUCT_DECODE_PAGES = 52,
  FA_STRUCT_KV_PAGES = 53,
  FA_STRUCT_KV_CACHE_BUFFERS = 54
} fa_struct_kind;
// Bytes of a struct as the library was compiled, 0 for an unknown kind.
size_t fa_sizeof(fa_struct_kind kind);

// Every kernel the library dispatches, as JSON: rooms, host names, slots, constants, tiles. Constant text.
const char *fa_manifest_json(void);

// --------------------------------------------------------------------------------------------------------- devices

typedef struct fa_device fa_device;
typedef struct fa_buffer fa_buffer;
typedef struct fa_pool fa_pool;
typedef struct fa_registry fa_registry;
typedef struct fa_encoder fa_encoder;
typedef struct fa_capture fa_capture;

typedef enum fa_dtype {
  FA_F32 = 0,
  FA_F16 = 1,
  FA_BF16 = 2,
  FA_U8 = 3,
  FA_U16 = 4,
  FA_U32 = 5,
  FA_I32 = 6,
  FA_BOOL = 7  // one byte; anything but 0 is true
} fa_dtype;

// What runs kernels where there is no GPU. Without effect on a Mac.
typedef enum fa_provider {
  FA_PROVIDER_DEFAULT = 0,  // $PYFA_PROVIDER ("native" or "shader"), else native kernels first, then shaders
  FA_PROVIDER_NATIVE = 1,   // native kernels, then shaders
  FA_PROVIDER_SHADER = 2    // shaders only
} fa_provider;

typedef struct fa_device_info {
  const char *name;
  const char *backend;   // "Metal" or "SoftMetal"
  const char *provider;  // "metal", "native" or "shader"
  const char *isa;       // instruction set of the native kernels, "" on a Mac
  uint64_t max_buffer_bytes;
  uint64_t max_threadgroup_bytes;
  uint64_t working_set_bytes;
  uint64_t allocated_bytes;
  uint32_t max_threads_per_threadgroup;
  uint32_t page_bytes;
  int32_t unified_memory;
  int32_t residency_sets;  // 1 if buffers are kept resident by a residency set
} fa_device_info;

fa_status fa_device_create(fa_provider provider, fa_device **out);
// Adopts an id<MTLDevice> (Mac only).
fa_status fa_device_create_with_metal(void *mtl_device, fa_device **out);
fa_status fa_device_retain(fa_device *device);
fa_status fa_device_release(fa_device *device);
// Strings in `out` live as long as the device.
fa_status fa_device_get_info(fa_device *device, fa_device_info *out);
// The device's own registry, holding every built-in kernel; release it like any other handle.
fa_status fa_device_get_registry(fa_device *device, fa_registry **out);

typedef enum fa_shader_order {
  FA_SHADER_ORDER_FORWARD = 0,
  FA_SHADER_ORDER_REVERSE = 1,
  FA_SHADER_ORDER_RANDOM = 2
} fa_shader_order;

// How SoftMetal executes shaders; native kernels and GPUs take no notice.
typedef struct fa_shader_options {
  int32_t strict;        // 1: threads meet at barriers and simdgroup functions only; 0: in lockstep
  fa_shader_order order; // of threads, simdgroups and threadgroups
  uint64_t seed;         // of the random order
  int32_t interleave;    // 1: simdgroups take turns between barriers
  int32_t check;         // 1: look for races, accesses out of bounds and unset memory
  double time_limit;     // seconds a dispatch may take, 0 for any
  int64_t workers;       // most threads a dispatch may use, 0 for all
} fa_shader_options;

fa_status fa_device_get_shader_options(fa_device *device, fa_shader_options *out);
// Counts for kernels dispatched from then on. FA_ERROR_UNSUPPORTED on a Mac.
fa_status fa_device_set_shader_options(fa_device *device, const fa_shader_options *options);

// --------------------------------------------------------------------------------------------------------- buffers

enum { FA_MAX_RANK = 8 };

typedef struct fa_buffer_info {
  fa_dtype dtype;
  int32_t rank;
  int64_t shape[8];
  uint64_t byte_offset;  // of this view in the allocation
  uint64_t byte_count;   // of this view
  int32_t read_only;
  int32_t reserved;
} fa_buffer_info;

// A new buffer, contiguous and zero-filled.
fa_status fa_buffer_create(fa_device *device, fa_dtype dtype, const int64_t *shape, int32_t rank, fa_buffer **out);
// The caller's memory, without a copy; the caller keeps it alive and in place until the handle is released. On a Mac
// `data` and `byte_count` must be multiples of the page size; elsewhere `data` is aligned to its dtype.
fa_status fa_buffer_wrap(fa_device *device, void *data, uint64_t byte_count, fa_dtype dtype, const int64_t *shape,
                         int32_t rank, int32_t read_only, fa_buffer **out);
// Adopts an id<MTLBuffer> (Mac only).
fa_status fa_buffer_wrap_metal(fa_device *device, void *mtl_buffer, fa_dtype dtype, const int64_t *shape, int32_t rank,
                               fa_buffer **out);
// Part of a file, mapped read-only; `offset` in bytes, a multiple of the dtype's size.
fa_status fa_buffer_map_file(fa_device *device, const char *path, uint64_t offset, fa_dtype dtype, const int64_t *shape,
                             int32_t rank, fa_buffer **out);
// A window into `buffer`, sharing its storage; `byte_offset` counts from the start of `buffer`'s own window.
fa_status fa_buffer_view(fa_buffer *buffer, uint64_t byte_offset, fa_dtype dtype, const int64_t *shape, int32_t rank,
                         fa_buffer **out);
fa_status fa_buffer_retain(fa_buffer *buffer);
fa_status fa_buffer_release(fa_buffer *buffer);
fa_status fa_buffer_get_info(fa_buffer *buffer, fa_buffer_info *out);
// First byte of the view. Valid while the handle lives; do not touch it while submitted work uses the buffer.
fa_status fa_buffer_get_contents(fa_buffer *buffer, void **out);
fa_status fa_buffer_read(fa_buffer *buffer, uint64_t byte_offset, void *data, uint64_t byte_count);
fa_status fa_buffer_write(fa_buffer *buffer, uint64_t byte_offset, const void *data, uint64_t byte_count);
fa_status fa_buffer_fill(fa_buffer *buffer, uint8_t value);

// ------------------------------------------------------------------------------------------------------------ pool

typedef struct fa_pool_info {
  uint64_t in_use_count;
  uint64_t free_count;
  uint64_t free_bytes;
} fa_pool_info;

// Recycles allocations in power-of-two sizes.
fa_status fa_pool_create(fa_device *device, fa_pool **out);
fa_status fa_pool_retain(fa_pool *pool);
fa_status fa_pool_release(fa_pool *pool);
// `zeroed` 0 leaves a recycled block's old bytes in place.
fa_status fa_pool_alloc(fa_pool *pool, fa_dtype dtype, const int64_t *shape, int32_t rank, int32_t zeroed,
                        fa_buffer **out);
// Gives a buffer's block back; the buffer and its views are unusable from here on. No submitted work may use it.
fa_status fa_pool_recycle(fa_pool *pool, fa_buffer *buffer);
// Gives every block back.
fa_status fa_pool_reset(fa_pool *pool);
// Frees the blocks that are not in use.
fa_status fa_pool_clear(fa_pool *pool);
fa_status fa_pool_get_info(fa_pool *pool, fa_pool_info *out);

// -------------------------------------------------------------------------------------------------------- registry

typedef enum fa_constant_type {
  FA_CONSTANT_BOOL = 0,
  FA_CONSTANT_CHAR = 1,
  FA_CONSTANT_UCHAR = 2,
  FA_CONSTANT_SHORT = 3,
  FA_CONSTANT_USHORT = 4,
  FA_CONSTANT_INT = 5,
  FA_CONSTANT_UINT = 6,
  FA_CONSTANT_LONG = 7,
  FA_CONSTANT_ULONG = 8,
  FA_CONSTANT_HALF = 9,
  FA_CONSTANT_BFLOAT = 10,
  FA_CONSTANT_FLOAT = 11
} fa_constant_type;

// A function constant. Integers and bool are taken from `integer`, floating types from `real`.
typedef struct fa_constant {
  uint32_t index;
  fa_constant_type type;
  int64_t integer;
  double real;
} fa_constant;

// A registry with every built-in source, independent of the device's own.
fa_status fa_registry_create(fa_device *device, fa_registry **out);
fa_status fa_registry_retain(fa_registry *registry);
fa_status fa_registry_release(fa_registry *registry);
// Adds or replaces Metal source under a name; every pipeline made from a replaced source is dropped.
fa_status fa_registry_register(fa_registry *registry, const char *name, const char *source);
// Compiles and caches a pipeline ahead of its first dispatch.
fa_status fa_registry_prepare(fa_registry *registry, const char *kernel, const fa_constant *constants,
                              int32_t constant_count);
fa_status fa_registry_is_cached(fa_registry *registry, const char *kernel, const fa_constant *constants,
                                int32_t constant_count, int32_t *out);
fa_status fa_registry_cached_count(fa_registry *registry, uint64_t *out);
// The kernels of a source, as JSON: [{"name", "constants": [{"index", "name", "type", "required"}]}]. Compiles it.
fa_status fa_registry_functions(fa_registry *registry, const char *source, const char **out);
// What a kernel takes, as JSON: [{"name", "kind": "buffer" or "threadgroup", "slot", "access": "read", "write" or
// "read_write"}]. Compiles and caches it.
fa_status fa_registry_arguments(fa_registry *registry, const char *kernel, const fa_constant *constants,
                                int32_t constant_count, const char **out);

// --------------------------------------------------------------------------------------------------------- encoder

typedef enum fa_argument_kind {
  FA_ARGUMENT_BUFFER = 0,  // the view of `buffer`, moved on by `byte_offset`
  FA_ARGUMENT_BYTES = 1    // `byte_count` bytes at `bytes`, copied at the call, at most 4096
} fa_argument_kind;

typedef enum fa_access { FA_ACCESS_READ = 0, FA_ACCESS_WRITE = 1, FA_ACCESS_READ_WRITE = 2 } fa_access;

typedef struct fa_argument {
  int32_t slot;
  fa_argument_kind kind;
  fa_access access;  // buffers: how the kernel uses it
  int32_t reserved;
  fa_buffer *buffer;
  uint64_t byte_offset;
  const void *bytes;
  uint64_t byte_count;
} fa_argument;

typedef enum fa_grid_unit { FA_GRID_THREADGROUPS = 0, FA_GRID_THREADS = 1 } fa_grid_unit;

typedef enum fa_op_kind {
  FA_OP_OTHER = 0,
  FA_OP_SDPA = 1,
  FA_OP_SOFTMAX = 2,
  FA_OP_RMS_NORM = 3,
  FA_OP_ELEMENTWISE_MUL = 4,
  FA_OP_ELEMENTWISE_ADD = 5
} fa_op_kind;

// One dispatch of any registered kernel.
typedef struct fa_dispatch {
  const char *kernel;
  const char *label;  // shown by Metal's tools; may be null
  const fa_constant *constants;
  int32_t constant_count;
  int32_t argument_count;
  const fa_argument *arguments;
  int64_t grid[3];
  int64_t threads[3];  // per threadgroup
  int64_t threadgroup_bytes[4];  // dynamic threadgroup memory of slots 0 ... 3, multiples of 16
  fa_grid_unit unit;
  fa_op_kind op;
  int32_t tracked;  // 1: a barrier is put in front if an earlier dispatch conflicts
  int32_t reserved;
} fa_dispatch;

// One command buffer with one compute encoder; dispatches may overlap unless a barrier or tracking orders them.
fa_status fa_encoder_create(fa_device *device, fa_encoder **out);
// Encodes into the caller's id<MTLCommandBuffer>, which the caller commits after fa_encoder_end (Mac only).
fa_status fa_encoder_create_with_metal(fa_device *device, void *mtl_command_buffer, fa_encoder **out);
fa_status fa_encoder_retain(fa_encoder *encoder);
fa_status fa_encoder_release(fa_encoder *encoder);
fa_status fa_encoder_dispatch(fa_encoder *encoder, fa_registry *registry, const fa_dispatch *dispatch);
// Later dispatches see the writes of earlier ones.
fa_status fa_encoder_barrier(fa_encoder *encoder);
fa_status fa_encoder_set_label(fa_encoder *encoder, const char *label);
// Ends encoding without committing.
fa_status fa_encoder_end(fa_encoder *encoder);
// Submits; an encoder is committed once.
fa_status fa_encoder_commit(fa_encoder *encoder);
// Waits for a committed encoder and reports what the device made of it.
fa_status fa_encoder_wait(fa_encoder *encoder);
fa_status fa_encoder_commit_and_wait(fa_encoder *encoder);
// Start and end on the device in seconds, of a completed encoder.
fa_status fa_encoder_gpu_time(fa_encoder *encoder, double *start, double *end);

// While capturing, dispatches and barriers are recorded, not encoded.
fa_status fa_encoder_start_capture(fa_encoder *encoder);
fa_status fa_encoder_take_capture(fa_encoder *encoder, fa_capture **out);
// Encodes every node of a capture.
fa_status fa_encoder_replay(fa_encoder *encoder, fa_capture *capture);

typedef struct fa_node_info {
  const char *kernel;  // null for a barrier; lives as long as the capture
  fa_op_kind op;
  fa_grid_unit unit;
  int32_t argument_count;
  int32_t is_barrier;
  int64_t grid[3];
  int64_t threads[3];
} fa_node_info;

fa_status fa_capture_retain(fa_capture *capture);
fa_status fa_capture_release(fa_capture *capture);
fa_status fa_capture_count(fa_capture *capture, uint64_t *out);
fa_status fa_capture_node(fa_capture *capture, uint64_t index, fa_node_info *out);

// Process-wide, since start or the last reset.
typedef struct fa_counters {
  uint64_t dispatches;
  uint64_t command_buffers;
  uint64_t waits;
  uint64_t barriers;       // all, automatic ones included
  uint64_t auto_barriers;  // put in by tracked dispatches
} fa_counters;

fa_status fa_counters_get(fa_counters *out);
fa_status fa_counters_reset(void);

#ifdef __cplusplus
}
#endif

#include "flash_attn_decode.h"
#include "flash_attn_prefill.h"

#endif
