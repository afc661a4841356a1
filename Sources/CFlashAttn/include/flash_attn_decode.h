// flash_attn_decode.h - the part of flash_attn.h about caches of keys and values; its conventions hold here too.
#ifndef FLASH_ATTN_DECODE_H
#define FLASH_ATTN_DECODE_H

#include "flash_attn.h"
#include "flash_attn_prefill.h"  // fa_tensor

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fa_kv_cache fa_kv_cache;

// ------------------------------------------------------------------------------------------- rotation and KV codec

// docs/codec.md has the formats. Sizes of buffers follow from the problems; norms are null for dense formats.

typedef enum fa_fwht_transform {
  FA_FWHT_STANDALONE = 0,    // x <- H x / sqrt(D)
  FA_FWHT_SIGN_PREMULT = 1,  // x <- R x
  FA_FWHT_SIGN_UNDO = 2      // x <- R' x
} fa_fwht_transform;

typedef struct fa_fwht_problem {
  int64_t rows;
  int64_t head_dim;
  uint64_t seed;  // of the signs; 0: the default ones
  fa_fwht_transform transform;
  int32_t reserved;
} fa_fwht_problem;

// `data` is float32 [rows, head_dim], in place.
fa_status fa_fwht_standalone(fa_encoder *encoder, fa_registry *registry, const fa_fwht_problem *problem,
                             fa_buffer *data);

typedef struct fa_kv_format_info {
  const char *name;  // constant text
  int32_t version;   // of the codec
  int32_t bits;      // of a coordinate
  fa_dtype dtype;    // of what is kept
  uint32_t table_crc32;
  int64_t width;  // elements kept of a vector
  int64_t norms;  // of a vector
} fa_kv_format_info;

fa_status fa_kv_format_get_info(fa_kv_format format, int64_t head_dim, fa_kv_format_info *out);

// Appends tokens [batch, kv_heads, tokens, head_dim] to data [batch, kv_heads, capacity, width] and norms [batch,
// kv_heads, capacity]; formats of version 2.
typedef struct fa_kv_encode_problem {
  int64_t batch;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t tokens;
  int64_t capacity;
  const int64_t *positions;  // [batch]: of the first token
  fa_dtype dtype;            // of the tokens
  fa_kv_format format;
  int32_t ring;        // position p is kept in slot p mod capacity
  int32_t half_norms;  // norms are half
  uint64_t seed;
  int64_t strides[3];  // of the tokens: elements between sequences, heads, tokens; all 0: contiguous
} fa_kv_encode_problem;

fa_status fa_kv_encode(fa_encoder *encoder, fa_registry *registry, const fa_kv_encode_problem *problem, fa_buffer *src,
                       fa_buffer *data, fa_buffer *norms);

// Reads tokens [batch, kv_heads, tokens, head_dim] back.
typedef struct fa_kv_decode_problem {
  int64_t batch;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t tokens;
  int64_t capacity;
  int64_t position;  // of the first token
  fa_dtype dtype;    // of the result
  fa_kv_format format;
  int32_t ring;
  int32_t half_norms;
  uint64_t seed;
  int32_t undo_rotation;
  float scale_factor_d512;  // of formats of version 1, the encoder's; 0: 1
} fa_kv_decode_problem;

fa_status fa_kv_decode(fa_encoder *encoder, fa_registry *registry, const fa_kv_decode_problem *problem, fa_buffer *data,
                       fa_buffer *norms, fa_buffer *out);

// Appends float32 tokens [tokens, kv_heads, head_dim] to a cache of version 1.
typedef struct fa_hadamard_quantize_kv_problem {
  int64_t kv_heads;
  int64_t head_dim;
  int64_t tokens;
  int64_t capacity;
  int64_t position;  // of the first token
  fa_kv_format format;
  int32_t ring;
  float scale_factor_d512;
  int32_t reserved;
} fa_hadamard_quantize_kv_problem;

// `rms_scratch`, float32 [tokens, kv_heads, head_dim], gets what is looked up; null: not wanted.
fa_status fa_hadamard_quantize_kv(fa_encoder *encoder, fa_registry *registry,
                                  const fa_hadamard_quantize_kv_problem *problem, fa_buffer *src, fa_buffer *packed,
                                  fa_buffer *norms, fa_buffer *rms_scratch);

