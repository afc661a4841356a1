"""The shaders that judge and fill masks, by their slots."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.python import prefill_model, reference
from tests.python.shader_devices import CHECKED, STRICT, shader_device
from tests.python.shader_prefill import kernel, strides, struct

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="a GPU does not check what a kernel does")

DTYPES = reference.DTYPES | {"bool": np.dtype(bool)}
DEVICE = shader_device(**STRICT, **CHECKED)
TILES = [(32, 16), (32, 8), (8, 8), (8, 64), (1, 1), (3, 33), (2, 100), (5, 31)]


def blk(mask, tile, planes=(1, 1), q_len=None, kv_len=None):
    """Dispatch the kernel on a mask in four dimensions."""
    q_len, kv_len = q_len or mask.shape[2], kv_len or mask.shape[3]
    grid = -(-kv_len // tile[1]), -(-q_len // tile[0]), planes[0] * planes[1]
    out = np.full((*planes, grid[1], grid[0]), 77, np.uint8)
    dtype = next(name for name, dtype in DTYPES.items() if dtype == mask.dtype)
    params = struct("fa_blk_params", qL=q_len, kL=kv_len, batches=planes[0], heads=planes[1], M_strides=strides(mask))
    name = f"flash_attn_prefill_blk_{dtype}"
    constants = ((400, tile[0]), (401, tile[1]))
    kernel("flash_attn_prefill_blk", DEVICE, name, constants)(
        {0: mask, 1: out, 2: params}, threadgroups=grid, threads=32
    )
    return out


def some_mask(dtype, shape, seed=0):
    """Make a mask with tiles of every kind: excluded, plain and mixed ones."""
    rng = np.random.default_rng(seed)
    attends = rng.random(shape) < 0.9
    attends[..., shape[2] // 3 :, shape[3] // 3 :] = True
    attends[..., : shape[2] // 2, : shape[3] // 2] = False
    if dtype == "bool":
        return attends
    return np.where(attends, 0, -np.inf).astype(DTYPES[dtype])


@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_blk_bytes(dtype, tile):
    seen = set()
    for q_len, kv_len in ((1, 1), (31, 64), (64, 65), (70, 200), (65, 127)):
        mask = some_mask(dtype, (1, 1, q_len, kv_len))
        found = blk(mask, tile)
        np.testing.assert_array_equal(found, prefill_model.blk_bytes(mask, tile))
        seen |= set(found.ravel())
    assert {0, 2} <= seen <= {0, 1, 2}


@pytest.mark.parametrize("dtype", DTYPES)
def test_blk_planes(dtype):
    mask = some_mask(dtype, (2, 3, 40, 50))
    np.testing.assert_array_equal(blk(mask, (8, 64), (2, 3)), prefill_model.blk_bytes(mask, (8, 64)))
    one = some_mask(dtype, (2, 1, 40, 50))
    expected = np.repeat(prefill_model.blk_bytes(one, (8, 64)), 3, axis=1)
    np.testing.assert_array_equal(blk(one, (8, 64), (2, 3)), expected)


@pytest.mark.parametrize("column", [0, 31, 32, 63])
def test_blk_looks_at_every_column(column):
    """One element decides, wherever it stands in a tile wider than a simdgroup."""
    for dtype, plain, other in (("f16", 0, -np.inf), ("f16", -np.inf, 0), ("bf16", 0, 1e-30), ("bool", True, False)):
        mask = np.full((1, 1, 8, 64), plain, DTYPES[dtype])
        mask[0, 0, 5, column] = other
        assert blk(mask, (8, 64)) == 1


@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize(
    ("value", "byte"), [(-1e4, 1), ("lowest", 1), (np.nan, 1), (-0.0, 2), (np.inf, 1), (-np.inf, 0)], ids=str
)
def test_only_minus_infinity_excludes(dtype, value, byte):
    if value == "lowest":
        value = {"f32": -3.4e38, "bf16": -3.38e38, "f16": -65504.0}[dtype]
    assert blk(np.full((1, 1, 32, 16), value, DTYPES[dtype]), (32, 16)) == byte


def fill(dtype, q_len, kv_len, offset, window, causal):
    mask = np.full((q_len, kv_len), 1, DTYPES[dtype])
    params = struct("fa_mask_fill_params", seq_len_k=kv_len, q_abs_offset=offset, n_swa=window, causal=causal)
    threads = min(256, max(32, 1 << (kv_len - 1).bit_length()))
    kernel("flash_attn_prefill_mask", DEVICE, f"flash_attn_prefill_mask_fill_{dtype}", ())(
        {0: mask, 1: params}, threadgroups=q_len, threads=threads
    )
    return mask


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("window", [-1, 1, 4, 100])
def test_filled_masks(dtype, causal, window):
    for q_len, kv_len, offset in ((1, 1, 0), (5, 31, 26), (33, 300, 7), (40, 40, 0), (3, 64, 100)):
        distance = np.arange(q_len)[:, None] + offset - np.arange(kv_len)
        attends = (distance >= 0) | (causal == 0)
        if window > 0:
            attends &= distance < window
        expected = attends if dtype == "bool" else np.where(attends, 0, -np.inf)
        np.testing.assert_array_equal(
            fill(dtype, q_len, kv_len, offset, window, causal), expected.astype(DTYPES[dtype])
        )


def test_offsets_near_the_end_of_their_type():
    offset = 2**32 - 3
    assert fill("bool", 5, 8, offset, -1, 1).all()
    assert not fill("bool", 5, 8, offset, 4, 1).any()
