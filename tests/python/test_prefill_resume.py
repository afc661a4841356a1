"""A prompt in pieces, and a cache with room for more: the bits of one call over the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pyfa
from pyfa.ops import FlashAttnPrefillProblem, flash_attn_prefill, flash_attn_prefill_d512, flash_attn_prefill_explain
from tests.python import reference

INVALID = pyfa.InvalidArgumentError
DTYPES = reference.DTYPES


def pieces(length, sizes):
    """Return (first, last) of each piece."""
    edges = [0, *np.cumsum(sizes)]
    assert edges[-1] == length
    return list(itertools.pairwise(edges))


def kernel(dtype, head_dim):
    return flash_attn_prefill_d512 if head_dim == 512 and dtype != "f32" else flash_attn_prefill


def cached(rng, dtype, heads, length, capacity, head_dim):
    """Make q, and a cache of k and v whose free part is NaN."""
    q = rng.standard_normal((1, heads[0], length, head_dim)).astype(DTYPES[dtype])
    cache = np.full((2, 1, heads[1], capacity, head_dim), np.nan).astype(q.dtype)
    cache[:, :, :, :length] = rng.standard_normal((2, 1, heads[1], length, head_dim)).astype(q.dtype)
    return q, cache


@pytest.mark.parametrize(
    ("dtype", "head_dim"),
    [("f32", 64), ("f16", 128), ("bf16", 256), ("f32", 256), ("f32", 512), ("f16", 512), ("bf16", 512)],
)
@pytest.mark.parametrize("options", [{"causal": True}, {"window": (40, 3)}], ids=["causal", "window"])
def test_resumed_is_monolithic(rng, options, dtype, head_dim, device):
    if device.info().provider == "shader" and ((dtype, head_dim) not in (("bf16", 256), ("f16", 512))):
        pytest.skip("every instance of the shader has its own test")
    run = kernel(dtype, head_dim)
    q, (k, v) = cached(rng, dtype, (4, 2), 130, 192, head_dim)
    # A piece knows the keys so far only, so the window reaches ahead in the last one alone.
    options = {"window": (40, 0), "causal": True} if "window" in options else options
    whole, sums = run(q, k[:, :, :130], v[:, :, :130], lse=True, **options, device=device)
    reference.assert_close(whole, reference.attention(q, k[:, :, :130], v[:, :, :130], **options)[0])
    for sizes in ([32, 98], [1, 129], [37, 1, 16, 76], [129, 1], [64, 64, 2]):
        for first, last in pieces(130, sizes):
            part = run(
                q[:, :, first:last], k, v, kv_len=int(last), q_offset=int(first), lse=True, **options, device=device
            )
            np.testing.assert_array_equal(part[0], whole[:, :, first:last], err_msg=f"{first}:{last} of {sizes}")
            np.testing.assert_array_equal(part[1], sums[:, :, first:last])


def test_two_halves_of_a_published_case(rng, device):
    """16 heads over 2, 64 rows as 32 and 32, room for 128."""
    q, (k, v) = cached(rng, "bf16", (16, 2), 64, 128, 256)
    whole = flash_attn_prefill(q, k[:, :, :64], v[:, :, :64], causal=True, device=device)
    for first in (0, 32):
        part = flash_attn_prefill(
            q[:, :, first : first + 32], k, v, kv_len=first + 32, q_offset=first, causal=True, device=device
        )
        np.testing.assert_array_equal(part, whole[:, :, first : first + 32])


@pytest.mark.parametrize("q_len", [1, 2, 7, 8, 15, 31, 32, 33, 64, 97, 130])
def test_rows_do_not_depend_on_their_tile(rng, q_len, device):
    """Any number of last rows against 130 keys."""
    q, k, v = (rng.standard_normal((1, 2, 130, 64)).astype(DTYPES["bf16"]) for _ in range(3))
    whole = pyfa.attention(q, k, v, causal=True, device=device)
    part = pyfa.attention(q[:, :, -q_len:], k, v, causal=True, device=device)
    np.testing.assert_array_equal(part, whole[:, :, -q_len:])


def test_by_attention_on_slices_of_a_cache(rng, device):
    q, (k, v) = cached(rng, "f32", (4, 2), 100, 160, 64)
    whole = pyfa.attention(q, k[:, :, :100], v[:, :, :100], causal=True, device=device)
    parts = [
        pyfa.attention(q[:, :, a:b], k[:, :, :b], v[:, :, :b], causal=True, device=device)
        for a, b in pieces(100, [37, 63])
    ]
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), whole)


@pytest.mark.parametrize("layout", ["bhld", "blhd"])
def test_capacity_in_both_layouts(rng, layout, device):
    shape = (2, 2, 50, 64) if layout == "bhld" else (2, 50, 2, 64)
    q = rng.standard_normal((2, 4, 9, 64) if layout == "bhld" else (2, 9, 4, 64), dtype=np.float32)
    k, v = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    part = (slice(None), slice(None), slice(37)) if layout == "bhld" else (slice(None), slice(37))
    free = (slice(None), slice(None), slice(37, None)) if layout == "bhld" else (slice(None), slice(37, None))
    k[free], v[free] = np.nan, np.nan
    out = flash_attn_prefill(q, k, v, kv_len=37, causal=True, layout=layout, device=device)
    reference.assert_close(out, reference.attention(q, k[part], v[part], causal=True, layout=layout)[0])


@pytest.mark.parametrize("head_dim", [64, 256, 512])
def test_nothing_beyond_the_last_key_is_touched(rng, head_dim, device):
    """The cache ends with the last key: what lies behind it is NaN in the same memory."""
    q, k, v = (rng.standard_normal((1, 1, n, head_dim)).astype(np.float16) for n in (5, 70, 70))
    memory = np.full(70 * head_dim + 64 * head_dim, np.nan, np.float16)
    memory[: 70 * head_dim] = v.ravel()
    wrapped = pyfa.Buffer.wrap(memory, device=device).view((1, 1, 70, head_dim))
    run = kernel("f16", head_dim)
    np.testing.assert_array_equal(run(q, k, wrapped, device=device), run(q, k, v, device=device))


def problem(**changed):
    sizes = {"batch": 1, "heads": 4, "kv_heads": 2, "head_dim": 64, "q_len": 5, "kv_len": 9, "dtype": np.float32}
    return FlashAttnPrefillProblem(**(sizes | changed))


BAD = [
    ("kv_capacity", "9, as kv_len, to 2147483647, got 8", {"kv_capacity": 8}),
    ("kv_capacity", "to 2147483647, got 2147483648", {"kv_capacity": 2**31}),
    ("kv_capacity", "got -1", {"kv_capacity": -1}),
    ("kv_capacity", "none with strides", {"kv_capacity": 20, "layout": "strided"}),
    ("q_len", "at most kv_len = 9 with a kv_capacity, got 10", {"kv_capacity": 20, "q_len": 10}),
    ("q_offset", "0 to 4 for 5 rows and 9 keys, got -1", {"kv_capacity": 20, "q_offset": -1}),
    ("q_offset", "to 4 for 5 rows and 9 keys, got 5", {"kv_capacity": 20, "q_offset": 5}),
]


@pytest.mark.parametrize(("argument", "words", "changed"), BAD, ids=str)
def test_bad_problems(argument, words, changed, device):
    with pytest.raises(INVALID, match=f"^flash_attn_prefill: {argument}: expected .*{words}"):
        flash_attn_prefill_explain(problem(**changed), device=device)


def test_short_cache(rng, device):
    q, k, v = (rng.standard_normal((1, 2, n, 64), dtype=np.float32) for n in (5, 50, 50))
    with pytest.raises(INVALID, match="^flash_attn_prefill: kv_capacity: expected 51"):
        flash_attn_prefill(q, k, v, kv_len=51, device=device)
    needed = problem(heads=2, kv_len=50, kv_capacity=60)
    with pytest.raises(INVALID, match=r"^flash_attn_prefill: k: needs \d+ bytes"):
        flash_attn_prefill(q, k, v, problem=needed, device=device)