// Reads the vectors of one slot, float32 [kv_heads, head_dim], from a cache of version 1; they stay rotated.
typedef struct fa_tq_dequantize_kv_problem {
  int64_t kv_heads;
  int64_t head_dim;
  int64_t capacity;
  int64_t position;
  fa_kv_format format;
  float scale_factor_d512;
} fa_tq_dequantize_kv_problem;

fa_status fa_tq_dequantize_kv(fa_encoder *encoder, fa_registry *registry, const fa_tq_dequantize_kv_problem *problem,
                              fa_buffer *packed, fa_buffer *norms, fa_buffer *out);

// -------------------------------------------------------------------------------------------------- flash_attn_vec

// Up to 8 queries of each sequence against a cache: docs/kernels/flash_attn_vec.md.
typedef enum fa_vec_room {
  FA_VEC = 0,                // flash_attn_vec: f32, f16, bf16
  FA_VEC_PEER_PORT_F16 = 1,  // flash_attn_vec_peer_port_f16: f16, nwg 1 or 32
  FA_VEC_TQ = 2,             // flash_attn_vec_tq: tq4_v1, Q comes rotated
  FA_VEC_TQ_HB = 3           // flash_attn_vec_tq_hb: tq_hb5, tq_hb6, tq_hb8
} fa_vec_room;

typedef struct fa_flash_attn_vec_problem {
  int64_t batch;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t q_len;
  int64_t capacity;
  const int64_t *kv_lens;      // [batch]
  const int64_t *ring_starts;  // [batch]: slot of each sequence's first key; null: 0
  fa_kv_format format;
  int32_t mask_type;  // 0 none, 1 causal, 2 causal and the last `window` keys alone
  int64_t window;
  float scale;
  float softcap;
  float scale_factor_d512;
  int32_t nwg;  // work-groups of a query; 0: as tuned
  int32_t nsg;  // simdgroups of a work-group; 0: as tuned
  int32_t has_sinks;
  int32_t has_lse;
  int32_t rotate_query;   // FA_VEC_TQ_HB: rotate Q first
  int32_t undo_rotation;  // FA_VEC_TQ, FA_VEC_TQ_HB: take the rotation out of O
  int32_t reserved;
  uint64_t seed;  // of the rotation; 0: the default signs
} fa_flash_attn_vec_problem;

typedef struct fa_flash_attn_vec_buffers {
  fa_buffer *q;        // float32 [batch, heads, q_len, head_dim]
  fa_buffer *k;        // [batch, kv_heads, capacity, width]; likewise v
  fa_buffer *k_norms;  // null for a dense cache; likewise v_norms
  fa_buffer *v;
  fa_buffer *v_norms;
  fa_buffer *tmp;    // fa_flash_attn_vec_tmp_bytes; null if that is 0
  fa_buffer *o;      // as q; written
  fa_buffer *sinks;  // float32 [heads]; null without sinks
  fa_buffer *lse;    // float32 [batch, heads, q_len]; null if not wanted
} fa_flash_attn_vec_buffers;

fa_status fa_flash_attn_vec(fa_encoder *encoder, fa_registry *registry, fa_vec_room room,
                            const fa_flash_attn_vec_problem *problem, const fa_flash_attn_vec_buffers *buffers);
fa_status fa_flash_attn_vec_explain(fa_device *device, fa_vec_room room, const fa_flash_attn_vec_problem *problem,
                                    const char **out);
// Bytes of the work-groups' partial results, as float32; 0 with one work-group.
fa_status fa_flash_attn_vec_tmp_bytes(fa_device *device, fa_vec_room room, const fa_flash_attn_vec_problem *problem,
                                      uint64_t *out);

// The second pass by itself: `tmp` is float32 [batch * q_len * heads, nwg, head_dim + 2].
typedef struct fa_flash_attn_vec_reduce_problem {
  int64_t batch;
  int64_t heads;
  int64_t q_len;
  int64_t head_dim;
  int32_t nwg;
  int32_t has_lse;
  int32_t undo_rotation;
  int32_t peer_port;  // the peer port's own kernel, nwg 32
  uint64_t seed;
} fa_flash_attn_vec_reduce_problem;

