#include "kv_codec.h"

#include "bodies.h"
#include "flash_attn_params.h"
#include "slots.h"

namespace fa {
namespace {

enum { FWHT_DATA = 0, FWHT_PARAMS = 1, FWHT_SIGNS = 2 };
enum { FROM = 0, DATA = 1, NORMS = 2, PARAMS = 3, PROBE = 4, WRITE_POS = 4, SIGNS = 5 };    // into a cache
enum { CACHE = 0, CACHE_NORMS = 1, OUT = 2 };                                               // out of it
enum { HAS_RMS = 56 };

#define FA_SIGNS(SLOT) {"signs", SLOT, SM_READ, 0, HAS_SIGNS}
const sm_argument fwht_arguments[] = {{"data", FWHT_DATA, SM_READ_WRITE, 0, SM_ALWAYS},
                                      {"params", FWHT_PARAMS, SM_READ, sizeof(fa_fwht_params), SM_ALWAYS},
                                      FA_SIGNS(FWHT_SIGNS)};
#define FA_ENCODE(PARAMS_TYPE, NORMS_GUARD)                                          \
  {"src", FROM, SM_READ, 0, SM_ALWAYS}, {"data", DATA, SM_READ_WRITE, 0, SM_ALWAYS}, \
      {"norms", NORMS, SM_READ_WRITE, 0, NORMS_GUARD}, {"params", PARAMS, SM_READ, sizeof(PARAMS_TYPE), SM_ALWAYS},
const sm_argument hadamard_fast_arguments[] = {
    FA_ENCODE(fa_hadamard_quantize_kv_params, SM_ALWAYS){"rms_scratch", PROBE, SM_READ_WRITE, 0, HAS_RMS}};
const sm_argument hadamard_hb_arguments[] = {FA_ENCODE(fa_hadamard_quantize_kv_hb_params, SM_ALWAYS)};
const sm_argument kv_encode_arguments[] = {
    FA_ENCODE(fa_kv_encode_params, SM_IF_BOUND){"write_pos", WRITE_POS, SM_READ, 0, SM_ALWAYS}, FA_SIGNS(SIGNS)};
#define FA_DECODE(PARAMS_TYPE, NORMS_GUARD)                                                \
  {"data", CACHE, SM_READ, 0, SM_ALWAYS}, {"norms", CACHE_NORMS, SM_READ, 0, NORMS_GUARD}, \
      {"out", OUT, SM_READ_WRITE, 0, SM_ALWAYS}, {"params", PARAMS, SM_READ, sizeof(PARAMS_TYPE), SM_ALWAYS},
const sm_argument tq_dequantize_arguments[] = {FA_DECODE(fa_tq_dequantize_kv_params, SM_ALWAYS)};
const sm_argument tq_dequantize_hb_arguments[] = {FA_DECODE(fa_tq_dequantize_hb_kv_params, SM_ALWAYS)};
const sm_argument kv_decode_arguments[] = {FA_DECODE(fa_kv_decode_params, SM_IF_BOUND) FA_SIGNS(SIGNS)};

const sm_constant_info sign_options[] = {{"has_signs", HAS_SIGNS, MTL_DATA_TYPE_BOOL, 0}};
const sm_constant_info probe_options[] = {{"has_rms", HAS_RMS, MTL_DATA_TYPE_BOOL, 0}};
const sm_constant_info format_options[] = {{"has_signs", HAS_SIGNS, MTL_DATA_TYPE_BOOL, 0},
                                           {"format", K_FORMAT, MTL_DATA_TYPE_INT, 1},
                                           {"norms_f16", NORMS_F16, MTL_DATA_TYPE_BOOL, 0}};

/// The format that the pipeline is made for.
const KvFormat *format_of(Slots &slots, bool takes_version_1) {
  const int32_t id = int_constant(slots.dispatch, K_FORMAT, -1);
  const KvFormat *format = kv_format(id);
  if (slots.error == nullptr && (format == nullptr || (format->version == 1 && !takes_version_1))) {
    const char *needed = takes_version_1 ? "a format of fa_kv_format" : "a dense format or one of version 2";
    slots.error = fail("%s: function constant %d (format): needs %s, got %" PRId32, slots.kernel, K_FORMAT, needed, id);
  }
  return format;
}

const KvFormat &format_v1(Slots &slots, bool nibbles, uint32_t bits) {
  if (nibbles) return *kv_format(FA_KV_TQ4_V1);
  if (slots.error == nullptr && bits != 5 && bits != 6 && bits != 8) {
    slots.error =
        fail("%s: slot %d (params): codebook_bits: needs 5, 6 or 8, got %" PRIu32, slots.kernel, PARAMS, bits);
  }
  return *kv_format(slots.error ? FA_KV_TQ_HB8 : FA_KV_TQ_HB5 - 5 + int(bits));
}

void require_head_dim(Slots &slots, uint32_t got, int expected) {
  slots.require("params: head_dim", got, uint64_t(expected), uint64_t(expected));
}

char *bind_norms(Slots &slots, uint32_t slot, const KvFormat &format, int head_dim, bool as_half, uint64_t rows) {
  if (slots.error || format.dense()) return nullptr;
  return slots.bind(slot, "norms", product(rows, norms_per_row(format.version, head_dim), as_half ? 2 : 4));
}

/// What norm and centroid are multiplied by.
float row_factor(const KvFormat &format, int head_dim, float scale_factor_d512) {
  if (format.bits == 0) return 1.0f;
  const bool halves = norms_per_row(format.version, head_dim) == 2;
  return halves ? 1.0f / factor_v1(scale_factor_d512) : 1.0f / __builtin_sqrtf(float(head_dim));
}

}  // namespace

const Signature fwht_signature = signature(fwht_arguments, sign_options);
const Signature hadamard_fast_signature = signature(hadamard_fast_arguments, probe_options);
const Signature hadamard_hb_signature = signature(hadamard_hb_arguments);
const Signature tq_dequantize_signature = signature(tq_dequantize_arguments);
const Signature tq_dequantize_hb_signature = signature(tq_dequantize_hb_arguments);
const Signature kv_encode_signature = signature(kv_encode_arguments, format_options);
const Signature kv_decode_signature = signature(kv_decode_arguments, format_options);

const char *run_fwht(const FwhtKernel &kernel, const sm_dispatch &dispatch) {
  Slots slots(kernel.name, dispatch);
  const auto params = slots.read<fa_fwht_params>(FWHT_PARAMS, "params");
  require_head_dim(slots, params.head_dim, kernel.head_dim);
  slots.require_threads(32, 1);
  FwhtProblem problem = {};
  problem.rows = covered(params.num_heads, dispatch.threadgroups[0]);
  problem.head_dim = kernel.head_dim;
  problem.data = slots.bind(FWHT_DATA, "data", product(problem.rows, kernel.head_dim, 4));
  const uint8_t *signs = slots.signs(FWHT_SIGNS, kernel.head_dim, default_signs);
  if (kernel.flip == Flip::before) problem.before = signs;
  if (kernel.flip == Flip::behind) problem.behind = signs;
  problem.executor = dispatch.executor;
  if (!slots.error) bodies_for(isa_choice().isa).fwht(problem);
  return slots.error;
}

const char *run_hadamard(const HadamardKernel &kernel, const sm_dispatch &dispatch) {
  Slots slots(kernel.name, dispatch);
  static_assert(sizeof(fa_hadamard_quantize_kv_params) == sizeof(fa_hadamard_quantize_kv_hb_params), "one layout");
  const auto params = slots.read<fa_hadamard_quantize_kv_hb_params>(PARAMS, "params");
  require_head_dim(slots, params.head_dim, kernel.head_dim);
  slots.require_threads(32, 1);
  const KvFormat &format = format_v1(slots, kernel.nibbles, params.codebook_bits);
  const uint64_t tokens = kernel.sequence ? dispatch.threadgroups[1] : 1;
  const uint64_t rows = product(params.num_kv_heads, params.cache_capacity);
  const int64_t row = int64_t(kernel.head_dim) * 4;
  EncodeProblem problem = {};
  problem.batch = 1;
  problem.kv_heads = params.num_kv_heads;
  slots.require("threadgroups in x", dispatch.threadgroups[0], params.num_kv_heads, UINT64_MAX);
  problem.tokens = problem.all_tokens = int64_t(tokens);
  problem.head_dim = kernel.head_dim;
  problem.capacity = params.cache_capacity;
  problem.ring = params.is_sliding != 0;
  problem.write_pos = params.write_pos;
  problem.elem = Elem::f32;
  problem.src = slots.bind(FROM, "src", product(tokens, params.num_kv_heads, row));
  problem.strides[1] = row;
  problem.strides[2] = row * params.num_kv_heads;
  problem.format = &format;
  problem.data = slots.bind(DATA, "data", product(rows, format.row_bytes(kernel.head_dim)));
  problem.norms = bind_norms(slots, NORMS, format, kernel.head_dim, false, rows);
  problem.signs = default_signs;
  problem.factor_d512 = factor_v1(params.scale_factor_d512);
  // The last parameter of the 4-bit kernels asks for the probe.
  if (kernel.nibbles && slots.constant(HAS_RMS) && params.codebook_bits != 0) {
    problem.probe = slots.bind(PROBE, "rms_scratch", product(tokens, params.num_kv_heads, row));
  }
  problem.executor = dispatch.executor;
  if (!slots.error && rows != 0) bodies_for(isa_choice().isa).encode(problem);
  return slots.error;
}

const char *run_kv_encode(const KvKernel &kernel, const sm_dispatch &dispatch) {
  Slots slots(kernel.name, dispatch);
  const auto params = slots.read<fa_kv_encode_params>(PARAMS, "params");
  const KvFormat *format = format_of(slots, false);
  slots.require_threads(32, 1);
  if (slots.error) return slots.error;
  const uint64_t rows = product(params.batch, params.kv_heads, params.capacity);
  EncodeProblem problem = {};
  problem.batch = covered(params.batch, dispatch.threadgroups[2]);
  problem.kv_heads = params.kv_heads;
  problem.tokens = covered(params.n_tokens, dispatch.threadgroups[0]);
  problem.all_tokens = params.n_tokens;
  slots.require("threadgroups in y", dispatch.threadgroups[1], params.kv_heads, UINT64_MAX);
  if (problem.batch == 0 || problem.kv_heads == 0 || problem.tokens == 0) return slots.error;
  const int64_t counts[3] = {problem.batch, problem.kv_heads, problem.tokens};
  uint64_t bytes;
  if (!slots.error && !extent_bytes(counts, params.src_strides, 3, kernel.head_dim, elem_bytes(kernel.elem), &bytes)) {
    slots.error =
        fail("%s: slot %d (params): src_strides: needs non-negative ones and a size below 2^63 bytes, got (%" PRId64
             ", %" PRId64 ", %" PRId64 ")",
             kernel.name, PARAMS, params.src_strides[0], params.src_strides[1], params.src_strides[2]);
  }
  if (slots.error) return slots.error;
  problem.head_dim = kernel.head_dim;
  problem.capacity = params.capacity;
  problem.ring = params.is_ring != 0;
  problem.write_positions = slots.bind(WRITE_POS, "write_pos", product(params.batch, 4));
  problem.elem = kernel.elem;
  problem.src = slots.bind(FROM, "src", bytes);
  for (int i = 0; i < 3; i++) {
    problem.strides[i] = counts[i] <= 1 ? 0 : params.src_strides[i] * elem_bytes(kernel.elem);
  }
  problem.format = format;
  problem.data = slots.bind(DATA, "data", product(rows, format->row_bytes(kernel.head_dim)));
  problem.norms_f16 = slots.constant(NORMS_F16);
  problem.norms = bind_norms(slots, NORMS, *format, kernel.head_dim, problem.norms_f16, rows);
  problem.signs = slots.signs(SIGNS, kernel.head_dim, default_signs);
  problem.executor = dispatch.executor;
  if (!slots.error && rows != 0) bodies_for(isa_choice().isa).encode(problem);
  return slots.error;
}

const char *run_kv_decode(const KvKernel &kernel, const sm_dispatch &dispatch) {
  Slots slots(kernel.name, dispatch);
  const auto params = slots.read<fa_kv_decode_params>(PARAMS, "params");
  const KvFormat *format = format_of(slots, true);
  slots.require_threads(32, 1);
  if (slots.error) return slots.error;
  const uint64_t rows = product(params.batch, params.kv_heads, params.capacity);
  DequantizeProblem problem = {};
  problem.batch = covered(params.batch, dispatch.threadgroups[2]);
  problem.kv_heads = covered(params.kv_heads, dispatch.threadgroups[1]);
  problem.tokens = covered(params.n_tokens, dispatch.threadgroups[0]);
  problem.heads = params.kv_heads;
  problem.out_tokens = params.n_tokens;
  problem.head_dim = kernel.head_dim;
  problem.capacity = params.capacity;
  problem.ring = params.is_ring != 0;
  problem.read_pos = params.read_pos;
  problem.format = format;
  problem.data = slots.bind(CACHE, "data", product(rows, format->row_bytes(kernel.head_dim)));
  problem.norms_f16 = format->version == 2 && slots.constant(NORMS_F16);
  problem.norms = bind_norms(slots, CACHE_NORMS, *format, kernel.head_dim, problem.norms_f16, rows);
  problem.row_norms = format->dense() ? 1 : norms_per_row(format->version, kernel.head_dim);
  problem.factor = row_factor(*format, kernel.head_dim, params.scale_factor_d512);
  problem.elem = kernel.elem;
  problem.out = slots.bind(
      OUT, "out", product(params.batch, params.kv_heads, params.n_tokens, kernel.head_dim, elem_bytes(kernel.elem)));
  if (params.undo_rotation != 0 && !format->dense()) {
    problem.unrotate = slots.signs(SIGNS, kernel.head_dim, default_signs);
  }
  problem.executor = dispatch.executor;
  if (!slots.error && rows != 0) bodies_for(isa_choice().isa).dequantize(problem);
  return slots.error;
}

const char *run_tq_dequantize(const TqDequantizeKernel &kernel, const sm_dispatch &dispatch) {
  Slots slots(kernel.name, dispatch);
  fa_tq_dequantize_hb_kv_params params = {};
  if (kernel.nibbles) {
    const auto short_params = slots.read<fa_tq_dequantize_kv_params>(PARAMS, "params");
    std::memcpy(&params, &short_params, sizeof short_params);
  } else {
    params = slots.read<fa_tq_dequantize_hb_kv_params>(PARAMS, "params");
  }
  require_head_dim(slots, params.head_dim, kernel.head_dim);
  slots.require_threads(32, 1);
  const KvFormat &format = format_v1(slots, kernel.nibbles, params.codebook_bits);
  const int norms = norms_per_row(1, kernel.head_dim);
  slots.require("slot 3 (params): norms_per_pos", params.norms_per_pos, uint64_t(norms), uint64_t(norms));
  const uint64_t rows = product(params.num_kv_heads, params.cache_capacity);
  DequantizeProblem problem = {};
  problem.batch = 1;
  problem.kv_heads = problem.heads = covered(params.num_kv_heads, dispatch.threadgroups[0]);
  problem.tokens = problem.out_tokens = 1;
  problem.head_dim = kernel.head_dim;
  problem.capacity = params.cache_capacity;
  problem.read_pos = params.read_pos;
  problem.format = &format;
  problem.data = slots.bind(CACHE, "data", product(rows, format.row_bytes(kernel.head_dim)));
  problem.norms = bind_norms(slots, CACHE_NORMS, format, kernel.head_dim, false, rows);
  problem.row_norms = norms;
  problem.factor = row_factor(format, kernel.head_dim, params.scale_factor_d512);
  problem.elem = Elem::f32;
  problem.out = slots.bind(OUT, "out", product(problem.kv_heads, kernel.head_dim, 4));
  problem.executor = dispatch.executor;
  if (!slots.error && rows != 0) bodies_for(isa_choice().isa).dequantize(problem);
  return slots.error;
}

}  // namespace fa
