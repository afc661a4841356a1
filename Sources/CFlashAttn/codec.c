// The tables are the shaders' own; what is not looked up here is theirs alone.
#pragma clang diagnostic ignored "-Wunused-const-variable"
#include "flash_attn_codec.h"

#include "../../shaders/include/codebook.h"
#include "../../shaders/include/fwht.h"

uint32_t cfa_table_crc32(fa_kv_format format) {
  switch (format) {
    case FA_KV_TQ2:
      return FA_CRC32_TQ2;
    case FA_KV_TQ3:
      return FA_CRC32_TQ3;
    case FA_KV_TQ4:
      return FA_CRC32_TQ4;
    case FA_KV_TQ5:
      return FA_CRC32_TQ5;
    case FA_KV_TQ6:
      return FA_CRC32_TQ6;
    case FA_KV_TQ7:
      return FA_CRC32_TQ7;
    case FA_KV_TQ8:
      return FA_CRC32_TQ8;
    case FA_KV_TQ4_V1:
      return FA_CRC32_TQ4_V1;
    case FA_KV_TQ_HB5:
      return FA_CRC32_TQ_HB5;
    case FA_KV_TQ_HB6:
      return FA_CRC32_TQ_HB6;
    case FA_KV_TQ_HB8:
      return FA_CRC32_TQ_HB8;
    default:
      return 0;
  }
}

const unsigned char *cfa_default_signs(void) { return fa_default_signs; }
