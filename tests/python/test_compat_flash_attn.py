"""`pyfa.compat.flash_attn`: its conventions against float64; caches have a file of their own."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa.compat.flash_attn import flash_attn_func, flash_attn_varlen_func
from tests.python import reference
from tests.python.compat_reference import KINDS, alibi_slopes, as_array, attend, of_kind, random

pytest.importorskip("torch")


def expect(q, k, v, *, causal=False, window=(-1, -1), alibi=None, softcap=0.0, scale=None):
    """Return output [qL, H, D] and log-sum-exp [H, qL] of one sequence in flash-attn's layout."""
    at, keys = np.arange(len(q))[:, None] + len(k) - len(q), np.arange(len(k))
    keep = np.full((len(q), len(k)), True)
    if causal:
        keep &= keys <= at
    if window[0] >= 0:
        keep &= keys >= at - window[0]
    if window[1] >= 0:
        keep &= keys <= at + window[1]
    bias = 0.0 if alibi is None else -alibi.astype(np.float64)[:, None, None] * np.abs(at - keys)
    out, lse = attend(*(x.swapaxes(0, 1) for x in (q, k, v)), keep=keep, bias=bias, softcap=softcap, scale=scale)
    return out.swapaxes(0, 1), lse


def check(kind, q, k, v, *, alibi=None, **options):
    names = {"scale": "softmax_scale", "window": "window_size"}
    result = flash_attn_func(
        *(of_kind(x, kind) for x in (q, k, v)),
        alibi_slopes=of_kind(alibi, kind),
        return_attn_probs=True,
        **{names.get(name, name): value for name, value in options.items()},
    )
    assert type(result) is tuple
    assert result[2] is None
    out, lse = (as_array(tensor, kind) for tensor in result[:2])
    slopes = [None] * len(q) if alibi is None else np.broadcast_to(alibi, (len(q), q.shape[2]))
    expected = [expect(*rows, alibi=slopes[b], **options) for b, rows in enumerate(zip(q, k, v, strict=True))]
    reference.assert_close(out, np.stack([pair[0] for pair in expected]), q.dtype)
    reference.assert_lse_close(lse, np.stack([pair[1] for pair in expected]), q.dtype)
    return out, lse


OPTIONS = {
    "plain": {},
    "causal": {"causal": True},
    "scale": {"scale": 0.3},
    "window": {"window": (3, 2)},
    "left": {"window": (3, -1)},
    "right": {"window": (-1, 1)},
    "causal window": {"window": (3, 2), "causal": True},
    "softcap": {"softcap": 1.5, "causal": True},
    "own key only": {"window": (0, 0)},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize("option", OPTIONS)
def test_options(rng, kind, dtype, option):
    q = random(rng, 2, 7, 4, 64, dtype=dtype)
    k, v = random(rng, 2, 2, 12, 2, 64, dtype=dtype)
    check(kind, q, k, v, **OPTIONS[option])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slopes", ["heads", "batch"])
@pytest.mark.parametrize("option", ["plain", "causal", "causal window", "softcap"])
def test_alibi(rng, kind, slopes, option):
    q = random(rng, 2, 7, 4, 64)
    k, v = random(rng, 2, 2, 12, 2, 64)
    alibi = alibi_slopes(4)
    if slopes == "batch":
        alibi = np.stack([alibi, alibi[::-1] * 3])
    check(kind, q, k, v, alibi=alibi, **OPTIONS[option])


def test_more_queries_than_keys(rng):
    q = random(rng, 1, 5, 2, 32)
    k, v = random(rng, 2, 1, 2, 2, 32)
    out, lse = check("numpy", q, k, v, causal=True)
    assert (out[:, :3] == 0).all()
    assert np.isneginf(lse[:, :, :3]).all()
    assert np.isfinite(lse[:, :, 3:]).all()


def test_output_alone(rng):
    q = random(rng, 1, 5, 2, 32)
    np.testing.assert_array_equal(
        flash_attn_func(q, q, q, deterministic=True), flash_attn_func(q, q, q, return_attn_probs=True)[0]
    )


def test_any_strides(rng):
    packed = random(rng, 2, 9, 3, 4, 64)
    out = flash_attn_func(*(packed[:, :, index] for index in range(3)))
    np.testing.assert_array_equal(out, flash_attn_func(*(packed[:, :, index].copy() for index in range(3))))
    plain = random(rng, 2, 9, 4, 64)
    turned = np.asfortranarray(plain)
    np.testing.assert_array_equal(flash_attn_func(turned, turned, turned), flash_attn_func(plain, plain, plain))


def test_bits_of_bfloat16(rng):
    q = random(rng, 1, 5, 2, 32, dtype="bf16")
    bits = flash_attn_func(*[q.view(np.uint16)] * 3)
    assert bits.dtype == np.uint16
    np.testing.assert_array_equal(bits.view(q.dtype), flash_attn_func(q, q, q))


def test_refusals_name_the_argument(rng):
    q = random(rng, 1, 5, 2, 32)
    with pytest.raises(NotImplementedError, match=r"^flash_attn_func: dropout_p: .*got 0.1"):
        flash_attn_func(q, q, q, 0.1)
    with pytest.raises(NotImplementedError, match="^flash_attn_func: k: .*no backward pass"):
        flash_attn_func(q, of_kind(q, "torch").requires_grad_(), q)
    invalid = pyfa.InvalidArgumentError
    with pytest.raises(invalid, match="^flash_attn_func: window_size: "):
        flash_attn_func(q, q, q, window_size=(1, 2, 3))
    with pytest.raises(invalid, match="^flash_attn_func: softmax_scale: "):
        flash_attn_func(q, q, q, softmax_scale="1")
    with pytest.raises(invalid, match="^flash_attn_func: alibi_slopes: "):
        flash_attn_func(q, q, q, alibi_slopes=np.ones(3, np.float32))
    with pytest.raises(invalid, match="^flash_attn_func: softcap: "):
        flash_attn_func(q, q, q, softcap=-1.0)
    with pytest.raises(invalid, match="^flash_attn_func: k: "):
        flash_attn_func(q, q[..., :16], q)


LENGTHS = [(5, 9), (1, 40), (0, 3), (4, 0), (17, 17), (6, 2)]


def pack(rng, dtype="f32"):
    q_starts = np.cumsum([0, *(length[0] for length in LENGTHS)]).astype(np.int32)
    k_starts = np.cumsum([0, *(length[1] for length in LENGTHS)]).astype(np.int32)
    q = random(rng, q_starts[-1], 4, 64, dtype=dtype)
    k, v = random(rng, 2, k_starts[-1], 2, 64, dtype=dtype)
    return q, k, v, q_starts, k_starts


def expect_packed(q, k, v, q_starts, k_starts, alibi=None, **options):
    parts = []
    for b in range(len(LENGTHS)):
        keys = slice(k_starts[b], k_starts[b + 1])
        slopes = alibi if alibi is None or alibi.ndim == 1 else alibi[b]
        parts.append(expect(q[q_starts[b] : q_starts[b + 1]], k[keys], v[keys], alibi=slopes, **options))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts], axis=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("slopes", [None, "heads", "batch"])
