"""What a device keeps from the last call answers no other call: options change from one to the next and back."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from tests.python import reference

PREFILL = [
    {},
    {"causal": True},
    {"window": (3, 0)},
    {"softcap": 2.0},
    {"scale": 0.25},
    {"causal": True, "q_offset": 0},
    {"sinks": np.linspace(-1, 1, 4, dtype=np.float32)},
    {"alibi": np.linspace(0.1, 0.5, 4, dtype=np.float32)},
    {"mask": np.tri(9, 12, 1, dtype=bool)},
    {"mask": np.zeros((9, 12), np.float32) - np.eye(9, 12, dtype=np.float32)},
]


@pytest.mark.parametrize("options", PREFILL, ids=lambda options: ", ".join(options) or "plain")
def test_an_option_of_attention_comes_and_goes(options, rng):
    q = rng.standard_normal((1, 4, 9, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 1, 2, 12, 64), dtype=np.float32)
    for now in ({}, options, {}, options, options):
        out = pyfa.attention(q, k, v, **now)
        reference.assert_close(out, reference.attention(q, k, v, **now)[0])
    seq_major = [np.ascontiguousarray(x.swapaxes(1, 2)) for x in (q, k, v)]
    turned = pyfa.attention(*seq_major, **options, layout="blhd").swapaxes(1, 2)
    np.testing.assert_array_equal(turned, pyfa.attention(q, k, v, **options))


def test_caches_of_one_kind_at_different_positions(rng):
    caches = [pyfa.KVCache(2, 64, 8, "f32", ring=True) for _ in range(2)]
    written = [[], []]
    for which in (0, 0, 1, 0, 1, 1, 1):
        k, v = rng.standard_normal((2, 1, 2, 2, 64), dtype=np.float32)
        caches[which].append(k, v)
        written[which].append((k, v))
    for cache, tokens in zip(caches, written, strict=True):
        for found, side in zip(cache.dequantize(), zip(*tokens, strict=True), strict=True):
            np.testing.assert_array_equal(found, np.concatenate(side, axis=2)[:, :, -8:])


def test_keys_and_values_of_different_kinds(rng):
    cache = pyfa.KVCache(2, 64, 8, ("f32", "f16"))
    k, v = rng.standard_normal((2, 1, 2, 5, 64), dtype=np.float32)
    cache.append(k, v.astype(np.float16))
    keys, values = cache.dequantize()
    np.testing.assert_array_equal(keys, k)
    np.testing.assert_array_equal(values, v.astype(np.float16).astype(np.float32))


def test_an_error_names_the_operation_that_was_called(rng):
    q = rng.standard_normal((1, 2, 1, 64), dtype=np.float32)
    cache = pyfa.KVCache(2, 64, 8, "f32")
    cache.append(q, q)
    for _ in range(2):
        cache.attend(q)
        with pytest.raises(pyfa.InvalidArgumentError, match="^kv_cache_attend: "):
            cache.attend(q, softcap=-1.0)
        with pytest.raises(pyfa.InvalidArgumentError, match="^flash_attn_decode: softcap: "):
            pyfa.ops.flash_attn_decode(q, q, q, 1, "f32", softcap=-1.0)
