// How a decode problem is shared out: keys in chunks, columns in passes.
#ifndef FA_CPU_DECODE_TASKS_H
#define FA_CPU_DECODE_TASKS_H

#include "passes.h"

namespace fa::FA_ISA {

/// What a chunk has found for each of its columns; the values follow.
struct alignas(64) ChunkResult {
  float maximum[most_columns], sum[most_columns];
  bool empty;  ///< no keys: there are no values
  FA_METHOD float *values() { return reinterpret_cast<float *>(this + 1); }
  FA_METHOD const float *values() const { return reinterpret_cast<const float *>(this + 1); }
};

/// A range of keys.
struct KeyRange {
  int64_t begin, end;
};

/// Keys whose rows lie at equal steps.
struct RowRun {
  int64_t row;
  int count;
};

/// Where the keys of a sequence and kv head are.
struct KeyRows {
  const CachePages &pages;
  const char *table;   ///< the sequence's pages
  int64_t first;       ///< row of slot 0; of page 0
  int64_t capacity, ring_start;
  int64_t step;        ///< rows between neighbours

  FA_METHOD KeyRows(const DecodeProblem &p, int64_t b, int64_t kv_head) : pages(p.pages) {
    capacity = p.capacity;
    if (pages.table != nullptr) {
      table = pages.table + b * pages.table_stride * 4;
      first = kv_head * pages.head_stride;
      ring_start = 0;
      step = pages.slot_stride;
    } else {
      table = nullptr;
      first = (b * p.kv_heads + kv_head) * capacity;
      ring_start = (p.ring_starts == nullptr ? p.ring_start : load<uint32_t>(p.ring_starts + b * 4)) % capacity;
      step = 1;
    }
  }

  /// The first ones of `keys` keys from `key` on.
  FA_METHOD RowRun run(int64_t key, int keys) const {
    int64_t slot = ring_start + key, left = capacity - slot;
    if (table != nullptr) {
      const int64_t page = key / pages.page_size;
      slot = key - page * pages.page_size;
      left = pages.page_size - slot;
      return {first + load<uint32_t>(table + page * 4) * pages.page_stride + slot * step,
              left < keys ? int(left) : keys};
    }
    if (left <= 0) {
      slot -= capacity;
      left += capacity;
    }
    return {first + slot, left < keys ? int(left) : keys};
  }
};

struct DecodeTasks {
  const DecodeProblem &problem;
  int group;         ///< query heads of a kv head
  int column_count;  ///< of a kv head: token by token, its heads
  int pass_count;
  int padded;  ///< columns of a pass that there is room for
  int chunk_keys, chunks;
  char *memory;

  FA_METHOD void plan() {
    const DecodeProblem &p = problem;
    group = p.heads / p.kv_heads;
    column_count = group * p.q_len;
    pass_count = (column_count + most_columns - 1) / most_columns;
    padded = 1;
    while (padded < column_count && padded < most_columns) padded *= 2;
    int64_t most = 0;
    for (int b = 0; b < p.batch; b++) {
      const int64_t span = keys(b, p.q_len - 1).end - keys(b, 0).begin;
      if (span > most) most = span;
    }
    // Chunks are long, for memory has to be asked anew at the start of each, and many enough to share out evenly.
    chunk_keys = 2048;
    const int64_t heads = int64_t(p.batch) * p.kv_heads * pass_count;
    while (chunk_keys > 2 * row_block && ceil_div(most, chunk_keys) * heads < 4 * int64_t(p.executor->workers)) {
      chunk_keys /= 2;
    }
    chunks = int(ceil_div(most, chunk_keys));
  }

  /// Fails unless all pages of keys that are attended are there.
  FA_METHOD const char *check_pages() const {
    const CachePages &pages = problem.pages;
    for (int64_t b = 0; pages.table != nullptr && b < problem.batch; b++) {
      const int64_t end = keys(b, problem.q_len - 1).end;
      for (int64_t i = keys(b, 0).begin / pages.page_size; i * pages.page_size < end; i++) {
        const uint32_t page = load<uint32_t>(pages.table + (b * pages.table_stride + i) * 4);
        if (page >= pages.count) {
          return fail("%s: block_table: entry %lld of sequence %lld: needs a page below %lld, got %u", problem.kernel,
                      (long long)i, (long long)b, (long long)pages.count, page);
        }
      }
    }
    return nullptr;
  }

