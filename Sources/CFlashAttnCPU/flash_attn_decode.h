// Attention of the last queries of each sequence over a cache of any format.
#ifndef FA_CPU_FLASH_ATTN_DECODE_H
#define FA_CPU_FLASH_ATTN_DECODE_H

#include "arguments.h"
#include "signature.h"

namespace fa {

/// What a host name of flash_attn_decode or flash_attn_decode_merge stands for.
struct DecodeKernel {
  const char *name;
  Elem elem;  ///< of Q and O
  int head_dim;
};

const char *run_decode(const DecodeKernel &kernel, const sm_dispatch &dispatch);
const char *run_decode_merge(const DecodeKernel &kernel, const sm_dispatch &dispatch);

extern const Signature decode_signature, decode_merge_signature;

}  // namespace fa

#endif
