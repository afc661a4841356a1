#include "flash_attn_prefill.h"

#include <cinttypes>
#include <cmath>
#include <cstring>

#include "bodies.h"
#include "flash_attn_params.h"

namespace fa {

namespace {

enum Slot {
  Q = 0,
  K = 1,
  V = 2,
  O = 3,
  PARAMS = 4,
  MASK_PARAMS = 5,
  MASK = 6,
  BLK = 7,
  SINKS = 8,
  LSE = 9,
  WINDOW = 10,
  BLK_PARAMS = 11
};
enum Constant {
  ALIGN_Q = 200,
  ALIGN_K = 201,
  HAS_MASK = 300,
  DO_CAUSAL = 301,
  HAS_BLK = 303,
  HAS_SINKS = 304,
  HAS_LSE = 306,
  HAS_WINDOW = 307,
  HAS_SOFTCAP = 308,
  NSG = 322
};
enum { D512_THREADGROUP_BYTES = 28672 };

const sm_argument arguments[] = {
    {"Q", Q, SM_READ, 0, SM_ALWAYS},
    {"K", K, SM_READ, 0, SM_ALWAYS},
    {"V", V, SM_READ, 0, SM_ALWAYS},
    {"O", O, SM_READ_WRITE, 0, SM_ALWAYS},
    {"params", PARAMS, SM_READ, sizeof(fa_attn_params), SM_ALWAYS},
    {"mask_params", MASK_PARAMS, SM_READ, sizeof(fa_attn_mask_params), HAS_MASK},
    {"mask", MASK, SM_READ, 0, HAS_MASK},
    {"blk", BLK, SM_READ, 0, HAS_BLK},
    {"sinks", SINKS, SM_READ, 0, HAS_SINKS},
    {"LSE", LSE, SM_READ_WRITE, 0, HAS_LSE},
    {"window", WINDOW, SM_READ, sizeof(fa_attn_window_params), HAS_WINDOW},
    {"blk_params", BLK_PARAMS, SM_READ, sizeof(fa_attn_blk_params), HAS_BLK},
};

#define FA_CONSTANTS                                                                                  \
  {"align_Q", ALIGN_Q, MTL_DATA_TYPE_BOOL, 1}, {"align_K", ALIGN_K, MTL_DATA_TYPE_BOOL, 1},           \
      {"has_mask", HAS_MASK, MTL_DATA_TYPE_BOOL, 1}, {"do_causal", DO_CAUSAL, MTL_DATA_TYPE_BOOL, 1}, \
      {"has_blk", HAS_BLK, MTL_DATA_TYPE_BOOL, 0}, {"has_sinks", HAS_SINKS, MTL_DATA_TYPE_BOOL, 0},   \
      {"has_lse", HAS_LSE, MTL_DATA_TYPE_BOOL, 0}, {"has_window", HAS_WINDOW, MTL_DATA_TYPE_BOOL, 0}, \
      {"has_softcap", HAS_SOFTCAP, MTL_DATA_TYPE_BOOL, 0},
const sm_constant_info constants[] = {FA_CONSTANTS};
const sm_constant_info d512_constants[] = {FA_CONSTANTS{"nsg", NSG, MTL_DATA_TYPE_INT, 1}};
#undef FA_CONSTANTS

/// A kernel and its dispatch, for checks that fill in a problem one argument at a time.
struct Reader {
  const PrefillKernel &kernel;
  const sm_dispatch &dispatch;

  bool constant(Constant index) const { return bool_constant(dispatch, index, false); }

  template <typename Params>
  const char *read(Slot slot, const char *name, Params *params) const {
    if (const char *error = check_bound(kernel.name, dispatch, slot, name, sizeof *params)) return error;
    std::memcpy(params, dispatch.buffers[slot].data, sizeof *params);
    return nullptr;
  }

