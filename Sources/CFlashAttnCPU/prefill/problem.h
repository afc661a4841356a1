// A prefill dispatch after its checks: what the instruction sets' implementations are given.
#ifndef FA_CPU_PREFILL_PROBLEM_H
#define FA_CPU_PREFILL_PROBLEM_H

#include <cstdint>
#include <cstring>

#include "../arguments.h"

namespace fa {

/// Strides in bytes, of batch, head and row.
struct Operand {
  char *data;
  int64_t strides[3];

  char *at(int64_t batch, int64_t head, int64_t row) const {
    return data + batch * strides[0] + head * strides[1] + row * strides[2];
  }
};

/// What is known of a tile of the mask beforehand. Tiles lie in planes, row by row.
struct Blk {
  enum Byte : uint8_t { skip = 0, mixed = 1, attended = 2 };

  const uint8_t *data;  ///< null if nothing is known
  int64_t strides[2];   ///< bytes, of batch and head
  int64_t row_tiles;    ///< bytes in a row of a plane
  int rows, keys;       ///< of a tile
};

/// Further from any key than any row is: a bound that does not bind.
constexpr int64_t unbounded = int64_t(1) << 40;

/// A sequence where they differ in length. Numbers of rows and keys are those the grid covers.
struct PrefillSequence {
  int rows, first_key, keys;
  int64_t length;            ///< keys there are
  int64_t offset;            ///< position of its first row among its keys
  int64_t lower, upper;
  int64_t q_start, k_start;  ///< its first row in Q, O and LSE, and in K and V
  const char *pages;         ///< its entries of the block table

  // What the sequences before it take; kept by the implementation.
  uint64_t packed_before;
  int64_t packing_before, attending_before;

  uint32_t page(int64_t index) const {
    uint32_t page;
    std::memcpy(&page, pages + index * 4, sizeof page);
    return page;
  }
};

struct PrefillProblem {
  const char *kernel;  ///< host name
  const sm_executor *executor;
  Operand q, k, v, o;
  Operand mask;  ///< if `masked`
  Operand lse;   ///< data is null if it is not wanted
  Blk blk;
  const char *sinks;  ///< a float for each head, or null
  Elem mask_elem;
  bool masked;
  const char *alibi;     ///< a float for each head, or null
  int64_t alibi_stride;  ///< bytes, of batch
  int64_t offset;            ///< row i stands at key i + offset
  int64_t lower, upper;      ///< row i attends keys i + lower ... i + upper
  int batches, heads, rows;  ///< those the grid covers
  int first_key, keys;       ///< some row may attend first_key ..< keys, length and bounds considered
  int group;                 ///< query heads per kv head
  int head_dim;
  float scale;
  float softcap;  ///< 0: none
  PrefillSequence *sequences;  ///< one for each batch, in place of rows, keys, offset and bounds; null: all alike
  int64_t page_size;           ///< 0: keys are not in pages. The first strides of k and v are between pages
  const PrefillSequence *own;  ///< the sequence that the problem has been narrowed to

  /// The problem of one batch: this one, or made in `space` where sequences differ.
  const PrefillProblem &of(int64_t batch, PrefillProblem &space) const {
    if (sequences == nullptr) return *this;
    PrefillProblem &one = space;
    one = *this;
    one.own = sequences + batch;
    one.rows = one.own->rows;
    one.first_key = one.own->first_key;
    one.keys = one.own->keys;
    one.offset = one.own->offset;
    one.lower = one.own->lower;
    one.upper = one.own->upper;
    Operand *const moved[] = {&one.q, &one.o, &one.lse, &one.k, &one.v};
    for (int i = 0; i < 5; i++) moved[i]->data += (i < 3 ? one.own->q_start : one.own->k_start) * moved[i]->strides[2];
    return one;
  }

  /// Where `count` keys' rows of K or V are, from `key` on.
  void find_keys(const Operand &all, int64_t batch, int64_t head, int64_t key, int count, const char **rows) const {
    if (page_size == 0) {
      const char *const first = all.at(batch, head, key);
      for (int i = 0; i < count; i++) rows[i] = first + i * all.strides[2];
      return;
    }
    for (int i = 0; i < count; i++) {
      rows[i] = all.at(own->page((key + i) / page_size), head, (key + i) % page_size);
    }
  }
};

/// Computes the problem. Null, or the text of an error with nothing written.
using PrefillBody = const char *(*)(const PrefillProblem &problem);

}  // namespace fa

#endif
