// Sequences of different lengths: where their rows and keys are, read and checked.
#include "prefill_arguments.h"

namespace fa {

namespace {

int clamped(int64_t key, int64_t keys) { return int(key < 0 ? 0 : key < keys ? key : keys); }

/// Reads one number for each sequence and `extra` ones.
const char *read_numbers(const PrefillReader &reader, PrefillSlot slot, const char *name, int64_t count,
                         std::vector<uint32_t> *numbers) {
  if (const char *error = check_bound(reader.kernel.name, reader.dispatch, slot, name, uint64_t(count) * 4)) {
    return error;
  }
  numbers->resize(size_t(count));
  std::memcpy(numbers->data(), reader.dispatch.buffers[slot].data, size_t(count) * 4);
  return nullptr;
}

const char *read_starts(const PrefillReader &reader, PrefillSlot slot, const char *name, int32_t batch,
                        std::vector<uint32_t> *starts) {
  if (const char *error = read_numbers(reader, slot, name, int64_t(batch) + 1, starts)) return error;
  for (size_t i = 0; i < starts->size(); i++) {
    const uint32_t least = i == 0 ? 0 : (*starts)[i - 1];
    if ((*starts)[i] >= least && (*starts)[i] <= uint32_t(INT32_MAX)) continue;
    return fail("%s: slot %d (%s): needs starts from %" PRIu32 " to %" PRId32 " after that, got %" PRIu32,
                reader.kernel.name, slot, name, least, INT32_MAX, (*starts)[i]);
  }
  return nullptr;
}

/// K and V of one kv head, by whatever their first stride counts.
const char *bind_keys(const PrefillReader &reader, const fa_attn_params &params, int64_t outer, int64_t rows,
                      PrefillProblem *problem) {
  const int64_t counts[3] = {outer, (problem->heads - 1) / params.gqa_factor + 1, rows};
  const Elem elem = reader.kernel.elem;
  const char *error = reader.bind(K, "K", elem, counts, params.K_strides, params.D, &problem->k);
  return error ? error : reader.bind(V, "V", elem, counts, params.V_strides, params.D, &problem->v);
}

/// Gives sequences their rows of the block table, and binds as many pages as they name.
const char *bind_pages(const PrefillReader &reader, const fa_attn_params &params, PrefillProblem *problem,
                       std::vector<PrefillSequence> *sequences) {
  fa_attn_page_params pages;
  if (const char *error = reader.read(PAGE_PARAMS, "page_params", &pages)) return error;
  const char *kernel = reader.kernel.name;
  if (pages.page_size == 0)
    return fail("%s: slot %d (page_params): page_size: needs 1 or more, got 0", kernel, PAGE_PARAMS);
  const uint64_t entries = uint64_t(pages.pages_per_sequence) * sequences->size();
  if (const char *error = check_bound(kernel, reader.dispatch, BLOCK_TABLE, "block_table", entries * 4)) return error;
  const char *table = static_cast<const char *>(reader.dispatch.buffers[BLOCK_TABLE].data);
  problem->page_size = pages.page_size;
  int64_t count = 0;
  for (size_t i = 0; i < sequences->size(); i++) {
    PrefillSequence &own = (*sequences)[i];
    own.pages = table + i * pages.pages_per_sequence * 4;
    const int64_t used = ceil_div(own.length, pages.page_size);
    if (used > int64_t(pages.pages_per_sequence)) {
      return fail("%s: slot %d (kv_lens): needs at most %" PRIu64 " keys for sequence %zu, got %" PRId64, kernel,
                  KV_LENS, uint64_t(pages.pages_per_sequence) * pages.page_size, i, own.length);
    }
    for (int64_t page = 0; page < used; page++) {
      if (int64_t(own.page(page)) >= count) count = int64_t(own.page(page)) + 1;
    }
  }
  return bind_keys(reader, params, count, pages.page_size, problem);
}

/// Binds Q, O and LSE.
const char *bind_rows(const PrefillReader &reader, const fa_attn_params &params, const std::vector<uint32_t> &starts,
                      PrefillProblem *problem) {
  const bool packed = !starts.empty();
  const int64_t counts[3] = {packed ? 1 : problem->batches, problem->heads,
                             packed ? starts[size_t(problem->batches)] : problem->rows};
  const int64_t rows = packed ? starts.back() : params.qL;
  const int64_t lse_strides[3] = {int64_t(params.H) * rows, rows, 1};
  const char *error = reader.bind(Q, "Q", reader.kernel.elem, counts, params.Q_strides, params.D, &problem->q);
  if (!error) error = reader.bind_output(counts, params, &problem->o);
  if (error || !reader.constant(HAS_LSE)) return error;
  return reader.bind(LSE, "LSE", Elem::f32, counts, lse_strides, 1, &problem->lse);
}

}  // namespace

void PrefillBounds::span(int64_t rows, int64_t offset, int64_t keys, int *first_key, int *end) const {
  *end = rows == 0 ? 0 : clamped(rows + upper(offset), keys);
  *first_key = clamped(lower(offset), *end);
}

bool has_sequences(const PrefillReader &reader) {
  for (PrefillConstant index : {HAS_VARLEN, HAS_PAGES, HAS_KV_LENS, HAS_K_STARTS}) {
    if (reader.constant(index)) return true;
  }
  return false;
}

const char *bind_sequences(const PrefillReader &reader, const fa_attn_params &params, const PrefillBounds &bounds,
                           PrefillProblem *problem, std::vector<PrefillSequence> *sequences) {
  const char *kernel = reader.kernel.name;
  const bool paged = reader.constant(HAS_PAGES);
  if (reader.constant(HAS_MASK) && (paged || reader.constant(HAS_VARLEN) || reader.constant(HAS_K_STARTS))) {
    return fail("%s: function constant %d (has_mask): needs sequences that are neither packed nor in pages", kernel,
                HAS_MASK);
  }
  if (paged && (reader.constant(HAS_K_STARTS) || !reader.constant(HAS_KV_LENS))) {
    return fail("%s: function constant %d (has_pages): needs has_kv_lens, and not has_k_starts", kernel, HAS_PAGES);
  }
  std::vector<uint32_t> q_starts, k_starts, kv_lens;
  const char *error = nullptr;
  if (reader.constant(HAS_VARLEN)) error = read_starts(reader, Q_STARTS, "q_starts", params.B, &q_starts);
  if (!error && reader.constant(HAS_K_STARTS)) error = read_starts(reader, K_STARTS, "k_starts", params.B, &k_starts);
  if (!error && reader.constant(HAS_KV_LENS)) error = read_numbers(reader, KV_LENS, "kv_lens", params.B, &kv_lens);
  if (!error) error = bind_rows(reader, params, q_starts, problem);
  if (error) return error;

  const int64_t grid_rows = int64_t(reader.dispatch.threadgroups[0]) * reader.kernel.tile_rows;
  sequences->resize(size_t(problem->batches));
  for (size_t i = 0; i < sequences->size(); i++) {
    PrefillSequence &own = (*sequences)[i];
    own = {};
    const int64_t rows = q_starts.empty() ? params.qL : int64_t(q_starts[i + 1]) - q_starts[i];
    const int64_t room = k_starts.empty() ? params.kL : int64_t(k_starts[i + 1]) - k_starts[i];
    own.length = kv_lens.empty() ? room : kv_lens[i];
    if (own.length > (paged ? INT32_MAX : room)) {
      return fail("%s: slot %d (kv_lens): needs at most %" PRId64 " keys for sequence %zu, got %" PRId64, kernel,
                  KV_LENS, paged ? INT32_MAX : room, i, own.length);
    }
    own.offset = own.length - rows;
    own.rows = int(rows < grid_rows ? rows : grid_rows);
    own.q_start = q_starts.empty() ? 0 : q_starts[i];
    own.k_start = k_starts.empty() ? 0 : k_starts[i];
    own.lower = bounds.lower(own.offset);
    own.upper = bounds.upper(own.offset);
    bounds.span(own.rows, own.offset, own.length, &own.first_key, &own.keys);
  }
  problem->sequences = sequences->data();
  if (paged) return bind_pages(reader, params, problem, sequences);
  return k_starts.empty() ? bind_keys(reader, params, problem->batches, params.kL, problem)
                          : bind_keys(reader, params, 1, k_starts[size_t(problem->batches)], problem);
}

}  // namespace fa
