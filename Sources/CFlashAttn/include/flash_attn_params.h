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

#endif
