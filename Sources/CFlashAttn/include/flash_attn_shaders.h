// The text of every shader, carried in the library so that it needs no files beside it.
#ifndef FLASH_ATTN_SHADERS_H
#define FLASH_ATTN_SHADERS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// One source file: a shader, or a header that shaders include.
typedef struct cfa_shader_file {
  const char *name;  ///< bare file name, as an `#include "…"` spells it
  const char *text;  ///< UTF-8, NUL-terminated
} cfa_shader_file;

/// Every embedded file, in no particular order; `count` receives how many.
const cfa_shader_file *cfa_shader_files(uint32_t *count);

#ifdef __cplusplus
}
#endif
#endif
