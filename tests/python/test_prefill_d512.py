"""flash_attn_prefill_d512, by itself and chosen by pyfa.attention."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa.ops import (
    FlashAttnPrefillProblem,
    flash_attn_prefill,
    flash_attn_prefill_d512,
    flash_attn_prefill_d512_explain,
)
from tests.python import cases, reference

INVALID = pyfa.InvalidArgumentError
DTYPES = {name: reference.DTYPES[name] for name in ("f16", "bf16")}


def tensors(rng, dtype, q_len, kv_len, heads=(2, 1)):
    shapes = ((heads[0], q_len), (heads[1], kv_len), (heads[1], kv_len))
    return [rng.standard_normal((1, h, n, 512)).astype(DTYPES[dtype]) for h, n in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("q_len", "kv_len"), [(1, 1), (7, 63), (8, 64), (9, 65), (1, 200), (70, 5), (64, 128), (33, 100)]
)
def test_lengths(rng, q_len, kv_len, dtype, device):
    if device.info().provider == "shader" and (dtype, kv_len) != ("bf16", 65):
        pytest.skip("every instance of the shader has its own test")
    q, k, v = tensors(rng, dtype, q_len, kv_len)
    for options in ({}, {"causal": True}, {"window": (20, 2)}, {"softcap": 3.0, "sinks": np.float32([1, -1])}):
        out, lse = flash_attn_prefill_d512(q, k, v, lse=True, **options, device=device)
        expected, expected_lse = reference.attention(q, k, v, **options)
        reference.assert_close(out, expected)
        reference.assert_lse_close(lse, expected_lse, q.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_number_of_simdgroups_changes_little(rng, dtype, device):
    q, k, v = tensors(rng, dtype, 40, 150)
    mask = rng.random((40, 150)) < 0.6
    results = [flash_attn_prefill_d512(q, k, v, mask=mask, nsg=nsg, device=device) for nsg in (4, 8)]
    expected = reference.attention(q, k, v, mask=mask)[0]
    for out in results:
        reference.assert_close(out, expected)
    np.testing.assert_array_equal(results[1], flash_attn_prefill_d512(q, k, v, mask=mask, device=device))


def test_attention_chooses_it(rng, device):
    for dtype in reference.DTYPES:
        q = rng.standard_normal((1, 2, 9, 512)).astype(reference.DTYPES[dtype])
        report = pyfa.explain(q, q, q, device=device)
        room = "flash_attn_prefill" if dtype == "f32" else "flash_attn_prefill_d512"
        assert report.passes[0].room == room
        out = pyfa.attention(q, q, q, device=device)
        run = flash_attn_prefill if dtype == "f32" else flash_attn_prefill_d512
        np.testing.assert_array_equal(out, run(q, q, q, device=device))
        reasons = {entry.kernel: entry.reason for entry in report.rejected}
        other = "flash_attn_prefill_llamacpp_bf16_d512" if dtype == "f32" else f"flash_attn_prefill_{dtype}_d512"
        assert reasons[other]


def test_both_kernels_agree(rng, device):
    q, k, v = tensors(rng, "bf16", 40, 70)
    one = flash_attn_prefill(q, k, v, causal=True, device=device)
    other = flash_attn_prefill_d512(q, k, v, causal=True, device=device)
    reference.assert_close(other, one.astype(np.float64))


def problem(**changed):
    sizes = {"batch": 1, "heads": 2, "kv_heads": 1, "head_dim": 512, "q_len": 9, "kv_len": 65, "dtype": np.float16}
    return FlashAttnPrefillProblem(**(sizes | changed))


def test_explain(device):
    report = flash_attn_prefill_d512_explain(problem(nsg=4, has_blk=True, mask="bool", mask_rank=2), device=device)
    [only] = report.passes
    assert only.kernel == "flash_attn_prefill_llamacpp_f16_d512_boolmask"
    assert {"nsg": 4, "has_blk": True}.items() <= {c.name: c.value for c in only.constants}.items()
    assert (only.threadgroups, only.threads) == ((2, 2, 1), (32, 4, 1))
    assert only.threadgroup_bytes == (28672,)
    assert only.tile["BK"] == 64
    by_default = flash_attn_prefill_d512_explain(problem(), device=device).passes[0]
    assert by_default.threads == (32, 8, 1)


BAD = [
    ("nsg", INVALID, "4 or 8, got 0", {"nsg": 0}),
    ("nsg", INVALID, "4 or 8, got 1", {"nsg": 1}),
    ("nsg", INVALID, "4 or 8, got 16", {"nsg": 16}),
    ("nsg", INVALID, "4 or 8, got -4", {"nsg": -4}),
    ("nsg", INVALID, "an integer, got 4.0", {"nsg": 4.0}),
    ("head_dim", pyfa.UnsupportedError, "512, got 256", {"head_dim": 256}),
    ("dtype", pyfa.UnsupportedError, "bf16 or f16, got f32", {"dtype": np.float32}),
    ("blk", INVALID, "none without a mask", {"has_blk": True}),
    ("softcap", INVALID, "got -1.0", {"softcap": -1.0}),
]


@pytest.mark.parametrize(("argument", "error", "words", "changed"), BAD, ids=str)
def test_bad_problems(argument, error, words, changed, device):
    with pytest.raises(error, match=rf"^flash_attn_prefill_d512\w*: {argument}: expected .*{words}") as caught:
        flash_attn_prefill_d512_explain(problem(**changed), device=device)
    assert type(caught.value) is error


def test_simdgroups_are_no_choice_of_the_other_kernel(device):
    q = np.zeros((1, 2, 9, 64), np.float32)
    with pytest.raises(INVALID, match=r"^flash_attn_prefill: nsg: expected none for this kernel, got 4"):
        flash_attn_prefill(q, q, q, problem=problem(nsg=4, head_dim=64, dtype=np.float32), device=device)


def test_no_row_wraps_around(rng, device):
    """Rows are counted beyond 16 bits."""
    if device.info().provider == "shader":
        pytest.skip("a minute of work; the shader's own tests count as far")
    rows = 2**16 + 24
    q = np.zeros((1, 1, rows, 512), np.float16)
    q[:, :, -24:] = rng.standard_normal((24, 512)).astype(np.float16)
    k, v = (rng.standard_normal((1, 1, 20, 512)).astype(np.float16) for _ in range(2))
    out = flash_attn_prefill_d512(q, k, v, device=device)
    np.testing.assert_array_equal(out[:, :, -24:], flash_attn_prefill_d512(q[:, :, -24:], k, v, device=device))
    reference.assert_close(out[:, :, -24:], reference.attention(q[:, :, -24:], k, v)[0])
    np.testing.assert_array_equal(out[:, :, :24], np.broadcast_to(out[:, :, :1], (1, 1, 24, 512)))


def test_manifest():
    assert {variant["kernel"] for variant in cases.ROOMS["flash_attn_prefill_d512"]} == {
        f"flash_attn_prefill_llamacpp_{dtype}_d512{mask}" for dtype in DTYPES for mask in ("", "_boolmask")
    }
