// Parameter blocks of the kernels: one declaration for C, C++, Swift, Python (cffi) and the shaders themselves.
// Plain fields of fixed size only. The layouts are checked in Sources/CFlashAttn/layout.c.
#ifndef FLASH_ATTN_PARAMS_H
#define FLASH_ATTN_PARAMS_H

#ifndef __METAL_VERSION__
#include <stdint.h>
#endif

/// Prefill kernels, slot 4. Strides are in elements, in the order batch, head, row; the innermost stride is 1.
/// A tile is BQ query rows by BK keys, as the kernel variant says.
typedef struct fa_attn_params {
  int32_t B;           // batch
  int32_t H;           // query heads
  int32_t D;           // head dimension
  int32_t qL;          // query rows
  int32_t kL;          // keys
  int32_t gqa_factor;  // query heads per kv head
  float scale;         // multiplies q . k, in float32
  float softcap;       // 0: none
  int32_t NQ;          // query tiles, the ragged one included
  int32_t NK;          // key tiles, the ragged one included
  int32_t NQ_aligned;  // full query tiles
  int32_t NK_aligned;  // full key tiles
  int32_t qL_rem;      // query rows in the ragged tile, or 0
  int32_t kL_rem;      // keys in the ragged tile, or 0
  int32_t qL_off;      // causal: row i attends keys 0 ... i + qL_off
  int32_t reserved;    // 0
  int64_t Q_strides[3];
  int64_t K_strides[3];
  int64_t V_strides[3];
  int64_t O_strides[3];
} fa_attn_params;

/// Prefill kernels with a mask, slot 5. Strides in elements, in the order batch, head, query row; 0 broadcasts.
typedef struct fa_attn_mask_params {
  int64_t M_strides[3];
} fa_attn_mask_params;

/// Prefill kernels with block bytes, slot 11: bytes between the planes of batches and of heads; 0 broadcasts. A plane is
/// NQ x NK bytes, row by row.
typedef struct fa_attn_blk_params {
  int64_t strides[2];
} fa_attn_blk_params;

/// Prefill kernels with a window, slot 10. A row at position p = row + qL_off attends keys p - left ... p + right;
/// -1: no bound on that side.
typedef struct fa_attn_window_params {
  int32_t left;
  int32_t right;
} fa_attn_window_params;

/// Prefill kernels with ALiBi slopes, slot 18.
typedef struct fa_attn_alibi_params {
  int64_t batch_stride;  // elements between the slopes of neighbouring batches; 0 broadcasts
} fa_attn_alibi_params;

/// Prefill kernels with pages, slot 17. The first of K_strides and of V_strides is between pages.
typedef struct fa_attn_page_params {
  uint32_t page_size;           // keys of a page
  uint32_t pages_per_sequence;  // entries of a row of the block table
} fa_attn_page_params;

/// flash_attn_prefill_blk, slot 2. Mask strides as in fa_attn_mask_params.
typedef struct fa_blk_params {
  int32_t qL;       // rows of the mask
  int32_t kL;       // keys of the mask
  int32_t batches;  // planes of the output: batches ...
  int32_t heads;    // ... times heads
  int64_t M_strides[3];
} fa_blk_params;

/// flash_attn_prefill_mask, slot 1.
typedef struct fa_mask_fill_params {
  uint32_t seq_len_k;     // keys, also the length of a row
  uint32_t q_abs_offset;  // position of the first row among the keys
  int32_t n_swa;          // keys a row attends, itself included; -1: all
  uint32_t causal;        // not 0: later keys are excluded
} fa_mask_fill_params;

/// How a KV cache keeps its vectors (docs/codec.md): function constants 70 and 71, and the codec of a saved cache.
typedef enum fa_kv_format {
  FA_KV_F32 = 0,
  FA_KV_F16 = 1,
  FA_KV_BF16 = 2,
  FA_KV_Q8 = 3,
  FA_KV_TQ2 = 12,
  FA_KV_TQ3 = 13,
  FA_KV_TQ4 = 14,
  FA_KV_TQ5 = 15,
  FA_KV_TQ6 = 16,
  FA_KV_TQ7 = 17,
  FA_KV_TQ8 = 18,
  FA_KV_TQ4_V1 = 24,
  FA_KV_TQ_HB5 = 25,
  FA_KV_TQ_HB6 = 26,
  FA_KV_TQ_HB8 = 28
} fa_kv_format;

/// fwht_* kernels, slot 1.
typedef struct fa_fwht_params {
  uint32_t head_dim;
  uint32_t num_heads;  // rows
} fa_fwht_params;

/// hadamard_quantize_kv_fast* kernels, slot 3.
typedef struct fa_hadamard_quantize_kv_params {
  uint32_t head_dim;
  uint32_t num_kv_heads;
  uint32_t write_pos;          // position of the first token
  uint32_t cache_capacity;     // slots of each head
  uint32_t is_sliding;         // 1: position p is kept in slot p mod cache_capacity
  float scale_factor_d512;     // multiplies what head dimension 512 looks up; below 1e-6 it means 1
  uint32_t rms_probe_enabled;  // 1: slot 4, if bound, gets what is looked up
} fa_hadamard_quantize_kv_params;

/// hadamard_quantize_kv_hb* kernels, slot 3.
typedef struct fa_hadamard_quantize_kv_hb_params {
  uint32_t head_dim;
  uint32_t num_kv_heads;
  uint32_t write_pos;
  uint32_t cache_capacity;
  uint32_t is_sliding;
  float scale_factor_d512;
  uint32_t codebook_bits;  // 5, 6 or 8
} fa_hadamard_quantize_kv_hb_params;

