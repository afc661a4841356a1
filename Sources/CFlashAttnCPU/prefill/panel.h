// One panel of query rows of one head against all its keys: online softmax over blocks of keys.
#ifndef FA_CPU_PREFILL_PANEL_H
#define FA_CPU_PREFILL_PANEL_H

#include "softmax.h"

namespace fa::FA_ISA {

/// K and V of one kv head as the products read them.
struct KvHead {
  const char *keys;        ///< from key 0 on
  int64_t key_stride;      ///< bytes
  const uint32_t *values;  ///< from block 0 on
  const uint8_t *finite;   ///< of each block, whether its values are
};

/// A worker's memory. Q^T and O^T, whose size depends on the head dimension, follow it.
template <Arithmetic arithmetic>
struct alignas(64) PanelMemory {
  float scores[(block_keys + most_tile_keys) * panel_rows];  ///< then weights
  float mask[block_keys * panel_rows];  ///< then, where V has infinite or NaN values, attended_bits
  float maximum[panel_rows];  ///< of the scores so far, -infinity if none was attended
  float sum[panel_rows];      ///< of the weights so far
  float factor[panel_rows];   ///< what a new maximum multiplies earlier sums with

  float *o() { return reinterpret_cast<float *>(this + 1); }
  float *q(int head_dim) { return o() + head_dim * panel_rows; }

  static uint64_t bytes(int head_dim) {
    return sizeof(PanelMemory) + uint64_t(head_dim + head_dim / keys_per_word<arithmetic>) * panel_rows * sizeof(float);
  }
};

/// The rows of a panel: lane 0 is row `first`, and its vectors before `lead` are unused.
struct PanelRows {
  int64_t first;
  int lead;
};

FA_INLINE int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x < high ? x : high; }

/// Which keys of a block, whose first key is `key`, each vector of the panel needs, and which the panel works on. Packs
/// the mask where it is needed. False if no row attends any.
template <Arithmetic arithmetic>
FA_INLINE bool select_keys(const PrefillProblem &problem, const MaskPlane &plane, PanelRows panel, int64_t key,
                           PanelMemory<arithmetic> &memory, Keys (&keys)[panel_vectors], BlockSpan &span) {
  const int64_t size = clamp(problem.keys - key, 0, block_keys);
  span.from = block_keys;
  span.active = panel_vectors;
  int limit = 0;
  for (int n = panel.lead; n < panel_vectors; n++) {
    const int64_t row = panel.first + n * VW;
    const int64_t end = row + VW < problem.rows ? row + VW : problem.rows;
    const int64_t begin = clamp(row + problem.lower - key, 0, size);
    keys[n] = {int(begin) / most_tile_keys * most_tile_keys, int(clamp(end + problem.upper - key, 0, size)),
               !problem.masked};
    if (begin >= keys[n].end) {
      keys[n].end = 0;
    } else if (problem.masked) {
      keys[n] = apply_mask(problem, plane, row, key, keys[n], memory.mask + n * VW);
    }
    if (!keys[n].empty()) {
      if (span.active == panel_vectors) span.active = n;
      if (keys[n].begin < span.from) span.from = keys[n].begin;
      if (keys[n].end > limit) limit = keys[n].end;
    }
    span.limits[n] = limit;
  }
  for (int n = 0; n < panel.lead; n++) span.limits[n] = 0;
  return span.active < panel_vectors;
}

