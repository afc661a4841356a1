// The layouts that shaders, Swift, C++ and Python agree on. A change here is a change of every shader.
#include <assert.h>
#include <stddef.h>

#include "flash_attn_params.h"

#define CHECK_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type " must have " #bytes " bytes")
#define CHECK_FIELD(type, field, offset) \
  static_assert(offsetof(type, field) == (offset), #type "." #field " must be at byte " #offset)

CHECK_SIZE(fa_attn_params, 160);
CHECK_FIELD(fa_attn_params, B, 0);
CHECK_FIELD(fa_attn_params, H, 4);
CHECK_FIELD(fa_attn_params, D, 8);
CHECK_FIELD(fa_attn_params, qL, 12);
CHECK_FIELD(fa_attn_params, kL, 16);
CHECK_FIELD(fa_attn_params, gqa_factor, 20);
CHECK_FIELD(fa_attn_params, scale, 24);
CHECK_FIELD(fa_attn_params, softcap, 28);
CHECK_FIELD(fa_attn_params, NQ, 32);
CHECK_FIELD(fa_attn_params, NK, 36);
CHECK_FIELD(fa_attn_params, NQ_aligned, 40);
CHECK_FIELD(fa_attn_params, NK_aligned, 44);
CHECK_FIELD(fa_attn_params, qL_rem, 48);
CHECK_FIELD(fa_attn_params, kL_rem, 52);
CHECK_FIELD(fa_attn_params, qL_off, 56);
CHECK_FIELD(fa_attn_params, reserved, 60);
CHECK_FIELD(fa_attn_params, Q_strides, 64);
CHECK_FIELD(fa_attn_params, K_strides, 88);
CHECK_FIELD(fa_attn_params, V_strides, 112);
CHECK_FIELD(fa_attn_params, O_strides, 136);

CHECK_SIZE(fa_attn_mask_params, 24);
CHECK_FIELD(fa_attn_mask_params, M_strides, 0);

CHECK_SIZE(fa_attn_blk_params, 16);
CHECK_FIELD(fa_attn_blk_params, strides, 0);

CHECK_SIZE(fa_attn_window_params, 8);
CHECK_FIELD(fa_attn_window_params, left, 0);
CHECK_FIELD(fa_attn_window_params, right, 4);

CHECK_SIZE(fa_attn_alibi_params, 8);
CHECK_FIELD(fa_attn_alibi_params, batch_stride, 0);

CHECK_SIZE(fa_attn_page_params, 8);
CHECK_FIELD(fa_attn_page_params, page_size, 0);
CHECK_FIELD(fa_attn_page_params, pages_per_sequence, 4);

CHECK_SIZE(fa_blk_params, 40);
CHECK_FIELD(fa_blk_params, qL, 0);
CHECK_FIELD(fa_blk_params, kL, 4);
CHECK_FIELD(fa_blk_params, batches, 8);
CHECK_FIELD(fa_blk_params, heads, 12);
CHECK_FIELD(fa_blk_params, M_strides, 16);

CHECK_SIZE(fa_mask_fill_params, 16);
CHECK_FIELD(fa_mask_fill_params, seq_len_k, 0);
CHECK_FIELD(fa_mask_fill_params, q_abs_offset, 4);
CHECK_FIELD(fa_mask_fill_params, n_swa, 8);
CHECK_FIELD(fa_mask_fill_params, causal, 12);

CHECK_SIZE(fa_fwht_params, 8);
CHECK_FIELD(fa_fwht_params, head_dim, 0);
CHECK_FIELD(fa_fwht_params, num_heads, 4);

CHECK_SIZE(fa_hadamard_quantize_kv_params, 28);
CHECK_FIELD(fa_hadamard_quantize_kv_params, head_dim, 0);
CHECK_FIELD(fa_hadamard_quantize_kv_params, num_kv_heads, 4);
CHECK_FIELD(fa_hadamard_quantize_kv_params, write_pos, 8);
CHECK_FIELD(fa_hadamard_quantize_kv_params, cache_capacity, 12);
CHECK_FIELD(fa_hadamard_quantize_kv_params, is_sliding, 16);
CHECK_FIELD(fa_hadamard_quantize_kv_params, scale_factor_d512, 20);
CHECK_FIELD(fa_hadamard_quantize_kv_params, rms_probe_enabled, 24);

CHECK_SIZE(fa_hadamard_quantize_kv_hb_params, 28);
CHECK_FIELD(fa_hadamard_quantize_kv_hb_params, head_dim, 0);
CHECK_FIELD(fa_hadamard_quantize_kv_hb_params, num_kv_heads, 4);
CHECK_FIELD(fa_hadamard_quantize_kv_hb_params, write_pos, 8);
CHECK_FIELD(fa_hadamard_quantize_kv_hb_params, cache_capacity, 12);
CHECK_FIELD(fa_hadamard_quantize_kv_hb_params, is_sliding, 16);
CHECK_FIELD(fa_hadamard_quantize_kv_hb_params, scale_factor_d512, 20);
CHECK_FIELD(fa_hadamard_quantize_kv_hb_params, codebook_bits, 24);

CHECK_SIZE(fa_tq_dequantize_kv_params, 24);
CHECK_FIELD(fa_tq_dequantize_kv_params, head_dim, 0);
CHECK_FIELD(fa_tq_dequantize_kv_params, num_kv_heads, 4);
CHECK_FIELD(fa_tq_dequantize_kv_params, read_pos, 8);
CHECK_FIELD(fa_tq_dequantize_kv_params, cache_capacity, 12);
CHECK_FIELD(fa_tq_dequantize_kv_params, norms_per_pos, 16);
CHECK_FIELD(fa_tq_dequantize_kv_params, scale_factor_d512, 20);

CHECK_SIZE(fa_tq_dequantize_hb_kv_params, 28);
CHECK_FIELD(fa_tq_dequantize_hb_kv_params, head_dim, 0);
CHECK_FIELD(fa_tq_dequantize_hb_kv_params, num_kv_heads, 4);
CHECK_FIELD(fa_tq_dequantize_hb_kv_params, read_pos, 8);
CHECK_FIELD(fa_tq_dequantize_hb_kv_params, cache_capacity, 12);
CHECK_FIELD(fa_tq_dequantize_hb_kv_params, norms_per_pos, 16);
CHECK_FIELD(fa_tq_dequantize_hb_kv_params, scale_factor_d512, 20);
CHECK_FIELD(fa_tq_dequantize_hb_kv_params, codebook_bits, 24);

CHECK_SIZE(fa_kv_encode_params, 48);
CHECK_FIELD(fa_kv_encode_params, batch, 0);
CHECK_FIELD(fa_kv_encode_params, kv_heads, 4);
CHECK_FIELD(fa_kv_encode_params, n_tokens, 8);
CHECK_FIELD(fa_kv_encode_params, capacity, 12);
CHECK_FIELD(fa_kv_encode_params, is_ring, 16);
CHECK_FIELD(fa_kv_encode_params, reserved, 20);
CHECK_FIELD(fa_kv_encode_params, src_strides, 24);

CHECK_SIZE(fa_kv_decode_params, 32);
CHECK_FIELD(fa_kv_decode_params, batch, 0);
CHECK_FIELD(fa_kv_decode_params, kv_heads, 4);
CHECK_FIELD(fa_kv_decode_params, n_tokens, 8);
CHECK_FIELD(fa_kv_decode_params, capacity, 12);
CHECK_FIELD(fa_kv_decode_params, read_pos, 16);
CHECK_FIELD(fa_kv_decode_params, is_ring, 20);
CHECK_FIELD(fa_kv_decode_params, undo_rotation, 24);
CHECK_FIELD(fa_kv_decode_params, scale_factor_d512, 28);

CHECK_SIZE(fa_vec_params, 40);
CHECK_FIELD(fa_vec_params, heads, 0);
CHECK_FIELD(fa_vec_params, kv_heads, 4);
CHECK_FIELD(fa_vec_params, head_dim, 8);
CHECK_FIELD(fa_vec_params, kv_len, 12);
CHECK_FIELD(fa_vec_params, capacity, 16);
CHECK_FIELD(fa_vec_params, scale, 20);
CHECK_FIELD(fa_vec_params, mask_type, 24);
CHECK_FIELD(fa_vec_params, window, 28);
CHECK_FIELD(fa_vec_params, softcap, 32);
CHECK_FIELD(fa_vec_params, nwg, 36);

CHECK_SIZE(fa_vec_peer_port_params, 36);
CHECK_FIELD(fa_vec_peer_port_params, heads, 0);
CHECK_FIELD(fa_vec_peer_port_params, kv_heads, 4);
CHECK_FIELD(fa_vec_peer_port_params, head_dim, 8);
CHECK_FIELD(fa_vec_peer_port_params, kv_len, 12);
CHECK_FIELD(fa_vec_peer_port_params, capacity, 16);
CHECK_FIELD(fa_vec_peer_port_params, scale, 20);
CHECK_FIELD(fa_vec_peer_port_params, mask_type, 24);
CHECK_FIELD(fa_vec_peer_port_params, window, 28);
CHECK_FIELD(fa_vec_peer_port_params, ring_start, 32);

CHECK_SIZE(fa_vec_tq_params, 48);
CHECK_FIELD(fa_vec_tq_params, heads, 0);
CHECK_FIELD(fa_vec_tq_params, kv_heads, 4);
CHECK_FIELD(fa_vec_tq_params, head_dim, 8);
CHECK_FIELD(fa_vec_tq_params, kv_len, 12);
CHECK_FIELD(fa_vec_tq_params, capacity, 16);
CHECK_FIELD(fa_vec_tq_params, scale, 20);
CHECK_FIELD(fa_vec_tq_params, mask_type, 24);
CHECK_FIELD(fa_vec_tq_params, window, 28);
CHECK_FIELD(fa_vec_tq_params, softcap, 32);
CHECK_FIELD(fa_vec_tq_params, nwg, 36);
CHECK_FIELD(fa_vec_tq_params, ring_start, 40);
CHECK_FIELD(fa_vec_tq_params, scale_factor_d512, 44);

CHECK_SIZE(fa_vec_tq_hb_params, 60);
CHECK_FIELD(fa_vec_tq_hb_params, heads, 0);
CHECK_FIELD(fa_vec_tq_hb_params, kv_heads, 4);
CHECK_FIELD(fa_vec_tq_hb_params, head_dim, 8);
CHECK_FIELD(fa_vec_tq_hb_params, kv_len, 12);
CHECK_FIELD(fa_vec_tq_hb_params, capacity, 16);
CHECK_FIELD(fa_vec_tq_hb_params, scale, 20);
CHECK_FIELD(fa_vec_tq_hb_params, mask_type, 24);
CHECK_FIELD(fa_vec_tq_hb_params, window, 28);
CHECK_FIELD(fa_vec_tq_hb_params, softcap, 32);
CHECK_FIELD(fa_vec_tq_hb_params, nwg, 36);
CHECK_FIELD(fa_vec_tq_hb_params, ring_start, 40);
CHECK_FIELD(fa_vec_tq_hb_params, scale_factor_d512, 44);
CHECK_FIELD(fa_vec_tq_hb_params, codebook_bits, 48);
CHECK_FIELD(fa_vec_tq_hb_params, fuse_fwht_pre, 52);
CHECK_FIELD(fa_vec_tq_hb_params, nsg, 56);

CHECK_SIZE(fa_vec_reduce_params, 4);
CHECK_FIELD(fa_vec_reduce_params, nrows, 0);

CHECK_SIZE(fa_decode_batch, 16);
CHECK_FIELD(fa_decode_batch, batch, 0);
CHECK_FIELD(fa_decode_batch, q_len, 4);
CHECK_FIELD(fa_decode_batch, reserved, 8);

CHECK_SIZE(fa_decode_params, 96);
CHECK_FIELD(fa_decode_params, batch, 0);
CHECK_FIELD(fa_decode_params, heads, 4);
CHECK_FIELD(fa_decode_params, kv_heads, 8);
CHECK_FIELD(fa_decode_params, q_len, 12);
CHECK_FIELD(fa_decode_params, capacity, 16);
CHECK_FIELD(fa_decode_params, splits, 20);
CHECK_FIELD(fa_decode_params, window, 24);
CHECK_FIELD(fa_decode_params, causal, 28);
CHECK_FIELD(fa_decode_params, scale, 32);
CHECK_FIELD(fa_decode_params, softcap, 36);
CHECK_FIELD(fa_decode_params, scale_factor_d512, 40);
CHECK_FIELD(fa_decode_params, slope_stride, 44);
CHECK_FIELD(fa_decode_params, q_strides, 48);
CHECK_FIELD(fa_decode_params, o_strides, 72);

CHECK_SIZE(fa_decode_pages, 40);
CHECK_FIELD(fa_decode_pages, page_size, 0);
CHECK_FIELD(fa_decode_pages, table_stride, 4);
CHECK_FIELD(fa_decode_pages, pages, 8);
CHECK_FIELD(fa_decode_pages, reserved, 12);
CHECK_FIELD(fa_decode_pages, page_stride, 16);
CHECK_FIELD(fa_decode_pages, slot_stride, 24);
CHECK_FIELD(fa_decode_pages, head_stride, 32);
