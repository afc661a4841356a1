// The tasks of a prefill dispatch: pack K and V once per kv head, then attend panel by panel.
#ifndef FA_CPU_PREFILL_PREFILL_H
#define FA_CPU_PREFILL_PREFILL_H

#include "panel.h"

namespace fa::FA_ISA {

/// Below this many multiplications and additions, waking another worker takes longer than it saves.
constexpr double parallel_threshold = 1 << 22;

/// Packed K and V of some kv heads are held at a time, no more than this unless one alone needs it.
constexpr uint64_t packed_limit = 64 << 20;

/// Blocks of keys one packing task takes.
constexpr int64_t pack_blocks = 8;

constexpr uint64_t round_up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

template <Elem elem>
struct Prefill {
  static constexpr Arithmetic arithmetic =
      elem == Elem::bf16 && has_bf16_dot ? Arithmetic::bf16_pairs : Arithmetic::f32;
  /// Keys are read where they are if a word of theirs is one of the products'.
  static constexpr bool packs_keys = elem != Elem::f32 && arithmetic == Arithmetic::f32;
  using Memory = PanelMemory<arithmetic>;

  const PrefillProblem &problem;
  int64_t first_block, blocks;  ///< of keys: those that some row attends, and the end of them
  int64_t kv_heads;  ///< that the grid's heads read
  int64_t panels;    ///< of a head
  uint64_t value_words;         ///< packed, of one block
  uint64_t value_bytes, key_bytes, unit_bytes;  ///< packed, of one kv head: its V, then K, then `finite`
  uint64_t worker_bytes;
  char *packed;
  char *memory;
  int64_t first_unit = 0;  ///< a unit is a kv head of a batch: those packed now begin here

  explicit Prefill(const PrefillProblem &problem) : problem(problem) {
    first_block = problem.first_key / block_keys;
    blocks = ceil_div(problem.keys, block_keys);
    kv_heads = ceil_div(problem.heads, problem.group);
    panels = ceil_div(problem.rows, panel_rows);
    const uint64_t count = blocks > first_block ? uint64_t(blocks - first_block) : 0;
    value_words = uint64_t(problem.head_dim) * block_words<arithmetic>;
    value_bytes = count * value_words * 4;
    key_bytes = packs_keys ? count * block_keys * uint64_t(problem.head_dim) * 4 : 0;
    unit_bytes = value_bytes + key_bytes + round_up(count);
    worker_bytes = Memory::bytes(problem.head_dim);
  }

  /// Packed K and V of a unit.
  char *unit_memory(int64_t unit) const { return packed + uint64_t(unit - first_unit) * unit_bytes; }

  KvHead kv_head(int64_t unit) const {
    const int64_t batch = unit / kv_heads, head = unit % kv_heads;
    const char *base = unit_memory(unit);
    const int64_t key_stride = packs_keys ? problem.head_dim * 4 : problem.k.strides[2];
    KvHead kv;
    kv.keys = packs_keys ? base + value_bytes - first_block * block_keys * key_stride : problem.k.at(batch, head, 0);
    kv.key_stride = key_stride;
    kv.values = reinterpret_cast<const uint32_t *>(base) - first_block * int64_t(value_words);
    kv.finite = reinterpret_cast<const uint8_t *>(base + value_bytes + key_bytes) - first_block;
    return kv;
  }

  void pack(int64_t unit, int64_t begin) const {
    const int64_t batch = unit / kv_heads, head = unit % kv_heads;
    char *base = unit_memory(unit);
    for (int64_t block = begin; block < blocks && block < begin + pack_blocks; block++) {
      const int64_t key = block * block_keys, index = block - first_block;
      const int keys = problem.keys - key < block_keys ? int(problem.keys - key) : block_keys;
      base[value_bytes + key_bytes + index] =
          pack_values<elem, arithmetic>(problem.v.at(batch, head, key), problem.v.strides[2], problem.head_dim, keys,
                                        reinterpret_cast<uint32_t *>(base) + index * value_words);
      if constexpr (packs_keys) {
        pack_keys<elem>(problem.k.at(batch, head, key), problem.k.strides[2], problem.head_dim, keys,
                        reinterpret_cast<float *>(base + value_bytes) + index * block_keys * problem.head_dim);
      }
    }
  }

  void attend(int64_t unit, int64_t panel, int64_t member, uint32_t worker) const {
    const int64_t head = unit % kv_heads * problem.group + member;
    if (head >= problem.heads) return;  // the grid ends within a group
    attend_panel<elem, arithmetic>(problem, kv_head(unit), int(unit / kv_heads), int(head), panel * panel_rows,
                                   *reinterpret_cast<Memory *>(memory + worker * worker_bytes));
  }

  int64_t pack_tasks_per_unit() const { return blocks > first_block ? ceil_div(blocks - first_block, pack_blocks) : 0; }

  static void pack_task(void *context, uint64_t index, uint32_t) {
    const Prefill &self = *static_cast<const Prefill *>(context);
    const int64_t tasks = self.pack_tasks_per_unit();
    self.pack(self.first_unit + int64_t(index) / tasks, self.first_block + int64_t(index) % tasks * pack_blocks);
  }

  /// A kv head's panels come together, the longest ones first: later rows attend more keys if the problem is causal,
  /// else only the last panel differs, which may have fewer rows.
  static void attend_task(void *context, uint64_t index, uint32_t worker) {
    const Prefill &self = *static_cast<const Prefill *>(context);
    const int64_t group = self.problem.group, tasks = self.panels * group;
    const int64_t within = int64_t(index) % tasks, rank = within / group;
    const bool is_rising = self.problem.upper < self.problem.keys;
    const int64_t panel = is_rising ? self.panels - 1 - rank : rank;
    self.attend(self.first_unit + int64_t(index) / tasks, panel, within % group, worker);
  }

  const char *run() {
    const sm_executor &executor = *problem.executor;
    const int64_t units = problem.batches * kv_heads;
    const double pairs = double(problem.rows) * double(problem.keys - problem.first_key);
    const double work = 4.0 * problem.head_dim * problem.batches * problem.heads * pairs;
    const bool parallel = work >= parallel_threshold && executor.workers > 1;
    const uint64_t memory_bytes = worker_bytes * uint64_t(parallel ? executor.workers : 1);

    int64_t wave = unit_bytes == 0 ? units : int64_t(packed_limit / unit_bytes);
    wave = wave < 1 ? 1 : wave < units ? wave : units;
    const uint64_t bytes = memory_bytes + uint64_t(wave) * unit_bytes;
    memory = static_cast<char *>(executor.scratch(executor.self, bytes));
    if (memory == nullptr) {
      return fail("%s: out of memory: needs %llu bytes of scratch", problem.kernel,
                  static_cast<unsigned long long>(bytes));
    }
    packed = memory + memory_bytes;

    for (; first_unit < units; first_unit += wave) {
      const int64_t count = units - first_unit < wave ? units - first_unit : wave;
      for_each(executor, parallel, uint64_t(count * pack_tasks_per_unit()), pack_task, this);
      for_each(executor, parallel, uint64_t(count * panels * problem.group), attend_task, this);
    }
    return nullptr;
  }
};

template <Elem elem>
FA_NOINLINE const char *prefill(const PrefillProblem &problem) {
  return Prefill<elem>(problem).run();
}

}  // namespace fa::FA_ISA

#endif
