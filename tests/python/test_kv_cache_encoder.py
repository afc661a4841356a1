"""KVCache in a caller's encoder: with other work, in any number of steps, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa import ops
from tests.python.reference import DTYPES
from tests.python.test_kv_cache import cache_of, tokens


def buffer(x, device):
    return pyfa.Buffer.from_array(x, device=device)


@pytest.mark.parametrize("name", ["f32", ("f16", "tq5"), "tq8", "tq4_v1", "tq_hb6"])
@pytest.mark.parametrize("ring", [False, True])
def test_steps_in_one_encoder(device, rng, name, ring):
    """Three steps, of which the last has more queries than decode takes, give the bits of three calls."""
    capacity = 16 if ring else 40
    whole, parts = (cache_of(device, name, batch=2, capacity=capacity, ring=ring) for _ in range(2))
    steps = []
    for count, q_len in ((14, 1), (1, 3), (12, 12)):
        q = rng.standard_normal((2, 4, q_len, 64)).astype(np.float32)
        steps.append((q, tokens(rng, count, batch=2)))
    expected = [whole.attend(q, append=pair, return_lse=True) for q, pair in steps]
    found = []
    with pyfa.CommandEncoder(device) as encoder:
        for index, (q, pair) in enumerate(steps):
            if index == 1:
                parts.append(*(buffer(x, device) for x in pair), encoder=encoder)
                found.append(parts.attend(buffer(q, device), return_lse=True, encoder=encoder))
            else:
                found.append(parts.attend(q, append=pair, return_lse=True, encoder=encoder))
        assert parts.ranges == whole.ranges
    for (out, lse), (exact, exact_lse) in zip(found, expected, strict=True):
        assert isinstance(out, pyfa.Buffer)
        np.testing.assert_array_equal(out.read(), exact)
        np.testing.assert_array_equal(lse.read(), exact_lse)
    for mine, other in zip(parts.dequantize(), whole.dequantize(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("kind", DTYPES)
def test_after_and_before_other_work(device, rng, kind):
    """Queries and tokens come of earlier dispatches, and a later one takes the result: barriers are the encoder's."""
    x, (k, v) = rng.standard_normal((8, 64)).astype(np.float32), tokens(rng, 5, dtype=DTYPES[kind])
    cache, other = (cache_of(device, "tq6") for _ in range(2))
    with pyfa.CommandEncoder(device) as encoder:
        q = buffer(x, device)
        ops.fwht_standalone(q, encoder=encoder)
        out = cache.attend(q.view(shape=(1, 4, 2, 64)), append=(k, v), softcap=3.0, window=4, encoder=encoder)
        ops.fwht_standalone(out.view(shape=(8, 64)), encoder=encoder)
    rotated = buffer(x, device)
    ops.fwht_standalone(rotated, device=device)
    exact = buffer(other.attend(rotated.read().reshape(1, 4, 2, 64), append=(k, v), softcap=3.0, window=4), device)
    ops.fwht_standalone(exact.view(shape=(8, 64)), device=device)
    np.testing.assert_array_equal(out.read(), exact.read())


def test_into_a_buffer_of_ones_own(device, rng):
    cache = cache_of(device, "f16")
    q, pair = rng.standard_normal((4, 2, 64)).astype(np.float16), tokens(rng, 5)
    out = pyfa.Buffer.zeros((1, 4, 2, 64), np.float16, device=device)
    with pyfa.CommandEncoder(device) as encoder:
        assert cache.append(*pair, encoder=encoder) is None
        assert cache.attend(q, out=out, encoder=encoder) is out
        assert not out.read().any()
    np.testing.assert_array_equal(out.read()[0], cache.attend(q))


def test_nothing_runs_before_it_is_committed(device, rng):
    cache = cache_of(device)
    pair = tokens(rng, 5)
    encoder = pyfa.CommandEncoder(device)
    cache.append(*pair, encoder=encoder)
    assert len(cache) == 5
    assert not cache.buffers()["k"].read().any()
    encoder.commit_and_wait()
    np.testing.assert_array_equal(cache.dequantize()[0], pair[0])


def test_refusals(device, rng):
    cache = cache_of(device, capacity=4, max_capacity=100)
    pair, q = tokens(rng, 3), rng.standard_normal((1, 4, 1, 64)).astype(np.float32)
    with pyfa.CommandEncoder(device) as encoder:
        cache.append(*pair, encoder=encoder)
        for message, call in (
            ("k: expected at most 1 tokens, the room left of 4, got 3", lambda: cache.append(*pair, encoder=encoder)),
            ("q: expected .1, heads, queries, 64., got .1, 4, 1, 32.",
             lambda: cache.attend(q[..., :32].copy(), encoder=encoder)),
            ("keys and values: expected a pair", lambda: cache.attend(q, append=pair[:1], encoder=encoder)),
            ("q: expected a Buffer or a NumPy array, got list", lambda: cache.attend([1.0], encoder=encoder)),
            ("out: expected a Buffer, got ndarray", lambda: cache.attend(q, out=q, encoder=encoder)),
            ("window: expected 1 or more keys, got 0", lambda: cache.attend(q, window=0, encoder=encoder)),
        ):  # fmt: skip
            with pytest.raises(pyfa.InvalidArgumentError, match=message):
                call()
    assert len(cache) == 3
    elsewhere = pyfa.CommandEncoder(pyfa.Device(device.info().provider))
    with pytest.raises(pyfa.InvalidArgumentError, match="encoder: expected one of the cache's device"):
        cache.append(*tokens(rng, 1), encoder=elsewhere)
    np.testing.assert_array_equal(cache.dequantize()[0], pair[0])
