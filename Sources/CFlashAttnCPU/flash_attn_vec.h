// Attention of single queries over a cache, split and merged as the vec family does it.
#ifndef FA_CPU_FLASH_ATTN_VEC_H
#define FA_CPU_FLASH_ATTN_VEC_H

#include "signature.h"

namespace fa {

enum class VecRoom { dense, peer, nibbles, bytes };

/// What a host name of the first pass stands for.
struct VecKernel {
  const char *name;
  VecRoom room;
  int format;  ///< of fa_kv_format; for bytes a function constant says
  int head_dim;
  int splits;  ///< work-groups; 0: the parameters say
};

/// What a host name of the second pass stands for.
struct VecReduceKernel {
  const char *name;
  int head_dim;
  bool undo;    ///< takes V's rotation out
  int splits;  ///< work-groups; 0: slot 3 says
};

const char *run_vec(const VecKernel &kernel, const sm_dispatch &dispatch);
const char *run_vec_reduce(const VecReduceKernel &kernel, const sm_dispatch &dispatch);

/// Indexed by VecRoom.
extern const Signature vec_signatures[4];
extern const Signature vec_reduce_signature, vec_reduce_undo_signature, vec_peer_reduce_signature;

}  // namespace fa

#endif
