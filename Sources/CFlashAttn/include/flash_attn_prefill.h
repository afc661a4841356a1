// flash_attn_prefill.h - the part of flash_attn.h about many rows at once; its conventions hold here too.
#ifndef FLASH_ATTN_PREFILL_H
#define FLASH_ATTN_PREFILL_H

#include "flash_attn.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------------------------------------- flash_attn_prefill

typedef enum fa_layout {
  FA_LAYOUT_BHLD = 0,     // [batch, heads, length, head_dim], contiguous
  FA_LAYOUT_BLHD = 1,     // [batch, length, heads, head_dim], contiguous
  FA_LAYOUT_STRIDED = 2   // the strides given beside it
} fa_layout;

typedef enum fa_mask_kind {
  FA_MASK_NONE = 0,
  FA_MASK_ADDITIVE = 1,  // dtype of q; added to the scaled scores; -inf masks
  FA_MASK_BOOL = 2       // FA_BOOL or FA_U8; true attends
} fa_mask_kind;

// softmax(scale * q k^T + mask) v for query rows against keys, tile by tile. Row i stands at position i + q_offset among
// the keys. A row without any key to attend gives zeros, and -inf (or its sink) as its LSE.
typedef struct fa_flash_attn_prefill_problem {
  int64_t batch;
  int64_t heads;
  int64_t kv_heads;  // divides heads
  int64_t head_dim;
  int64_t q_len;        // 0: nothing to compute
  int64_t kv_len;       // 0: zeros
  int64_t kv_capacity;  // keys each head of k and v has room for, with FA_LAYOUT_BHLD or FA_LAYOUT_BLHD; 0: kv_len.
                        // Demands 0 <= q_offset and q_len <= kv_len <= kv_capacity
  fa_dtype dtype;       // of q, k, v and o
  float scale;
  float softcap;         // scores become softcap * tanh(score / softcap) before any mask; 0: as they are
  int32_t causal;        // no key after a row's position
  int32_t has_q_offset;  // 0: q_offset is kv_len - q_len, the last row stands at the last key
  int32_t has_window;
  int64_t q_offset;   // at most kv_len - q_len, or 0
  int64_t window[2];  // keys before and after a row's position that it attends; -1: all
  fa_layout layout;
  fa_mask_kind mask;
  int32_t mask_rank;  // 2 [q, k], 3 [batch, q, k], 4 [batch, heads, q, k], contiguous; 0: by mask_strides
  int32_t has_blk;    // needs a mask; by blk_strides
  int32_t has_sinks;
  int32_t has_lse;
  int32_t nsg;  // fa_flash_attn_prefill_d512: simdgroups of a threadgroup, 4 or 8; 0: as tuned
  int32_t reserved;
  int64_t q_strides[3];  // FA_LAYOUT_STRIDED: elements between batches, heads, rows
  int64_t k_strides[3];
  int64_t v_strides[3];
  int64_t o_strides[3];
  int64_t mask_strides[3];  // mask_rank 0: elements between batches, heads, query rows; 0 broadcasts
  int64_t blk_strides[2];   // bytes between the block bytes of batches, heads; 0 broadcasts
  int64_t alibi_stride;     // elements between the slopes of batches; 0 broadcasts
  int32_t has_alibi;        // slope * |i + q_offset - j| is taken from every score, before any mask
  int32_t reserved2;
  // Sequences of different lengths, a batch each; null for what they do without. With any of these the last row of each
  // sequence stands at its last key, and there is no q_offset.
  //
  // [batch + 1]: q and o are packed, [rows, heads, head_dim]; sequence b has rows q_starts[b] ... q_starts[b + 1] - 1.
  // q_len is not read. Needs k_starts or a block table, and no mask.
  const int64_t *q_starts;
  // [batch + 1]: likewise k and v, with q_starts. kv_len is not read.
  const int64_t *k_starts;
  // [batch]: keys of each sequence, of those it has room for.
  const int64_t *kv_lens;
  // [batch, pages_per_sequence], with kv_lens and without a mask: k and v are [pages, page_size, kv_heads, head_dim] (of
  // strides given, the first are between pages); key j of sequence b is row j % page_size of page [b][j / page_size].
  // Entries behind a length are not read, and kv_len is not.
  const uint32_t *block_table;
  int64_t pages_per_sequence;
  int64_t page_size;
  int64_t pages;
} fa_flash_attn_prefill_problem;

