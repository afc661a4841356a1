"""Windows, softcap, sinks, empty lengths, and what excluded keys may hold."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from tests.python import reference

DTYPES = reference.DTYPES


def qkv_of(rng, q_len, kv_len, dtype="f32", heads=(2, 2), head_dim=64):
    shapes = ((heads[0], q_len), (heads[1], kv_len), (heads[1], kv_len))
    return [rng.standard_normal((1, h, n, head_dim)).astype(DTYPES[dtype]) for h, n in shapes]


def check(device, q, k, v, **options):
    out, lse = pyfa.attention(q, k, v, **options, return_lse=True, device=device)
    expected, expected_lse = reference.attention(q, k, v, **options)
    reference.assert_close(out, expected)
    reference.assert_lse_close(lse, expected_lse, q.dtype)
    return out, lse


@pytest.mark.parametrize("keys", [1, 2, 15, 16, 17, 48, 200])
def test_sliding_window_counts_its_own_key(rng, keys, device):
    """A window of n keys is (n - 1, 0)."""
    q, k, v = qkv_of(rng, 70, 90)
    at = reference.positions(70, 90)
    mask = (np.arange(90) <= at) & (np.arange(90) > at - keys)
    out, lse = check(device, q, k, v, window=(keys - 1, 0))
    np.testing.assert_array_equal(out, pyfa.attention(q, k, v, window=(keys - 1, None), causal=True, device=device))
    masked, masked_lse = pyfa.attention(q, k, v, mask=mask, return_lse=True, device=device)
    np.testing.assert_array_equal(out, masked)
    np.testing.assert_array_equal(lse, masked_lse)


def test_window_to_the_right_alone_is_causal(rng, device):
    q, k, v = qkv_of(rng, 70, 90)
    np.testing.assert_array_equal(
        pyfa.attention(q, k, v, window=(None, 0), device=device), pyfa.attention(q, k, v, causal=True, device=device)
    )


@pytest.mark.parametrize("window", [(None, None), (-1, -1), None, (300, 300)])
def test_window_beyond_the_keys_does_nothing(rng, window, device):
    q, k, v = qkv_of(rng, 33, 47)
    np.testing.assert_array_equal(
        pyfa.attention(q, k, v, window=window, device=device), pyfa.attention(q, k, v, device=device)
    )


def test_window_that_no_key_is_in(rng, device):
    q, k, v = qkv_of(rng, 9, 20)
    out, lse = check(device, q, k, v, window=(None, 2), q_offset=-12)
    assert not out[:, :, :9].any()
    assert (lse == -np.inf).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("softcap", [0.3, 5.0, np.float32(50)])
def test_softcap(rng, dtype, softcap, device):
    q, k, v = qkv_of(rng, 40, 50, dtype)
    mask = np.where(rng.random((40, 50)) < 0.7, rng.standard_normal((40, 50)), -np.inf).astype(q.dtype)
    check(device, q, k, v, softcap=softcap, mask=mask, scale=1.0)


def test_softcap_is_before_the_mask(rng, device):
    """A bias larger than the cap stays as large."""
    q, k, v = qkv_of(rng, 5, 9)
    mask = np.zeros((5, 9), np.float32)
    mask[:, 3] = 100
    out, _ = check(device, q, k, v, softcap=0.5, mask=mask)
    np.testing.assert_allclose(out, np.broadcast_to(v[:, :, 3:4], out.shape), rtol=1e-6)


@pytest.mark.parametrize("softcap", [None, 0, 0.0])
def test_no_softcap(rng, softcap, device):
    q, k, v = qkv_of(rng, 33, 47)
    np.testing.assert_array_equal(
        pyfa.attention(q, k, v, softcap=softcap, device=device), pyfa.attention(q, k, v, device=device)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_sinks(rng, dtype, device):
    """A sink takes its share of every row: out and LSE follow from those without."""
    q, k, v = qkv_of(rng, 40, 50, dtype, heads=(4, 2))
    sinks = np.float32([-3, 0, 2, 30])
    plain, plain_lse = reference.attention(q, k, v, causal=True)
    share = 1 / (1 + np.exp(sinks[:, None] - plain_lse))
    out, lse = check(device, q, k, v, sinks=sinks, causal=True)
    reference.assert_close(out, plain * share[..., None])
    reference.assert_lse_close(lse, np.logaddexp(plain_lse, sinks[:, None]), q.dtype)


def test_sinks_of_nothing_do_nothing(rng, device):
    q, k, v = qkv_of(rng, 33, 47)
    sinks = np.full(2, -np.inf, np.float32)
    np.testing.assert_array_equal(
        pyfa.attention(q, k, v, sinks=sinks, device=device), pyfa.attention(q, k, v, device=device)
    )


def test_sinks_of_any_stride(rng, device):
    q, k, v = qkv_of(rng, 5, 9, heads=(4, 2))
    sinks = rng.standard_normal(8).astype(np.float32)
    expected = pyfa.attention(q, k, v, sinks=sinks[::-2].copy(), device=device)
    np.testing.assert_array_equal(pyfa.attention(q, k, v, sinks=sinks[::-2], device=device), expected)
    assert [copy.operand for copy in pyfa.explain(q, k, v, sinks=sinks[::-2], device=device).copies] == ["sinks"]


@pytest.mark.parametrize("sinks", [None, np.float32([0.5, -2])])
@pytest.mark.parametrize("how", ["mask", "window"])
def test_rows_without_keys(rng, sinks, how, device):
    q, k, v = qkv_of(rng, 40, 50)
    empty = np.arange(40) < 5
    if how == "mask":
        options = {"mask": np.broadcast_to(~empty[:, None], (40, 50))}
    else:
        options = {"window": (None, 4), "q_offset": -9}
    out, lse = check(device, q, k, v, sinks=sinks, **options)
    assert not out[:, :, empty].any()
    floor = [-np.inf] * 2 if sinks is None else sinks
    np.testing.assert_array_equal(lse[0, :, empty], np.broadcast_to(floor, (5, 2)))


@pytest.mark.parametrize("layout", ["bhld", "blhd"])
def test_no_keys(rng, layout, device):
    shape = (2, 3, 7, 64) if layout == "bhld" else (2, 7, 3, 64)
    q = rng.standard_normal(shape, dtype=np.float32)
    k = np.zeros((2, 1, 0, 64) if layout == "bhld" else (2, 0, 1, 64), np.float32)
    for mask in (None, np.zeros((7, 0), bool), np.zeros((2, 7, 0), np.float32)):
        out, lse = pyfa.attention(q, k, k, mask=mask, layout=layout, return_lse=True, device=device)
        assert not out.any()
        assert lse.shape == (2, 3, 7)
        assert (lse == -np.inf).all()
    sinks = np.float32([1, 2, 3])
    out, lse = pyfa.attention(q, k, k, causal=True, sinks=sinks, layout=layout, return_lse=True, device=device)
    assert not out.any()
    np.testing.assert_array_equal(lse, np.broadcast_to(sinks[:, None], (2, 3, 7)))


def test_no_rows(rng, device):
    k = rng.standard_normal((2, 1, 5, 64), dtype=np.float32)
    q = np.zeros((2, 3, 0, 64), np.float32)
    pyfa.reset_counters()
    for mask in (None, np.ones((0, 5), bool)):
        out, lse = pyfa.attention(q, k, k, mask=mask, causal=True, return_lse=True, device=device)
        assert (out.shape, lse.shape) == ((2, 3, 0, 64), (2, 3, 0))
    assert pyfa.attention(q, k[:, :, :0], k[:, :, :0], device=device).shape == q.shape
    assert pyfa.counters().dispatches == 0
    assert pyfa.explain(q, k, k, device=device).passes == ()
    with pytest.raises(pyfa.InvalidArgumentError, match="scale"):
        pyfa.attention(q, k, k, scale=0.0, device=device)


# What leaves key 37 to the rows before 20 only, or to none.
EXCLUSIONS = {
    "bool": lambda keep: {"mask": keep},
    "additive": lambda keep: {"mask": np.where(keep, 0, -np.inf)},
    "window": lambda _: {"window": (20, None)},
    "causal": lambda _: {"causal": True},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [64, 80, 256, 512])
@pytest.mark.parametrize("how", EXCLUSIONS)
def test_excluded_keys_may_hold_anything(rng, how, dtype, head_dim, device):
    if device.info().provider == "shader" and (dtype, head_dim) not in (("f32", 80), ("bf16", 512)):
        pytest.skip("every instance of the shader has its own test")
    q, k, v = qkv_of(rng, 70, 70, dtype, head_dim=head_dim)
    keep = np.ones((70, 70), bool)
    keep[20:, 37] = False
    options = EXCLUSIONS[how](keep)
    if how == "additive":
        options["mask"] = options["mask"].astype(q.dtype)
    attends = {"window": np.arange(70) <= 57, "causal": np.arange(70) >= 37}.get(how, keep[:, 37])
    clean, clean_lse = pyfa.attention(q, k, v, **options, return_lse=True, device=device)
    for value in (np.nan, np.inf, -np.inf):
        k[:, :, 37], v[:, :, 37] = value, value
        out, lse = pyfa.attention(q, k, v, **options, return_lse=True, device=device)
        np.testing.assert_array_equal(out[:, :, ~attends], clean[:, :, ~attends])
        np.testing.assert_array_equal(lse[:, :, ~attends], clean_lse[:, :, ~attends])
        if np.isnan(value):
            assert np.isnan(out[:, :, attends].astype(np.float32)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [64, 512])
@pytest.mark.parametrize("bias", [-7e4, -1e30, -3e38])
def test_finite_bias_does_not_exclude(rng, bias, dtype, head_dim, device):
    """However low, a bias that a whole row has shifts its scores and leaves its weights."""
    if device.info().provider == "shader" and (dtype, bias) != ("bf16", -1e30):
        pytest.skip("every instance of the shader has its own test")
    if dtype == "f16":
        bias = -65504.0
    q, k, v = qkv_of(rng, 9, 70, dtype, head_dim=head_dim)
    mask = np.full((9, 70), bias).astype(q.dtype)
    out, lse = pyfa.attention(q, k, v, mask=mask, return_lse=True, device=device)
    shifted = reference.attention(q, k, v, mask=mask)
    # Beside the bias the scores are lost to float32's rounding: what is left is how they round.
    slack = 2.0**-24 * abs(bias)
    assert np.isfinite(lse).all()
    assert np.abs(out.astype(np.float64)).max() > 0
    if slack < 0.01:
        assert np.abs(out.astype(np.float64) - shifted[0]).max() <= (4 * slack + reference.TOLERANCE[q.dtype]) * 4
    np.testing.assert_allclose(lse, shifted[1], rtol=1e-6)


def test_attended_nan_spoils_its_rows_only(rng, device):
    q, k, v = qkv_of(rng, 40, 40)
    clean = pyfa.attention(q, k, v, causal=True, device=device)
    q[:, :, 7] = np.nan
    out, lse = pyfa.attention(q, k, v, causal=True, return_lse=True, device=device)
    others = np.arange(40) != 7
    np.testing.assert_array_equal(out[:, :, others], clean[:, :, others])
    assert np.isnan(out[:, :, 7]).all()
    assert np.isnan(lse[:, :, 7]).all()


MASK_VIEWS = {
    "every second key": lambda a: a[:, :, :40, :66:2],
    "keys reversed": lambda a: a[:, :, :40, 32::-1],
    "rows reversed": lambda a: a[:, :, 39::-1, :33],
    "transposed": lambda a: a[:, :, :33, :40].swapaxes(2, 3),
    "one key for all": lambda a: a[:, :, :40, :1],
    "one element": lambda a: a[:1, :1, :1, :1],
    "broadcast keys": lambda a: np.broadcast_to(a[:, :, :40, :1], (2, 4, 40, 33)),
    "heads of one, keys reversed": lambda a: np.broadcast_to(a[:, :1, :40, 32::-1], (2, 4, 40, 33)),
    "rank 2, one key": lambda a: a[0, 0, :40, :1],
    "rank 3, strided": lambda a: a[:, 0, :80:2, 1:66:2],
}


@pytest.mark.parametrize("name", MASK_VIEWS)
@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_masks_of_any_strides(rng, kind, name, device):
    q = rng.standard_normal((2, 4, 40, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 2, 2, 33, 64), dtype=np.float32)
    whole = rng.random((2, 4, 90, 70)) < 0.6
    if kind == "additive":
        whole = np.where(whole, rng.standard_normal(whole.shape), -np.inf).astype(np.float32)
    mask = MASK_VIEWS[name](whole)
    out, lse = pyfa.attention(q, k, v, mask=mask, return_lse=True, device=device)
    expected, expected_lse = reference.attention(q, k, v, mask=mask)
    reference.assert_close(out, expected)
    reference.assert_lse_close(lse, expected_lse, q.dtype)
    [copy] = pyfa.explain(q, k, v, mask=mask, device=device).copies
    assert copy.operand == "mask"
    assert "side by side" in copy.reason
    # What broadcasts is not repeated in the copy, but along the keys.
    repeated = [n for n, stride in zip(mask.shape[:-1], mask.strides[:-1], strict=True) if n > 1 and stride]
    assert copy.bytes == int(np.prod([*repeated, 33])) * mask.itemsize


def test_constant_bias_shifts_the_lse_only(rng, device):
    q, k, v = qkv_of(rng, 40, 50)
    out, lse = pyfa.attention(q, k, v, return_lse=True, device=device)
    moved, moved_lse = pyfa.attention(q, k, v, mask=np.full((1, 1), 3.25, np.float32), return_lse=True, device=device)
    reference.assert_close(moved, out.astype(np.float64))
    np.testing.assert_allclose(moved_lse, lse + 3.25, rtol=1e-6)


def test_order_of_keys_does_not_matter(rng, device):
    q, k, v = qkv_of(rng, 40, 50)
    order = rng.permutation(50)
    out = pyfa.attention(q, k[:, :, order], v[:, :, order], device=device)
    reference.assert_close(out, pyfa.attention(q, k, v, device=device).astype(np.float64))


def test_shared_heads_are_repeated_heads(rng, device):
    q, k, v = qkv_of(rng, 40, 50, heads=(6, 2))
    repeated = [np.repeat(x, 3, axis=1) for x in (k, v)]
    np.testing.assert_array_equal(
        pyfa.attention(q, k, v, causal=True, device=device), pyfa.attention(q, *repeated, causal=True, device=device)
    )


def test_powers_of_two_move_between_q_and_scale(rng, device):
    q, k, v = qkv_of(rng, 40, 50)
    np.testing.assert_array_equal(
        pyfa.attention(q * 4, k, v, scale=0.25, device=device), pyfa.attention(q, k, v, scale=1.0, device=device)
    )
