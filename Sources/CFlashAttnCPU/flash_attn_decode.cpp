#include "flash_attn_decode.h"

#include "bodies.h"
#include "flash_attn_params.h"
#include "slots.h"

namespace fa {
namespace {

enum Slot {
  PARAMS = 0,
  Q = 1,
  K = 2,
  K_NORMS = 3,
  MERGE_O = 3,
  V = 4,
  V_NORMS = 5,
  OUT = 6,
  STATES = 7,
  KV_LENS = 8,
  RING_STARTS = 9,
  SINKS = 10,
  LSE = 11,
  SIGNS = 12,
  PAGING = 13,
  BLOCK_TABLE = 14,
  SLOPES = 15  // of ALiBi
};
enum { V_FORMAT = 71, HAS_SOFTCAP = 74, HAS_WINDOW = 75, RING = 76, UNDO = 77, ROTATE_Q = 78, PAGES = 79, ALIBI = 80 };

const sm_argument arguments[] = {
    {"params", PARAMS, SM_READ, sizeof(fa_decode_params), SM_ALWAYS},
    {"Q", Q, SM_READ, 0, SM_ALWAYS},
    {"K", K, SM_READ, 0, SM_ALWAYS},
    {"K_norms", K_NORMS, SM_READ, 0, SM_IF_BOUND},
    {"V", V, SM_READ, 0, SM_ALWAYS},
    {"V_norms", V_NORMS, SM_READ, 0, SM_IF_BOUND},
    {"out", OUT, SM_READ_WRITE, 0, SM_ALWAYS},
    {"partial_states", STATES, SM_READ_WRITE, 0, SM_IF_BOUND},
    {"kv_lens", KV_LENS, SM_READ, 0, SM_ALWAYS},
    {"ring_starts", RING_STARTS, SM_READ, 0, RING},
    {"sinks", SINKS, SM_READ, 0, HAS_SINKS},
    {"LSE", LSE, SM_READ_WRITE, 0, HAS_LSE},
    {"signs", SIGNS, SM_READ, 0, HAS_SIGNS},
    {"paging", PAGING, SM_READ, sizeof(fa_decode_pages), PAGES},
    {"block_table", BLOCK_TABLE, SM_READ, 0, PAGES},
    {"alibi", SLOPES, SM_READ, 0, ALIBI},
};
const sm_argument merge_arguments[] = {
    {"params", PARAMS, SM_READ, sizeof(fa_decode_params), SM_ALWAYS},
    {"O", MERGE_O, SM_READ_WRITE, 0, SM_ALWAYS},
    {"partials", OUT, SM_READ, 0, SM_ALWAYS},
    {"partial_states", STATES, SM_READ, 0, SM_ALWAYS},
    {"LSE", LSE, SM_READ_WRITE, 0, HAS_LSE},
    {"signs", SIGNS, SM_READ, 0, HAS_SIGNS},
};
const sm_constant_info constants[] = {
    {"has_signs", HAS_SIGNS, MTL_DATA_TYPE_BOOL, 0},     {"has_sinks", HAS_SINKS, MTL_DATA_TYPE_BOOL, 0},
    {"has_lse", HAS_LSE, MTL_DATA_TYPE_BOOL, 0},         {"k_format", K_FORMAT, MTL_DATA_TYPE_INT, 1},
    {"v_format", V_FORMAT, MTL_DATA_TYPE_INT, 1},        {"norms_f16", NORMS_F16, MTL_DATA_TYPE_BOOL, 0},
    {"has_softcap", HAS_SOFTCAP, MTL_DATA_TYPE_BOOL, 0}, {"has_window", HAS_WINDOW, MTL_DATA_TYPE_BOOL, 0},
    {"has_ring", RING, MTL_DATA_TYPE_BOOL, 0},           {"has_undo", UNDO, MTL_DATA_TYPE_BOOL, 0},
    {"has_rotate_q", ROTATE_Q, MTL_DATA_TYPE_BOOL, 0},   {"has_pages", PAGES, MTL_DATA_TYPE_BOOL, 0},
    {"has_alibi", ALIBI, MTL_DATA_TYPE_BOOL, 0},
};
const sm_constant_info merge_constants[] = {{"has_signs", HAS_SIGNS, MTL_DATA_TYPE_BOOL, 0},
                                            {"has_lse", HAS_LSE, MTL_DATA_TYPE_BOOL, 0},
                                            {"has_undo", UNDO, MTL_DATA_TYPE_BOOL, 0}};

fa_decode_params read_params(Slots &slots) {
  const auto params = slots.read<fa_decode_params>(PARAMS, "params");
  slots.require("slot 0 (params): batch", params.batch, 1, INT32_MAX);
  slots.require("slot 0 (params): heads", params.heads, 1, INT32_MAX);
  slots.require("slot 0 (params): kv_heads", params.kv_heads, 1, params.heads);
  if (slots.error) return params;
  slots.require("slot 0 (params): heads mod kv_heads", params.heads % params.kv_heads, 0, 0);
  slots.require("slot 0 (params): q_len", params.q_len, 1, INT32_MAX);
  slots.require("slot 0 (params): splits", params.splits, 1, INT32_MAX);
  return params;
}

/// Binds Q or O.
Vectors bind_vectors(Slots &slots, Slot slot, const char *name, Elem elem, const fa_decode_params &params,
                     const int64_t (&strides)[3], int head_dim) {
  Vectors vectors = {elem, nullptr, {}};
  const int64_t counts[3] = {params.batch, params.heads, params.q_len};
  uint64_t bytes = 0;
  if (slots.error == nullptr && !extent_bytes(counts, strides, 3, head_dim, elem_bytes(elem), &bytes)) {
    slots.error = fail("%s: slot %d (%s): strides: needs non-negative ones and a size below 2^63 bytes, got (%" PRId64
                       ", %" PRId64 ", %" PRId64 ")",
                       slots.kernel, slot, name, strides[0], strides[1], strides[2]);
  }
  vectors.data = slots.bind(slot, name, bytes);
  for (int i = 0; i < 3; i++) vectors.strides[i] = counts[i] <= 1 ? 0 : strides[i] * elem_bytes(elem);
  return vectors;
}

/// Binds O, whose rows are written.
Vectors bind_output(Slots &slots, Slot slot, Elem elem, const fa_decode_params &params, int head_dim) {
  const Vectors vectors = bind_vectors(slots, slot, "O", elem, params, params.o_strides, head_dim);
  const int64_t counts[3] = {params.batch, params.heads, params.q_len};
  if (slots.error == nullptr && !rows_disjoint(counts, params.o_strides, 3, head_dim)) {
    slots.error =
        fail("%s: slot %d (O): strides: needs rows that do not overlap, got (%" PRId64 ", %" PRId64 ", %" PRId64 ")",
             slots.kernel, slot, params.o_strides[0], params.o_strides[1], params.o_strides[2]);
  }
  return vectors;
}

/// Partial results: [B, q_len, H, splits, D], and their sums and maxima.
Partials bind_partials(Slots &slots, const fa_decode_params &params, uint64_t rows, int head_dim) {
  char *values = slots.bind(OUT, "partials", product(rows, params.splits, head_dim, 4));
  char *states = slots.bind(STATES, "partial_states", product(rows, params.splits, 8));
  return {int(params.splits),
          reinterpret_cast<float *>(values),
          reinterpret_cast<float *>(states),
          int64_t(params.splits) * head_dim,
          4,
          head_dim};
}

/// Binds the table of pages, whose rows number `*rows`.
CachePages bind_pages(Slots &slots, const fa_decode_params &params, uint64_t *rows) {
  const auto paging = slots.read<fa_decode_pages>(PAGING, "paging");
  slots.require("slot 13 (paging): page_size", paging.page_size, 1, UINT32_MAX);
  slots.require("slot 13 (paging): pages", paging.pages, 1, UINT32_MAX);
  const int64_t counts[3] = {paging.pages, paging.page_size, params.kv_heads};
  const int64_t strides[3] = {paging.page_stride, paging.slot_stride, paging.head_stride};
  if (slots.error == nullptr && !extent_bytes(counts, strides, 3, 1, 1, rows)) {
    slots.error = fail("%s: slot %d (paging): strides: needs non-negative ones and fewer than 2^63 rows, got (%" PRId64
                       ", %" PRId64 ", %" PRId64 ")",
                       slots.kernel, PAGING, strides[0], strides[1], strides[2]);
  }
  if (slots.error) return {};
  const uint64_t entries = (uint64_t(params.capacity) + paging.page_size - 1) / paging.page_size;
  const char *table =
      slots.bind(BLOCK_TABLE, "block_table", product(product(params.batch - 1, paging.table_stride) + entries, 4));
  return {table,
          paging.pages,
          paging.table_stride,
          paging.page_size,
          paging.page_stride,
          paging.slot_stride,
          paging.head_stride};
}

CacheSide bind_side(Slots &slots, Slot slot, const char *name, const char *norms_name, uint32_t constant,
                    const fa_decode_params &params, uint64_t rows, int head_dim) {
  CacheSide side = {nullptr, nullptr, nullptr, false, 1.0f};
  const int32_t id = int_constant(slots.dispatch, constant, -1);
  side.format = kv_format(id);
  if (side.format == nullptr) {
    if (!slots.error) {
      slots.error = fail("%s: function constant %" PRIu32 " (%s format): needs a format of fa_kv_format, got %" PRId32,
                         slots.kernel, constant, name, id);
    }
    return side;
  }
  side.data = slots.bind(slot, name, product(rows, side.format->row_bytes(head_dim)));
  if (side.format->dense()) return side;
  const int norms = norms_per_row(side.format->version, head_dim);
  side.norms_f16 = side.format->version == 2 && slots.constant(NORMS_F16);
  side.norms = slots.bind(slot + 1, norms_name, product(rows, norms, side.norms_f16 ? 2 : 4));
  if (side.format->bits > 0) {
    side.factor = norms == 2 ? 1.0f / factor_v1(params.scale_factor_d512) : 1.0f / __builtin_sqrtf(float(head_dim));
  }
  return side;
}

}  // namespace

const Signature decode_signature = signature(arguments, constants);
const Signature decode_merge_signature = signature(merge_arguments, merge_constants);

const char *run_decode(const DecodeKernel &kernel, const sm_dispatch &dispatch) {
  Slots slots(kernel.name, dispatch);
  const fa_decode_params params = read_params(slots);
  if (slots.error) return slots.error;
  const int dim = kernel.head_dim;
  slots.require("slot 0 (params): capacity", params.capacity, 1, UINT32_MAX);
  slots.require("threads of a threadgroup mod 32", dispatch.threads[0] % 32, 0, 0);
  const uint64_t columns = uint64_t(params.heads / params.kv_heads) * params.q_len;
  slots.require_grid(uint64_t(ceil_div(int64_t(columns), 8)), params.kv_heads, product(params.batch, params.splits));

  const uint64_t rows = product(params.batch, params.q_len, params.heads);
  DecodeProblem problem = {};
  problem.kernel = kernel.name;
  problem.batch = int(params.batch);
  problem.heads = int(params.heads);
  problem.kv_heads = int(params.kv_heads);
  problem.q_len = int(params.q_len);
  problem.head_dim = dim;
  problem.capacity = params.capacity;
  problem.kv_lens = slots.bind(KV_LENS, "kv_lens", product(params.batch, 4));
  uint64_t cache_rows = product(params.batch, params.kv_heads, params.capacity);
  if (slots.constant(PAGES)) {
    problem.pages = bind_pages(slots, params, &cache_rows);
  } else if (slots.constant(RING)) {
    problem.ring_starts = slots.bind(RING_STARTS, "ring_starts", product(params.batch, 4));
  }
  problem.causal = params.causal != 0;
  problem.window = slots.constant(HAS_WINDOW) ? params.window : 0;
  problem.scale = params.scale;
  problem.softcap = slots.constant(HAS_SOFTCAP) ? params.softcap : 0.0f;
  slots.require_finite("slot 0 (params): softcap", problem.softcap);
  problem.q = bind_vectors(slots, Q, "Q", kernel.elem, params, params.q_strides, dim);
  problem.k = bind_side(slots, K, "K", "K_norms", K_FORMAT, params, cache_rows, dim);
  problem.v = bind_side(slots, V, "V", "V_norms", V_FORMAT, params, cache_rows, dim);
  if (slots.constant(ALIBI)) {
    problem.slope_stride = params.slope_stride;
    problem.slopes =
        slots.bind(SLOPES, "alibi", product(product(params.batch - 1, params.slope_stride) + params.heads, 4));
  }
  problem.partials.splits = 1;
  if (params.splits > 1) {
    problem.partials = bind_partials(slots, params, rows, dim);
  } else {
    problem.o = bind_output(slots, OUT, kernel.elem, params, dim);
    if (slots.constant(HAS_LSE)) problem.lse = slots.bind(LSE, "LSE", product(rows, 4));
    if (slots.constant(UNDO)) problem.undo_v = slots.signs(SIGNS, dim, default_signs);
  }
  if (slots.constant(HAS_SINKS)) problem.sinks = slots.bind(SINKS, "sinks", product(params.heads, 4));
  if (slots.constant(ROTATE_Q)) problem.rotate_q = slots.signs(SIGNS, dim, default_signs);
  problem.executor = dispatch.executor;
  return slots.error ? slots.error : bodies_for(isa_choice().isa).decode(problem);
}

const char *run_decode_merge(const DecodeKernel &kernel, const sm_dispatch &dispatch) {
  Slots slots(kernel.name, dispatch);
  const fa_decode_params params = read_params(slots);
  if (slots.error) return slots.error;
  const int dim = kernel.head_dim;
  slots.require("threads of a threadgroup mod 32", dispatch.threads[0] % 32, 0, 0);
  slots.require_grid(params.q_len, params.heads, params.batch);
  const uint64_t rows = product(params.batch, params.q_len, params.heads);
  MergeProblem problem = {};
  problem.kernel = kernel.name;
  problem.batch = int(params.batch);
  problem.heads = int(params.heads);
  problem.q_len = int(params.q_len);
  problem.head_dim = dim;
  problem.partials = bind_partials(slots, params, rows, dim);
  problem.o = bind_output(slots, MERGE_O, kernel.elem, params, dim);
  if (slots.constant(HAS_LSE)) problem.lse = slots.bind(LSE, "LSE", product(rows, 4));
  if (slots.constant(UNDO)) problem.undo_v = slots.signs(SIGNS, dim, default_signs);
  problem.executor = dispatch.executor;
  return slots.error ? slots.error : bodies_for(isa_choice().isa).merge(problem);
}

}  // namespace fa
