// The tasks of a prefill dispatch: pack K and V once per kv head, then attend panel by panel.
#ifndef FA_CPU_PREFILL_PREFILL_H
#define FA_CPU_PREFILL_PREFILL_H

#include "panel.h"

namespace fa::FA_ISA {

/// Below this many multiplications and additions, waking another worker takes longer than it saves.
constexpr double parallel_threshold = 1 << 22;

/// Packed K and V of some kv heads are held at a time, so much for each worker that its core's cache may still have them
/// when they are attended; more if one head alone needs it.
constexpr uint64_t packed_share = 1 << 20;

/// Blocks of keys one packing task takes.
constexpr int64_t pack_blocks = 8;

constexpr uint64_t round_up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

template <Elem elem>
struct Prefill {
  static constexpr Arithmetic arithmetic =
      elem == Elem::bf16 && has_bf16_dot ? Arithmetic::bf16_pairs : Arithmetic::f32;
  using Memory = PanelMemory<arithmetic>;

  /// What a batch's kv heads need. A unit is a kv head of a batch.
  struct Share {
    int64_t first_block, blocks;  ///< of keys: those that some row attends, and the end of them
    int64_t panels;                ///< of a query head
    uint64_t value_bytes, key_bytes, unit_bytes;  ///< packed, of a unit: its V, then K, then `finite`
    int64_t packing, attending;    ///< tasks of a unit
  };

  const PrefillProblem &problem;
  const bool packs_keys;  ///< else they are read where they are: a word of theirs is one of the products'
  const int64_t kv_heads;       ///< that the grid's heads read
  const uint64_t value_words;   ///< packed, of one block
  const uint64_t worker_bytes;
  const Share alike;  ///< where sequences do not differ
  char *packed = nullptr;
  char *memory = nullptr;
  int64_t first_unit = 0;  ///< of those packed now

  explicit Prefill(const PrefillProblem &problem)
      : problem(problem),
        packs_keys((elem != Elem::f32 && arithmetic == Arithmetic::f32) || problem.page_size != 0),
        kv_heads(ceil_div(problem.heads, problem.group)),
        value_words(uint64_t(problem.head_dim) * block_words<arithmetic>),
        worker_bytes(Memory::bytes(problem.head_dim)),
        alike(share(problem.rows, problem.first_key, problem.keys)) {}

  Share share(int64_t rows, int64_t first_key, int64_t keys) const {
    Share share;
    share.first_block = first_key / block_keys;
    share.blocks = ceil_div(keys, block_keys);
    share.panels = ceil_div(rows, panel_rows);
    const uint64_t count = share.blocks > share.first_block ? uint64_t(share.blocks - share.first_block) : 0;
    share.value_bytes = count * value_words * 4;
    share.key_bytes = packs_keys ? count * block_keys * uint64_t(packed_key_bytes<arithmetic>(problem.head_dim)) : 0;
    share.unit_bytes = share.value_bytes + share.key_bytes + round_up(count);
    share.packing = ceil_div(int64_t(count), pack_blocks);
    share.attending = share.panels * problem.group;
    return share;
  }

  Share share_of(int64_t batch) const {
    if (problem.sequences == nullptr) return alike;
    const PrefillSequence &own = problem.sequences[batch];
    return share(own.rows, own.first_key, own.keys);
  }

  /// What the units before `unit` take.
  struct Before {
    uint64_t bytes;
    int64_t packing, attending;
  };
  Before before(int64_t unit) const {
    const int64_t batch = unit / kv_heads;
    Before sum = {0, 0, 0};
    int64_t units = unit;
    if (problem.sequences != nullptr && batch < problem.batches) {
      const PrefillSequence &own = problem.sequences[batch];
      sum = {own.packed_before, own.packing_before, own.attending_before};
      units = unit % kv_heads;
    } else if (problem.sequences != nullptr) {
      sum = total;
      units = 0;
    }
    const Share each = units == 0 ? Share() : share_of(batch);
    return {sum.bytes + uint64_t(units) * each.unit_bytes, sum.packing + units * each.packing,
            sum.attending + units * each.attending};
  }
  Before total = {0, 0, 0};  ///< where sequences differ
  uint64_t largest_unit = 0;

  /// Counts what sequences of different lengths need.
  void count_shares() {
    largest_unit = alike.unit_bytes;
    if (problem.sequences == nullptr) {
      total = before(problem.batches * kv_heads);
      return;
    }
    for (int batch = 0; batch < problem.batches; batch++) {
      PrefillSequence &own = problem.sequences[batch];
      const Share each = share_of(batch);
      own.packed_before = total.bytes;
      own.packing_before = total.packing;
      own.attending_before = total.attending;
      total = {total.bytes + uint64_t(kv_heads) * each.unit_bytes, total.packing + kv_heads * each.packing,
               total.attending + kv_heads * each.attending};
      if (each.unit_bytes > largest_unit) largest_unit = each.unit_bytes;
    }
  }

  /// The batch whose tasks number `task` is among, by where each one's begin.
  int64_t batch_of(int64_t task, int64_t PrefillSequence::*begin, int64_t of_unit) const {
    if (problem.sequences == nullptr) return task / (of_unit * kv_heads);
    int64_t low = 0, high = problem.batches;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (problem.sequences[middle].*begin <= task ? low : high) = middle;
    }
    return low;
  }

  /// Packed K and V of a unit.
  char *unit_memory(int64_t unit) const { return packed + (before(unit).bytes - before(first_unit).bytes); }