fa_status fa_flash_attn_vec_reduce(fa_encoder *encoder, fa_registry *registry,
                                   const fa_flash_attn_vec_reduce_problem *problem, fa_buffer *tmp, fa_buffer *o,
                                   fa_buffer *lse);

// ----------------------------------------------------------------------------------------------- flash_attn_decode

typedef enum fa_page_layout {
  FA_PAGES_NHD = 0,  // a page is [page_size, kv_heads, width]
  FA_PAGES_HND = 1   // a page is [kv_heads, page_size, width]
} fa_page_layout;

// K, V and their norms in pages, which sequences have in any order and may share.
typedef struct fa_kv_pages {
  int64_t count;      // pages there are
  int64_t page_size;  // keys of a page
  int64_t columns;    // entries of the table for each sequence
  // [batch, columns]: key i of sequence b lies in page table[b][i / page_size]. Only entries of keys that are attended
  // are looked at.
  const int32_t *table;
  fa_page_layout layout;
  int32_t reserved;
} fa_kv_pages;

// Slopes of a bias by distance: slope * |position of the query - position of the key| is taken from the score.
typedef enum fa_alibi {
  FA_ALIBI_NONE = 0,
  FA_ALIBI_HEADS = 1,  // float32 [heads]
  FA_ALIBI_SEQUENCES = 2  // float32 [batch, heads]
} fa_alibi;

// The last queries of each sequence against a cache of any format; the heads of a group read it together.
typedef struct fa_flash_attn_decode_problem {
  int64_t batch;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t q_len;
  int64_t capacity;
  int64_t window;  // keys a query attends up to its own, that one included; 0: all
  const int64_t *kv_lens;  // [batch]
  const int64_t *ring_starts;  // [batch]: slot of each sequence's first key; null: 0
  fa_dtype dtype;  // of q and o
  fa_kv_format keys;
  fa_kv_format values;
  int32_t causal;
  float scale;
  float softcap;
  float scale_factor_d512;
  int32_t half_norms;  // norms of version 2 are half
  int32_t rotate_query;  // rotate Q first, as quantised keys want it
  int32_t undo_rotation;  // take the rotation of quantised values out of O
  int32_t has_sinks;
  int32_t has_lse;
  int32_t splits;  // threadgroups that share a sequence's keys; 0: as tuned
  int32_t nsg;  // simdgroups of a threadgroup; 0: as tuned
  uint64_t seed;  // of the rotation; 0: the default signs
  const fa_kv_pages *pages;  // null: the cache is [batch, kv_heads, capacity, width]; else `capacity` does not count
  fa_alibi alibi;
  int32_t reserved;
} fa_flash_attn_decode_problem;

typedef struct fa_flash_attn_decode_buffers {
  fa_buffer *q;  // [batch, heads, q_len, head_dim]
  fa_buffer *k;  // [batch, kv_heads, capacity, width]; likewise v
  fa_buffer *k_norms;  // null for a dense format; likewise v_norms
  fa_buffer *v;
  fa_buffer *v_norms;
  fa_buffer *o;  // as q; written
  fa_buffer *sinks;  // float32 [heads]; null without sinks
  fa_buffer *lse;  // float32 [batch, heads, q_len]; null if not wanted
  fa_buffer *partials;  // float32; null if fa_flash_attn_decode_scratch_bytes says 0
  fa_buffer *partial_states;  // float32; likewise
  fa_buffer *alibi;  // float32 [heads] or [batch, heads]; null without
} fa_flash_attn_decode_buffers;

fa_status fa_flash_attn_decode(fa_encoder *encoder, fa_registry *registry, const fa_flash_attn_decode_problem *problem,
                               const fa_flash_attn_decode_buffers *buffers);
fa_status fa_flash_attn_decode_explain(fa_device *device, const fa_flash_attn_decode_problem *problem,
                                       const char **out);
fa_status fa_flash_attn_decode_scratch_bytes(fa_device *device, const fa_flash_attn_decode_problem *problem,
                                             uint64_t *partials, uint64_t *partial_states);

// -------------------------------------------------------------------------------------------------------- kv cache

