// Rotating vectors, appending them to a KV cache and reading them back.
#ifndef FA_CPU_KV_CODEC_H
#define FA_CPU_KV_CODEC_H

#include "arguments.h"
#include "signature.h"

namespace fa {

enum class Flip { none, before, behind };

/// What a host name of fwht_standalone stands for.
struct FwhtKernel {
  const char *name;
  int head_dim;
  Flip flip;  ///< where the signs go
};

/// What a host name of hadamard_quantize_kv stands for.
struct HadamardKernel {
  const char *name;
  int head_dim;
  bool nibbles;   ///< else a byte for each coordinate
  bool sequence;  ///< tokens in y of the grid
};

/// What a host name of tq_dequantize_kv stands for.
struct TqDequantizeKernel {
  const char *name;
  int head_dim;
  bool nibbles;
};

/// What a host name of kv_encode or kv_decode stands for.
struct KvKernel {
  const char *name;
  Elem elem;  ///< outside the cache
  int head_dim;
};

const char *run_fwht(const FwhtKernel &kernel, const sm_dispatch &dispatch);
const char *run_hadamard(const HadamardKernel &kernel, const sm_dispatch &dispatch);
const char *run_tq_dequantize(const TqDequantizeKernel &kernel, const sm_dispatch &dispatch);
const char *run_kv_encode(const KvKernel &kernel, const sm_dispatch &dispatch);
const char *run_kv_decode(const KvKernel &kernel, const sm_dispatch &dispatch);

extern const Signature fwht_signature, hadamard_fast_signature, hadamard_hb_signature, tq_dequantize_signature,
    tq_dequantize_hb_signature, kv_encode_signature, kv_decode_signature;

}  // namespace fa

#endif