/// tq_dequantize_kv* kernels, slot 3.
typedef struct fa_tq_dequantize_kv_params {
  uint32_t head_dim;
  uint32_t num_kv_heads;
  uint32_t read_pos;  // slot
  uint32_t cache_capacity;
  uint32_t norms_per_pos;   // 1, or 2 for head dimension 512
  float scale_factor_d512;  // the encoder's
} fa_tq_dequantize_kv_params;

/// tq_dequantize_hb_kv* kernels, slot 3.
typedef struct fa_tq_dequantize_hb_kv_params {
  uint32_t head_dim;
  uint32_t num_kv_heads;
  uint32_t read_pos;
  uint32_t cache_capacity;
  uint32_t norms_per_pos;
  float scale_factor_d512;
  uint32_t codebook_bits;  // 5, 6 or 8
} fa_tq_dequantize_hb_kv_params;

/// kv_encode_* kernels, slot 3.
typedef struct fa_kv_encode_params {
  uint32_t batch;
  uint32_t kv_heads;
  uint32_t n_tokens;
  uint32_t capacity;       // slots of each sequence and head
  uint32_t is_ring;        // 1: position p is kept in slot p mod capacity
  uint32_t reserved;       // 0
  int64_t src_strides[3];  // elements; batch, head, token
} fa_kv_encode_params;

/// kv_decode_* kernels, slot 3.
typedef struct fa_kv_decode_params {
  uint32_t batch;
  uint32_t kv_heads;
  uint32_t n_tokens;
  uint32_t capacity;
  uint32_t read_pos;       // position of the first token
  uint32_t is_ring;        // 1: position p is kept in slot p mod capacity
  uint32_t undo_rotation;  // 0: quantised vectors stay rotated
  float scale_factor_d512;  // of formats of version 1, as the encoder's; below 1e-6 it means 1
} fa_kv_decode_params;

// Decode kernels of the vec family: what they share is `heads` query heads over `kv_heads` kv heads, `kv_len` valid keys
// in a cache of `capacity` slots, mask_type 0 (none), 1 (causal) or 2 (causal, and the last `window` keys alone), and
// nwg work-groups that share a query's keys.

/// flash_attn_vec, slot 0.
typedef struct fa_vec_params {
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t kv_len;
  uint32_t capacity;
  float scale;         // multiplies q . k, in float32
  uint32_t mask_type;
  uint32_t window;     // keys, the query's own included; 0: all
  float softcap;       // 0: none
  uint32_t nwg;
} fa_vec_params;

/// flash_attn_vec_peer_port_f16, slot 0.
typedef struct fa_vec_peer_port_params {
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t kv_len;
  uint32_t capacity;
  float scale;
  uint32_t mask_type;
  uint32_t window;
  uint32_t ring_start;  // slot of the oldest key
} fa_vec_peer_port_params;

/// flash_attn_vec_tq, slot 0.
typedef struct fa_vec_tq_params {
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t kv_len;
  uint32_t capacity;
  float scale;
  uint32_t mask_type;
  uint32_t window;
  float softcap;
  uint32_t nwg;
  uint32_t ring_start;
  float scale_factor_d512;  // norms of D = 512 are divided by it; below 1e-6: not divided
} fa_vec_tq_params;

/// flash_attn_vec_tq_hb, slot 0.
typedef struct fa_vec_tq_hb_params {
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t kv_len;
  uint32_t capacity;
  float scale;
  uint32_t mask_type;
  uint32_t window;
  float softcap;
  uint32_t nwg;
  uint32_t ring_start;
  float scale_factor_d512;
  uint32_t codebook_bits;  // function constant 50 decides
  uint32_t fuse_fwht_pre;  // 0: Q is rotated already
  uint32_t nsg;            // simdgroups of a threadgroup
} fa_vec_tq_hb_params;

/// Passes that merge the work-groups, slot 0: rows of the partial results.
typedef struct fa_vec_reduce_params {
  uint32_t nrows;
} fa_vec_reduce_params;

/// Both passes, slot 7, with function constant 60: queries of several sequences.
typedef struct fa_decode_batch {
  uint32_t batch;
  uint32_t q_len;  // queries of each sequence
  uint32_t reserved[2];
} fa_decode_batch;

/// flash_attn_decode and flash_attn_decode_merge, slot 0. Strides are in elements, in the order batch, head, query.
typedef struct fa_decode_params {
  uint32_t batch;
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t q_len;  // queries of each sequence
  uint32_t capacity;
  uint32_t splits;  // threadgroups that share a sequence's keys
  uint32_t window;  // keys, the query's own included; 0: all
  uint32_t causal;  // 1: a query attends no later key than its own
  float scale;      // multiplies q . k, in float32
  float softcap;
  float scale_factor_d512;  // of formats of version 1
  uint32_t slope_stride;    // slopes between sequences; 0: all have the same
  int64_t q_strides[3];
  int64_t o_strides[3];
} fa_decode_params;

/// flash_attn_decode, slot 13, with function constant 79: K, V and their norms in pages. Key i of a sequence lies in
/// slot i mod page_size of the page that entry i / page_size of its row of the table says. Strides are in rows of the
/// cache, of which each kv head has one in every slot.
typedef struct fa_decode_pages {
  uint32_t page_size;     // slots of a page
  uint32_t table_stride;  // entries between sequences
  uint32_t pages;         // pages there are
  uint32_t reserved;      // 0
  int64_t page_stride;
  int64_t slot_stride;
  int64_t head_stride;
} fa_decode_pages;

#endif
