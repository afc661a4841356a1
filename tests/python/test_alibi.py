"""ALiBi: a slope for each head times the distance of row and key, taken from the scores."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from tests.python import reference
from tests.python.packed import crosses
from tests.python.test_prefill_options import check, qkv_of

DTYPES = reference.DTYPES
# The slopes of four heads as ALiBi has them.
SLOPES = np.float32([2**-2, 2**-4, 2**-6, 2**-8])

OPTIONS = {
    "full": {},
    "causal": {"causal": True},
    "window": {"window": (20, 5)},
    "softcap": {"softcap": 2.0, "causal": True},
    "sinks": {"sinks": np.float32([-1, 0, 1, 2])},
    "offset": {"q_offset": -3, "causal": True},
    "scale": {"scale": 0.5},
}


@crosses(OPTIONS, DTYPES)
def test_alibi(rng, case, device):
    name, dtype = case
    q, k, v = qkv_of(rng, 37, 70, dtype, heads=(4, 2))
    check(device, q, k, v, alibi=SLOPES, **OPTIONS[name])


@crosses(DTYPES, (80, 256, 512))
def test_alibi_of_every_tile(rng, case, device):
    dtype, head_dim = case
    q, k, v = qkv_of(rng, 37, 70, dtype, heads=(4, 1), head_dim=head_dim)
    check(device, q, k, v, alibi=SLOPES, causal=True)


@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_alibi_is_beside_a_mask(rng, kind, device):
    q, k, v = qkv_of(rng, 37, 70, heads=(4, 2))
    mask = rng.random((37, 70)) < 0.7
    if kind == "additive":
        mask = np.where(mask, rng.standard_normal(mask.shape), -np.inf).astype(np.float32)
    check(device, q, k, v, alibi=SLOPES, mask=mask)


def test_alibi_is_after_the_softcap(rng, device):
    """A slope larger than the cap leaves each row its own key."""
    q, k, v = qkv_of(rng, 9, 9)
    out, _ = check(device, q, k, v, alibi=np.float32([100, 100]), softcap=0.5)
    np.testing.assert_allclose(out, v, rtol=1e-6)


def test_slopes_of_each_batch(rng, device):
    q = rng.standard_normal((3, 4, 20, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 3, 2, 33, 64), dtype=np.float32)
    slopes = rng.random((3, 4), dtype=np.float32)
    check(device, q, k, v, alibi=slopes, causal=True)
    one = pyfa.attention(q[1:2], k[1:2], v[1:2], alibi=slopes[1], causal=True, device=device)
    np.testing.assert_array_equal(pyfa.attention(q, k, v, alibi=slopes, causal=True, device=device)[1:2], one)


SLOPE_VIEWS = {
    "every second": lambda a: a[:, ::2],
    "reversed": lambda a: a[:, 3::-1],
    "batches reversed": lambda a: a[::-1, :4],
    "one for all": lambda a: np.broadcast_to(a[:1, :1], (3, 4)),
    "part": lambda a: a[:, 2:6],
    "rank 1": lambda a: a[0, ::2],
}


@pytest.mark.parametrize("name", SLOPE_VIEWS)
def test_slopes_of_any_strides(rng, name, device):
    q = rng.standard_normal((3, 4, 20, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 3, 2, 33, 64), dtype=np.float32)
    slopes = SLOPE_VIEWS[name](rng.random((3, 8), dtype=np.float32))
    expected = pyfa.attention(q, k, v, alibi=slopes.copy(), device=device)
    np.testing.assert_array_equal(pyfa.attention(q, k, v, alibi=slopes, device=device), expected)
    check(device, q, k, v, alibi=slopes)


def test_slopes_of_nothing_do_nothing(rng, device):
    q, k, v = qkv_of(rng, 33, 47)
    out = pyfa.attention(q, k, v, alibi=np.zeros(2, np.float32), device=device)
    reference.assert_close(out, pyfa.attention(q, k, v, device=device).astype(np.float64))


def test_rows_computed_in_parts_are_those_of_the_whole(rng, device):
    q, k, v = qkv_of(rng, 70, 70, heads=(4, 2))
    whole = pyfa.attention(q, k, v, alibi=SLOPES, causal=True, device=device)
    part = pyfa.attention(q[:, :, 41:], k, v, alibi=SLOPES, causal=True, device=device)
    np.testing.assert_array_equal(whole[:, :, 41:], part)


def test_excluded_keys_may_hold_anything(rng, device):
    q, k, v = qkv_of(rng, 40, 40, heads=(4, 2))
    clean = pyfa.attention(q, k, v, alibi=SLOPES, window=(5, 0), device=device)
    k[:, :, 3], v[:, :, 3] = np.nan, np.inf
    out = pyfa.attention(q, k, v, alibi=SLOPES, window=(5, 0), device=device)
    np.testing.assert_array_equal(out[:, :, 9:], clean[:, :, 9:])


@pytest.mark.parametrize("given", ["array", "buffer"])
def test_alibi_of_the_operation(rng, given, device):
    q, k, v = qkv_of(rng, 20, 33, heads=(4, 2))
    slopes = SLOPES if given == "array" else pyfa.Buffer.from_array(SLOPES[None], device=device)
    out, lse = pyfa.ops.flash_attn_prefill(q, k, v, alibi=slopes, causal=True, lse=True, device=device)
    expected = pyfa.attention(q, k, v, alibi=SLOPES, causal=True, return_lse=True, device=device)
    np.testing.assert_array_equal(out, expected[0])
    np.testing.assert_array_equal(lse, expected[1])


@pytest.mark.parametrize("nsg", [4, 8])
def test_alibi_of_the_operation_for_head_dim_512(rng, nsg, device):
    q, k, v = qkv_of(rng, 20, 70, "f16", heads=(4, 2), head_dim=512)
    out = pyfa.ops.flash_attn_prefill_d512(q, k, v, alibi=SLOPES, causal=True, nsg=nsg, device=device)
    reference.assert_close(out, reference.attention(q, k, v, alibi=SLOPES, causal=True)[0])


def test_explanation_tells_of_slopes(rng, device):
    q, k, v = qkv_of(rng, 20, 33, heads=(4, 2))
    told = pyfa.explain(q, k, v, alibi=SLOPES, device=device)
    assert told.problem.alibi
    assert ", alibi" in str(told)
    assert {"has_alibi": True}.items() <= {c.name: c.value for c in told.passes[0].constants}.items()
    assert not pyfa.explain(q, k, v, device=device).problem.alibi


@pytest.mark.parametrize(
    ("alibi", "text"),
    [
        (np.zeros(3, np.float32), r"alibi: expected \[4\] or \[1, 4\], .*got \[3\]"),
        (np.zeros((2, 4), np.float32), r"alibi: expected \[4\] or \[1, 4\], .*got \[2, 4\]"),
        (np.zeros((1, 1, 4), np.float32), "alibi: expected 1 to 2 dimensions, got 3"),
        (np.zeros(4, np.float16), "alibi: expected f32, got f16"),
        ([0.5] * 4, "alibi: expected a NumPy array"),
    ],
)
def test_slopes_that_do_not_fit(rng, alibi, text, device):
    q, k, v = qkv_of(rng, 20, 33, heads=(4, 2))
    with pytest.raises(pyfa.InvalidArgumentError, match=f"attention: {text}"):
        pyfa.attention(q, k, v, alibi=alibi, device=device)


def test_slopes_that_do_not_fit_the_operation(rng, device):
    q, k, v = qkv_of(rng, 20, 33, heads=(4, 2))
    with pytest.raises(pyfa.InvalidArgumentError, match=r"alibi: expected \[4\] or \[1, 4\]"):
        pyfa.ops.flash_attn_prefill(q, k, v, alibi=np.zeros(3, np.float32), device=device)
    with pytest.raises(pyfa.InvalidArgumentError, match="alibi: expected f32, got f16"):
        pyfa.ops.flash_attn_prefill(q, k, v, alibi=np.zeros(4, np.float16), device=device)
    problem = pyfa.ops.FlashAttnPrefillProblem(
        batch=1, heads=4, kv_heads=2, head_dim=64, q_len=20, kv_len=33, dtype=np.float32, has_alibi=True
    )
    with pytest.raises(pyfa.InvalidArgumentError, match="alibi: expected a buffer, got none"):
        pyfa.ops.flash_attn_prefill(q, k, v, problem=problem, device=device)