  /// Checks that [counts..., row] elements with these strides are bound to the slot, and makes an operand of them.
  const char *bind(Slot slot, const char *name, Elem elem, const int64_t (&counts)[3], const int64_t (&strides)[3],
                   int64_t row, Operand *operand) const {
    uint64_t bytes;
    if (!extent_bytes(counts, strides, 3, row, elem_bytes(elem), &bytes)) {
      return fail("%s: slot %d (%s): strides: needs non-negative ones and a size below 2^63 bytes, got (%" PRId64
                  ", %" PRId64 ", %" PRId64 ")",
                  kernel.name, slot, name, strides[0], strides[1], strides[2]);
    }
    if (const char *error = check_bound(kernel.name, dispatch, slot, name, bytes)) return error;
    operand->data = static_cast<char *>(dispatch.buffers[slot].data);
    // The stride of a dimension of length 1 is not used and may be too large to be one in bytes.
    for (int i = 0; i < 3; i++) operand->strides[i] = counts[i] <= 1 ? 0 : strides[i] * elem_bytes(elem);
    return nullptr;
  }
};

const char *check_launch(const PrefillKernel &kernel, const sm_dispatch &dispatch) {
  if (kernel.simdgroups != 0) return check_threads(kernel.name, dispatch, 32, uint32_t(kernel.simdgroups));
  const int32_t nsg = int_constant(dispatch, NSG, 0);
  if (nsg != 4 && nsg != 8) {
    return fail("%s: function constant %d (nsg): needs 4 or 8, got %" PRId32, kernel.name, NSG, nsg);
  }
  if (dispatch.threadgroup_bytes[0] < D512_THREADGROUP_BYTES) {
    return fail("%s: threadgroup memory 0: needs %d bytes, got %" PRIu64, kernel.name, D512_THREADGROUP_BYTES,
                dispatch.threadgroup_bytes[0]);
  }
  return check_threads(kernel.name, dispatch, 32, uint32_t(nsg));
}

const char *check_params(const PrefillKernel &kernel, const fa_attn_params &params) {
  const struct {
    const char *name;
    int32_t value, least;
  } fields[] = {{"B", params.B, 1},   {"H", params.H, 1},   {"D", params.D, 1},
                {"qL", params.qL, 0}, {"kL", params.kL, 0}, {"gqa_factor", params.gqa_factor, 1}};
  for (const auto &field : fields) {
    if (field.value < field.least) {
      return fail("%s: slot %d (params): %s: needs %" PRId32 " or more, got %" PRId32, kernel.name, PARAMS, field.name,
                  field.least, field.value);
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

/// Reads the mask and what is known of its tiles.
const char *read_mask(const Reader &reader, const int64_t (&counts)[3], int64_t keys, PrefillProblem *problem) {
  const PrefillKernel &kernel = reader.kernel;
  problem->masked = reader.constant(HAS_MASK);
  if (!problem->masked) {
    if (!reader.constant(HAS_BLK)) return nullptr;
    return fail("%s: function constant %d (has_blk): needs has_mask, got none", kernel.name, HAS_BLK);
  }
  fa_attn_mask_params params;
  if (const char *error = reader.read(MASK_PARAMS, "mask_params", &params)) return error;
  problem->mask_elem = kernel.mask == Mask::boolean ? Elem::boolean : kernel.elem;
  const char *error = reader.bind(MASK, "mask", problem->mask_elem, counts, params.M_strides, keys, &problem->mask);
  if (error != nullptr || !reader.constant(HAS_BLK)) return error;

  fa_attn_blk_params blk_params;
  error = reader.read(BLK_PARAMS, "blk_params", &blk_params);
  if (error) return error;
  Blk &blk = problem->blk;
  blk.rows = kernel.tile_rows;
  blk.keys = kernel.tile_keys;
  blk.row_tiles = ceil_div(keys, blk.keys);
  const int64_t tiles[3] = {counts[0], counts[1], ceil_div(counts[2], blk.rows)};
  const int64_t strides[3] = {blk_params.strides[0], blk_params.strides[1], blk.row_tiles};
  Operand planes;
  error = reader.bind(BLK, "blk", Elem::boolean, tiles, strides, blk.row_tiles, &planes);
  if (error) return error;
  blk.data = reinterpret_cast<const uint8_t *>(planes.data);
  blk.strides[0] = planes.strides[0];
  blk.strides[1] = planes.strides[1];
  return nullptr;
}

/// Which keys a row attends, as far as causality and the window say.
const char *read_bounds(const Reader &reader, int64_t offset, PrefillProblem *problem) {
  problem->lower = -unbounded;
  problem->upper = reader.constant(DO_CAUSAL) ? offset : unbounded;
  if (!reader.constant(HAS_WINDOW)) return nullptr;
  fa_attn_window_params window;
  if (const char *error = reader.read(WINDOW, "window", &window)) return error;
  if (window.left < -1 || window.right < -1) {
    return fail("%s: slot %d (window): needs -1 or more on either side, got (%" PRId32 ", %" PRId32 ")",
                reader.kernel.name, WINDOW, window.left, window.right);
  }
  if (window.left >= 0) problem->lower = offset - window.left;
  if (window.right >= 0 && offset + window.right < problem->upper) problem->upper = offset + window.right;
  return nullptr;
}

}  // namespace

const Signature prefill_signature = signature(arguments, constants);
const Signature prefill_d512_signature = signature(arguments, d512_constants);

const char *run_prefill(const PrefillKernel &kernel, const sm_dispatch &dispatch) {
  const IsaChoice &choice = isa_choice();
  if (choice.error != nullptr) return choice.error;

  const Reader reader = {kernel, dispatch};
  fa_attn_params params;
  const char *error = check_launch(kernel, dispatch);
  if (!error) error = reader.read(PARAMS, "params", &params);
  if (!error) error = check_params(kernel, params);
  if (error) return error;

  // The grid says which batches, heads and rows are computed.
  const int64_t batches = covered(params.B, dispatch.threadgroups[2]);
  const int64_t heads = covered(params.H, dispatch.threadgroups[1]);
  const int64_t rows = covered(params.qL, dispatch.threadgroups[0], kernel.tile_rows);
  if (batches == 0 || heads == 0 || rows == 0) return nullptr;
  const int64_t q_counts[3] = {batches, heads, rows};
  const int64_t kv_counts[3] = {batches, (heads - 1) / params.gqa_factor + 1, params.kL};

  PrefillProblem problem = {};
  problem.kernel = kernel.name;
  const Elem elem = kernel.elem;
  error = reader.bind(Q, "Q", elem, q_counts, params.Q_strides, params.D, &problem.q);
  if (!error) error = reader.bind(K, "K", elem, kv_counts, params.K_strides, params.D, &problem.k);
  if (!error) error = reader.bind(V, "V", elem, kv_counts, params.V_strides, params.D, &problem.v);
  if (!error) error = reader.bind(O, "O", elem, q_counts, params.O_strides, params.D, &problem.o);
  if (error) return error;
  if (!rows_disjoint(q_counts, params.O_strides, 3, params.D)) {
    return fail("%s: slot %d (O): strides: needs rows that do not overlap, got (%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                kernel.name, O, params.O_strides[0], params.O_strides[1], params.O_strides[2]);
  }

  error = read_mask(reader, q_counts, params.kL, &problem);
  if (!error) error = read_bounds(reader, params.qL_off, &problem);
  if (error) return error;
  if (reader.constant(HAS_SINKS)) {
    error = check_bound(kernel.name, dispatch, SINKS, "sinks", uint64_t(heads) * 4);
    problem.sinks = static_cast<const char *>(dispatch.buffers[SINKS].data);
  }
  if (!error && reader.constant(HAS_LSE)) {
    const int64_t strides[3] = {int64_t(params.H) * params.qL, params.qL, 1};
    error = reader.bind(LSE, "LSE", Elem::f32, q_counts, strides, 1, &problem.lse);
  }
  if (error) return error;
  problem.softcap = reader.constant(HAS_SOFTCAP) ? params.softcap : 0.0f;
  if (!(problem.softcap >= 0.0f) || std::isinf(problem.softcap)) {
    return fail("%s: slot %d (params): softcap: needs a finite number, 0 or more, got %g", kernel.name, PARAMS,
                double(problem.softcap));
  }

  const auto within = [](int64_t key, int64_t keys) { return int(key < 0 ? 0 : key < keys ? key : keys); };
  problem.keys = within(rows + problem.upper, params.kL);
  problem.first_key = within(problem.lower, problem.keys);
  problem.batches = int(batches);
  problem.heads = int(heads);
  problem.rows = int(rows);
  problem.group = params.gqa_factor;
  problem.head_dim = params.D;
  problem.scale = params.scale;
  problem.executor = dispatch.executor;
  return bodies_for(choice.isa).prefill[int(elem)](problem);
}

}  // namespace fa
