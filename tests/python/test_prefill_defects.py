"""Known mistakes of kernels of this family: the model of each is caught, and ours is not caught."""

from __future__ import annotations

import mmap
import sys

import ml_dtypes
import numpy as np
import pytest

import pyfa
from pyfa.ops import FlashAttnPrefillBlkProblem, FlashAttnPrefillProblem, flash_attn_prefill, flash_attn_prefill_blk
from tests.python import prefill_model, reference
from tests.python.prefill_model import blk_bytes, sliding_mask

# Linux takes address space for memory that may never be touched only if told so; the mmap module has no name for it.
NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
BF16 = reference.DTYPES["bf16"]


def attends_by(blk, mask, tile):
    """Return which pairs are attended by whoever trusts block bytes."""
    kinds = np.repeat(np.repeat(blk, tile[0], axis=0), tile[1], axis=1)[: mask.shape[0], : mask.shape[1]]
    return np.where(kinds == 0, False, np.where(kinds == 2, True, mask))


@pytest.mark.parametrize(
    ("length", "window", "wrong", "leaked", "dropped"),
    [(2048, None, 128, 15872, 0), (2048, 1024, 192, 15872, 7936), (2455, None, 152, 18848, 0)],
)
def test_block_bytes_of_wide_tiles(length, window, wrong, leaked, dropped, device):
    """One lane for each column sees 32 of 64 columns."""
    tile, mask = (8, 64), sliding_mask(length, length, window)
    right, model = blk_bytes(mask, tile), prefill_model.blk_bytes_of_32_lanes(mask, tile)
    assert (model != right).sum() == wrong
    by_model = attends_by(model, mask, tile)
    assert ((by_model & ~mask).sum(), (mask & ~by_model).sum()) == (leaked, dropped)
    found = flash_attn_prefill_blk(mask, tile=tile, device=device)
    np.testing.assert_array_equal(attends_by(found, mask, tile), mask)


@pytest.mark.parametrize(("q_len", "q_offset", "kv_len", "leaked"), [(37, 11, 48, 10), (100, 12, 112, 18)])
def test_causal_limit_at_odd_offsets(rng, q_len, q_offset, kv_len, leaked, device):
    """The tiles that need masking begin earlier than the tile's width says."""
    q, k, v = (rng.standard_normal((1, 1, n, 256)).astype(BF16) for n in (q_len, kv_len, kv_len))
    options = {"causal": True, "q_offset": q_offset}
    by_model = prefill_model.causal_pairs_of_late_tiles(q_len, kv_len, q_offset)
    right = reference.attended(q_len, kv_len, **options)
    assert (by_model & ~right).sum() == leaked
    assert not (right & ~by_model).any()
    expected = reference.attention(q, k, v, **options)[0]
    with pytest.raises(AssertionError, match="allowed"):
        reference.assert_close(reference.attention(q, k, v, mask=by_model)[0].astype(BF16), expected)
    reference.assert_close(pyfa.attention(q, k, v, **options, device=device), expected)


