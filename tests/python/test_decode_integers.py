"""Queries of 16 bits on caches of 8-bit numbers: processors that multiply bytes take both as integers of 16 bits."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from pyfa import ops
from tests.python import decode_reference as oracle
from tests.python.test_decode_ops import cache, random

# Rounding the result, and no more than a tenth of it for everything else.
LARGEST = {np.dtype(np.float16): 6e-4, np.dtype(ml_dtypes.bfloat16): 4.5e-3}
DTYPES = pytest.mark.parametrize("dtype", list(LARGEST), ids=str)


def decode(device, q, k, v, length, **options):
    (k, k_norms), (v, v_norms) = k, v
    return ops.flash_attn_decode(
        q, k, v, length, "q8", k_norms=k_norms, v_norms=v_norms, return_lse=True, device=device, **options
    )  # fmt: skip


def check(found, expected, dtype):
    """Compare with float64, relative to the largest value."""
    difference = np.abs(np.asarray(found, np.float64) - expected).max()
    assert difference <= LARGEST[np.dtype(dtype)] * np.abs(expected).max()


@DTYPES
@pytest.mark.parametrize("head_dim", [64, 128, 256, 512])
@pytest.mark.parametrize("group", [1, 2, 4, 7, 8])
def test_accuracy(device, rng, dtype, head_dim, group):
    q = random(rng, 1, 2 * group, 1, head_dim).astype(dtype)
    (*k, keys), (*v, values) = (cache(random(rng, 1, 2, 130, head_dim), "q8") for _ in range(2))
    for length in (1, 3, 64, 66, 130):
        out, lse = decode(device, q, k, v, length)
        expected, expected_lse = oracle.decode(q, keys, values, [length])
        check(out, expected, dtype)
        np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=1e-4)


@DTYPES
def test_every_number(device, rng, dtype):
    """-128 among them."""
    codes = rng.integers(-128, 128, (2, 1, 2, 40, 64)).astype(np.int8)
    codes[:, :, :, ::3] = -128
    norms = rng.uniform(0.01, 0.02, (2, 1, 2, 40)).astype(np.float32)
    q = random(rng, 1, 4, 1, 64).astype(dtype)
    k, v = zip(codes.view(np.uint8), norms, strict=True)
    keys, values = codes.astype(np.float64) * norms[..., None]
    out, _ = decode(device, q, k, v, 40)
    check(out, oracle.decode(q, keys, values, [40])[0], dtype)


@DTYPES
def test_norms_of_any_size_and_sign(device, rng, dtype):
    """Weights are small beside that of a long value vector; negative ones count as such."""
    q = random(rng, 1, 4, 1, 64).astype(dtype)
    (*k, keys), (v, norms, values) = (cache(random(rng, 1, 2, 100, 64), "q8") for _ in range(2))
    factor = np.ones(100, np.float32)
    factor[17], factor[40], factor[70:] = 1000, -3, 0
    out, _ = decode(device, q, k, (v, norms * factor), 100)
    check(out, oracle.decode(q, keys, values * factor[:, None], [100])[0], dtype)


@DTYPES
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_norms_that_are_no_numbers(device, rng, dtype, bad):
    q = random(rng, 1, 4, 1, 64).astype(dtype)
    (*k, _), (v, norms, _) = (cache(random(rng, 1, 2, 100, 64), "q8") for _ in range(2))
    norms[0, 1, 60] = bad
    expected, _ = decode(device, q, k, (v, np.where(np.isfinite(norms), norms, 0)), 60)
    out, _ = decode(device, q, k, (v, norms), 60)
    np.testing.assert_array_equal(out, expected)
    out, _ = decode(device, q, k, (v, norms), 61)
    assert np.isfinite(out[:, :2].astype(np.float32)).all()
    assert not np.isfinite(out[:, 2:].astype(np.float32)).any()


@DTYPES
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_queries_that_are_no_numbers(device, rng, dtype, bad):
    q = random(rng, 1, 4, 1, 64).astype(dtype)
    q[0, 1, 0, 5] = bad
    (*k, _), (*v, _) = (cache(random(rng, 1, 2, 100, 64), "q8") for _ in range(2))
    out, lse = decode(device, q, k, v, 100)
    assert np.isnan(out[0, 1].astype(np.float32)).all()
    assert np.isnan(lse[0, 1]).all()
    assert np.isfinite(np.delete(out.astype(np.float32), 1, axis=1)).all()


@DTYPES
def test_queries_of_zeros(device, rng, dtype):
    q = np.zeros((1, 4, 1, 64), dtype)
    (*k, _), (*v, values) = (cache(random(rng, 1, 2, 100, 64), "q8") for _ in range(2))
    out, lse = decode(device, q, k, v, 100)
    check(out[:, ::2], values.mean(axis=2, keepdims=True), dtype)
    np.testing.assert_allclose(lse, np.log(100), rtol=1e-6)