  KvHead kv_head(const PrefillProblem &one, const Share &share, int64_t batch, int64_t head) const {
    const char *base = unit_memory(batch * kv_heads + head);
    KvHead kv;
    kv.key_stride = packs_keys ? packed_key_bytes<arithmetic>(one.head_dim) : one.k.strides[2];
    kv.keys = packs_keys ? base + share.value_bytes - share.first_block * block_keys * kv.key_stride
                         : one.k.at(batch, head, 0);
    kv.values = reinterpret_cast<const uint32_t *>(base) - share.first_block * int64_t(value_words);
    kv.finite = reinterpret_cast<const uint8_t *>(base + share.value_bytes + share.key_bytes) - share.first_block;
    return kv;
  }

  void pack(const PrefillProblem &one, const Share &share, int64_t batch, int64_t head, int64_t begin) const {
    char *base = unit_memory(batch * kv_heads + head);
    for (int64_t block = begin; block < share.blocks && block < begin + pack_blocks; block++) {
      const int64_t key = block * block_keys, index = block - share.first_block;
      const int keys = one.keys - key < block_keys ? int(one.keys - key) : block_keys;
      const char *rows[block_keys];
      one.find_keys(one.v, batch, head, key, keys, rows);
      base[share.value_bytes + share.key_bytes + index] = pack_values<elem, arithmetic>(
          rows, one.head_dim, keys, reinterpret_cast<uint32_t *>(base) + index * value_words);
      if (packs_keys) {
        one.find_keys(one.k, batch, head, key, keys, rows);
        pack_keys<elem, arithmetic>(
            rows, one.head_dim, keys,
            base + share.value_bytes + index * block_keys * packed_key_bytes<arithmetic>(one.head_dim));
      }
    }
  }

  static void pack_task(void *context, uint64_t index, uint32_t) {
    const Prefill &self = *static_cast<const Prefill *>(context);
    const int64_t task = self.before(self.first_unit).packing + int64_t(index);
    const int64_t batch = self.batch_of(task, &PrefillSequence::packing_before, self.alike.packing);
    const Share share = self.share_of(batch);
    const int64_t within = task - self.before(batch * self.kv_heads).packing;
    PrefillProblem space;
    self.pack(self.problem.of(batch, space), share, batch, within / share.packing,
              share.first_block + within % share.packing * pack_blocks);
  }

  /// A kv head's panels come together, the longest ones first: later rows attend more keys if the problem is causal,
  /// else only the last panel differs, which may have fewer rows.
  static void attend_task(void *context, uint64_t index, uint32_t worker) {
    const Prefill &self = *static_cast<const Prefill *>(context);
    const int64_t task = self.before(self.first_unit).attending + int64_t(index), group = self.problem.group;
    const int64_t batch = self.batch_of(task, &PrefillSequence::attending_before, self.alike.attending);
    const Share share = self.share_of(batch);
    const int64_t within = task - self.before(batch * self.kv_heads).attending;
    const int64_t kv_head = within / share.attending, part = within % share.attending;
    const int64_t head = kv_head * group + part % group;
    if (head >= self.problem.heads) return;  // the grid ends within a group
    PrefillProblem space;
    const PrefillProblem &one = self.problem.of(batch, space);
    const int64_t rank = part / group, panel = one.upper < one.keys ? share.panels - 1 - rank : rank;
    attend_panel<elem, arithmetic>(one, self.kv_head(one, share, batch, kv_head), int(batch), int(head),
                                   panel * panel_rows,
                                   *reinterpret_cast<Memory *>(self.memory + worker * self.worker_bytes));
  }

  /// Multiplications and additions, more or less.
  double work() const {
    double pairs = 0.0;
    for (int batch = 0; batch < problem.batches && problem.sequences != nullptr; batch++) {
      const PrefillSequence &own = problem.sequences[batch];
      pairs += double(own.rows) * double(own.keys - own.first_key);
    }
    if (problem.sequences == nullptr) {
      pairs = double(problem.batches) * double(problem.rows) * double(problem.keys - problem.first_key);
    }
    return 4.0 * problem.head_dim * problem.heads * pairs;
  }

  const char *run() {
    const sm_executor &executor = *problem.executor;
    const int64_t units = problem.batches * kv_heads;
    const bool parallel = executor.workers > 1 && work() >= parallel_threshold;
    const uint64_t memory_bytes = worker_bytes * uint64_t(parallel ? executor.workers : 1);

    count_shares();
    const uint64_t share = packed_share * uint64_t(parallel ? executor.workers : 1);
    const uint64_t most = largest_unit > share ? largest_unit : share;
    const uint64_t bytes = memory_bytes + (total.bytes < most ? total.bytes : most);
    memory = static_cast<char *>(executor.scratch(executor.self, bytes));
    if (memory == nullptr) {
      return fail("%s: out of memory: needs %llu bytes of scratch", problem.kernel,
                  static_cast<unsigned long long>(bytes));
    }
    packed = memory + memory_bytes;

    for (int64_t end; first_unit < units; first_unit = end) {
      const Before begun = before(first_unit);
      end = total.bytes - begun.bytes <= most ? units : first_unit + 1;
      while (end < units && before(end + 1).bytes - begun.bytes <= most) end++;
      const Before ended = before(end);
      for_each(executor, parallel, uint64_t(ended.packing - begun.packing), pack_task, this);
      for_each(executor, parallel, uint64_t(ended.attending - begun.attending), attend_task, this);
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
