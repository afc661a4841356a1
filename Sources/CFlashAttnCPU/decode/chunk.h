// The work on one chunk of keys.
#ifndef FA_CPU_DECODE_CHUNK_H
#define FA_CPU_DECODE_CHUNK_H

#include "softmax.h"

namespace fa::FA_ISA {

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

/// Lines that memory can deliver while a block's softmax is computed.
constexpr int spare_lines = 16;

FA_INLINE int log2_up(int n) { return n <= 1 ? 0 : 32 - __builtin_clz(uint32_t(n - 1)); }

/// The state of a task.
struct Chunk {
  const DecodeProblem &p;
  const KeyRows rows;
  const int columns;
  const int k_halves, v_halves;  ///< norms of a row
  const RowPasses &k_passes, &v_passes;
  const bool short_runs;
  const char *const queries;
  char *const collected;  ///< room for rows brought together, if they may have to be
  ChunkResult &result;
  DistanceBias bias[most_columns] = {};
  // Large: only what is read before it is written is set to 0.
  alignas(64) float scores[2][most_columns + 3][column_stride];  // a range of columns is rounded up
  alignas(64) float weights[2][most_columns][column_stride];
  alignas(64) float k_norms[2][column_stride], v_norms[2][column_stride];
  float decay[most_columns] = {};

  FA_METHOD Chunk(const DecodeTasks &t, uint64_t head, int pass, uint32_t worker, ChunkResult &result)
      : p(t.problem),
        rows(p, int64_t(head) / p.kv_heads, int64_t(head) % p.kv_heads),
        columns(t.columns_of(pass)),
        k_halves(norms_per_row(p.k.format->version, p.head_dim)),
        v_halves(norms_per_row(p.v.format->version, p.head_dim)),
        k_passes(t.k_passes()),
        v_passes(t.v_passes()),
        short_runs(t.has_short_runs()),
        queries(t.queries(head, pass)),
        collected(t.block(worker)),
        result(result) {
    for (int k = 0; k < row_block; k++) k_norms[0][k] = v_norms[0][k] = 1.0f;
    for (int c = columns; c < t.padded; c++) {
      __builtin_memset(weights[0][c], 0, sizeof weights[0][c]);
      __builtin_memset(weights[1][c], 0, sizeof weights[1][c]);
    }
  }

  /// Columns [first, first + count) attend `keys` keys from `key` on. Where their rows are makes no difference to what is
  /// computed.
  FA_METHOD void attend_block(int64_t key, int keys, int first, int count) {
    if (short_runs) dot(collect(p.k, key, keys), 0, first, count);
    for (int at = 0; at < keys;) {
      const RowRun run = rows.run(key + at, keys - at);
      prefetch_norms(p.k, run.row, rows.step, k_halves);
      prefetch_norms(p.v, run.row, rows.step, v_halves);
      if (!short_runs) dot(rows_of(p.k, p.v, run), at, first, count);
      read_norms(p.k, run.row, rows.step, k_halves, run.count, k_norms, at);
      read_norms(p.v, run.row, rows.step, v_halves, run.count, v_norms, at);
      at += run.count;
    }
    const KeyBlock block = {key,
                            keys,
                            k_halves > 1 ? 2 : 1,
                            v_halves > 1 ? 2 : 1,
                            k_norms,
                            v_norms,
                            {scores[0], scores[1]},
                            {weights[0], weights[1]},
                            p.slopes == nullptr ? nullptr : bias};
    prefetch_keys(key + keys - 1, 0);
    softmax(p, v_passes.products, block, first, count, result, decay);
    prefetch_keys(key + keys - 1, spare_lines / 2);
    // The same keys are added up together wherever they are.
    const bool together = v_passes.products != Products::floats;
    const bool apart = short_runs || (together && rows.run(key, keys).count < keys);
    if (apart) return gather(collect(p.v, key, keys), 0, first, count);
    for (int at = 0; at < keys;) {
      const RowRun run = rows.run(key + at, keys - at);
      gather(rows_of(p.v, p.k, run), at, first, count);
      for (int c = first; c < first + count; c++) decay[c] = 1.0f;
      at += run.count;
    }
  }

