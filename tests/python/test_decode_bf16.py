"""Queries in bf16: processors with an instruction for pairs of bf16 multiply rounded queries, codes and weights."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from pyfa import ops
from tests.python import codec_reference as codec
from tests.python import decode_reference as oracle
from tests.python.test_decode_ops import ANY, DTYPES, cache, random

BF16 = ml_dtypes.bfloat16
# Rounding alone: bf16 keeps 8 bits of the query, of what a code stands for, of the weights and of the result.
LARGEST, TYPICAL = 1e-2, 5e-3
FORMATS = ["bf16", "q8", "tq8", "tq7", "tq4", "tq_hb8"]
WIDER = [("bf16", 128), ("tq4", 128), ("q8", 512)]  # as the kernels tell them apart


def bf16_queries(rng, *shape):
    return random(rng, *shape).astype(BF16)


def check(found, expected):
    """Compare with float64, relative to the largest value and to the values' typical size."""
    difference = np.asarray(found, np.float64) - expected
    assert np.abs(difference).max() <= LARGEST * np.abs(expected).max()
    assert np.sqrt((difference**2).mean()) <= TYPICAL * np.sqrt((expected**2).mean())


@pytest.mark.parametrize("case", range(len(ANY)))
@pytest.mark.parametrize("head_dim", [64, 128, 256, 512])
def test_any_formats(device, rng, case, head_dim):
    names = ANY[case], ANY[(case + 5) % len(ANY)]
    q = bf16_queries(rng, 2, 6, 3, head_dim)
    (k, k_norms, keys), (v, v_norms, values) = (cache(random(rng, 2, 2, 133, head_dim), name) for name in names)
    rotates, undoes = (name not in DTYPES for name in names)
    out = ops.flash_attn_decode(
        q, k, v, [133, 70], names, k_norms=k_norms, v_norms=v_norms, ring_starts=[51, 0], causal=True,
        rotate_query=rotates, undo_rotation=undoes, device=device,
    )  # fmt: skip
    seen = codec.rotate(q.astype(np.float32)) if rotates else q
    expected, _ = oracle.decode(seen, keys, values, [133, 70], ring_starts=[51, 0], mask_type=oracle.CAUSAL)
    check(out, codec.unrotate(expected) if undoes else expected)


@pytest.mark.parametrize(("name", "head_dim"), [(name, 64) for name in FORMATS] + WIDER)
@pytest.mark.parametrize("group", [1, 2, 3, 4, 5, 8, 16])
def test_groups_and_lengths(device, rng, name, head_dim, group):
    q = bf16_queries(rng, 1, 2 * group, 1, head_dim)
    (k, k_norms, keys), (v, v_norms, values) = (cache(random(rng, 1, 2, 130, head_dim), name) for _ in range(2))
    for length in (1, 2, 63, 64, 65, 129):
        out = ops.flash_attn_decode(q, k, v, length, name, k_norms=k_norms, v_norms=v_norms, device=device)
        check(out, oracle.decode(q, keys, values, [length])[0])


@pytest.mark.parametrize("name", ["bf16", "q8", "tq4", "tq5", "tq8"])
@pytest.mark.parametrize("group", [2, 4])
def test_a_ring_is_its_keys_in_order(device, rng, name, group):
    """To the bit, although neighbours may be at both ends of the ring."""
    q = bf16_queries(rng, 1, 2 * group, 1, 128)
    sides = [cache(random(rng, 1, 2, 70, 128), name)[:2] for _ in range(2)]
    found = []
    for start in (0, 1, 33, 69):
        (k, k_norms), (v, v_norms) = (
            [None if x is None else np.roll(x, start, axis=2) for x in side] for side in sides
        )  # fmt: skip
        found.append(
            ops.flash_attn_decode(
                q, k, v, 70, name, k_norms=k_norms, v_norms=v_norms, ring_starts=[start], device=device
            )
        )  # fmt: skip
    for other in found[1:]:
        np.testing.assert_array_equal(other.view(np.uint16), found[0].view(np.uint16))


@pytest.mark.parametrize("length", [5, 6])
def test_infinite_values_of_the_last_key(device, rng, length):
    """An odd number of keys has a last one without a neighbour."""
    if device.info().provider != "native":
        pytest.skip("matrices of 8 by 8 have weights of 0 beside those of a query's own")
    q = bf16_queries(rng, 1, 2, 1, 64)
    k, v = random(rng, 2, 1, 1, 8, 64).astype(BF16)
    v[:, :, length - 1, 3] = np.inf
    k[:, :, length:], v[:, :, length:] = np.nan, np.nan
    out = ops.flash_attn_decode(q, k, v, length, "bf16", device=device).astype(np.float32)
    assert np.isposinf(out[..., 3]).all()
    assert np.isfinite(np.delete(out, 3, axis=-1)).all()
