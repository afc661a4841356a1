"""One layout of every struct: in C's own assertions, in cffi's reading of the header, in the built library."""

import re

import pytest

from pyfa._ffi import ffi, lib

# What published shaders of this family were compiled for: field names of the header, byte offsets.
EXPECTED = {
    "fa_attn_params": (
        160,
        {
            "B": 0,
            "H": 4,
            "D": 8,
            "qL": 12,
            "kL": 16,
            "gqa_factor": 20,
            "scale": 24,
            "softcap": 28,
            "NQ": 32,
            "NK": 36,
            "NQ_aligned": 40,
            "NK_aligned": 44,
            "qL_rem": 48,
            "kL_rem": 52,
            "qL_off": 56,
            "reserved": 60,
            "Q_strides": 64,
            "K_strides": 88,
            "V_strides": 112,
            "O_strides": 136,
        },
    ),
    "fa_attn_mask_params": (24, {"M_strides": 0}),
    "fa_attn_window_params": (8, {"left": 0, "right": 4}),
    "fa_attn_blk_params": (16, {"strides": 0}),
    "fa_attn_alibi_params": (8, {"batch_stride": 0}),
    "fa_attn_page_params": (8, {"page_size": 0, "pages_per_sequence": 4}),
    "fa_blk_params": (40, {"qL": 0, "kL": 4, "batches": 8, "heads": 12, "M_strides": 16}),
    "fa_mask_fill_params": (16, {"seq_len_k": 0, "q_abs_offset": 4, "n_swa": 8, "causal": 12}),
    "fa_fwht_params": (
        8,
        {
            "head_dim": 0,
            "num_heads": 4,
        },
    ),
    "fa_hadamard_quantize_kv_params": (
        28,
        {
            "head_dim": 0,
            "num_kv_heads": 4,
            "write_pos": 8,
            "cache_capacity": 12,
            "is_sliding": 16,
            "scale_factor_d512": 20,
            "rms_probe_enabled": 24,
        },
    ),
    "fa_hadamard_quantize_kv_hb_params": (
        28,
        {
            "head_dim": 0,
            "num_kv_heads": 4,
            "write_pos": 8,
            "cache_capacity": 12,
            "is_sliding": 16,
            "scale_factor_d512": 20,
            "codebook_bits": 24,
        },
    ),
    "fa_tq_dequantize_kv_params": (
        24,
        {
            "head_dim": 0,
            "num_kv_heads": 4,
            "read_pos": 8,
            "cache_capacity": 12,
            "norms_per_pos": 16,
            "scale_factor_d512": 20,
        },
    ),
    "fa_tq_dequantize_hb_kv_params": (
        28,
        {
            "head_dim": 0,
            "num_kv_heads": 4,
            "read_pos": 8,
            "cache_capacity": 12,
            "norms_per_pos": 16,
            "scale_factor_d512": 20,
            "codebook_bits": 24,
        },
    ),
    "fa_kv_encode_params": (
        48,
        {
            "batch": 0,
            "kv_heads": 4,
            "n_tokens": 8,
            "capacity": 12,
            "is_ring": 16,
            "reserved": 20,
            "src_strides": 24,
        },
    ),
    "fa_kv_decode_params": (
        32,
        {
            "batch": 0,
            "kv_heads": 4,
            "n_tokens": 8,
            "capacity": 12,
            "read_pos": 16,
            "is_ring": 20,
            "undo_rotation": 24,
            "scale_factor_d512": 28,
        },
    ),
    "fa_vec_params": (
        40,
        {
            "heads": 0,
            "kv_heads": 4,
            "head_dim": 8,
            "kv_len": 12,
            "capacity": 16,
            "scale": 20,
            "mask_type": 24,
            "window": 28,
            "softcap": 32,
            "nwg": 36,
        },
    ),
    "fa_vec_peer_port_params": (
        36,
        {
            "heads": 0,
            "kv_heads": 4,
            "head_dim": 8,
            "kv_len": 12,
            "capacity": 16,
            "scale": 20,
            "mask_type": 24,
            "window": 28,
            "ring_start": 32,
        },
    ),
    "fa_vec_tq_params": (
        48,
        {
            "heads": 0,
            "kv_heads": 4,
            "head_dim": 8,
            "kv_len": 12,
            "capacity": 16,
            "scale": 20,
            "mask_type": 24,
            "window": 28,
            "softcap": 32,
            "nwg": 36,
            "ring_start": 40,
            "scale_factor_d512": 44,
        },
    ),
    "fa_vec_tq_hb_params": (
        60,
        {
            "heads": 0,
            "kv_heads": 4,
            "head_dim": 8,
            "kv_len": 12,
            "capacity": 16,
            "scale": 20,
            "mask_type": 24,
            "window": 28,
            "softcap": 32,
            "nwg": 36,
            "ring_start": 40,
            "scale_factor_d512": 44,
            "codebook_bits": 48,
            "fuse_fwht_pre": 52,
            "nsg": 56,
        },
    ),
    "fa_vec_reduce_params": (
        4,
        {
            "nrows": 0,
        },
    ),
    "fa_decode_batch": (
        16,
        {
            "batch": 0,
            "q_len": 4,
            "reserved": 8,
        },
    ),
    "fa_decode_params": (
        96,
        {
            "batch": 0,
            "heads": 4,
            "kv_heads": 8,
            "q_len": 12,
            "capacity": 16,
            "splits": 20,
            "window": 24,
            "causal": 28,
            "scale": 32,
            "softcap": 36,
            "scale_factor_d512": 40,
            "slope_stride": 44,
            "q_strides": 48,
            "o_strides": 72,
        },
    ),
    "fa_decode_pages": (
        40,
        {
            "page_size": 0,
            "table_stride": 4,
            "pages": 8,
            "reserved": 12,
            "page_stride": 16,
            "slot_stride": 24,
            "head_stride": 32,
        },
    ),
}


@pytest.fixture(scope="module")
def assertions(root):
    """Return what layout.c asserts: {struct: (size, {field: offset})}."""
    text = (root / "Sources/CFlashAttn/layout.c").read_text(encoding="utf-8")
    sizes = re.findall(r"^CHECK_SIZE\((\w+), (\d+)\);", text, flags=re.MULTILINE)
    found = {name: (int(size), {}) for name, size in sizes}
    for name, field, offset in re.findall(r"^CHECK_FIELD\((\w+), (\w+), (\d+)\);", text, flags=re.MULTILINE):
        found[name][1][field] = int(offset)
    return found


def test_c_asserts_the_expected_layout(assertions):
    assert assertions == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_cffi_reads_the_expected_layout(name):
    struct = ffi.typeof(name)
    assert (ffi.sizeof(struct), {field: info.offset for field, info in struct.fields}) == EXPECTED[name]


def test_every_struct_of_params_h_is_expected(root):
    text = (root / "Sources/CFlashAttn/include/flash_attn_params.h").read_text(encoding="utf-8")
    assert set(re.findall(r"typedef struct (\w+)", text)) == set(EXPECTED)


def test_struct_kinds_cover_every_struct_of_the_header(c_headers):
    declared = set(re.findall(r"typedef struct (\w+) {", c_headers))
    kinds = ffi.typeof("fa_struct_kind").relements
    assert len(kinds) == len(declared)
    # Every declared struct has the size of one kind: the library was built from this header.
    built = sorted(lib.fa_sizeof(kind) for kind in kinds.values())
    assert built == sorted(ffi.sizeof(name) for name in declared)


def test_unknown_struct_kind_has_no_size():
    assert lib.fa_sizeof(len(ffi.typeof("fa_struct_kind").relements)) == 0