typedef struct fa_flash_attn_prefill_buffers {
  fa_buffer *q;
  fa_buffer *k;  // null only if there are no keys; likewise v
  fa_buffer *v;
  fa_buffer *o;
  fa_buffer *mask;   // null without a mask
  fa_buffer *blk;    // FA_U8, a byte for each tile of the kernel (its plan tells the tile); null without block bytes
  fa_buffer *sinks;  // float32 [heads]: a score that joins every row's sum and has no value; null without sinks
  fa_buffer *lse;    // float32 [batch, heads, q_len], or packed [heads, rows], natural logarithm; null if not wanted
  fa_buffer *alibi;  // float32 [heads] or [batch, heads]: slopes; null without
} fa_flash_attn_prefill_buffers;

fa_status fa_flash_attn_prefill(fa_encoder *encoder, fa_registry *registry,
                                const fa_flash_attn_prefill_problem *problem,
                                const fa_flash_attn_prefill_buffers *buffers);
// The passes the call would encode, as JSON.
fa_status fa_flash_attn_prefill_explain(fa_device *device, const fa_flash_attn_prefill_problem *problem,
                                        const char **out);

// The same for head_dim 512 in f16 and bf16, with chunks of 64 keys.
fa_status fa_flash_attn_prefill_d512(fa_encoder *encoder, fa_registry *registry,
                                     const fa_flash_attn_prefill_problem *problem,
                                     const fa_flash_attn_prefill_buffers *buffers);
fa_status fa_flash_attn_prefill_d512_explain(fa_device *device, const fa_flash_attn_prefill_problem *problem,
                                             const char **out);

// ------------------------------------------------------------------------------------------ flash_attn_prefill_blk

// One byte for each tile of a mask: 0 where no key is attended, 2 where every key is, without a bias, 1 elsewhere.
// The bytes serve a prefill kernel of the same tile only.
typedef struct fa_flash_attn_prefill_blk_problem {
  int64_t batch;  // planes of the output: batches ...
  int64_t heads;  // ... times heads
  int64_t q_len;
  int64_t kv_len;
  int64_t tile_rows;  // query rows of a tile
  int64_t tile_keys;  // keys of a tile
  fa_dtype dtype;     // of the mask: FA_F32, FA_F16 or FA_BF16, where -inf masks, or FA_BOOL
  int32_t mask_rank;  // 2 [q, k], 3 [batch, q, k], 4 [batch, heads, q, k], contiguous; 0: by mask_strides
  int64_t mask_strides[3];
} fa_flash_attn_prefill_blk_problem;

// `blk` is FA_U8 [batch, heads, q tiles, k tiles], or at least that many bytes; written.
fa_status fa_flash_attn_prefill_blk(fa_encoder *encoder, fa_registry *registry,
                                    const fa_flash_attn_prefill_blk_problem *problem, fa_buffer *mask, fa_buffer *blk);
fa_status fa_flash_attn_prefill_blk_explain(fa_device *device, const fa_flash_attn_prefill_blk_problem *problem,
                                            const char **out);
// Bytes of a buffer for one plane: one for each tile, rounded up to a multiple of 32.
fa_status fa_flash_attn_prefill_blk_bytes(int64_t q_len, int64_t kv_len, int64_t tile_rows, int64_t tile_keys,
                                          uint64_t *out);

// ----------------------------------------------------------------------------------------- flash_attn_prefill_mask

// A mask [q_len, kv_len] for causal attention, a sliding window, or both.
typedef struct fa_flash_attn_prefill_mask_problem {
  int64_t q_len;
  int64_t kv_len;
  int64_t q_offset;  // position of the first row among the keys, not negative
  int64_t window;    // keys a row attends up to its position, that one included; -1: all
  fa_dtype dtype;    // FA_F32, FA_F16 or FA_BF16: 0 and -inf; FA_BOOL: true and false
  int32_t causal;    // no key after a row's position
} fa_flash_attn_prefill_mask_problem;

fa_status fa_flash_attn_prefill_mask(fa_encoder *encoder, fa_registry *registry,
                                     const fa_flash_attn_prefill_mask_problem *problem, fa_buffer *mask);