 private:
  /// Scores of keys that lie one after the other, from key `at` of the block on.
  FA_METHOD void dot(const RowRange &range, int at, int first, int count) {
    const int units = p.head_dim / unit_size, parts = k_halves == 2 ? 2 : 1;
    for (int h = 0; h < parts; h++) {
      k_passes.dots[log2_up(count)](range, h * units / parts, (h + 1) * units / parts,
                                    queries + first * query_bytes(k_passes.products, p.head_dim),
                                    scores[h][first] + at);
    }
  }

  /// Adds the weighted values of those keys.
  FA_METHOD void gather(const RowRange &range, int at, int first, int count) {
    const int units = p.head_dim / unit_size, parts = v_halves == 2 ? 2 : 1;
    // Columns that do not attend must not see these values, not even with a weight of 0.
    const bool all = count == columns;
    for (int done = 0; done < count;) {
      const int size = all ? log2_up(count) : 31 - __builtin_clz(uint32_t(count - done));
      const int c = first + done;
      for (int h = 0; h < parts; h++) {
        // Weights that are not floats are of keys from the block's first one on.
        v_passes.gather[size](range, h * units / parts, (h + 1) * units / parts,
                              reinterpret_cast<const char *>(weights[h][c] + at), decay + c,
                              result.values() + c * p.head_dim);
      }
      done += 1 << size;
    }
  }

  /// Prefetches a half of the spare lines, from line `line` on, of what the pass that ended with key `last` has not.
  FA_METHOD void prefetch_keys(int64_t last, int line) const {
    const char *from = p.k.data + (rows.run(last, 1).row + 1) * p.k.format->row_bytes(p.head_dim) + key_prefetch;
    for (int i = line; i < line + spare_lines / 2; i++) __builtin_prefetch(from + i * 64, 0, 2);
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

  FA_METHOD RowRange rows_of(const CacheSide &side, const CacheSide &other, RowRun run) const {
    const int64_t bytes = side.format->row_bytes(p.head_dim);
    return {side.format,       side.data + run.row * bytes,
            rows.step * bytes, p.head_dim,
            run.count,         side.format == other.format ? other.data - side.data : 0};
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
  Chunk chunk(t, head, pass, worker, result);
  for (int c = 0; p.slopes != nullptr && c < columns; c++) {
    const int column = pass * most_columns + c;
    const int64_t slope = b * p.slope_stride + kv_head * t.group + column % t.group;
    chunk.bias[c] = {load<float>(p.slopes + slope * 4), t.position(b, column / t.group)};
  }
  struct {
    KeyRange keys;
    int from, to;  ///< columns
  } tokens[most_columns];
  const int token_count = last_token - first_token + 1;
  for (int i = 0; i < token_count; i++) {
    const int from = (first_token + i) * t.group - pass * most_columns, to = from + t.group;
    tokens[i] = {t.keys(b, first_token + i), from < 0 ? 0 : from, to < columns ? to : columns};
  }
  for (int64_t key = begin; key < end;) {
    // As far as the same columns attend.
    int64_t until = key + row_block < end ? key + row_block : end;
    int first = columns, last = 0;
    for (int i = 0; i < token_count; i++) {
      const KeyRange attended = tokens[i].keys;
      if (attended.begin > key && attended.begin < until) until = attended.begin;
      if (attended.end > key && attended.end < until) until = attended.end;
      if (attended.begin > key || attended.end <= key) continue;
      if (tokens[i].from < first) first = tokens[i].from;
      last = tokens[i].to;
    }
    if (first < last) chunk.attend_block(key, int(until - key), first, last - first);
    key = until;
  }
}

}  // namespace fa::FA_ISA

#endif
