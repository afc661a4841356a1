// Borrowed strings, per thread. They live in C because Swift has no thread-local storage without Foundation.
#include "flash_attn_last_error.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct kept_text {
  char *bytes;  // null until the slot's first write
  size_t capacity;
  const char *instead;  // constant text shown in place of `bytes`, or null
} kept_text;

typedef struct thread_texts {
  kept_text slots[CFA_SLOT_COUNT];
} thread_texts;

static const char out_of_memory[] = "out of memory while keeping this text";
static const char unknown_slot[] = "unknown text slot";

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_error;

static void free_texts(void *pointer) {
  thread_texts *texts = pointer;
  for (int slot = 0; slot < CFA_SLOT_COUNT; ++slot) free(texts->slots[slot].bytes);
  free(texts);
}

static void make_key(void) { key_error = pthread_key_create(&key, free_texts); }

// The calling thread's texts, made on first use; null if there is no memory for them.
static thread_texts *texts_of_thread(void) {
  pthread_once(&once, make_key);
  if (key_error != 0) return NULL;
  thread_texts *texts = pthread_getspecific(key);
  if (texts != NULL) return texts;
  texts = calloc(1, sizeof *texts);
  if (texts != NULL && pthread_setspecific(key, texts) != 0) {
    free(texts);
    return NULL;
  }
  return texts;
}

static int is_slot(cfa_slot slot) { return (int)slot >= 0 && slot < CFA_SLOT_COUNT; }

const char *cfa_keep_string(cfa_slot slot, const char *text, size_t length) {
  if (!is_slot(slot)) return unknown_slot;
  thread_texts *texts = texts_of_thread();
  if (texts == NULL) return out_of_memory;
  kept_text *kept = &texts->slots[slot];
  if (text == NULL) length = 0;
  if (length >= kept->capacity) {
    // A fresh block instead of realloc: `text` may point into the old one.
    char *bytes = length == SIZE_MAX ? NULL : malloc(length + 1);
    if (bytes == NULL) return kept->instead = out_of_memory;
    if (length > 0) memcpy(bytes, text, length);
    free(kept->bytes);
    kept->bytes = bytes;
    kept->capacity = length + 1;
  } else if (length > 0) {
    memmove(kept->bytes, text, length);
  }
  kept->bytes[length] = '\0';
  kept->instead = NULL;
  return kept->bytes;
}

const char *cfa_kept_string(cfa_slot slot) {
  if (!is_slot(slot)) return unknown_slot;
  const thread_texts *texts = texts_of_thread();
  if (texts == NULL) return out_of_memory;
  const kept_text *kept = &texts->slots[slot];
  if (kept->instead != NULL) return kept->instead;
  return kept->bytes != NULL ? kept->bytes : "";
}

static void keep_terminated(cfa_slot slot, const char *text) {
  cfa_keep_string(slot, text, text != NULL ? strlen(text) : 0);
}

void cfa_set_last_error(const char *operation, const char *argument, const char *message, const char *log) {
  keep_terminated(CFA_SLOT_ERROR_OPERATION, operation);
  keep_terminated(CFA_SLOT_ERROR_ARGUMENT, argument);
  keep_terminated(CFA_SLOT_ERROR_MESSAGE, message);
  keep_terminated(CFA_SLOT_ERROR_LOG, log);
}

const char *cfa_last_error_operation(void) { return cfa_kept_string(CFA_SLOT_ERROR_OPERATION); }
const char *cfa_last_error_argument(void) { return cfa_kept_string(CFA_SLOT_ERROR_ARGUMENT); }
const char *cfa_last_error_message(void) { return cfa_kept_string(CFA_SLOT_ERROR_MESSAGE); }
const char *cfa_last_error_log(void) { return cfa_kept_string(CFA_SLOT_ERROR_LOG); }
