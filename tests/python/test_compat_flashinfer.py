"""`pyfa.compat.flashinfer`: its conventions against float64."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa.compat.flashinfer import (
    merge_state,
    merge_states,
    single_decode_with_kv_cache,
    single_prefill_with_kv_cache,
)
from tests.python import reference
from tests.python.compat_reference import KINDS, alibi_slopes, as_array, attend, of_kind, random

pytest.importorskip("torch")

LAYOUTS = ("NHD", "HND")


def expect(q, k, v, *, causal=False, window_left=-1, mask=None, bias=0.0, **options):
    """Return output [qL, H, D] and log-sum-exp [qL, H] to base 2 of q [qL, H, D], k and v [kL, Hkv, D]."""
    at, keys = np.arange(len(q))[:, None] + len(k) - len(q), np.arange(len(k))
    keep = np.full((len(q), len(k)), True) if mask is None else mask.copy()
    if causal and mask is None:
        keep &= keys <= at
    if window_left >= 0:
        keep &= keys >= at - window_left
    out, lse = attend(*(x.swapaxes(0, 1) for x in (q, k, v)), keep=keep, bias=bias, **options)
    return out.swapaxes(0, 1), lse.T * np.log2(np.e)


@pytest.fixture
def problem(rng):
    """qL 5, kL 9, H 4, Hkv 2, D 64."""
    return random(rng, 5, 4, 64), *random(rng, 2, 9, 2, 64)


def prefill(problem, kind="numpy", kv_layout="NHD", **options):
    q, k, v = problem
    if kv_layout == "HND":
        k, v = (np.ascontiguousarray(x.swapaxes(0, 1)) for x in (k, v))
    arrays = {name: of_kind(options.pop(name, None), kind) for name in ("custom_mask", "packed_custom_mask")}
    result = single_prefill_with_kv_cache(
        *(of_kind(x, kind) for x in (q, k, v)), kv_layout=kv_layout, return_lse=True, **arrays, **options
    )
    return [as_array(tensor, kind) for tensor in result]


def check(result, expected, dtype):
    for array in result:
        assert array.flags.c_contiguous
    reference.assert_close(result[0], expected[0], dtype)
    reference.assert_lse_close(result[1], expected[1], dtype)


OPTIONS = {
    "plain": ({}, {}),
    "causal": ({"causal": True}, {"causal": True}),
    "window": ({"causal": True, "window_left": 2}, {"causal": True, "window_left": 2}),
    "window alone": ({"window_left": 2}, {"window_left": 2}),
    "cap": ({"logits_soft_cap": 1.5}, {"softcap": 1.5}),
    "no cap": ({"logits_soft_cap": 0.0}, {}),
    "scale": ({"sm_scale": 0.3}, {"scale": 0.3}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("option", OPTIONS)
def test_prefill(problem, kind, dtype, layout, option):
    problem = [array.astype(reference.DTYPES[dtype]) for array in problem]
    given, meant = OPTIONS[option]
    check(prefill(problem, kind, layout, **given), expect(*problem, **meant), reference.DTYPES[dtype])


def test_more_queries_than_keys(rng):
    q, (k, v) = random(rng, 5, 4, 64), random(rng, 2, 3, 2, 64)
    out, lse = prefill((q, k, v), causal=True)
    check((out, lse), expect(q, k, v, causal=True), np.dtype(np.float32))
    assert (out[:2] == 0).all()
    assert np.isneginf(lse[:2]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_masks(problem, rng, kind):
    mask = rng.random((5, 9)) < 0.6
    mask[3] = False
    packed = np.packbits(mask.reshape(-1), bitorder="little")
    for options in ({}, {"window_left": 3}, {"causal": True}):
        # A mask takes the place of causal; a window counts beside it.
        meant = {name: value for name, value in options.items() if name != "causal"}
        expected = expect(*problem, mask=mask, **meant)
        for given in (mask, mask.reshape(-1)):
            check(prefill(problem, kind, custom_mask=given, **options), expected, np.dtype(np.float32))
        check(prefill(problem, kind, packed_custom_mask=packed, **options), expected, np.dtype(np.float32))
    ignored = np.zeros((5, 9), bool)
    check(
        prefill(problem, kind, custom_mask=ignored, packed_custom_mask=packed),
        expected_of(problem, mask),
        np.dtype("f4"),
    )


def expected_of(problem, mask):
    return expect(*problem, mask=mask)


def signed(q_len, kv_len, slopes, offset=0):
    """FlashInfer's own bias: a slope times key minus row, both counted from 0."""
    return slopes.astype(np.float64)[:, None, None] * (np.arange(kv_len) - np.arange(q_len)[:, None] - offset)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("window", [-1, 4])
