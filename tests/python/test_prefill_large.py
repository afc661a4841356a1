"""Long sequences and the shapes of published tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import pyfa
from pyfa.ops import flash_attn_prefill, flash_attn_prefill_blk, flash_attn_prefill_mask
from tests.python import reference
from tests.python.prefill_model import additive, blk_bytes, sliding_mask

DTYPES = reference.DTYPES


def free_memory():
    """Return the bytes that can be had without swapping, where that can be known."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def native_only(device):
    if device.info().provider == "shader":
        pytest.skip("minutes of work for a shader on the CPU")


def uniform(rng, *shape, dtype="bf16"):
    return rng.uniform(-0.5, 0, shape).astype(DTYPES[dtype])


def check(device, q, k, v, **options):
    out, lse = pyfa.attention(q, k, v, **options, return_lse=True, device=device)
    expected, expected_lse = reference.attention(q, k, v, **options)
    reference.assert_close(out, expected)
    reference.assert_lse_close(lse, expected_lse, q.dtype)
    np.testing.assert_array_equal(pyfa.attention(q, k, v, **options, device=device), out)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [256, 512])
@pytest.mark.parametrize("length", [32, 128, 512])
@pytest.mark.parametrize("causal", [False, True])
def test_square(rng, length, head_dim, causal, dtype, device):
    if length > 32 or dtype != "bf16":
        native_only(device)
    check(device, *(uniform(rng, 1, 2, length, head_dim, dtype=dtype) for _ in range(3)), causal=causal)


@pytest.mark.parametrize(
    ("heads", "q_len", "kv_len", "head_dim", "options"),
    [
        ((8, 2), 128, 128, 256, {}),
        ((2, 2), 128, 128, 256, {"scale": 0.3}),
        ((2, 2), 50, 64, 256, {}),
        ((2, 2), 32, 50, 256, {}),
        ((2, 2), 50, 32, 256, {"causal": True}),
        ((2, 2), 100, 60, 512, {"causal": True}),
        ((12, 12), 128, 128, 64, {"layout": "blhd"}),
        ((12, 12), 128, 128, 64, {"layout": "bhld"}),
        ((8, 8), 64, 64, 512, {"causal": True}),
        ((4, 1), 33, 100, 192, {"window": (16, 8)}),
    ],
    ids=str,
)
def test_shapes(rng, heads, q_len, kv_len, head_dim, options, device):
    if (q_len, kv_len) not in ((50, 64), (100, 60)):
        native_only(device)
    order = (0, 2, 1, 3) if options.get("layout") == "blhd" else (0, 1, 2, 3)
    shapes = ((heads[0], q_len), (heads[1], kv_len), (heads[1], kv_len))
    operands = [np.ascontiguousarray(uniform(rng, 1, h, n, head_dim).transpose(order)) for h, n in shapes]
    check(device, *operands, **options)


@pytest.mark.parametrize("head_dim", [256, 512])
def test_masks(rng, head_dim, device):
    """Checkerboard, global causal, sliding windows, all masked; rank 2 shared by 8 heads, and rank 4."""
    native_only(device)
    q, k, v = (uniform(rng, 2, 8, 128, head_dim) for _ in range(3))
    check(device, q, k, v, mask=np.where(np.indices((128, 128)).sum(axis=0) % 2, -1e4, 0).astype(q.dtype))
    for keep in (sliding_mask(128, 128), sliding_mask(128, 128, 4), sliding_mask(128, 128, 64)):
        check(device, q, k, v, mask=additive(keep, q.dtype))
    check(device, q, k, v, mask=additive(np.zeros((128, 128), bool), q.dtype))
    check(device, q, k, v, mask=additive(rng.random((2, 8, 128, 128)) < 0.5, q.dtype))
    check(device, q, k, v, mask=sliding_mask(128, 128, 48), causal=True)


@pytest.mark.parametrize(("head_dim", "length", "window"), [(256, 2455, 1024), (512, 2455, None)])
def test_a_prompt_of_2455_tokens(rng, head_dim, length, window, device):
    native_only(device)
    q, k, v = (uniform(rng, 1, 2, length, head_dim) for _ in range(3))
    keep = sliding_mask(length, length, window)
    bias = additive(keep, q.dtype)
    out = pyfa.attention(q, k, v, mask=keep, device=device)
    options = {"causal": True, "window": None if window is None else (window - 1, 0)}
    np.testing.assert_array_equal(out, pyfa.attention(q, k, v, **options, device=device))
    rows = np.r_[0:40, 1000:1060, length - 40 : length]
    expected = reference.attention(q[:, :, rows], k, v, mask=keep[rows])[0]
    reference.assert_close(out[:, :, rows], expected)
    reference.assert_close(pyfa.attention(q, k, v, mask=bias, device=device)[:, :, rows], expected)


@pytest.mark.slow
def test_65536_rows(rng, device):
    """The last rows of a long prompt, by options, and by a mask whose offsets pass 2**32 elements."""
    native_only(device)
    rows = 65536
    q, k, v = (uniform(rng, 1, 1, rows, 64) for _ in range(3))
    out = pyfa.attention(q, k, v, causal=True, window=(63, 0), device=device)
    last = np.s_[:, :, -200:]
    expected = reference.attention(q[last], k[:, :, -300:], v[:, :, -300:], causal=True, window=(63, 0))[0]
    reference.assert_close(out[last], expected)
    assert np.isfinite(out.astype(np.float32)).all()


@pytest.mark.slow
def test_mask_of_65536_rows(device):
    native_only(device)
    rows = 65536
    if free_memory() < 3 * rows * rows // 2:
        pytest.skip("needs 6 GiB of memory")
    with pyfa.Buffer.zeros((rows, rows + 32), np.bool_, device=device) as mask:
        flash_attn_prefill_mask(rows, rows + 32, mask, window=64, q_offset=32, device=device)
        found = mask.numpy()
        for first in (0, 1, 30000, rows // 2, rows - 64):
            expected = sliding_mask(64, rows + 32, 64, q_offset=32 + first)
            np.testing.assert_array_equal(found[first : first + 64], expected)
        blk = flash_attn_prefill_blk(mask, tile=(32, 16), device=device).numpy()
        assert (blk == 0).mean() > 0.99
        part = found[-64:]
        np.testing.assert_array_equal(blk[-2:], blk_bytes(part, (32, 16)))
        rng = np.random.default_rng(0)
        q, k, v = (uniform(rng, 1, 1, n, 64) for n in (rows, rows + 32, rows + 32))
        out = flash_attn_prefill(q, k, v, mask=mask, blk=blk, device=device)
        by_options = flash_attn_prefill(q, k, v, causal=True, window=(63, 0), device=device)
        np.testing.assert_array_equal(out, by_options)
