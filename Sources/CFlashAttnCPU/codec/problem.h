// Codec problems whose arguments have been checked.
#ifndef FA_CPU_CODEC_PROBLEM_H
#define FA_CPU_CODEC_PROBLEM_H

#include <cstdint>

#include "formats.h"
#include "softmetal_native.h"

namespace fa {

/// Rows to transform in place.
struct FwhtProblem {
  char *data;
  int64_t rows;
  int head_dim;
  const uint8_t *before, *behind;  ///< signs to flip, or null
  const sm_executor *executor;
};

/// Tokens to append to a cache [batch, kv_heads, capacity].
struct EncodeProblem {
  int64_t batch, kv_heads, tokens;
  int64_t all_tokens;  ///< that are appended, whether they are here or not
  int head_dim;
  uint32_t capacity;
  bool ring;  ///< position p is kept in slot p mod capacity
  uint32_t write_pos;
  const char *write_positions;  ///< uint32 [batch], or null
  Elem elem;
  const char *src;
  int64_t strides[3];  ///< bytes; batch, head, token
  const KvFormat *format;
  char *data, *norms;
  bool norms_f16;
  const uint8_t *signs;
  float factor_d512;  ///< of version 1
  char *probe;  ///< float [tokens, kv_heads, head_dim]: what is looked up; or null
  const sm_executor *executor;
};

/// Tokens to read back: out [batch, heads, tokens] of rows.
struct DequantizeProblem {
  int64_t batch, kv_heads, tokens;
  int64_t heads, out_tokens;  ///< of the whole cache and output
  int head_dim;
  uint32_t capacity;
  bool ring;
  uint32_t read_pos;
  const KvFormat *format;
  const char *data, *norms;
  bool norms_f16;
  int row_norms;  ///< norms from row to row
  float factor;  ///< multiplies norm and centroid
  Elem elem;
  char *out;
  const uint8_t *unrotate;  ///< signs of the rotation to take out, or null
  const sm_executor *executor;
};

typedef void (*FwhtBody)(const FwhtProblem &);
typedef void (*EncodeBody)(const EncodeProblem &);
typedef void (*DequantizeBody)(const DequantizeProblem &);

}  // namespace fa

#endif