// Keys and values of past tokens of several sequences. Calls return when their work is done, and exclude each other.
typedef struct fa_kv_cache_config {
  int64_t batch;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t capacity;  // tokens each sequence has room for
  int64_t max_capacity;  // how far that may grow, doubling; 0: not
  int64_t window;  // keys a query attends at most, its own included; 0: all
  uint64_t seed;  // of the codec's rotation; 0: the default signs
  fa_kv_format keys;
  fa_kv_format values;
  int32_t ring;  // when there is no room, the oldest tokens give way
  int32_t half_norms;  // norms are half
} fa_kv_cache_config;

typedef struct fa_kv_cache_info {
  fa_kv_cache_config config;
  int64_t capacity;  // now
  uint64_t byte_count;
  uint64_t bytes_per_token;  // of one sequence
} fa_kv_cache_info;

// Queries of the newest tokens: query t of q_len belongs to the token q_len - t before the end.
typedef struct fa_kv_cache_queries {
  fa_tensor q;  // [batch, heads, q_len, head_dim]
  fa_tensor o;  // as q; written
  fa_tensor sinks;  // float32 [heads]; data null: none
  fa_tensor lse;  // float32 [batch, heads, q_len], contiguous; written; data null: not wanted
  int64_t window;  // 0: the cache's own
  int32_t causal;
  int32_t has_scale;  // 0: 1 / sqrt(head_dim)
  float scale;
  float softcap;  // 0: none
} fa_kv_cache_queries;

fa_status fa_kv_cache_create(fa_device *device, const fa_kv_cache_config *config, fa_kv_cache **out);
fa_status fa_kv_cache_retain(fa_kv_cache *cache);
fa_status fa_kv_cache_release(fa_kv_cache *cache);
// A cache of its own with the same content.
fa_status fa_kv_cache_copy(fa_kv_cache *cache, fa_kv_cache **out);
fa_status fa_kv_cache_get_info(fa_kv_cache *cache, fa_kv_cache_info *out);
// Positions of each sequence's tokens that are there: the first, and the one after the last. `count` is the batch.
fa_status fa_kv_cache_get_ranges(fa_kv_cache *cache, int64_t *begins, int64_t *ends, int32_t count);
fa_status fa_kv_cache_set_ranges(fa_kv_cache *cache, const int64_t *begins, const int64_t *ends, int32_t count);
// Keys' data and norms, values' data and norms, as new handles; null where there are none. Growing replaces them.
fa_status fa_kv_cache_get_buffers(fa_kv_cache *cache, fa_buffer **k, fa_buffer **k_norms, fa_buffer **v,
                                  fa_buffer **v_norms);
// Appends tokens [batch, kv_heads, n, head_dim] and then attends, in one command buffer. Null: not that; not all.
fa_status fa_kv_cache_step(fa_kv_cache *cache, const fa_tensor *k, const fa_tensor *v,
                           const fa_kv_cache_queries *queries);
// Buffers of a step that is encoded; shapes and dtypes as those of the tensors. Null: as with null tensors.
typedef struct fa_kv_cache_buffers {
  fa_buffer *k;
  fa_buffer *v;
  fa_buffer *q;
  fa_buffer *o;
  fa_buffer *sinks;
  fa_buffer *lse;
} fa_kv_cache_buffers;

// fa_kv_cache_step in an encoder of the cache's device: appends if there are k and v, attends if there are queries,
// whose own tensors are not read. Nothing has run when it returns, yet the tokens count as there; the cache does not
// grow.
fa_status fa_kv_cache_encode(fa_kv_cache *cache, fa_encoder *encoder, const fa_kv_cache_buffers *buffers,
                             const fa_kv_cache_queries *queries);
fa_status fa_kv_cache_explain(fa_kv_cache *cache, const fa_kv_cache_queries *queries, const char **out);
// Forgets the tokens from a position on; sequence -1: of all.
fa_status fa_kv_cache_truncate(fa_kv_cache *cache, int64_t sequence, int64_t end);
// The vectors of a sequence, [kv_heads, n, head_dim], or of all (-1), [batch, kv_heads, n, head_dim]; contiguous.
fa_status fa_kv_cache_dequantize(fa_kv_cache *cache, int64_t sequence, const fa_tensor *k, const fa_tensor *v);

#ifdef __cplusplus
}
#endif
#endif
