#include "flash_attn_prefill.h"

#include <cinttypes>
#include <cstring>

#include "flash_attn_params.h"

namespace fa {

namespace {

enum Slot { Q = 0, K = 1, V = 2, O = 3, PARAMS = 4, MASK_PARAMS = 5, MASK = 6, LSE = 9 };
enum Constant { ALIGN_Q = 200, ALIGN_K = 201, HAS_MASK = 300, DO_CAUSAL = 301, HAS_LSE = 306 };

}  // namespace

const sm_argument prefill_arguments[] = {
    {"Q", Q, SM_READ, 0, SM_ALWAYS},
    {"K", K, SM_READ, 0, SM_ALWAYS},
    {"V", V, SM_READ, 0, SM_ALWAYS},
    {"O", O, SM_READ_WRITE, 0, SM_ALWAYS},
    {"params", PARAMS, SM_READ, sizeof(fa_attn_params), SM_ALWAYS},
    {"mask_params", MASK_PARAMS, SM_READ, sizeof(fa_attn_mask_params), HAS_MASK},
    {"mask", MASK, SM_READ, 0, HAS_MASK},
    {"LSE", LSE, SM_READ_WRITE, 0, HAS_LSE},
};
const uint32_t prefill_argument_count = sizeof prefill_arguments / sizeof prefill_arguments[0];

const sm_constant_info prefill_constants[] = {
    {"align_Q", ALIGN_Q, MTL_DATA_TYPE_BOOL, 1},   {"align_K", ALIGN_K, MTL_DATA_TYPE_BOOL, 1},
    {"has_mask", HAS_MASK, MTL_DATA_TYPE_BOOL, 1}, {"do_causal", DO_CAUSAL, MTL_DATA_TYPE_BOOL, 1},
    {"has_lse", HAS_LSE, MTL_DATA_TYPE_BOOL, 0},
};
const uint32_t prefill_constant_count = sizeof prefill_constants / sizeof prefill_constants[0];

namespace {

PrefillBody body_for(Isa isa, Elem elem, int head_dim) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx512bf16:
      return avx512bf16::prefill_body(elem, head_dim);
    case Isa::avx512:
      return avx512::prefill_body(elem, head_dim);
    case Isa::avx2:
      return avx2::prefill_body(elem, head_dim);
#endif
    default:
      return portable::prefill_body(elem, head_dim);
  }
}

const char *check_params(const PrefillKernel &kernel, const fa_attn_params &params) {
  const struct {
    const char *name;
    int32_t value;
  } positive[] = {{"B", params.B},   {"H", params.H},   {"D", params.D},
                  {"qL", params.qL}, {"kL", params.kL}, {"gqa_factor", params.gqa_factor}};
  for (const auto &field : positive) {
    if (field.value <= 0) {
      return fail("%s: slot %d (params): %s: needs a positive number, got %" PRId32, kernel.name, PARAMS, field.name,
                  field.value);
    }
  }
  if (params.D != kernel.head_dim) {
    return fail("%s: slot %d (params): D: needs %d, got %" PRId32, kernel.name, PARAMS, kernel.head_dim, params.D);
  }
  if (params.H % params.gqa_factor != 0) {
    return fail("%s: slot %d (params): gqa_factor: needs a divisor of H = %" PRId32 ", got %" PRId32, kernel.name,
                PARAMS, params.H, params.gqa_factor);
  }
  return nullptr;
}

/// Checks that [counts..., row] elements with these strides are bound to the slot, and makes an operand of them.
const char *bind(const PrefillKernel &kernel, const sm_dispatch &dispatch, Slot slot, const char *name, Elem elem,
                 const int64_t (&counts)[3], const int64_t (&strides)[3], int64_t row, Operand *operand) {
  uint64_t bytes;
  if (!extent_bytes(counts, strides, 3, row, elem_bytes(elem), &bytes)) {
    return fail("%s: slot %d (%s): strides: needs non-negative ones and a size below 2^63 bytes, got (%" PRId64
                ", %" PRId64 ", %" PRId64 ")",
                kernel.name, slot, name, strides[0], strides[1], strides[2]);
  }
  if (const char *error = check_bound(kernel.name, dispatch, slot, name, bytes)) return error;
  operand->data = static_cast<char *>(dispatch.buffers[slot].data);
  // The stride of a dimension of length 1 is not used and may be too large to be one in bytes.
  for (int i = 0; i < 3; i++) operand->strides[i] = counts[i] == 1 ? 0 : strides[i] * elem_bytes(elem);
  return nullptr;
}

}  // namespace