@pytest.mark.parametrize("kv_len", [1, 63, 65, 100])
def test_chunks_end_with_the_keys(rng, kv_len, device):
    """A chunk of 64 keys that reads on multiplies weights of 0 with whatever is there."""
    q = rng.standard_normal((1, 1, 9, 512)).astype(BF16)
    cache = np.full((2, 1, 1, 128, 512), np.nan).astype(BF16)
    cache[:, :, :, :kv_len] = rng.standard_normal((2, 1, 1, kv_len, 512))
    weights = np.zeros((9, 128))
    weights[:, :kv_len] = 1 / kv_len
    assert np.isnan(weights[:, : -(-kv_len // 64) * 64] @ cache[1, 0, 0, : -(-kv_len // 64) * 64].astype(float)).all()
    k, v = cache[:, :, :, :kv_len]
    expected = reference.attention(q, k, v)[0]
    reference.assert_close(pyfa.attention(q, k, v, device=device), expected)


def test_bias_beyond_half(rng, device):
    """A bias that goes through half is infinite from 65504 on, and then excludes."""
    q, k, v = (rng.standard_normal((1, 1, n, 512)).astype(BF16) for n in (9, 70, 70))
    mask = np.where(rng.random((9, 70)) < 0.5, -70144.0, -70656.0).astype(BF16)
    with np.errstate(over="ignore"):
        through_half = mask.astype(np.float32).astype(np.float16)
    assert not reference.attention(q, k, v, mask=through_half)[0].any()
    out = pyfa.attention(q, k, v, mask=mask, device=device)
    expected = reference.attention(q, k, v, mask=mask)[0]
    assert expected.any()
    # Scores beside such a bias are rounded to float32's steps there, 1/128.
    assert np.abs(out.astype(np.float64) - expected).max() <= 0.03 * np.abs(expected).max()


def far(device, count, dtype):
    """Make a buffer of elements that take memory only where they are touched."""
    size = count * np.dtype(dtype).itemsize
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)
    except OSError:
        pytest.skip(f"{size} bytes of address space are not to be had")
    array = np.frombuffer(memory, dtype)
    if size > device.info().max_buffer_bytes:
        pytest.skip("the device has no buffers of that size")
    return array, pyfa.Buffer.wrap(array, device=device)


@pytest.mark.parametrize("row", [2**31 + 64, 2**32 // 3 + 64])
def test_mask_rows_beyond_32_bits(rng, row, device):
    """Offsets of rows that are multiplied in 32 bits wrap around."""
    rows, keys = 5, 70
    assert (rows - 1) * row >= 2**32 != (rows - 1) * row % 2**32
    memory, mask = far(device, (rows - 1) * row + keys, np.bool_)
    keep = rng.random((rows, keys)) < 0.5
    for i in range(rows):
        memory[i * row : i * row + keys] = keep[i]
    q, k, v = (rng.standard_normal((1, 1, n, 64), dtype=np.float32) for n in (rows, keys, keys))
    problem = FlashAttnPrefillProblem(
        batch=1, heads=1, kv_heads=1, head_dim=64, q_len=rows, kv_len=keys, dtype=np.float32, mask="bool",
        mask_strides=(0, 0, row),
    )  # fmt: skip
    out = flash_attn_prefill(q, k, v, mask=mask, problem=problem, device=device)
    np.testing.assert_array_equal(out, pyfa.attention(q, k, v, mask=keep, device=device))
    blk = FlashAttnPrefillBlkProblem(
        q_len=rows, kv_len=keys, tile_rows=2, tile_keys=8, dtype=np.bool_, mask_strides=(0, 0, row)
    )
    found = flash_attn_prefill_blk(mask, problem=blk, device=device)
    np.testing.assert_array_equal(found.read()[0, 0], blk_bytes(keep, (2, 8)))


def test_heads_beyond_32_bits(rng, device):
    stride = 2**31 + 64
    memory, far_k = far(device, 2 * stride + 70 * 64, np.float16)
    q, k, v = (rng.standard_normal((1, 3, n, 64)).astype(np.float16) for n in (9, 70, 70))
    for h in range(3):
        memory[h * stride : h * stride + 70 * 64] = k[0, h].ravel()
    problem = FlashAttnPrefillProblem(
        batch=1, heads=3, kv_heads=3, head_dim=64, q_len=9, kv_len=70, dtype=np.float16, layout="strided",
        q_strides=(0, 9 * 64, 64), k_strides=(0, stride, 64), v_strides=(0, 70 * 64, 64), o_strides=(0, 9 * 64, 64),
    )  # fmt: skip
    out = flash_attn_prefill(q, far_k, v, problem=problem, device=device)
    np.testing.assert_array_equal(out, pyfa.attention(q, k, v, device=device))


@pytest.mark.parametrize("head_dim", [64, 256])
def test_queries_are_not_scaled_in_bf16(rng, head_dim, device):
    """scale * log2(e) in bf16 is 0.18 % off, and so is every score."""
    assert float(ml_dtypes.bfloat16(head_dim**-0.5 * np.log2(np.e))) / (head_dim**-0.5 * np.log2(np.e)) > 1.0017
    q, k, v = (4 * rng.standard_normal((1, 2, n, head_dim)).astype(BF16) for n in (40, 90, 90))
    expected, expected_lse = reference.attention(q, k, v)
    model, model_lse = prefill_model.attention_of_prescaled_bf16(q, k, v)
    with pytest.raises(AssertionError, match="allowed"):
        reference.assert_close(model.astype(BF16), expected)
    assert np.abs(model_lse - expected_lse).max() > 0.05
    out, lse = pyfa.attention(q, k, v, return_lse=True, device=device)
    reference.assert_close(out, expected)
    np.testing.assert_allclose(lse, expected_lse, rtol=2e-6, atol=2e-5)


def test_softcap_is_not_ignored(rng, device):
    q, k, v = (rng.standard_normal((1, 2, 20, 64), dtype=np.float32) for _ in range(3))
    expected = reference.attention(q, k, v, scale=1.0, softcap=2.0)[0]
    with pytest.raises(AssertionError, match="allowed"):
        reference.assert_close(reference.attention(q, k, v, scale=1.0)[0].astype(np.float32), expected)
    reference.assert_close(pyfa.attention(q, k, v, scale=1.0, softcap=2.0, device=device), expected)


@pytest.mark.parametrize("head_dim", [64, 512])
def test_low_bias_is_no_exclusion(rng, head_dim, device):
    """To take a tile of biases of -1e30 for excluded is to make block bytes matter."""
    q, k, v = (rng.standard_normal((1, 2, 64, head_dim)).astype(BF16) for _ in range(3))
    mask = np.full((64, 64), -1e30).astype(BF16)
    by_model = np.where(mask <= -1e30, 0, 1)
    assert not by_model.any()
    tile = pyfa.explain(q, k, v, mask=mask, device=device).passes[-1].tile
    blk = flash_attn_prefill_blk(mask, tile=(tile["BQ"], tile["BK"]), device=device)
    assert (blk == 1).all()
    out = pyfa.attention(q, k, v, mask=mask, device=device)
    # All scores round to the bias itself, so every key has the same weight.
    reference.assert_close(out, np.broadcast_to(v.astype(np.float64).mean(axis=2, keepdims=True), out.shape))