/// The keys of a panel whose Q^T is packed.
template <Arithmetic arithmetic>
FA_NOINLINE void attend_keys(const PrefillProblem &problem, const KvHead &kv, const MaskPlane &plane, PanelRows panel,
                             float slope, PanelMemory<arithmetic> &memory) {
  const int head_dim = problem.head_dim, words = head_dim / keys_per_word<arithmetic>;
  const bool plain = scores_are_plain(problem);
  const int64_t rows_end = clamp(panel.first + panel_rows, 0, problem.rows);
  const int64_t end = clamp(rows_end + problem.upper, 0, problem.keys);
  const int64_t begin = clamp(panel.first + panel.lead * VW + problem.lower, 0, end);
  float *q = memory.q(head_dim), *o = memory.o();

  for (int64_t block = begin / block_keys; block * block_keys < end; block++) {
    const int64_t key = block * block_keys;
    Keys keys[panel_vectors];
    BlockSpan span;
    if (!select_keys(problem, plane, panel, key, memory, keys, span)) continue;

    block_scores<arithmetic>(kv.keys + key * kv.key_stride, kv.key_stride, q, words, span, memory.scores, span.from);
    const bool finite = kv.finite[block];
    for (int n = span.active; n < panel_vectors; n++) {
      float *scores = memory.scores + n * VW, *mask = memory.mask + n * VW;
      const int64_t row = panel.first + n * VW - key;
      finish_scores(problem, plain, keys[n], mask, slope, row + problem.offset, scores);
      hide_keys(span.from, span.limits[n], keys[n], row + problem.lower, row + problem.upper, scores);
      if (!finite) attended_bits<arithmetic>(scores, span.from, span.limits[n], mask);
      softmax_step<arithmetic>(scores, span.from, span.limits[n], plain ? problem.scale : 1.0f, memory.maximum + n * VW,
                               memory.sum + n * VW, memory.factor + n * VW);
    }
    const uint32_t *values = kv.values + block * (head_dim * block_words<arithmetic>);
    if (finite) {
      block_values<arithmetic>(values, memory.scores, span, memory.factor, o, head_dim);
    } else {
      block_values_guarded<arithmetic>(values, memory.scores, memory.mask, span, memory.factor, o, head_dim);
    }
  }
}

/// All of a panel: rows `row` ..< `row + panel_rows` of a head, as far as there are.
template <Elem elem, Arithmetic arithmetic>
FA_NOINLINE void attend_panel(const PrefillProblem &problem, const KvHead &kv, int batch, int head, int64_t row,
                              PanelMemory<arithmetic> &memory) {
  // A short panel uses the last vectors: the first ones are those that tiles can leave out.
  const int64_t count = problem.rows - row < panel_rows ? problem.rows - row : panel_rows;
  const int lead = panel_vectors - int((count + VW - 1) / VW), head_dim = problem.head_dim;
  const PanelRows panel = {row - lead * VW, lead};

  pack_queries<elem, arithmetic>(problem.q.at(batch, head, 0), problem.q.strides[2], head_dim, panel.first, lead,
                                 problem.rows, memory.q(head_dim));
  // A sink is a score whose value is 0.
  float sink = -infinity();
  if (problem.sinks != nullptr) __builtin_memcpy(&sink, problem.sinks + head * sizeof sink, sizeof sink);
  for (int i = lead * VW; i < panel_rows; i += VW) {
    store(memory.maximum + i, splat(sink));
    store(memory.sum + i, splat(sink == -infinity() ? 0.0f : 1.0f));
    for (int d = 0; d < head_dim; d++) store(memory.o() + d * panel_rows + i, splat(0.0f));
  }
  MaskPlane plane = {};
  if (problem.masked) plane.rows = problem.mask.at(batch, head, 0);
  if (problem.blk.data != nullptr) {
    plane.blk = problem.blk.data + batch * problem.blk.strides[0] + head * problem.blk.strides[1];
  }
  float slope = 0.0f;
  if (problem.alibi != nullptr) {
    __builtin_memcpy(&slope, problem.alibi + batch * problem.alibi_stride + head * sizeof slope, sizeof slope);
  }
  attend_keys(problem, kv, plane, panel, slope, memory);

  if (problem.lse.data != nullptr) {
    const double scale = scores_are_plain(problem) ? problem.scale : 1.0;
    for (int64_t i = 0; i < count; i++) {
      const int64_t lane = row + i - panel.first;
      const double sum = memory.sum[lane];
      const float lse = sum == 0.0 ? -infinity() : float(memory.maximum[lane] * scale + __builtin_log(sum));
      store(problem.lse.at(batch, head, row + i), lse);
    }
  }
  for (int i = lead * VW; i < panel_rows; i += VW) {
    const vf sum = load<vf>(memory.sum + i);
    store(memory.factor + i, sum == 0.0f ? splat(0.0f) : 1.0f / sum);
  }
  store_rows<elem>(memory.o(), head_dim, memory.factor, lead, panel.first, problem.rows, problem.o.at(batch, head, 0),
                   problem.o.strides[2]);
}

}  // namespace fa::FA_ISA

#endif