const char *run_flash_attn_prefill(const PrefillKernel &kernel, const sm_dispatch &dispatch) {
  const IsaChoice &choice = isa_choice();
  if (choice.error != nullptr) return choice.error;

  if (dispatch.threads[0] != 32 || dispatch.threads[1] * 32 != PREFILL_THREADS || dispatch.threads[2] != 1) {
    return fail("%s: threads per threadgroup: needs (32, %d, 1), got (%" PRIu32 ", %" PRIu32 ", %" PRIu32 ")",
                kernel.name, PREFILL_THREADS / 32, dispatch.threads[0], dispatch.threads[1], dispatch.threads[2]);
  }
  if (const char *error = check_bound(kernel.name, dispatch, PARAMS, "params", sizeof(fa_attn_params))) return error;
  fa_attn_params params;
  std::memcpy(&params, dispatch.buffers[PARAMS].data, sizeof params);
  if (const char *error = check_params(kernel, params)) return error;

  // The grid says which batches, heads and rows are computed.
  const auto covered = [](int64_t length, int64_t grid) { return length < grid ? length : grid; };
  const int64_t batches = covered(params.B, dispatch.threadgroups[2]);
  const int64_t heads = covered(params.H, dispatch.threadgroups[1]);
  const int64_t rows = covered(params.qL, int64_t(dispatch.threadgroups[0]) * kernel.tile_rows);
  if (batches == 0 || heads == 0 || rows == 0) return nullptr;
  const int64_t kv_heads = (heads - 1) / params.gqa_factor + 1;
  const int64_t q_counts[3] = {batches, heads, rows};
  const int64_t kv_counts[3] = {batches, kv_heads, params.kL};

  PrefillProblem problem = {};
  problem.kernel = kernel.name;
  const Elem elem = kernel.elem;
  const char *error = bind(kernel, dispatch, Q, "Q", elem, q_counts, params.Q_strides, params.D, &problem.q);
  if (!error) error = bind(kernel, dispatch, K, "K", elem, kv_counts, params.K_strides, params.D, &problem.k);
  if (!error) error = bind(kernel, dispatch, V, "V", elem, kv_counts, params.V_strides, params.D, &problem.v);
  if (!error) error = bind(kernel, dispatch, O, "O", elem, q_counts, params.O_strides, params.D, &problem.o);
  if (error) return error;
  if (!rows_disjoint(q_counts, params.O_strides, 3, params.D)) {
    return fail("%s: slot %d (O): strides: needs rows that do not overlap, got (%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                kernel.name, O, params.O_strides[0], params.O_strides[1], params.O_strides[2]);
  }

  if (bool_constant(dispatch, HAS_MASK, false)) {
    fa_attn_mask_params mask_params;
    error = check_bound(kernel.name, dispatch, MASK_PARAMS, "mask_params", sizeof mask_params);
    if (error) return error;
    std::memcpy(&mask_params, dispatch.buffers[MASK_PARAMS].data, sizeof mask_params);
    problem.masked = true;
    problem.mask_elem = kernel.mask == Mask::boolean ? Elem::boolean : elem;
    error = bind(kernel, dispatch, MASK, "mask", problem.mask_elem, q_counts, mask_params.M_strides, params.kL,
                 &problem.mask);
    if (error) return error;
  }

  if (bool_constant(dispatch, HAS_LSE, false)) {
    const int64_t strides[3] = {int64_t(params.H) * params.qL, params.qL, 1};
    error = bind(kernel, dispatch, LSE, "LSE", Elem::f32, q_counts, strides, 1, &problem.lse);
    if (error) return error;
  }

  problem.batches = int(batches);
  problem.heads = int(heads);
  problem.rows = int(rows);
  problem.group = params.gqa_factor;
  problem.causal = bool_constant(dispatch, DO_CAUSAL, false);
  problem.causal_offset = params.qL_off;
  const int64_t reach = problem.causal ? rows + problem.causal_offset : params.kL;
  problem.keys = int(reach < 0 ? 0 : reach < params.kL ? reach : params.kL);
  problem.scale = params.scale;
  problem.softcap = params.softcap;
  problem.executor = dispatch.executor;
  return body_for(choice.isa, elem, kernel.head_dim)(problem);
}

}  // namespace fa
