// A prefill dispatch after its checks: what the instruction sets' implementations are given.
#ifndef FA_CPU_PREFILL_PROBLEM_H
#define FA_CPU_PREFILL_PROBLEM_H

#include <cstdint>

#include "../arguments.h"

namespace fa {

/// Strides in bytes, of batch, head and row.
struct Operand {
  char *data;
  int64_t strides[3];

  char *at(int64_t batch, int64_t head, int64_t row) const {
    return data + batch * strides[0] + head * strides[1] + row * strides[2];
  }
};

/// What is known of a tile of the mask beforehand. Tiles lie in planes, row by row.
struct Blk {
  enum Byte : uint8_t { skip = 0, mixed = 1, attended = 2 };

  const uint8_t *data;  ///< null if nothing is known
  int64_t strides[2];   ///< bytes, of batch and head
  int64_t row_tiles;    ///< bytes in a row of a plane
  int rows, keys;       ///< of a tile
};

/// Further from any key than any row is: a bound that does not bind.
constexpr int64_t unbounded = int64_t(1) << 40;

struct PrefillProblem {
  const char *kernel;  ///< host name
  const sm_executor *executor;
  Operand q, k, v, o;
  Operand mask;  ///< if `masked`
  Operand lse;   ///< data is null if it is not wanted
  Blk blk;
  const char *sinks;  ///< a float for each head, or null
  Elem mask_elem;
  bool masked;
  int64_t lower, upper;      ///< row i attends keys i + lower ... i + upper
  int batches, heads, rows;  ///< those the grid covers
  int first_key, keys;       ///< some row may attend first_key ..< keys, length and bounds considered
  int group;                 ///< query heads per kv head
  int head_dim;
  float scale;
  float softcap;  ///< 0: none
};

/// Computes the problem. Null, or the text of an error with nothing written.
using PrefillBody = const char *(*)(const PrefillProblem &problem);

}  // namespace fa

#endif
