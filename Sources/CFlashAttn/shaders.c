// Embeds the shaders and the headers they include. A file is added in two places here: its text and its row.
#include "flash_attn_shaders.h"

// #embed is C23; every clang that builds Swift 6.3 has it.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const char params_h[] = {
#embed "include/flash_attn_params.h" suffix(, 0)
};
static const char codebook_h[] = {
#embed "../../shaders/include/codebook.h" suffix(, 0)
};
static const char decode_formats_h[] = {
#embed "../../shaders/include/decode_formats.h" suffix(, 0)
};
static const char decode_merge_h[] = {
#embed "../../shaders/include/decode_merge.h" suffix(, 0)
};
static const char decode_mma_h[] = {
#embed "../../shaders/include/decode_mma.h" suffix(, 0)
};
static const char decode_mma_merge_h[] = {
#embed "../../shaders/include/decode_mma_merge.h" suffix(, 0)
};
static const char decode_options_h[] = {
#embed "../../shaders/include/decode_options.h" suffix(, 0)
};
static const char decode_rows_h[] = {
#embed "../../shaders/include/decode_rows.h" suffix(, 0)
};
static const char decode_vec_h[] = {
#embed "../../shaders/include/decode_vec.h" suffix(, 0)
};
static const char fwht_h[] = {
#embed "../../shaders/include/fwht.h" suffix(, 0)
};
static const char kv_codec_h[] = {
#embed "../../shaders/include/kv_codec.h" suffix(, 0)
};
static const char kv_codec_v1_h[] = {
#embed "../../shaders/include/kv_codec_v1.h" suffix(, 0)
};
static const char mma_h[] = {
#embed "../../shaders/include/mma.h" suffix(, 0)
};
static const char online_softmax_h[] = {
#embed "../../shaders/include/online_softmax.h" suffix(, 0)
};
static const char prefill_h[] = {
#embed "../../shaders/include/prefill.h" suffix(, 0)
};
static const char prefill_sequences_h[] = {
#embed "../../shaders/include/prefill_sequences.h" suffix(, 0)
};
static const char special_values_h[] = {
#embed "../../shaders/include/special_values.h" suffix(, 0)
};
static const char tile_loader_h[] = {
#embed "../../shaders/include/tile_loader.h" suffix(, 0)
};
static const char tile_rows_h[] = {
#embed "../../shaders/include/tile_rows.h" suffix(, 0)
};
static const char unroll_h[] = {
#embed "../../shaders/include/unroll.h" suffix(, 0)
};
static const char flash_attn_decode[] = {
#embed "../../shaders/flash_attn_decode.metal" suffix(, 0)
};
static const char flash_attn_prefill[] = {
#embed "../../shaders/flash_attn_prefill.metal" suffix(, 0)
};
static const char flash_attn_prefill_blk[] = {
#embed "../../shaders/flash_attn_prefill_blk.metal" suffix(, 0)
};
static const char flash_attn_prefill_d512[] = {
#embed "../../shaders/flash_attn_prefill_d512.metal" suffix(, 0)
};
static const char flash_attn_prefill_mask[] = {
#embed "../../shaders/flash_attn_prefill_mask.metal" suffix(, 0)
};
static const char flash_attn_vec[] = {
#embed "../../shaders/flash_attn_vec.metal" suffix(, 0)
};
static const char flash_attn_vec_peer_port_f16[] = {
#embed "../../shaders/flash_attn_vec_peer_port_f16.metal" suffix(, 0)
};
static const char flash_attn_vec_reduce[] = {
#embed "../../shaders/flash_attn_vec_reduce.metal" suffix(, 0)
};
static const char flash_attn_vec_tq[] = {
#embed "../../shaders/flash_attn_vec_tq.metal" suffix(, 0)
};
static const char flash_attn_vec_tq_hb[] = {
#embed "../../shaders/flash_attn_vec_tq_hb.metal" suffix(, 0)
};
static const char fwht_standalone[] = {
#embed "../../shaders/fwht_standalone.metal" suffix(, 0)
};
static const char hadamard_quantize_kv[] = {
#embed "../../shaders/hadamard_quantize_kv.metal" suffix(, 0)
};
static const char kv_decode[] = {
#embed "../../shaders/kv_decode.metal" suffix(, 0)
};
static const char kv_encode[] = {
#embed "../../shaders/kv_encode.metal" suffix(, 0)
};
static const char tq_dequantize_kv[] = {
#embed "../../shaders/tq_dequantize_kv.metal" suffix(, 0)
};

// clang-format off: one row each
static const cfa_shader_file files[] = {
    {"flash_attn_params.h", params_h},
    {"codebook.h", codebook_h},
    {"decode_formats.h", decode_formats_h},
    {"decode_merge.h", decode_merge_h},
    {"decode_mma.h", decode_mma_h},
    {"decode_mma_merge.h", decode_mma_merge_h},
    {"decode_options.h", decode_options_h},
    {"decode_rows.h", decode_rows_h},
    {"decode_vec.h", decode_vec_h},
    {"fwht.h", fwht_h},
    {"kv_codec.h", kv_codec_h},
    {"kv_codec_v1.h", kv_codec_v1_h},
    {"mma.h", mma_h},
    {"online_softmax.h", online_softmax_h},
    {"prefill.h", prefill_h},
    {"prefill_sequences.h", prefill_sequences_h},
    {"special_values.h", special_values_h},
    {"tile_loader.h", tile_loader_h},
    {"tile_rows.h", tile_rows_h},
    {"unroll.h", unroll_h},
    {"flash_attn_decode.metal", flash_attn_decode},
    {"flash_attn_prefill.metal", flash_attn_prefill},
    {"flash_attn_prefill_mask.metal", flash_attn_prefill_mask},
    {"flash_attn_prefill_d512.metal", flash_attn_prefill_d512},
    {"flash_attn_prefill_blk.metal", flash_attn_prefill_blk},
    {"flash_attn_vec.metal", flash_attn_vec},
    {"flash_attn_vec_peer_port_f16.metal", flash_attn_vec_peer_port_f16},
    {"flash_attn_vec_reduce.metal", flash_attn_vec_reduce},
    {"flash_attn_vec_tq.metal", flash_attn_vec_tq},
    {"flash_attn_vec_tq_hb.metal", flash_attn_vec_tq_hb},
    {"fwht_standalone.metal", fwht_standalone},
    {"hadamard_quantize_kv.metal", hadamard_quantize_kv},
    {"kv_decode.metal", kv_decode},
    {"kv_encode.metal", kv_encode},
    {"tq_dequantize_kv.metal", tq_dequantize_kv},
};
// clang-format on

const cfa_shader_file *cfa_shader_files(uint32_t *count) {
  *count = sizeof files / sizeof files[0];
  return files;
}