def test_alibi_of_prefill(problem, layout, window):
    result = prefill(problem, "numpy", layout, pos_encoding_mode="ALIBI", causal=True, window_left=window)
    bias = signed(5, 9, alibi_slopes(4))
    out, lse = expect(*problem, causal=True, window_left=window, bias=bias)
    reference.assert_close(result[0], out)
    np.testing.assert_allclose(result[1], lse, atol=3e-5)


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (1, [2**-8]),
        (4, [2**-2, 2**-4, 2**-6, 2**-8]),
        (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
        (12, [*(2.0 ** -np.arange(1, 9)), *(2.0 ** -np.arange(0.5, 4))]),
    ],
)
def test_alibi_of_decode_and_its_slopes(rng, heads, slopes):
    q, (k, v) = random(rng, heads, 64), random(rng, 2, 9, heads, 64)
    out, lse = single_decode_with_kv_cache(q, k, v, pos_encoding_mode="ALIBI", return_lse=True)
    expected, expected_lse = expect(q[None], k, v, bias=signed(1, 9, np.array(slopes)))
    reference.assert_close(out, expected[0])
    np.testing.assert_allclose(lse, expected_lse[0], atol=3e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("option", [name for name in OPTIONS if "causal" not in OPTIONS[name][0]])
def test_decode(problem, kind, dtype, layout, option):
    q, k, v = (array.astype(reference.DTYPES[dtype]) for array in problem)
    given, meant = OPTIONS[option]
    turned = [np.ascontiguousarray(x.swapaxes(0, 1)) for x in (k, v)] if layout == "HND" else [k, v]
    tensors = [of_kind(x, kind) for x in (q[0], *turned)]
    result = single_decode_with_kv_cache(*tensors, layout, return_lse=True, use_tensor_cores=True, **given)
    expected = expect(q[:1], k, v, **meant)
    check([as_array(x, kind) for x in result], [x[0] for x in expected], q.dtype)
    np.testing.assert_array_equal(
        as_array(single_decode_with_kv_cache(*tensors, layout, **given), kind), as_array(result[0], kind)
    )


@pytest.mark.parametrize("dtype", reference.DTYPES)
def test_scales_of_decode(problem, dtype):
    q, k, v = (array.astype(reference.DTYPES[dtype]) for array in problem)
    result = single_decode_with_kv_cache(q[0], k, v, q_scale=0.5, k_scale=3.0, v_scale=0.25, return_lse=True)
    out, lse = expect(q[:1], k, v, scale=1.5 / 8)
    check(result, (out[0] * 0.25, lse[0]), q.dtype)
    if dtype == "bf16":
        bits = single_decode_with_kv_cache(
            *(x.view(np.uint16) for x in (q[0], k, v)), q_scale=0.5, k_scale=3.0, v_scale=0.25
        )
        np.testing.assert_array_equal(bits.view(q.dtype), result[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", reference.DTYPES)
def test_merging_two_states_gives_attention_over_both(problem, kind, dtype):
    q, k, v = (array.astype(reference.DTYPES[dtype]) for array in problem)
    first = single_prefill_with_kv_cache(*(of_kind(x, kind) for x in (q, k[:4], v[:4])), return_lse=True)
    second = single_prefill_with_kv_cache(*(of_kind(x, kind) for x in (q, k[4:], v[4:])), return_lse=True)
    merged = [as_array(x, kind) for x in merge_state(*first, *second)]
    check(merged, expect(q, k, v), q.dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", reference.DTYPES)
def test_merging_many_states(rng, kind, dtype):
    outputs = random(rng, 6, 7, 3, 32, dtype=dtype)
    sums = (random(rng, 6, 7, 3) * 100).astype(np.float32)
    weights = np.exp2(sums.astype(np.float64) - sums.max(axis=1, keepdims=True))
    expected = (outputs.astype(np.float64) * weights[..., None]).sum(1) / weights.sum(1)[..., None]
    merged = [as_array(x, kind) for x in merge_states(of_kind(outputs, kind), of_kind(sums, kind))]
    reference.assert_close(merged[0], expected, outputs.dtype)
    np.testing.assert_allclose(merged[1], np.log2(weights.sum(1)) + sums.max(1), rtol=1e-6)


def test_states_without_keys():
    outputs = np.full((2, 2, 1, 4), np.nan, np.float32)
    sums = np.full((2, 2, 1), -np.inf, np.float32)
    outputs[0, 1], sums[0, 1] = 3, 5
    merged, total = merge_states(outputs, sums)
    np.testing.assert_array_equal(merged[:, 0], [[3] * 4, [0] * 4])
    np.testing.assert_array_equal(total[:, 0], [5, -np.inf])
    again = merge_state(outputs[:, 0], sums[:, 0], outputs[:, 1], sums[:, 1])
    np.testing.assert_array_equal(again[0], merged)
    np.testing.assert_array_equal(again[1], total)
    nothing = merge_states(outputs[:, :0], sums[:, :0])
    assert (nothing[0] == 0).all()
    assert np.isneginf(nothing[1]).all()


def test_states_that_are_not_finite_stay_so():
    outputs = np.ones((1, 2, 1, 4), np.float32)
    for wrong in (np.nan, np.inf):
        merged, total = merge_states(outputs, np.array([[[0.0], [wrong]]], np.float32))
        assert np.isnan(merged).all()
        assert not np.isfinite(total).any()


def test_bits_of_bfloat16_merge_as_numbers(rng):
    outputs, sums = random(rng, 5, 2, 3, 32, dtype="bf16"), random(rng, 5, 2, 3)
    bits, total = merge_states(outputs.view(np.uint16), sums)
    numbers, expected = merge_states(outputs, sums)
    assert bits.dtype == np.uint16
    np.testing.assert_array_equal(bits.view(numbers.dtype), numbers)
    np.testing.assert_array_equal(total, expected)
    again = merge_state(outputs[:, 0].view(np.uint16), sums[:, 0], outputs[:, 1].view(np.uint16), sums[:, 1])
    np.testing.assert_array_equal(again[0], bits)


REFUSED = {
    "scale_q": np.ones(4, np.float32),
    "scale_k": np.ones(2, np.float32),
    "scale_v": np.ones(2, np.float32),
    "o_dtype": "float16",
    "backend": "fa3",
    "pos_encoding_mode": "ROPE_LLAMA",
    "rope_scale": 1.0,
    "rope_theta": 1e4,
}


@pytest.mark.parametrize("argument", REFUSED)
def test_what_is_not_served_is_refused(problem, argument):
    with pytest.raises(NotImplementedError, match=f"^single_prefill_with_kv_cache: {argument}: "):
        single_prefill_with_kv_cache(*problem, **{argument: REFUSED[argument]})


def test_alibi_that_is_not_served_is_refused(problem):
    match = "^single_prefill_with_kv_cache: pos_encoding_mode: .*got 'ALIBI'"
    for options in (
        {},
        {"causal": True, "custom_mask": np.ones((5, 9), bool)},
        {"causal": True, "logits_soft_cap": 2.0},
    ):
        with pytest.raises(NotImplementedError, match=match):
            single_prefill_with_kv_cache(*problem, pos_encoding_mode="ALIBI", **options)


def test_bad_input_is_named(problem):
    q, k, v = problem
    cases = [
        ("q", (q[0], k, v), {}),
        ("k", (q, k[0], v), {}),
        ("v", (q, k, v[:8]), {}),
        ("kv_layout", (q, k, v), {"kv_layout": "DHN"}),
        ("pos_encoding_mode", (q, k, v), {"pos_encoding_mode": "ROPE"}),
        ("custom_mask", (q, k, v), {"custom_mask": np.ones((5, 8), bool)}),
        ("custom_mask", (q, k, v), {"custom_mask": np.ones((5, 9), np.float32)}),
        ("packed_custom_mask", (q, k, v), {"packed_custom_mask": np.ones(5, np.uint8)}),
        ("window_left", (q, k, v), {"window_left": 1.5}),
        ("logits_soft_cap", (q, k, v), {"logits_soft_cap": "1"}),
        ("sm_scale", (q, k, v), {"sm_scale": "1"}),
    ]
    for argument, tensors, options in cases:
        with pytest.raises(pyfa.InvalidArgumentError, match=f"^single_prefill_with_kv_cache: {argument}: "):
            single_prefill_with_kv_cache(*tensors, **options)
    with pytest.raises(pyfa.InvalidArgumentError, match="^single_decode_with_kv_cache: q: "):
        single_decode_with_kv_cache(q, k, v)
    sums = np.zeros((5, 4), np.float32)
    with pytest.raises(pyfa.InvalidArgumentError, match="^merge_state: v_b: "):
        merge_state(q, sums, q[:4], sums)
    with pytest.raises(pyfa.InvalidArgumentError, match="^merge_state: s_b: "):
        merge_state(q, sums, q, sums.T)
    with pytest.raises(pyfa.InvalidArgumentError, match="^merge_states: s: "):
        merge_states(q[:, None], sums)
    with pytest.raises(pyfa.InvalidArgumentError, match="^merge_states: v: "):
        merge_states(q, sums)
    with pytest.raises(NotImplementedError, match="^merge_states: v: .*no backward pass"):
        merge_states(of_kind(q[:, None], "torch").requires_grad_(), sums[:, None])
