// Attention of a few queries over a cache. The keys of a kv head are cut into chunks; a task takes a chunk and the
// columns that share it, the last pass merges the chunks.
#ifndef FA_CPU_DECODE_H
#define FA_CPU_DECODE_H

#include "../codec/rotate.h"
#include "../codec/vectors.h"
#include "chunk.h"
#include "merge.h"

namespace fa::FA_ISA {

/// Puts the queries of a kv head in the order of K's rows, column by column.
FA_NOINLINE void prepare_queries(void *context, uint64_t index, uint32_t) {
  const DecodeTasks &t = *static_cast<const DecodeTasks *>(context);
  const DecodeProblem &p = t.problem;
  const Products products = t.k_passes().products;
  const Places &places = places_of(t.k_passes().keys);
  alignas(64) float x[most_coordinates];
  alignas(64) uint16_t halves[most_coordinates];
  const int64_t b = int64_t(index) / p.kv_heads, kv_head = int64_t(index) % p.kv_heads;
  for (int pass = 0; pass < t.pass_count; pass++) {
    char *to = t.queries(index, pass);
    const int columns = t.columns_of(pass);
    const uint64_t column_bytes = uint64_t(query_bytes(products, p.head_dim));
    __builtin_memset(to + columns * column_bytes, 0, (t.query_columns() - columns) * column_bytes);
    for (int c = 0; c < columns; c++) {
      const int column = pass * most_columns + c;
      const int64_t head = kv_head * t.group + column % t.group, token = column / t.group;
      const char *from = p.q.data + b * p.q.strides[0] + head * p.q.strides[1] + token * p.q.strides[2];
      read_vector(x, from, p.q.elem, p.head_dim);
      if (p.rotate_q != nullptr) rotate(x, p.head_dim, p.rotate_q);
      char *column_at = to + c * column_bytes;
      switch (products) {
        case Products::floats:
          for (int e = 0; e < p.head_dim; e++) store(column_at + places.at[e] * 4, x[e]);
          break;
        case Products::pairs:
          write_vector(reinterpret_cast<char *>(halves), x, Elem::bf16, p.head_dim);
          for (int e = 0; e < p.head_dim; e++) store(column_at + places.at[e] * 2, halves[e]);
          break;
        case Products::bytes:
#ifdef FA_VNNI
          write_query_bytes(column_at, x, p.head_dim);
#endif
          break;
      }
    }
  }
}

FA_NOINLINE void attend_task(void *context, uint64_t index, uint32_t worker) {
  attend_chunk(*static_cast<const DecodeTasks *>(context), index, worker);
}

/// Merges the chunks of a row and writes what the row's output is.
FA_NOINLINE void finish_row(void *context, uint64_t index, uint32_t) {
  const DecodeTasks &t = *static_cast<const DecodeTasks *>(context);
  const DecodeProblem &p = t.problem;
  const int64_t head = int64_t(index) % p.heads, token = int64_t(index) / p.heads % p.q_len,
                b = int64_t(index) / p.heads / p.q_len;
  const int column = int(token * t.group + head % t.group);
  const uint64_t first = t.task(b * p.kv_heads + head / t.group, 0, column / most_columns);
  const int c = column % most_columns;

  float maximum = least_maximum, sum = 0.0f;
  if (p.sinks != nullptr) maximum = larger(maximum, load<float>(p.sinks + head * 4));
  for (int chunk = 0; chunk < t.chunks; chunk++) {
    const ChunkResult &result = t.result(first + uint64_t(chunk) * t.pass_count);
    maximum = larger(maximum, result.maximum[c]);
  }
  if (p.sinks != nullptr) sum = exponential(load<float>(p.sinks + head * 4) - maximum);
  alignas(64) float gathered[most_coordinates], x[most_coordinates];
  __builtin_memset(gathered, 0, uint64_t(p.head_dim) * sizeof(float));
  for (int chunk = 0; chunk < t.chunks; chunk++) {
    const ChunkResult &result = t.result(first + uint64_t(chunk) * t.pass_count);
    if (result.empty) continue;
    const float share = exponential(result.maximum[c] - maximum);
    sum += result.sum[c] * share;
    add_scaled(gathered, result.values() + c * p.head_dim, share, p.head_dim);
  }
  const Places &places = places_of(t.v_passes().values);
  for (int e = 0; e < p.head_dim; e++) x[e] = gathered[places.at[e]];
  const OutputRow row = {int64_t(index), b, head, token};
  if (p.partials.splits > 1) {
    write_partial(p.partials, row, x, p.head_dim, sum, maximum);
  } else {
    write_row(p.o, p.lse, p.undo_v, row, p.heads, p.q_len, p.head_dim, x, sum, maximum);
  }
}

static const char *decode(const DecodeProblem &p) {
  DecodeTasks t = {p, 0, 0, 0, 0, 0, 0, nullptr};
  t.plan();
  if (const char *error = t.check_pages()) return error;
  char *scratch = static_cast<char *>(p.executor->scratch(p.executor->self, t.scratch_bytes()));
  if (scratch == nullptr)
    return fail("%s: scratch memory: needs %llu bytes, got none", p.kernel, (unsigned long long)t.scratch_bytes());
  t.memory = scratch;
  const uint64_t rows = uint64_t(p.batch) * p.q_len * p.heads;
  run(p.executor, uint64_t(p.batch) * p.kv_heads, prepare_queries, &t, rows * p.head_dim);
  run(p.executor, t.task_count(), attend_task, &t, many);
  run(p.executor, rows, finish_row, &t, rows * p.head_dim * t.chunks + rows * p.head_dim * p.partials.splits);
  return nullptr;
}

}  // namespace fa::FA_ISA

#endif
