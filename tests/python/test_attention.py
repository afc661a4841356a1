"""pyfa.attention against the oracle: values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfa
from tests.python import cases, reference
from tests.python.conftest import PROVIDERS


def check(case, device):
    q, k, v, options = cases.operands(case)
    out, lse = pyfa.attention(q, k, v, **options, return_lse=True, device=device)
    expected, expected_lse = reference.attention(q, k, v, **options)
    assert out.dtype == q.dtype
    reference.assert_close(out, expected)
    reference.assert_lse_close(lse, expected_lse, q.dtype)
    if not case.lse:
        # Without the LSE another specialisation of the kernel runs; its values are the same.
        np.testing.assert_array_equal(pyfa.attention(q, k, v, **options, device=device), out)


PAIRS = cases.every_pair(cases.FACTORS)


def test_pairs_are_complete():
    factors = cases.FACTORS
    for a, b in itertools.combinations(range(len(factors)), 2):
        met = {(case[a], case[b]) for case in PAIRS}
        assert met == set(itertools.product(factors[a], factors[b]))


@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_every_pair_of_options(case, device):
    check(case, device)


@pytest.mark.parametrize("head_dim", cases.HEAD_DIMS)
@pytest.mark.parametrize("dtype", reference.DTYPES)
def test_every_length_with_every_dtype_and_head_dim(dtype, head_dim, device):
    # Shaders are compiled for nearly each of these.
    part = slice(37, None, 64) if device.info().provider == "shader" else slice(0, None, 3)
    options = zip(*(itertools.cycle(values) for values in cases.FACTORS[4:12]), strict=True)
    lengths = list(zip(itertools.product(cases.LENGTHS, repeat=2), options, strict=False))
    for (q_len, kv_len), rest in lengths[part]:
        check(cases.Case(q_len, kv_len, dtype, head_dim, *rest, lse=True), device)


CASES = st.builds(
    cases.Case,
    q_len=st.integers(0, 140),
    kv_len=st.integers(0, 140),
    dtype=st.sampled_from(list(reference.DTYPES)),
    head_dim=st.sampled_from(cases.HEAD_DIMS),
    mask=st.sampled_from(cases.MASKS),
    causal=st.sampled_from(cases.FACTORS.causal),
    window=st.sampled_from(cases.FACTORS.window),
    softcap=st.sampled_from((0, 0.5, 30)),
    sinks=st.booleans(),
    layout=st.sampled_from(("bhld", "blhd")),
    heads=st.tuples(st.integers(1, 4), st.integers(1, 3)).map(lambda pair: (pair[0] * pair[1], pair[1])),
    batch=st.integers(1, 3),
    lse=st.just(value=True),
)


# Shaders are compiled for nearly each of them.
@pytest.mark.parametrize("provider", PROVIDERS)
def test_any_shape(provider):
    @settings(max_examples=8 if provider == "shader" else 200, deadline=None, derandomize=True)
    @given(CASES)
    def of_any(shape):
        check(shape, DEVICES[provider])

    of_any()


DEVICES = {provider: pyfa.Device(provider) for provider in PROVIDERS}


@pytest.mark.parametrize("scale", [0.25, 1.0, np.float32(0.1), 3])
def test_scale(qkv, scale, device):
    out, lse = pyfa.attention(*qkv, scale=scale, return_lse=True, device=device)
    expected, expected_lse = reference.attention(*qkv, scale=float(np.float32(scale)))
    reference.assert_close(out, expected)
    np.testing.assert_allclose(lse, expected_lse, rtol=2e-6)


@pytest.mark.parametrize("dtype", reference.DTYPES)
def test_large_scores_do_not_overflow(rng, dtype, device):
    q, k, v = (rng.standard_normal((1, 2, 40, 64)).astype(reference.DTYPES[dtype]) for _ in range(3))
    out, lse = pyfa.attention(q, k, v, scale=30.0, return_lse=True, device=device)
    expected, expected_lse = reference.attention(q, k, v, scale=30.0)
    # Weights are exp of scores near 1000, so float32 scores are good to about 1000 * 2**-24.
    assert np.abs(out.astype(np.float64) - expected).max() <= 10 * reference.TOLERANCE[q.dtype] + 5e-4
    np.testing.assert_allclose(lse, expected_lse, rtol=2e-6)


@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize("how", ["bool", "additive", "causal"])
def test_rows_without_keys_are_zero(rng, dtype, how, device):
    q, k, v = (rng.standard_normal((2, 3, 40, 64)).astype(reference.DTYPES[dtype]) for _ in range(3))
    if how == "causal":
        options = {"causal": True, "q_offset": -8}
        empty = np.arange(40) < 8
    else:
        empty = np.arange(40) % 3 == 0
        mask = np.broadcast_to(~empty[:, None], (40, 40))
        options = {"mask": mask.copy() if how == "bool" else np.where(mask, 0, -np.inf).astype(q.dtype)}
    out, lse = pyfa.attention(q, k, v, **options, return_lse=True, device=device)
    assert not out[:, :, empty].any()
    assert (lse[:, :, empty] == -np.inf).all()
    reference.assert_close(out, reference.attention(q, k, v, **options)[0])
    assert np.isfinite(lse[:, :, ~empty]).all()


@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", [0, 17, 63, 64, 90, 99])
def test_what_causal_hides_does_not_matter(rng, dtype, value, key, device):
    q, k, v = (rng.standard_normal((1, 2, 100, 64)).astype(reference.DTYPES[dtype]) for _ in range(3))
    clean, clean_lse = pyfa.attention(q, k, v, causal=True, return_lse=True, device=device)
    k[:, :, key] = value
    v[:, :, key] = value
    out, lse = pyfa.attention(q, k, v, causal=True, return_lse=True, device=device)
    np.testing.assert_array_equal(out[:, :, :key], clean[:, :, :key])
    np.testing.assert_array_equal(lse[:, :, :key], clean_lse[:, :, :key])
    if np.isnan(value):
        assert np.isnan(out[:, :, key:].astype(np.float32)).all()


def test_causal_is_bottom_right(qkv, device):
    q, k, v = qkv
    by_default = pyfa.attention(q, k, v, causal=True, device=device)
    np.testing.assert_array_equal(by_default, pyfa.attention(q, k, v, causal=True, q_offset=4, device=device))
    # The last row attends every key, so it is as without a limit.
    reference.assert_close(by_default[:, :, -1], reference.attention(q, k, v)[0][:, :, -1])


@pytest.mark.parametrize("q_offset", [-(2**31), -300, -5, 0, 3, 4])
@pytest.mark.parametrize("window", [None, (1, 2), (2**31 - 1, 2**31 - 1)])
def test_offset_of_any_size(qkv, q_offset, window, device):
    options = {"causal": window is None, "window": window, "q_offset": q_offset}
    out = pyfa.attention(*qkv, **options, device=device)
    reference.assert_close(out, reference.attention(*qkv, **options)[0])


def test_offset_without_causal_does_nothing(qkv, device):
    np.testing.assert_array_equal(pyfa.attention(*qkv, q_offset=-3, device=device), pyfa.attention(*qkv, device=device))


def test_mask_joins_with_causal(qkv, rng, device):
    mask = rng.random((5, 9)) < 0.6
    out = pyfa.attention(*qkv, mask=mask, causal=True, device=device)
    reference.assert_close(out, reference.attention(*qkv, mask=mask, causal=True)[0])


def test_mask_of_bytes_is_bool(qkv, rng, device):
    mask = rng.random((5, 9)) < 0.6
    as_bytes = mask.astype(np.uint8) * 200
    np.testing.assert_array_equal(
        pyfa.attention(*qkv, mask=as_bytes, device=device), pyfa.attention(*qkv, mask=mask, device=device)
    )


def test_batch_split_is_the_whole(rng, device):
    q, k, v = (rng.standard_normal((3, 4, 70, 64), dtype=np.float32) for _ in range(3))
    whole = pyfa.attention(q, k, v, causal=True, device=device)
    parts = [pyfa.attention(q[i : i + 1], k[i : i + 1], v[i : i + 1], causal=True, device=device) for i in range(3)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_permuted_heads(rng, device):
    q, k, v = (rng.standard_normal((1, 4, 70, 64), dtype=np.float32) for _ in range(3))
    order = [2, 0, 3, 1]
    permuted = pyfa.attention(q[:, order], k[:, order], v[:, order], device=device)
    np.testing.assert_array_equal(permuted, pyfa.attention(q, k, v, device=device)[:, order])


def test_default_device(qkv):
    reference.assert_close(pyfa.attention(*qkv), reference.attention(*qkv)[0])
