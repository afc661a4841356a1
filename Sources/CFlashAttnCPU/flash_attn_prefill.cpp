#include "flash_attn_prefill.h"

#include <cmath>

#include "bodies.h"
#include "prefill_arguments.h"

namespace fa {

namespace {

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
    {"alibi", ALIBI, SM_READ, 0, HAS_ALIBI},
    {"q_starts", Q_STARTS, SM_READ, 0, HAS_VARLEN},
    {"k_starts", K_STARTS, SM_READ, 0, HAS_K_STARTS},
    {"block_table", BLOCK_TABLE, SM_READ, 0, HAS_PAGES},
    {"kv_lens", KV_LENS, SM_READ, 0, HAS_KV_LENS},
    {"page_params", PAGE_PARAMS, SM_READ, sizeof(fa_attn_page_params), HAS_PAGES},
    {"alibi_params", ALIBI_PARAMS, SM_READ, sizeof(fa_attn_alibi_params), HAS_ALIBI},
};

#define FA_OPTION(name, index) {name, index, MTL_DATA_TYPE_BOOL, 0}
#define FA_CONSTANTS                                                                                                 \
  {"align_Q", ALIGN_Q, MTL_DATA_TYPE_BOOL, 1}, {"align_K", ALIGN_K, MTL_DATA_TYPE_BOOL, 1},                          \
      {"has_mask", HAS_MASK, MTL_DATA_TYPE_BOOL, 1}, {"do_causal", DO_CAUSAL, MTL_DATA_TYPE_BOOL, 1},                \
      FA_OPTION("has_blk", HAS_BLK), FA_OPTION("has_sinks", HAS_SINKS), FA_OPTION("has_lse", HAS_LSE),               \
      FA_OPTION("has_window", HAS_WINDOW), FA_OPTION("has_softcap", HAS_SOFTCAP), FA_OPTION("has_alibi", HAS_ALIBI), \
      FA_OPTION("has_varlen", HAS_VARLEN), FA_OPTION("has_pages", HAS_PAGES), FA_OPTION("has_kv_lens", HAS_KV_LENS), \
      FA_OPTION("has_k_starts", HAS_K_STARTS),
const sm_constant_info constants[] = {FA_CONSTANTS};
const sm_constant_info d512_constants[] = {FA_CONSTANTS{"nsg", NSG, MTL_DATA_TYPE_INT, 1}};
#undef FA_CONSTANTS
#undef FA_OPTION

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
const char *read_mask(const PrefillReader &reader, const int64_t (&counts)[3], int64_t keys, PrefillProblem *problem) {
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

/// What causality and the window say.
const char *read_bounds(const PrefillReader &reader, PrefillBounds *bounds) {
  *bounds = {reader.constant(DO_CAUSAL), -1, -1};
  if (!reader.constant(HAS_WINDOW)) return nullptr;
  fa_attn_window_params window;
  if (const char *error = reader.read(WINDOW, "window", &window)) return error;
  if (window.left < -1 || window.right < -1) {
    return fail("%s: slot %d (window): needs -1 or more on either side, got (%" PRId32 ", %" PRId32 ")",
                reader.kernel.name, WINDOW, window.left, window.right);
  }
  bounds->left = window.left;
  bounds->right = window.right;
  return nullptr;
}

/// Binds Q, K, V, O and LSE of sequences that are all alike.
const char *bind_batches(const PrefillReader &reader, const fa_attn_params &params, const PrefillBounds &bounds,
                         PrefillProblem *problem) {
  const Elem elem = reader.kernel.elem;
  const int64_t q_counts[3] = {problem->batches, problem->heads, problem->rows};
  const int64_t kv_counts[3] = {problem->batches, (problem->heads - 1) / params.gqa_factor + 1, params.kL};
  const int64_t lse_strides[3] = {int64_t(params.H) * params.qL, params.qL, 1};
  const char *error = reader.bind(Q, "Q", elem, q_counts, params.Q_strides, params.D, &problem->q);
  if (!error) error = reader.bind(K, "K", elem, kv_counts, params.K_strides, params.D, &problem->k);
  if (!error) error = reader.bind(V, "V", elem, kv_counts, params.V_strides, params.D, &problem->v);
  if (!error) error = reader.bind_output(q_counts, params, &problem->o);
  if (!error && reader.constant(HAS_LSE)) {
    error = reader.bind(LSE, "LSE", Elem::f32, q_counts, lse_strides, 1, &problem->lse);
  }
  problem->offset = params.qL_off;
  problem->lower = bounds.lower(params.qL_off);
  problem->upper = bounds.upper(params.qL_off);
  bounds.span(problem->rows, params.qL_off, params.kL, &problem->first_key, &problem->keys);
  return error;
}

/// Reads the slopes, [batches, heads].
const char *read_alibi(const PrefillReader &reader, PrefillProblem *problem) {
  if (!reader.constant(HAS_ALIBI)) return nullptr;
  fa_attn_alibi_params params;
  if (const char *error = reader.read(ALIBI_PARAMS, "alibi_params", &params)) return error;
  const int64_t counts[3] = {1, 1, problem->batches}, strides[3] = {0, 0, params.batch_stride};
  Operand slopes;
  const char *error = reader.bind(ALIBI, "alibi", Elem::f32, counts, strides, problem->heads, &slopes);
  problem->alibi = slopes.data;
  problem->alibi_stride = slopes.strides[2];
  return error;
}

}  // namespace

const Signature prefill_signature = signature(arguments, constants);
const Signature prefill_d512_signature = signature(arguments, d512_constants);

const char *run_prefill(const PrefillKernel &kernel, const sm_dispatch &dispatch) {
  const IsaChoice &choice = isa_choice();
  if (choice.error != nullptr) return choice.error;

  const PrefillReader reader = {kernel, dispatch};
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

  PrefillProblem problem = {};
  problem.kernel = kernel.name;
  problem.executor = dispatch.executor;
  problem.batches = int(batches);
  problem.heads = int(heads);
  problem.rows = int(rows);
  problem.group = params.gqa_factor;
  problem.head_dim = params.D;
  problem.scale = params.scale;

  PrefillBounds bounds;
  std::vector<PrefillSequence> sequences;
  error = read_bounds(reader, &bounds);
  if (!error) {
    error = has_sequences(reader) ? bind_sequences(reader, params, bounds, &problem, &sequences)
                                  : bind_batches(reader, params, bounds, &problem);
  }
  const int64_t q_counts[3] = {batches, heads, rows};
  if (!error) error = read_mask(reader, q_counts, params.kL, &problem);
  if (!error) error = read_alibi(reader, &problem);
  if (!error && reader.constant(HAS_SINKS)) {
    error = check_bound(kernel.name, dispatch, SINKS, "sinks", uint64_t(heads) * 4);
    problem.sinks = static_cast<const char *>(dispatch.buffers[SINKS].data);
  }
  if (error) return error;
  problem.softcap = reader.constant(HAS_SOFTCAP) ? params.softcap : 0.0f;
  if (!(problem.softcap >= 0.0f) || std::isinf(problem.softcap)) {
    return fail("%s: slot %d (params): softcap: needs a finite number, 0 or more, got %g", kernel.name, PARAMS,
                double(problem.softcap));
  }

  return bodies_for(choice.isa).prefill[int(kernel.elem)](problem);
}

}  // namespace fa
