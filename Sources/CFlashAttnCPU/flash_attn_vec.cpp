#include "flash_attn_vec.h"

#include "bodies.h"
#include "flash_attn_params.h"
#include "slots.h"

namespace fa {
namespace {

enum { PARAMS = 0, Q = 1, BATCH = 7, KV_LENS = 8, RING_STARTS = 9, SINKS = 10, LSE = 11, SIGNS = 12 };
enum { REDUCE_TMP = 1, REDUCE_DST = 2, REDUCE_NWG = 3, REDUCE_LSE = 4 };
enum { CODEBOOK_BITS = 50 };
enum { MOST_SPLITS = 32, MOST_SIMDGROUPS = 4 };

#define FA_OPTIONS                                                                                            \
  {"batch", BATCH, SM_READ, sizeof(fa_decode_batch), HAS_BATCH}, {"kv_lens", KV_LENS, SM_READ, 0, HAS_BATCH}, \
      {"ring_starts", RING_STARTS, SM_READ, 0, HAS_BATCH}, {"sinks", SINKS, SM_READ, 0, HAS_SINKS},           \
      {"LSE", LSE, SM_READ_WRITE, 0, HAS_LSE},
#define FA_DENSE(PARAMS_TYPE)                                                                                    \
  {"params", PARAMS, SM_READ, sizeof(PARAMS_TYPE), SM_ALWAYS}, {"Q", Q, SM_READ, 0, SM_ALWAYS},                  \
      {"K", 2, SM_READ, 0, SM_ALWAYS}, {"V", 3, SM_READ, 0, SM_ALWAYS}, {"dst", 4, SM_READ_WRITE, 0, SM_ALWAYS}, \
      FA_OPTIONS
#define FA_CODED(PARAMS_TYPE)                                                                                  \
  {"params", PARAMS, SM_READ, sizeof(PARAMS_TYPE), SM_ALWAYS}, {"Q", Q, SM_READ, 0, SM_ALWAYS},                \
      {"K", 2, SM_READ, 0, SM_ALWAYS}, {"K_norms", 3, SM_READ, 0, SM_ALWAYS}, {"V", 4, SM_READ, 0, SM_ALWAYS}, \
      {"V_norms", 5, SM_READ, 0, SM_ALWAYS}, {"dst", 6, SM_READ_WRITE, 0, SM_ALWAYS}, FA_OPTIONS
#define FA_REDUCE                                                                                                   \
  {"params", PARAMS, SM_READ, sizeof(fa_vec_reduce_params), SM_ALWAYS}, {"tmp", REDUCE_TMP, SM_READ, 0, SM_ALWAYS}, \
      {"dst", REDUCE_DST, SM_READ_WRITE, 0, SM_ALWAYS}, {"LSE", REDUCE_LSE, SM_READ_WRITE, 0, HAS_LSE},             \
      {"batch", BATCH, SM_READ, sizeof(fa_decode_batch), HAS_BATCH},
#define FA_NWG {"nwg", REDUCE_NWG, SM_READ, sizeof(uint32_t), SM_ALWAYS},
#define FA_SIGNS {"signs", SIGNS, SM_READ, 0, HAS_SIGNS},

const sm_argument dense_arguments[] = {FA_DENSE(fa_vec_params)};
const sm_argument peer_arguments[] = {FA_DENSE(fa_vec_peer_port_params)};
const sm_argument nibble_arguments[] = {FA_CODED(fa_vec_tq_params)};
const sm_argument byte_arguments[] = {FA_CODED(fa_vec_tq_hb_params) FA_SIGNS};
const sm_argument reduce_arguments[] = {FA_REDUCE FA_NWG};
const sm_argument reduce_undo_arguments[] = {FA_REDUCE FA_NWG FA_SIGNS};
const sm_argument peer_reduce_arguments[] = {FA_REDUCE};

#define FA_BOOL(NAME, INDEX) {NAME, INDEX, MTL_DATA_TYPE_BOOL, 0}
const sm_constant_info options[] = {FA_BOOL("has_batch", HAS_BATCH), FA_BOOL("has_sinks", HAS_SINKS),
                                    FA_BOOL("has_lse", HAS_LSE)};
const sm_constant_info byte_options[] = {FA_BOOL("has_batch", HAS_BATCH),
                                         FA_BOOL("has_sinks", HAS_SINKS),
                                         FA_BOOL("has_lse", HAS_LSE),
                                         FA_BOOL("has_signs", HAS_SIGNS),
                                         {"codebook_bits", CODEBOOK_BITS, MTL_DATA_TYPE_INT, 0}};
const sm_constant_info reduce_options[] = {FA_BOOL("has_batch", HAS_BATCH), FA_BOOL("has_lse", HAS_LSE)};
const sm_constant_info reduce_undo_options[] = {FA_BOOL("has_batch", HAS_BATCH), FA_BOOL("has_lse", HAS_LSE),
                                                FA_BOOL("has_signs", HAS_SIGNS)};

/// The parameters of every room: those of the one that has the most, and what the others stand for.
fa_vec_tq_hb_params read_params(Slots &slots, const VecKernel &kernel) {
  fa_vec_tq_hb_params all = {};
  const auto take = [&all](const auto &p) {
    all.heads = p.heads;
    all.kv_heads = p.kv_heads;
    all.head_dim = p.head_dim;
    all.kv_len = p.kv_len;
    all.capacity = p.capacity;
    all.scale = p.scale;
    all.mask_type = p.mask_type;
    all.window = p.window;
  };
  switch (kernel.room) {
    case VecRoom::dense: {
      const auto p = slots.read<fa_vec_params>(PARAMS, "params");
      take(p);
      all.softcap = p.softcap;
      all.nwg = p.nwg;
      break;
    }
    case VecRoom::peer: {
      const auto p = slots.read<fa_vec_peer_port_params>(PARAMS, "params");
      take(p);
      all.nwg = uint32_t(kernel.splits);
      all.ring_start = p.ring_start;
      break;
    }
    case VecRoom::nibbles: {
      const auto p = slots.read<fa_vec_tq_params>(PARAMS, "params");
      take(p);
      all.softcap = p.softcap;
      all.nwg = p.nwg;
      all.ring_start = p.ring_start;
      all.scale_factor_d512 = p.scale_factor_d512;
      break;
    }
    case VecRoom::bytes:
      all = slots.read<fa_vec_tq_hb_params>(PARAMS, "params");
      break;
  }
  return all;
}

/// The queries of each sequence: one of one sequence unless there is a batch.
fa_decode_batch read_batch(Slots &slots) {
  if (!slots.constant(HAS_BATCH)) return {1, 1, {}};
  const auto batch = slots.read<fa_decode_batch>(BATCH, "batch");
  slots.require("slot 7 (batch): batch", batch.batch, 1, INT32_MAX);
  slots.require("slot 7 (batch): q_len", batch.q_len, 1, INT32_MAX);
  return batch;
}

void check_params(Slots &slots, const VecKernel &kernel, const fa_vec_tq_hb_params &params) {
  slots.require("slot 0 (params): heads", params.heads, 1, INT32_MAX);
  slots.require("slot 0 (params): kv_heads", params.kv_heads, 1, params.heads);
  if (slots.error) return;
  slots.require("slot 0 (params): heads mod kv_heads", params.heads % params.kv_heads, 0, 0);
  slots.require("slot 0 (params): head_dim", params.head_dim, uint64_t(kernel.head_dim), uint64_t(kernel.head_dim));
  slots.require("slot 0 (params): capacity", params.capacity, 1, UINT32_MAX);
  slots.require("slot 0 (params): mask_type", params.mask_type, 0, 2);
  slots.require("slot 0 (params): nwg", params.nwg, 1, MOST_SPLITS);
  slots.require_finite("slot 0 (params): softcap", params.softcap);
}

/// Binds the codes or numbers of K or V, and norms if there are any.
CacheSide bind_side(Slots &slots, const char *name, const char *norms_name, uint32_t slot, const KvFormat &format,
                    uint64_t rows, int head_dim, float scale_factor_d512) {
  CacheSide side = {&format, nullptr, nullptr, false, 1.0f};
  side.data = slots.bind(slot, name, product(rows, format.row_bytes(head_dim)));
  if (format.dense()) return side;
  const int norms = norms_per_row(format.version, head_dim);
  side.norms = slots.bind(slot + 1, norms_name, product(rows, norms, 4));
  side.factor = norms == 2 ? 1.0f / factor_v1(scale_factor_d512) : 1.0f / __builtin_sqrtf(float(head_dim));
  return side;
}

/// The layout of `tmp`: a float4 of each work-group in turn, and the pairs of sum and maximum behind all those.
Partials partials_in(char *tmp, uint64_t rows, int head_dim, uint32_t splits) {
  float *values = reinterpret_cast<float *>(tmp);
  return {int(splits), values, values + rows * head_dim * splits, int64_t(head_dim) * splits, int64_t(splits) * 4, 4};
}

Vectors contiguous(char *data, Elem elem, int64_t heads, int64_t q_len, int head_dim) {
  const int64_t row = int64_t(head_dim) * elem_bytes(elem);
  return {elem, data, {heads * q_len * row, q_len * row, row}};
}

}  // namespace

const Signature vec_signatures[4] = {signature(dense_arguments, options), signature(peer_arguments, options),
                                     signature(nibble_arguments, options), signature(byte_arguments, byte_options)};
const Signature vec_reduce_signature = signature(reduce_arguments, reduce_options);
const Signature vec_reduce_undo_signature = signature(reduce_undo_arguments, reduce_undo_options);
const Signature vec_peer_reduce_signature = signature(peer_reduce_arguments, reduce_options);

const char *run_vec(const VecKernel &kernel, const sm_dispatch &dispatch) {
  Slots slots(kernel.name, dispatch);
  const fa_vec_tq_hb_params params = read_params(slots, kernel);
  const fa_decode_batch batch = read_batch(slots);
  check_params(slots, kernel, params);
  int format_id = kernel.format;
  if (kernel.room == VecRoom::bytes) {
    const int32_t bits = int_constant(dispatch, CODEBOOK_BITS, 8);
    if (!slots.error && bits != 5 && bits != 6 && bits != 8) {
      slots.error = fail("%s: function constant %d (codebook_bits): needs 5, 6 or 8, got %" PRId32, kernel.name,
                         CODEBOOK_BITS, bits);
    }
    format_id = FA_KV_TQ_HB5 - 5 + bits;
  }
  if (slots.error) return slots.error;

  const int dim = kernel.head_dim;
  const KvFormat &format = *kv_format(format_id);
  const bool coded = !format.dense();
  const uint32_t simdgroups = dispatch.threads[1];
  slots.require("simdgroups of a threadgroup", simdgroups, 1, MOST_SIMDGROUPS);
  slots.require_threads(32, simdgroups);
  slots.require_grid(batch.q_len, params.heads, product(params.nwg, batch.batch));
  if (coded || simdgroups > 1) {
    const uint64_t padded = dim < 128 ? 128 : uint64_t(dim);
    slots.require_threadgroup_bytes(2 * (padded + simdgroups * (128 + 2 * padded)));
  }

  const uint64_t rows = product(batch.batch, batch.q_len, params.heads);
  const uint64_t cache_rows = product(batch.batch, params.kv_heads, params.capacity);
  DecodeProblem problem = {};
  problem.kernel = kernel.name;
  problem.batch = int(batch.batch);
  problem.heads = int(params.heads);
  problem.kv_heads = int(params.kv_heads);
  problem.q_len = int(batch.q_len);
  problem.head_dim = dim;
  problem.capacity = params.capacity;
  problem.kv_len = params.kv_len;
  problem.ring_start = params.ring_start;
  if (slots.constant(HAS_BATCH)) {
    problem.kv_lens = slots.bind(KV_LENS, "kv_lens", product(batch.batch, 4));
    problem.ring_starts = slots.bind(RING_STARTS, "ring_starts", product(batch.batch, 4));
  }
  problem.causal = params.mask_type != 0;
  problem.window = params.mask_type == 2 ? params.window : 0;
  problem.scale = params.scale;
  problem.softcap = params.softcap;
  problem.q = contiguous(slots.bind(Q, "Q", product(rows, dim, 4)), Elem::f32, params.heads, batch.q_len, dim);
  problem.k = bind_side(slots, "K", "K_norms", 2, format, cache_rows, dim, params.scale_factor_d512);
  problem.v = bind_side(slots, "V", "V_norms", coded ? 4 : 3, format, cache_rows, dim, params.scale_factor_d512);
  const uint64_t results = params.nwg == 1 ? product(rows, dim, 4) : product(rows, params.nwg, dim + 2, 4);
  char *dst = slots.bind(coded ? 6 : 4, "dst", results);
  problem.o = contiguous(dst, Elem::f32, params.heads, batch.q_len, dim);
  problem.partials.splits = int(params.nwg);
  if (params.nwg > 1 && dst != nullptr) problem.partials = partials_in(dst, rows, dim, params.nwg);
  if (slots.constant(HAS_SINKS)) problem.sinks = slots.bind(SINKS, "sinks", product(params.heads, 4));
  if (slots.constant(HAS_LSE) && params.nwg == 1) problem.lse = slots.bind(LSE, "LSE", product(rows, 4));
  if (params.fuse_fwht_pre != 0) problem.rotate_q = slots.signs(SIGNS, dim, default_signs);
  problem.executor = dispatch.executor;
  return slots.error ? slots.error : bodies_for(isa_choice().isa).decode(problem);
}

const char *run_vec_reduce(const VecReduceKernel &kernel, const sm_dispatch &dispatch) {
  Slots slots(kernel.name, dispatch);
  const auto params = slots.read<fa_vec_reduce_params>(PARAMS, "params");
  const fa_decode_batch batch = read_batch(slots);
  const uint32_t splits = kernel.splits ? uint32_t(kernel.splits) : slots.read<uint32_t>(REDUCE_NWG, "nwg");
  slots.require("slot 3 (nwg)", splits, 1, MOST_SPLITS);
  if (slots.error) return slots.error;
  const uint64_t queries = product(batch.batch, batch.q_len);
  slots.require("slot 0 (params): nrows mod the batch's queries", params.nrows % queries, 0, 0);
  slots.require("slot 0 (params): nrows", params.nrows, 1, INT32_MAX);
  slots.require_grid(params.nrows, 1, 1);
  slots.require("threads of a threadgroup mod 32", dispatch.threads[0] % 32, 0, 0);
  if (kernel.undo) slots.require_threadgroup_bytes(uint64_t(kernel.head_dim) * 4);

  const uint64_t rows = params.nrows;
  const int dim = kernel.head_dim;
  MergeProblem problem = {};
  problem.kernel = kernel.name;
  problem.batch = int(batch.batch);
  problem.heads = int(rows / queries);
  problem.q_len = int(batch.q_len);
  problem.head_dim = dim;
  char *tmp = slots.bind(REDUCE_TMP, "tmp", product(rows, splits, dim + 2, 4));
  if (tmp != nullptr) problem.partials = partials_in(tmp, rows, dim, splits);
  problem.o =
      contiguous(slots.bind(REDUCE_DST, "dst", product(rows, dim, 4)), Elem::f32, problem.heads, batch.q_len, dim);
  if (slots.constant(HAS_LSE)) problem.lse = slots.bind(REDUCE_LSE, "LSE", product(rows, 4));
  if (kernel.undo) problem.undo_v = slots.signs(SIGNS, dim, default_signs);
  problem.executor = dispatch.executor;
  return slots.error ? slots.error : bodies_for(isa_choice().isa).merge(problem);
}

}  // namespace fa