def test_packed(rng, kind, dtype, option, slopes):
    problem = pack(rng, dtype)
    alibi = None if slopes is None else alibi_slopes(4)
    if slopes == "batch":
        alibi = alibi * np.arange(1, len(LENGTHS) + 1, dtype=np.float32)[:, None]
    options = {{"scale": "softmax_scale", "window": "window_size"}.get(n, n): x for n, x in OPTIONS[option].items()}
    out, lse, nothing = flash_attn_varlen_func(
        *(of_kind(x, kind) for x in problem),
        17,
        40,
        alibi_slopes=of_kind(alibi, kind),
        return_attn_probs=True,
        **options,
    )
    assert nothing is None
    expected, expected_lse = expect_packed(*problem, alibi=alibi, **OPTIONS[option])
    reference.assert_close(as_array(out, kind), expected, problem[0].dtype)
    reference.assert_lse_close(as_array(lse, kind), expected_lse, problem[0].dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("page_size", [1, 4, 16, 256])
def test_pages(rng, kind, page_size):
    q, k, v, q_starts, k_starts = pack(rng)
    counts = [-(-length // page_size) for _, length in LENGTHS]
    order = rng.permutation(sum(counts) + 3)
    # What is not a key must not count, nor entries that no key needs.
    table = np.full((len(LENGTHS), max(counts) + 1), 2**31 - 1, np.int32)
    pages = np.full((2, len(order), page_size, 2, 64), np.nan, np.float32)
    taken = 0
    for b, count in enumerate(counts):
        table[b, :count] = order[taken : taken + count]
        taken += count
        for j in range(LENGTHS[b][1]):
            for half, source in enumerate((k, v)):
                pages[half, table[b, j // page_size], j % page_size] = source[k_starts[b] + j]
    arguments = [of_kind(x, kind) for x in (q, *pages, q_starts, k_starts)]
    out = flash_attn_varlen_func(*arguments, 17, 40, causal=True, block_table=of_kind(table, kind))
    reference.assert_close(as_array(out, kind), expect_packed(q, k, v, q_starts, k_starts, causal=True)[0])


def test_bad_packing_is_named(rng):
    q, k, v, q_starts, k_starts = pack(rng)
    invalid = pyfa.InvalidArgumentError
    prefix = "^flash_attn_varlen_func: "
    with pytest.raises(invalid, match=prefix + "max_seqlen_q: expected 17 or more, the longest sequence, got 16"):
        flash_attn_varlen_func(q, k, v, q_starts, k_starts, 16, 40)
    with pytest.raises(invalid, match=prefix + "max_seqlen_k: "):
        flash_attn_varlen_func(q, k, v, q_starts, k_starts, 17, 39)
    with pytest.raises(invalid, match=prefix + "max_seqlen_k: .*None"):
        flash_attn_varlen_func(q, k, v, q_starts, k_starts, 17, None)
    with pytest.raises(invalid, match=prefix + "cu_seqlens_k: "):
        flash_attn_varlen_func(q, k, v, q_starts, k_starts[:-1], 17, 40)
    with pytest.raises(invalid, match=prefix + "cu_seqlens_q: "):
        flash_attn_varlen_func(q, k, v, q_starts.astype(np.float32), k_starts, 17, 40)
    with pytest.raises(invalid, match=prefix + "cu_seqlens_q: "):
        flash_attn_varlen_func(q, k, v, q_starts[::-1], k_starts, 17, 40)
    with pytest.raises(invalid, match=prefix + "cu_seqlens_k: "):
        flash_attn_varlen_func(q, k[:-1], v[:-1], q_starts, k_starts, 17, 40)
    with pytest.raises(invalid, match=prefix + "block_table: "):
        flash_attn_varlen_func(q, k[None], v[None], q_starts, k_starts, 17, 40, block_table=np.ones((2, 2), np.int32))
    with pytest.raises(NotImplementedError, match=prefix + "dropout_p: "):
        flash_attn_varlen_func(q, k, v, q_starts, k_starts, 17, 40, 0.5)
