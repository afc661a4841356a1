"""Masks filled on the device."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa.ops import FlashAttnPrefillMaskProblem, flash_attn_prefill_mask, flash_attn_prefill_mask_explain
from tests.python import reference
from tests.python.prefill_model import additive

INVALID = pyfa.InvalidArgumentError


def expected(q_len, kv_len, *, causal=True, window=None, q_offset=0):
    at, keys = np.arange(q_len)[:, None] + q_offset, np.arange(kv_len)
    keep = np.ones((q_len, kv_len), bool)
    if causal:
        keep &= keys <= at
    if window is not None and window > 0:
        keep &= at - keys < window
    return keep


@pytest.mark.parametrize("dtype", ["bool", *reference.DTYPES])
@pytest.mark.parametrize(("q_len", "kv_len"), [(1, 1), (5, 31), (33, 32), (40, 257), (300, 1000)])
def test_values(q_len, kv_len, dtype, device):
    for options in (
        {},
        {"window": 1},
        {"window": 4, "q_offset": 3},
        {"window": 64, "q_offset": kv_len - 1},
        {"causal": False},
        {"causal": False, "window": 7, "q_offset": 20},
        {"q_offset": 2**31 - 1, "window": 2**31 - 1},
        {"window": -1},
    ):
        keep = expected(q_len, kv_len, **options)
        if dtype == "bool":
            found = flash_attn_prefill_mask(q_len, kv_len, **options, device=device)
            np.testing.assert_array_equal(found, keep, err_msg=str(options))
            assert set(np.unique(found.view(np.uint8))) <= {0, 1}
        else:
            io = reference.DTYPES[dtype]
            found = flash_attn_prefill_mask(q_len, kv_len, dtype=io, **options, device=device)
            assert found.dtype == io
            np.testing.assert_array_equal(found, additive(keep, io), err_msg=str(options))


def test_bits_of_bf16(device):
    """0x0000 attends, 0xFF80 masks."""
    found = flash_attn_prefill_mask(3, 3, dtype="bfloat16", device=device).view(np.uint16)
    np.testing.assert_array_equal(found, np.where(np.tri(3, dtype=bool), 0, 0xFF80))


def test_attention_with_it_is_attention_with_its_options(rng, device):
    q, k, v = (rng.standard_normal((1, 2, 70, 64), dtype=np.float32) for _ in range(3))
    mask = flash_attn_prefill_mask(70, 70, window=20, device=device)
    np.testing.assert_array_equal(
        pyfa.attention(q, k, v, mask=mask, device=device),
        pyfa.attention(q, k, v, causal=True, window=(19, 0), device=device),
    )


def test_encode_only(device):
    with pyfa.CommandEncoder(device) as encoder:
        mask = flash_attn_prefill_mask(40, 50, encoder=encoder)
        assert not mask.read().any()
        given = pyfa.Buffer.zeros((40, 50), np.float16, device=device)
        assert flash_attn_prefill_mask(40, 50, given, dtype=np.float16, window=3, encoder=encoder) is given
    np.testing.assert_array_equal(mask.read(), expected(40, 50))
    np.testing.assert_array_equal(given.read(), additive(expected(40, 50, window=3), np.float16))


BAD = [
    ("q_len", INVALID, {"q_len": 0}),
    ("kv_len", INVALID, {"kv_len": -1}),
    ("kv_len", INVALID, {"kv_len": 2**31}),
    ("kv_len", INVALID, {"kv_len": 1.5}),
    ("window", INVALID, {"window": 0}),
    ("window", INVALID, {"window": -2}),
    ("window", INVALID, {"window": "3"}),
    ("q_offset", INVALID, {"q_offset": -1}),
    ("q_offset", INVALID, {"q_offset": 2**31}),
    ("dtype", pyfa.UnsupportedError, {"dtype": np.int32}),
    ("dtype", pyfa.UnsupportedError, {"dtype": np.float64}),
    ("mask", INVALID, {"mask": np.zeros((5, 9), bool)}),
]


@pytest.mark.parametrize(("argument", "error", "changed"), BAD, ids=str)
def test_bad_arguments(argument, error, changed, device):
    arguments = {"q_len": 5, "kv_len": 9} | changed
    with pytest.raises(error, match=f"^flash_attn_prefill_mask: {argument}: expected .*, got ") as caught:
        flash_attn_prefill_mask(**arguments, device=device)
    assert type(caught.value) is error


def test_bad_buffers(device):
    for shape, dtype, words in (((5, 8), np.bool_, "needs 45 bytes"), ((5, 9), np.float32, "expected bool, got f32")):
        mask = pyfa.Buffer.from_array(np.full(shape, 1, dtype), device=device)
        with pytest.raises(INVALID, match=f"^flash_attn_prefill_mask: mask: {words}"):
            flash_attn_prefill_mask(5, 9, mask, device=device)
        assert (mask.read() == 1).all()


def test_explain(device):
    problem = FlashAttnPrefillMaskProblem(q_len=40, kv_len=300, dtype=np.float16, window=7)
    report = flash_attn_prefill_mask_explain(problem, device=device)
    [only] = report.passes
    assert (only.room, only.kernel) == ("flash_attn_prefill_mask", "flash_attn_prefill_mask_fill_f16")
    assert (only.threadgroups, only.threads) == ((40, 1, 1), (256, 1, 1))
    assert report.problem["window"] == 7
    for kv_len, threads in ((1, 32), (33, 64), (256, 256)):
        problem = FlashAttnPrefillMaskProblem(q_len=1, kv_len=kv_len)
        assert flash_attn_prefill_mask_explain(problem, device=device).passes[0].threads == (threads, 1, 1)
