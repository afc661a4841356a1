// How a decode problem is shared out, and the work on one chunk of keys.
#ifndef FA_CPU_DECODE_CHUNK_H
#define FA_CPU_DECODE_CHUNK_H

#include "phases.h"
#include "softmax.h"

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
    // Chunks are long enough for their results to be small beside them, and many enough to share out evenly.
    chunk_keys = 1024;
    const int64_t heads = int64_t(p.batch) * p.kv_heads * pass_count;
    while (chunk_keys > 2 * row_block && ceil_div(most, chunk_keys) * heads < 8 * int64_t(p.executor->workers)) {
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

  /// Whether queries are multiplied with keys, and weights with values, as bf16.
  FA_METHOD bool key_pairs() const { return in_pairs(problem.k.format->rows, problem.q.elem); }
  FA_METHOD bool value_pairs() const { return in_pairs(problem.v.format->rows, problem.q.elem); }

  /// Columns of zeros follow, so that any range of columns can be rounded up.
  FA_METHOD uint64_t query_floats() const { return uint64_t(padded + 4) * problem.head_dim; }
  FA_METHOD float *queries(uint64_t head, int pass) const {
    return reinterpret_cast<float *>(memory) + (head * pass_count + pass) * query_floats();
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
  FA_METHOD bool has_short_runs() const { return problem.pages.table != nullptr && problem.pages.page_size < row_block; }
  /// Whether a block's rows may have to be brought together.
  FA_METHOD bool collects_rows() const {
    const bool one_run = problem.pages.table == nullptr && problem.ring_starts == nullptr && problem.ring_start == 0;
    return has_short_runs() || (value_pairs() && !one_run);
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

/// Norms of `count` rows, each `step` after the last, times the side's factor; `halves` for each row.
FA_INLINE void read_norms(const CacheSide &side, int64_t row, int64_t step, int halves, int count,
                          float (&to)[2][column_stride], int first) {
  for (int h = 0; h < halves; h++) {
    float *half = to[h] + first;
    int k = 0;
    if (halves == 1 && step == 1) {
      for (; k + VW <= count; k += VW) {
        const vf norms =
            side.norms_f16 ? f16_to_f32(load<vh>(side.norms + (row + k) * 2)) : load<vf>(side.norms + (row + k) * 4);
        store(half + k, norms * side.factor);
      }
    }
    for (; k < count; k++) half[k] = load_norm(side.norms, (row + k * step) * halves + h, side.norms_f16) * side.factor;
  }
}

/// Prefetches the norms that are read after those of a row: too few at a time for a processor to see where they lead.
FA_INLINE void prefetch_norms(const CacheSide &side, int64_t row, int64_t step, int halves) {
  const int64_t bytes = halves * (side.norms_f16 ? 2 : 4);
  if (step != 1) return;
  for (int64_t line = 0; line < row_block * bytes; line += 64) {
    __builtin_prefetch(side.norms + (row + row_block) * bytes + line);
  }
}

FA_INLINE int log2_up(int n) { return n <= 1 ? 0 : 32 - __builtin_clz(uint32_t(n - 1)); }

/// The state of a task.
struct Chunk {
  const DecodeProblem &p;
  int columns;
  bool key_pairs, value_pairs;
  const float *queries;
  const KeyRows &rows;
  bool short_runs;
  char *collected;  ///< room for rows brought together, if they may have to be
  ChunkResult &result;
  struct {
    float slope;
    int64_t position;
  } queried[most_columns] = {};  ///< what the columns' bias by distance needs
  alignas(64) float scores[2][most_columns + 3][column_stride];  // a range of columns is rounded up
  alignas(64) float weights[2][most_columns][column_stride];
  alignas(64) float k_norms[2][column_stride], v_norms[2][column_stride];
  float decay[most_columns];

  /// Columns [first, first + count) attend `keys` keys from `key` on. Where their rows are makes no difference to what is
  /// computed.
  FA_METHOD void attend_block(int64_t key, int keys, int first, int count) {
    const int k_halves = norms_per_row(p.k.format->version, p.head_dim);
    const int v_halves = norms_per_row(p.v.format->version, p.head_dim);
    if (short_runs) dot(collect(p.k, key, keys), 0, first, count, k_halves);
    for (int at = 0; at < keys;) {
      const RowRun run = rows.run(key + at, keys - at);
      prefetch_norms(p.k, run.row, rows.step, k_halves);
      prefetch_norms(p.v, run.row, rows.step, v_halves);
      if (!short_runs) dot(rows_of(p.k, run), at, first, count, k_halves);
      read_norms(p.k, run.row, rows.step, k_halves, run.count, k_norms, at);
      if (v_halves > 0) read_norms(p.v, run.row, rows.step, v_halves, run.count, v_norms, at);
      at += run.count;
    }
    for (int c = first; c < first + count; c++) {
      const ColumnBlock block = {{scores[0][c], scores[1][c]},
                                 k_norms,
                                 v_norms,
                                 k_halves,
                                 v_halves,
                                 {queried[c].slope, float(queried[c].position - key)},
                                 keys,
                                 value_pairs,
                                 {weights[0][c], weights[1][c]}};
      decay[c] = softmax_block(p, block, &result.maximum[c], &result.sum[c]);
    }
    // The same keys make pairs wherever they are.
    const bool apart = short_runs || (value_pairs && rows.run(key, keys).count < keys);
    if (apart) return gather(collect(p.v, key, keys), 0, first, count, v_halves);
    for (int at = 0; at < keys;) {
      const RowRun run = rows.run(key + at, keys - at);
      gather(rows_of(p.v, run), at, first, count, v_halves);
      for (int c = first; c < first + count; c++) decay[c] = 1.0f;
      at += run.count;
    }
  }

 private:
  /// Scores of keys that lie one after the other, from key `at` of the block on.
  FA_METHOD void dot(const RowRange &range, int at, int first, int count, int halves) {
    const int units = p.head_dim / unit_size, parts = halves == 2 ? 2 : 1;
    for (int h = 0; h < parts; h++) {
      const DotsPass dots = passes(p.k.format->rows, key_pairs).dots[log2_up(count)];
      dots(range, h * units / parts, (h + 1) * units / parts, queries + first * p.head_dim / (key_pairs ? 2 : 1),
           scores[h][first] + at);
    }
  }

  /// Adds the weighted values of those keys.
  FA_METHOD void gather(const RowRange &range, int at, int first, int count, int halves) {
    const int units = p.head_dim / unit_size, parts = halves == 2 ? 2 : 1;
    // Columns that do not attend must not see these values, not even with a weight of 0.
    const bool all = count == columns;
    for (int done = 0; done < count;) {
      const int size = all ? log2_up(count) : 31 - __builtin_clz(uint32_t(count - done));
      const int c = first + done;
      for (int h = 0; h < parts; h++) {
        passes(p.v.format->rows, value_pairs)
            .gather[size](range, h * units / parts, (h + 1) * units / parts,
                          reinterpret_cast<const char *>(weights[h][c]) + at * (value_pairs ? 2 : 4), decay + c,
                          result.values() + c * p.head_dim);
      }
      done += 1 << size;
    }
  }

  /// Brings the rows of `keys` keys from `key` on together.
  FA_METHOD RowRange collect(const CacheSide &side, int64_t key, int keys) const {
    const int64_t bytes = side.format->row_bytes(p.head_dim);
    for (int at = 0; at < keys;) {
      const RowRun run = rows.run(key + at, keys - at);
      for (int i = 0; i < run.count; i++, at++) {
        __builtin_memcpy(collected + at * bytes, side.data + (run.row + i * rows.step) * bytes, uint64_t(bytes));
      }
    }
    return {side.format, collected, bytes, p.head_dim, keys};
  }

  FA_METHOD RowRange rows_of(const CacheSide &side, RowRun run) const {
    const int64_t bytes = side.format->row_bytes(p.head_dim);
    return {side.format, side.data + run.row * bytes, rows.step * bytes, p.head_dim, run.count};
  }
};

FA_NOINLINE void attend_chunk(const DecodeTasks &t, uint64_t index, uint32_t worker) {
  const DecodeProblem &p = t.problem;
  const int pass = int(index % t.pass_count);
  const int64_t number = int64_t(index / t.pass_count) % t.chunks;
  const uint64_t head = index / t.pass_count / t.chunks;
  const int64_t b = int64_t(head) / p.kv_heads;
  const int columns = t.columns_of(pass);
  ChunkResult &result = t.result(index);

  const int first_token = pass * most_columns / t.group;
  const int last_token = (pass * most_columns + columns - 1) / t.group;
  const int64_t begin = t.keys(b, 0).begin + number * t.chunk_keys;
  int64_t end = t.keys(b, last_token).end;
  if (end > begin + t.chunk_keys) end = begin + t.chunk_keys;
  for (int c = 0; c < most_columns; c++) {
    result.maximum[c] = least_maximum;
    result.sum[c] = 0.0f;
  }
  result.empty = begin >= end;
  if (result.empty) return;
  __builtin_memset(result.values(), 0, uint64_t(t.padded) * p.head_dim * sizeof(float));

  const int64_t kv_head = int64_t(head) % p.kv_heads;
  const KeyRows rows(p, b, kv_head);
  Chunk chunk = {p,    columns,           t.key_pairs(),   t.value_pairs(), t.queries(head, pass),
                 rows, t.has_short_runs(), t.block(worker), result, {}, {}, {}, {}, {}, {}};
  for (int c = 0; p.slopes != nullptr && c < columns; c++) {
    const int column = pass * most_columns + c;
    const int64_t slope = b * p.slope_stride + kv_head * t.group + column % t.group;
    chunk.queried[c] = {load<float>(p.slopes + slope * 4), t.position(b, column / t.group)};
  }
  for (int64_t key = begin; key < end;) {
    // As far as the same columns attend.
    int64_t until = key + row_block < end ? key + row_block : end;
    int first = columns, last = 0;
    for (int token = first_token; token <= last_token; token++) {
      const KeyRange attended = t.keys(b, token);
      if (attended.begin > key && attended.begin < until) until = attended.begin;
      if (attended.end > key && attended.end < until) until = attended.end;
      if (attended.begin > key || attended.end <= key) continue;
      const int from = token * t.group - pass * most_columns, to = from + t.group;
      if (from < first) first = from < 0 ? 0 : from;
      last = to < columns ? to : columns;
    }
    if (first < last) chunk.attend_block(key, int(until - key), first, last - first);
    key = until;
  }
}

}  // namespace fa::FA_ISA

#endif
