// Text that the C interface lends to its callers: per thread, kept until the same slot is written again.
#ifndef FLASH_ATTN_LAST_ERROR_H
#define FLASH_ATTN_LAST_ERROR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Where a thread keeps one borrowed string; one slot for each function that returns such text.
typedef enum cfa_slot {
  CFA_SLOT_ERROR_MESSAGE = 0,
  CFA_SLOT_ERROR_OPERATION = 1,
  CFA_SLOT_ERROR_ARGUMENT = 2,
  CFA_SLOT_ERROR_LOG = 3,
  CFA_SLOT_PREFILL_EXPLAIN = 4,
  CFA_SLOT_ATTENTION_EXPLAIN = 5,
  CFA_SLOT_REGISTRY_FUNCTIONS = 6,
  CFA_SLOT_REGISTRY_ARGUMENTS = 7,
  CFA_SLOT_D512_EXPLAIN = 8,
  CFA_SLOT_BLK_EXPLAIN = 9,
  CFA_SLOT_MASK_EXPLAIN = 10,
  CFA_SLOT_VEC_EXPLAIN = 11,
  CFA_SLOT_KV_CACHE_EXPLAIN = 12,
  CFA_SLOT_DECODE_EXPLAIN = 13,
  CFA_SLOT_COUNT = 14
} cfa_slot;

/// Copies `length` bytes of `text` into the calling thread's slot and returns the NUL-terminated copy, valid until the
/// slot's next write or the thread's end. Without memory or with an unknown slot it is a constant text that says so.
const char *cfa_keep_string(cfa_slot slot, const char *text, size_t length);

/// What the calling thread's slot holds, "" before its first write.
const char *cfa_kept_string(cfa_slot slot);

/// Records the calling thread's last failure. Null stands for "".
void cfa_set_last_error(const char *operation, const char *argument, const char *message, const char *log);

const char *cfa_last_error_operation(void);
const char *cfa_last_error_argument(void);
const char *cfa_last_error_message(void);
const char *cfa_last_error_log(void);

#ifdef __cplusplus
}
#endif
#endif
