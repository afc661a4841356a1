// Facts about the tables of the KV codec (docs/codec.md), as the shaders have them.
#ifndef FLASH_ATTN_CODEC_H
#define FLASH_ATTN_CODEC_H

#include <stdint.h>

#include "flash_attn_params.h"

#ifdef __cplusplus
extern "C" {
#endif

/// CRC-32 of a format's table; 0 for formats without one.
uint32_t cfa_table_crc32(fa_kv_format format);

/// The 64 bytes of signs of the default rotation.
const unsigned char *cfa_default_signs(void);

#ifdef __cplusplus
}
#endif
#endif