  FA_METHOD int columns_of(int pass) const {
    const int left = column_count - pass * most_columns;
    return left < most_columns ? left : most_columns;
  }

  /// Where a query stands among the keys: the last one at the last of them.
  FA_METHOD int64_t position(int64_t b, int token) const { return length(b) - problem.q_len + token; }

  FA_METHOD int64_t length(int64_t b) const {
    const int64_t keys = problem.kv_lens == nullptr ? problem.kv_len : load<uint32_t>(problem.kv_lens + b * 4);
    return keys < problem.capacity ? keys : problem.capacity;
  }

  /// The keys that a query attends.
  FA_METHOD KeyRange keys(int64_t b, int token) const {
    const DecodeProblem &p = problem;
    const int64_t end = length(b);
    int64_t own_end = position(b, token) + 1;
    if (own_end < 0) own_end = 0;
    return {p.window != 0 && own_end > p.window ? own_end - p.window : 0, p.causal ? own_end : end};
  }

  FA_METHOD uint64_t task(uint64_t head, int chunk, int pass) const {
    return (head * chunks + chunk) * pass_count + pass;
  }
  FA_METHOD uint64_t task_count() const { return task(uint64_t(problem.batch) * problem.kv_heads, 0, 0); }

  /// How the rows of K and V are worked on.
  FA_METHOD const RowPasses &k_passes() const { return passes_of(problem.k); }
  FA_METHOD const RowPasses &v_passes() const { return passes_of(problem.v); }
  FA_METHOD const RowPasses &passes_of(const CacheSide &side) const {
    return passes(side.format->rows, problem.head_dim, problem.q.elem, padded);
  }

  /// Columns of zeros follow, so that any range of columns can be rounded up to a power of 2.
  FA_METHOD int query_columns() const { return padded + padded / 2; }
  FA_METHOD uint64_t query_floats() const { return uint64_t(query_columns()) * problem.head_dim; }
  FA_METHOD char *queries(uint64_t head, int pass) const {
    return memory + (head * pass_count + pass) * query_floats() * sizeof(float);
  }
  FA_METHOD uint64_t query_bytes() const {
    return uint64_t(problem.batch) * problem.kv_heads * pass_count * query_floats() * sizeof(float);
  }
  FA_METHOD uint64_t result_bytes() const {
    return sizeof(ChunkResult) + uint64_t(padded) * problem.head_dim * sizeof(float);
  }
  FA_METHOD ChunkResult &result(uint64_t task) const {
    return *reinterpret_cast<ChunkResult *>(memory + query_bytes() + task * result_bytes());
  }

  /// Whether runs of rows are too short to be worked on where they are.
  FA_METHOD bool has_short_runs() const {
    return problem.pages.table != nullptr && problem.pages.page_size < row_block;
  }
  /// Whether a block's rows may have to be brought together.
  FA_METHOD bool collects_rows() const {
    const bool one_run = problem.pages.table == nullptr && problem.ring_starts == nullptr && problem.ring_start == 0;
    return has_short_runs() || (v_passes().products != Products::floats && !one_run);
  }
  /// Room for a block's rows of K or V, which a worker has to itself.
  FA_METHOD uint64_t block_bytes() const {
    const DecodeProblem &p = problem;
    const int64_t k = p.k.format->row_bytes(p.head_dim), v = p.v.format->row_bytes(p.head_dim);
    return collects_rows() ? row_block * uint64_t(k > v ? k : v) : 0;
  }
  FA_METHOD char *block(uint32_t worker) const {
    return collects_rows() ? memory + query_bytes() + task_count() * result_bytes() + worker * block_bytes() : nullptr;
  }
  FA_METHOD uint64_t scratch_bytes() const {
    return query_bytes() + task_count() * result_bytes() + problem.executor->workers * block_bytes();
  }
};

}  // namespace fa::FA_ISA

#endif
