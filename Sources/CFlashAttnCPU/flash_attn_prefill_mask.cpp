// Masks: what each tile of one is, and making one.
#include <cinttypes>
#include <cstring>

#include "bodies.h"
#include "flash_attn_params.h"
#include "flash_attn_prefill.h"

namespace fa {

namespace {

enum Constant { BQ = 400, BK = 401 };

const sm_argument blk_arguments[] = {
    {"mask", 0, SM_READ, 0, SM_ALWAYS},
    {"blk", 1, SM_READ_WRITE, 0, SM_ALWAYS},
    {"params", 2, SM_READ, sizeof(fa_blk_params), SM_ALWAYS},
};
const sm_constant_info blk_constants[] = {{"BQ", BQ, MTL_DATA_TYPE_INT, 1}, {"BK", BK, MTL_DATA_TYPE_INT, 1}};

const sm_argument mask_fill_arguments[] = {
    {"mask", 0, SM_READ_WRITE, 0, SM_ALWAYS},
    {"params", 1, SM_READ, sizeof(fa_mask_fill_params), SM_ALWAYS},
};

/// Threads the shader takes for a row of the mask.
uint32_t fill_threads(uint32_t keys) {
  uint32_t threads = 32;
  while (threads < 256 && threads < keys) threads *= 2;
  return threads;
}

}  // namespace

const Signature blk_signature = signature(blk_arguments, blk_constants);
const Signature mask_fill_signature = {mask_fill_arguments, 2, nullptr, 0};

const char *run_blk(const MaskKernel &kernel, const sm_dispatch &dispatch) {
  const IsaChoice &choice = isa_choice();
  if (choice.error != nullptr) return choice.error;
  const char *error = check_threads(kernel.name, dispatch, 32, 1);
  if (!error) error = check_bound(kernel.name, dispatch, 2, "params", sizeof(fa_blk_params));
  if (error) return error;
  fa_blk_params params;
  std::memcpy(&params, dispatch.buffers[2].data, sizeof params);
  const struct {
    const char *name;
    int32_t value, least;
  } fields[] = {{"qL", params.qL, 0}, {"kL", params.kL, 0}, {"batches", params.batches, 0}, {"heads", params.heads, 0}};
  for (const auto &field : fields) {
    if (field.value >= field.least) continue;
    return fail("%s: slot 2 (params): %s: needs %" PRId32 " or more, got %" PRId32, kernel.name, field.name,
                field.least, field.value);
  }

  BlkProblem problem = {};
  problem.tile_rows = int_constant(dispatch, BQ, 0);
  problem.tile_keys = int_constant(dispatch, BK, 0);
  if (problem.tile_rows <= 0 || problem.tile_keys <= 0) {
    return fail("%s: function constants %d, %d (BQ, BK): need positive numbers, got %" PRId64 ", %" PRId64, kernel.name,
                BQ, BK, problem.tile_rows, problem.tile_keys);
  }
  problem.rows = params.qL;
  problem.keys = params.kL;
  problem.row_tiles = ceil_div(params.qL, problem.tile_rows);
  problem.key_tiles = ceil_div(params.kL, problem.tile_keys);
  problem.batches = params.batches;
  problem.heads = params.heads;
  // The grid says which tiles and planes are computed.
  problem.grid_key_tiles = covered(problem.key_tiles, dispatch.threadgroups[0]);
  problem.grid_row_tiles = covered(problem.row_tiles, dispatch.threadgroups[1]);
  problem.planes = covered(problem.batches * problem.heads, dispatch.threadgroups[2]);
  if (problem.planes == 0 || problem.grid_row_tiles == 0 || problem.grid_key_tiles == 0) return nullptr;

  const int64_t counts[3] = {params.batches, params.heads, params.qL};
  uint64_t bytes;
  if (!extent_bytes(counts, params.M_strides, 3, params.kL, elem_bytes(kernel.elem), &bytes)) {
    return fail("%s: slot 0 (mask): strides: needs non-negative ones and a size below 2^63 bytes, got (%" PRId64
                ", %" PRId64 ", %" PRId64 ")",
                kernel.name, params.M_strides[0], params.M_strides[1], params.M_strides[2]);
  }
  error = check_bound(kernel.name, dispatch, 0, "mask", bytes);
  const int64_t plane = problem.row_tiles * problem.key_tiles;
  const int64_t blk_counts[2] = {params.batches, params.heads};
  const int64_t blk_strides[2] = {0, plane};
  uint64_t blk_bytes;
  int64_t batch_stride;
  if (__builtin_mul_overflow(plane, int64_t(params.heads), &batch_stride) ||
      !extent_bytes(blk_counts, (const int64_t[2]){batch_stride, blk_strides[1]}, 2, plane, 1, &blk_bytes)) {
    return fail("%s: slot 2 (params): needs fewer than 2^63 tiles", kernel.name);
  }
  if (!error) error = check_bound(kernel.name, dispatch, 1, "blk", blk_bytes);
  if (error) return error;

  problem.executor = dispatch.executor;
  problem.mask.data = static_cast<char *>(dispatch.buffers[0].data);
  for (int i = 0; i < 3; i++)
    problem.mask.strides[i] = counts[i] == 1 ? 0 : params.M_strides[i] * elem_bytes(kernel.elem);
  problem.out = static_cast<uint8_t *>(dispatch.buffers[1].data);
  bodies_for(choice.isa).blk[int(kernel.elem)](problem);
  return nullptr;
}

const char *run_mask_fill(const MaskKernel &kernel, const sm_dispatch &dispatch) {
  const IsaChoice &choice = isa_choice();
  if (choice.error != nullptr) return choice.error;
  const char *error = check_bound(kernel.name, dispatch, 1, "params", sizeof(fa_mask_fill_params));
  if (error) return error;
  fa_mask_fill_params params;
  std::memcpy(&params, dispatch.buffers[1].data, sizeof params);
  error = check_threads(kernel.name, dispatch, fill_threads(params.seq_len_k), 1);
  if (error) return error;
  if (params.n_swa < -1) {
    return fail("%s: slot 1 (params): n_swa: needs -1 or more, got %" PRId32, kernel.name, params.n_swa);
  }

  MaskFillProblem problem;
  problem.executor = dispatch.executor;
  problem.rows = dispatch.threadgroups[0];
  problem.keys = params.seq_len_k;
  const int64_t counts[1] = {problem.rows}, strides[1] = {problem.keys};
  uint64_t bytes;
  if (!extent_bytes(counts, strides, 1, problem.keys, elem_bytes(kernel.elem), &bytes)) {
    return fail("%s: slot 0 (mask): needs a size below 2^63 bytes, got [%" PRId64 ", %" PRId64 "] elements",
                kernel.name, problem.rows, problem.keys);
  }
  error = check_bound(kernel.name, dispatch, 0, "mask", bytes);
  if (error) return error;
  problem.out = static_cast<char *>(dispatch.buffers[0].data);
  problem.lower = params.n_swa > 0 ? int64_t(params.q_abs_offset) - params.n_swa + 1 : -unbounded;
  problem.upper = params.causal != 0 ? int64_t(params.q_abs_offset) : unbounded;
  bodies_for(choice.isa).mask_fill[int(kernel.elem)](problem);
  return nullptr;
}

}  // namespace fa