fa_status fa_flash_attn_prefill_mask_explain(fa_device *device, const fa_flash_attn_prefill_mask_problem *problem,
                                             const char **out);

// ------------------------------------------------------------------------------------------------------- attention

// A tensor in host memory; strides are in elements. Of mask and sinks they may be any, of other tensors the innermost
// is 1 and none is negative.
typedef struct fa_tensor {
  void *data;
  fa_dtype dtype;
  int32_t rank;
  int64_t shape[4];
  int64_t strides[4];
  int32_t read_only;
  int32_t reserved;
} fa_tensor;

// Attention over host memory in one call: wraps or copies the tensors, encodes, commits and waits.
typedef struct fa_attention_args {
  fa_tensor q;     // [batch, heads, q_len, head_dim], or [batch, q_len, heads, head_dim] with FA_LAYOUT_BLHD
  fa_tensor k;     // likewise with kv_heads and kv_len
  fa_tensor v;
  fa_tensor o;     // as q; written
  fa_tensor mask;   // rank 2 [q, k], 3 [batch, q, k] or 4 [batch, heads, q, k]; 1 broadcasts; data null: none
  fa_tensor sinks;  // float32 [heads]: a score that joins every row's sum and has no value; data null: none
  fa_tensor lse;  // float32 [batch, heads, q_len], contiguous; written; data null: not wanted
  fa_layout layout;  // FA_LAYOUT_BHLD or FA_LAYOUT_BLHD: the order of dimensions; strides tell the rest
  int32_t causal;   // no key after a row's position
  int32_t has_scale;  // 0: 1 / sqrt(head_dim)
  float scale;
  float softcap;  // scores become softcap * tanh(score / softcap) before any mask; 0: as they are
  int32_t has_q_offset;
  int32_t has_window;
  int32_t reserved;
  int64_t q_offset;  // position of the first row among the keys, at most kv_len - q_len or 0; default kv_len - q_len
  int64_t window[2];  // keys before and after a row's position that it attends; -1: all
  fa_tensor alibi;    // float32 [heads] or [batch, heads]: slope * |i + q_offset - j| is taken from every score
} fa_attention_args;

fa_status fa_attention(fa_device *device, const fa_attention_args *args);
// What fa_attention would do, as JSON: passes, kernels, constants, grids, provider, copies.
fa_status fa_attention_explain(fa_device *device, const fa_attention_args *args, const char **out);

// Attention of a packed batch: sequences of different lengths, one after the other. The last row of each stands at its
// last key.
typedef struct fa_attention_varlen_args {
  fa_tensor q;  // [rows, heads, head_dim]
  fa_tensor k;  // [keys, kv_heads, head_dim], or with a block table [pages, page_size, kv_heads, head_dim]
  fa_tensor v;
  fa_tensor o;      // as q; written
  fa_tensor sinks;  // float32 [heads]; data null: none
  fa_tensor alibi;  // float32 [heads] or [batch, heads]; data null: none
  fa_tensor lse;    // float32 [heads, rows], contiguous; written; data null: not wanted
  int64_t batch;    // sequences
  // [batch + 1]: sequence b has rows q_starts[b] ... q_starts[b + 1] - 1. From 0 to the number of rows.
  const int64_t *q_starts;
  // [batch + 1]: likewise keys, to their number at most; null with a block table.
  const int64_t *k_starts;
  // [batch]: keys of each sequence, of those it has room for; null: all, without a block table.
  const int64_t *kv_lens;
  // [batch, pages_per_sequence]: key j of sequence b is row j % page_size of page [b][j / page_size]; null: k and v are
  // packed. Entries behind a length are not read.
  const uint32_t *block_table;
  int64_t pages_per_sequence;
  int32_t causal;
  int32_t has_scale;
  float scale;
  float softcap;
  int32_t has_window;
  int32_t reserved;
  int64_t window[2];
} fa_attention_varlen_args;

fa_status fa_attention_varlen(fa_device *device, const fa_attention_varlen_args *args);
fa_status fa_attention_varlen_explain(fa_device *device, const fa_attention_varlen_args *args, const char **out);

#ifdef __cplusplus
}
#endif

#endif
