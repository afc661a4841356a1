// A decode problem whose arguments have been checked: attention of a few queries of each sequence over its cache.
#ifndef FA_CPU_DECODE_PROBLEM_H
#define FA_CPU_DECODE_PROBLEM_H

#include <cstdint>

#include "../codec/formats.h"
#include "softmetal_native.h"

namespace fa {

/// Queries are worked on together as far as they share a kv head, up to this many.
constexpr int most_columns = 8;

/// K or V: [B, Hkv, capacity] rows.
struct CacheSide {
  const KvFormat *format;
  const char *data;
  const char *norms;
  bool norms_f16;
  float factor;  ///< multiplies norm and centroid
};

/// Caches of [pages] in place of [B, Hkv, capacity] rows. Strides are in rows.
struct CachePages {
  const char *table;  ///< uint32 [B, entries]: the sequences' pages; null: there are no pages
  int64_t count, table_stride, page_size, page_stride, slot_stride, head_stride;
};

/// Vectors [B, H, q_len]; strides in bytes.
struct Vectors {
  Elem elem;
  char *data;
  int64_t strides[3];
};

/// Where partial results lie: element e of row r and work-group w at r * row + e / 4 * quad + w * group + e % 4, its sum
/// and maximum at state + (r * splits + w) * 2. OutputRow r is ((b * q_len) + t) * H + h.
struct Partials {
  int splits;  ///< work-groups; 1: there are no partial results, but vectors
  float *values, *state;
  int64_t row, quad, group;
};

struct DecodeProblem {
  const char *kernel;
  int batch, heads, kv_heads, q_len, head_dim;
  uint32_t capacity;
  uint32_t kv_len, ring_start;  ///< of every sequence without arrays
  const char *kv_lens, *ring_starts;  ///< uint32 [B], or null
  CachePages pages;
  const char *slopes;  ///< float [B, H] of the bias by distance, or null
  int64_t slope_stride;  ///< slopes between sequences
  bool causal;
  uint32_t window;  ///< keys, the query's own included; 0: all
  float scale, softcap;
  CacheSide k, v;
  Vectors q, o;
  Partials partials;
  const char *sinks;  ///< float [H], or null
  char *lse;          ///< float [B, H, q_len], or null
  const uint8_t *rotate_q;  ///< signs of the rotation to put Q through, or null
  const uint8_t *undo_v;    ///< signs of the rotation to take out of O, or null
  const sm_executor *executor;
};

typedef const char *(*DecodeBody)(const DecodeProblem &);

/// The second pass.
struct MergeProblem {
  const char *kernel;
  int batch, heads, q_len, head_dim;
  Partials partials;
  Vectors o;
  char *lse;
  const uint8_t *undo_v;
  const sm_executor *executor;
};

typedef const char *(*MergeBody)(const MergeProblem &);

}  // namespace fa

#endif
