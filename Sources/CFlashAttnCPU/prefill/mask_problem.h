// Dispatches that classify a mask or make one, after their checks.
#ifndef FA_CPU_PREFILL_MASK_PROBLEM_H
#define FA_CPU_PREFILL_MASK_PROBLEM_H

#include "problem.h"

namespace fa {

/// Bytes of enum Blk::Byte for each tile of a mask.
struct BlkProblem {
  const sm_executor *executor;
  Operand mask;
  uint8_t *out;               ///< [batches][heads][row_tiles][key_tiles]
  int64_t batches, heads;     ///< planes of `out`
  int64_t planes;             ///< those the grid covers
  int64_t rows, keys;         ///< of the mask
  int64_t row_tiles, key_tiles;
  int64_t grid_row_tiles, grid_key_tiles;  ///< those the grid covers
  int64_t tile_rows, tile_keys;
};

struct MaskFillProblem {
  const sm_executor *executor;
  char *out;  ///< [rows][keys]
  int64_t rows, keys;
  int64_t lower, upper;  ///< row i attends keys i + lower ... i + upper
};

/// Below this many elements of a mask, waking another worker takes longer than it saves.
constexpr double mask_parallel_threshold = 1 << 18;

using BlkBody = void (*)(const BlkProblem &problem);
using MaskFillBody = void (*)(const MaskFillProblem &problem);

}  // namespace fa

#endif
