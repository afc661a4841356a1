// Sequences of different lengths in one dispatch, and where their rows are: padded, packed, or in pages.
#ifndef FA_PREFILL_SEQUENCES_H
#define FA_PREFILL_SEQUENCES_H

#include <metal_stdlib>

#include "flash_attn_params.h"

// These may be left undefined, which means no.
constant bool has_varlen [[function_constant(310)]];    // slot 13 is bound: Q, O and LSE are packed
constant bool has_pages [[function_constant(311)]];     // slots 15 and 17 are bound: K and V are in pages
constant bool has_kv_lens [[function_constant(312)]];   // slot 16 is bound
constant bool has_k_starts [[function_constant(313)]];  // slot 14 is bound: K and V are packed
constant bool use_varlen = is_function_constant_defined(has_varlen) ? has_varlen : false;
constant bool use_pages = is_function_constant_defined(has_pages) ? has_pages : false;
constant bool use_kv_lens = is_function_constant_defined(has_kv_lens) ? has_kv_lens : false;
constant bool use_k_starts = is_function_constant_defined(has_k_starts) ? has_k_starts : false;

namespace fa {

/// A batch's rows and keys.
struct sequence {
  long qL;
  long kL;
  long qL_off;   // position of its first row among its keys
  long q_start;  // its first row in Q and O
  long k_start;  // its first row in K and V
};

/// Pointers whose slots are not bound are not followed.
inline sequence sequence_of(long batch, constant fa_attn_params &params, device const uint *q_starts,
                            device const uint *k_starts, device const uint *kv_lens) {
  sequence own = {params.qL, params.kL, params.qL_off, 0, 0};
  if (use_varlen) {
    own.q_start = q_starts[batch];
    own.qL = long(q_starts[batch + 1]) - own.q_start;
  }
  if (use_k_starts) {
    own.k_start = k_starts[batch];
    own.kL = long(k_starts[batch + 1]) - own.k_start;
  }
  if (use_kv_lens) {
    own.kL = kv_lens[batch];
  }
  if (use_varlen || use_k_starts || use_kv_lens) {
    own.qL_off = own.kL - own.qL;
  }
  return own;
}

/// Where the LSE of a sequence's first row is: rows of a packed batch lie behind one another for each head.
inline long lse_row(sequence own, long batch, long head, constant fa_attn_params &params, device const uint *q_starts) {
  return use_varlen ? head * q_starts[params.B] + own.q_start : (batch * params.H + head) * own.qL;
}

/// The keys or the values of a head, from one of them on.
template <typename T>
struct key_rows {
  device const T *rows;
  long stride;
  device const uint *table;  // pages: those of the sequence, ...
  long page_stride;
  uint page_size;
  uint first;  // ... and how far in them the rows begin

  inline key_rows from(long key) const {
    key_rows later = *this;
    if (use_pages) {
      later.first += uint(key);
    } else {
      later.rows += key * stride;
    }
    return later;
  }

  inline device const T *at(int row) const {
    if (use_pages) {
      const uint key = first + uint(row);
      return rows + table[key / page_size] * page_stride + key % page_size * stride;
    }
    return rows + row * stride;
  }

  /// Whether eight rows lie `stride` apart.
  inline bool is_run(int row) const { return !use_pages || (first + uint(row)) % page_size + 8 <= page_size; }
};

/// `strides` are those of batches or pages, heads and rows.
template <typename T>
inline key_rows<T> rows_of(device const T *all, constant int64_t *strides, long batch, long kv_head, sequence own,
                           device const uint *block_table, constant fa_attn_page_params &page_params) {
  key_rows<T> head = {all + kv_head * strides[1], strides[2], nullptr, 0, 0, 0};
  if (use_pages) {
    head.table = block_table + batch * page_params.pages_per_sequence;
    head.page_stride = strides[0];
    head.page_size = page_params.page_size;
  } else if (use_k_starts) {
    head.rows += own.k_start * strides[2];
  } else {
    head.rows += batch * strides[0];
  }
  return head;
}

}  // namespace fa

#endif
