"""`flash_attn_with_kvcache`: caches appended to in place, lengths, pages, rotation."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa.compat.flash_attn import flash_attn_with_kvcache
from tests.python import reference
from tests.python.compat_reference import KINDS, alibi_slopes, as_array, of_kind, random
from tests.python.test_compat_flash_attn import expect

pytest.importorskip("torch")

B, CAPACITY, H, HKV, D = 3, 24, 4, 2, 64


@pytest.fixture
def caches(rng):
    return list(random(rng, 2, B, CAPACITY, HKV, D))


def expect_cache(q, keys, values, **options):
    """Return output [B, qL, H, D] and log-sum-exp [B, H, qL] over a list of the keys of each sequence."""
    parts = [expect(*rows, **options) for rows in zip(q, keys, values, strict=True)]
    return np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize("q_len", [1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_lengths(rng, caches, kind, dtype, q_len, causal):
    caches = [cache.astype(reference.DTYPES[dtype]) for cache in caches]
    lengths = np.array([7, 24, 1], np.int32)
    for cache in caches:
        for b, length in enumerate(lengths):
            cache[b, length:] = np.nan
    q = random(rng, B, q_len, H, D, dtype=dtype)
    tensors = [of_kind(x, kind) for x in (q, *caches)]
    out, lse = flash_attn_with_kvcache(
        *tensors, cache_seqlens=of_kind(lengths, kind), causal=causal, return_softmax_lse=True
    )
    kept = [[cache[b, :length] for b, length in enumerate(lengths)] for cache in caches]
    expected, expected_lse = expect_cache(q, *kept, causal=causal)
    reference.assert_close(as_array(out, kind), expected, q.dtype)
    reference.assert_lse_close(as_array(lse, kind), expected_lse, q.dtype)


def test_one_length_for_all_and_whole_caches(rng, caches):
    q = random(rng, B, 2, H, D)
    some = [cache[:, :5] for cache in caches]
    np.testing.assert_array_equal(
        flash_attn_with_kvcache(q, *caches, cache_seqlens=5), flash_attn_with_kvcache(q, *some)
    )
    reference.assert_close(flash_attn_with_kvcache(q, *caches), expect_cache(q, *caches)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_append_in_place(rng, caches, kind, dtype):
    caches = [cache.astype(reference.DTYPES[dtype]) for cache in caches]
    before = [cache.copy() for cache in caches]
    lengths = np.array([7, 22, 0], np.int32)
    q = random(rng, B, 2, H, D, dtype=dtype)
    new = random(rng, 2, B, 2, HKV, D, dtype=dtype)
    arguments = [of_kind(x, kind) for x in (q, *caches, *new)]
    out = flash_attn_with_kvcache(*arguments, cache_seqlens=of_kind(lengths, kind), causal=True)
    for old, added in zip(before, new, strict=True):
        for b, length in enumerate(lengths):
            old[b, length : length + 2] = added[b]
    for cache, old in zip(caches, before, strict=True):
        np.testing.assert_array_equal(cache, old)
    kept = [[cache[b, : length + 2] for b, length in enumerate(lengths)] for cache in before]
    reference.assert_close(as_array(out, kind), expect_cache(q, *kept, causal=True)[0], q.dtype)
    assert lengths.tolist() == [7, 22, 0]


@pytest.mark.parametrize("options", [{"window": (4, 1)}, {"softcap": 2.0}, {"scale": 0.2}, {"alibi": alibi_slopes(H)}])
def test_options(rng, caches, options):
    lengths = [7, 24, 1]
    q = random(rng, B, 3, H, D)
    names = {"scale": "softmax_scale", "window": "window_size", "alibi": "alibi_slopes"}
    given = {names.get(name, name): value for name, value in options.items()}
    out = flash_attn_with_kvcache(q, *caches, cache_seqlens=np.array(lengths), causal=True, num_splits=3, **given)
    kept = [[cache[b, :length] for b, length in enumerate(lengths)] for cache in caches]
    reference.assert_close(out, expect_cache(q, *kept, causal=True, **options)[0])


def test_sequences_of_a_larger_cache(rng):
    caches = random(rng, 2, 5, CAPACITY, HKV, D)
    before = caches.copy()
    q = random(rng, B, 1, H, D)
    new = random(rng, 2, B, 1, HKV, D)
    which, lengths = np.array([4, 0, 2], np.int32), np.array([3, 9, 5], np.int32)
    out = flash_attn_with_kvcache(q, *caches, *new, cache_seqlens=lengths, cache_batch_idx=which)
    for half in range(2):
        before[half, which, lengths] = new[half][:, 0]
    np.testing.assert_array_equal(caches, before)
    kept = [[cache[s, : length + 1] for s, length in zip(which, lengths, strict=True)] for cache in caches]
    reference.assert_close(out, expect_cache(q, *kept)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("page_size", [1, 3, 16, 256])
def test_pages_appended_across_their_edges(rng, kind, page_size):
    lengths, new_len = np.array([2, 15, 0], np.int32), 4
    counts = [-(-(length + new_len) // page_size) for length in lengths]
    table = np.full((B, max(counts) + 1), -1, np.int32)
    order = rng.permutation(sum(counts) + 2)
    for b, count in enumerate(counts):
        table[b, :count] = order[sum(counts[:b]) : sum(counts[: b + 1])]
    pages = random(rng, 2, len(order), page_size, HKV, D)
    kept = []
    new = random(rng, 2, B, new_len, HKV, D)
    for half in range(2):
        slots = [[(table[b, j // page_size], j % page_size) for j in range(length)] for b, length in enumerate(lengths)]
        kept.append(
            [
                np.concatenate([np.array([pages[half][slot] for slot in slots[b]]).reshape(-1, HKV, D), new[half][b]])
                for b in range(B)
            ]
        )
    q = random(rng, B, new_len, H, D)
    arguments = [of_kind(x, kind) for x in (q, *pages, *new)]
    out = flash_attn_with_kvcache(
        *arguments, cache_seqlens=of_kind(lengths, kind), block_table=of_kind(table, kind), causal=True
    )
    reference.assert_close(as_array(out, kind), expect_cache(q, *kept, causal=True)[0])
    for half in range(2):
        for b, length in enumerate(lengths):
            for j in range(length + new_len):
                np.testing.assert_array_equal(pages[half, table[b, j // page_size], j % page_size], kept[half][b][j])


def turn(vectors, positions, angles, interleaved):
    """Rotate [L, heads, D] by complex numbers: a convention of its own to check by."""
    out = vectors.astype(np.float64).copy()
    half = angles.shape[1]
    first, second = (
        (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if interleaved else (slice(half), slice(half, 2 * half))
    )
    turned = (out[..., first] + 1j * out[..., second]) * np.exp(1j * angles[positions])[:, None]
    out[..., first], out[..., second] = turned.real, turned.imag
    return out


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("option", [{}, {"causal": True}, {"window": (5, -1)}])
@pytest.mark.parametrize("rotary_dim", [16, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_rotation(rng, caches, kind, interleaved, option, rotary_dim):
    lengths = [7, 20, 0]
    angles = np.outer(np.arange(40), 100.0 ** -np.linspace(0, 1, rotary_dim // 2))
    q = random(rng, B, 3, H, D)
    new = random(rng, 2, B, 3, HKV, D)
    kept = [[cache[b, :length].copy() for b, length in enumerate(lengths)] for cache in caches]
    out = flash_attn_with_kvcache(
        *(of_kind(x, kind) for x in (q, *caches, *new)),
        rotary_cos=of_kind(np.cos(angles).astype(np.float32), kind),
        rotary_sin=of_kind(np.sin(angles).astype(np.float32), kind),
        cache_seqlens=of_kind(np.array(lengths, np.int32), kind),
        rotary_interleaved=interleaved,
        **{{"window": "window_size"}.get(name, name): value for name, value in option.items()},
    )
    turned = np.empty(q.shape)
    for b, length in enumerate(lengths):
        own = length + np.arange(3)
        turned[b] = turn(q[b], own if option else np.full(3, length), angles, interleaved)
        kept[0][b] = np.concatenate([kept[0][b], turn(new[0][b], own, angles, interleaved)])
        kept[1][b] = np.concatenate([kept[1][b], new[1][b]])
        np.testing.assert_allclose(caches[0][b, own], kept[0][b][own], atol=2e-6)
    reference.assert_close(as_array(out, kind), expect_cache(turned, *kept, **option)[0], np.dtype(np.float32))


def test_rotation_of_half_precision_rounds_once(rng, caches):
    angles = np.outer(np.arange(40), np.linspace(0.1, 1, D // 2))
    caches = [cache.astype(np.float16) for cache in caches]
    new = random(rng, 2, B, 1, HKV, D, dtype="f16")
    tables = (np.cos(angles).astype(np.float16), np.sin(angles).astype(np.float16))
    q = random(rng, B, 1, H, D, dtype="f16")
    before = q.copy(), new.copy()
    flash_attn_with_kvcache(q, *caches, *new, *tables, cache_seqlens=5)
    x, y = (new[0][:, 0, :, part].astype(np.float64) for part in (slice(0, D, 2), slice(1, D, 2)))
    cos, sin = (table[5].astype(np.float64) for table in tables)
    np.testing.assert_allclose(caches[0][:, 5, :, ::2], x * cos - y * sin, rtol=2**-10, atol=1e-3)
    np.testing.assert_allclose(caches[0][:, 5, :, 1::2], x * sin + y * cos, rtol=2**-10, atol=1e-3)
    np.testing.assert_array_equal(q, before[0])
    np.testing.assert_array_equal(new, before[1])


def call(rng, caches, **changes):
    arguments = {
        "q": random(rng, B, 1, H, D),
        "k_cache": caches[0],
        "v_cache": caches[1],
        "k": random(rng, B, 2, HKV, D),
        "v": random(rng, B, 2, HKV, D),
        "cache_seqlens": np.array([7, 22, 0], np.int32),
    }
    return flash_attn_with_kvcache(**(arguments | changes))


CASES = {
    "k_cache": {
        "k_cache": np.zeros((2, CAPACITY, HKV, D), np.float32),
        "v_cache": np.zeros((2, CAPACITY, HKV, D), np.float32),
    },
    "k_cache: expected 4 dimensions, the last contiguous": {
        "k_cache": np.zeros((B, CAPACITY, D, HKV), "f4").swapaxes(2, 3)
    },
    "v_cache: expected 4 dimensions": {"v_cache": np.zeros((B, CAPACITY, D), np.float32)},
    "v_cache": {"v_cache": np.zeros((B, CAPACITY, HKV, D), np.float16)},
    "v": {"v": None},
    "k": {"k": np.zeros((B, 2, HKV, D), np.float16)},
    "cache_seqlens: expected room for 2": {"cache_seqlens": np.array([7, 23, 0])},
    "cache_seqlens: expected 0 ... 24": {"cache_seqlens": 25, "k": None, "v": None},
    "cache_seqlens: expected 0": {"cache_seqlens": np.array([7, -1, 0]), "k": None, "v": None},
    "cache_seqlens: expected k, v": {"cache_seqlens": None},
    "cache_seqlens: expected integers": {"cache_seqlens": np.zeros(4, np.int32)},
    "cache_batch_idx: expected 0 ... 2": {"cache_batch_idx": np.array([0, 1, 3])},
    "cache_batch_idx: expected integers": {"cache_batch_idx": np.array([0, 1])},
    "cache_batch_idx: expected None together": {"cache_batch_idx": np.arange(B), "block_table": np.zeros((B, 1), int)},
    "block_table: expected 0 ... 2, got 3": {"block_table": np.array([[0], [1], [3]])},
    "block_table": {"block_table": np.zeros((2, 1), np.int32)},
    "rotary_sin": {"rotary_cos": np.ones((40, 32), np.float32)},
    "rotary_cos: expected 23 positions": {"rotary_cos": np.ones((9, 32)), "rotary_sin": np.ones((9, 32))},
    "rotary_cos: .*as rotary_sin": {"rotary_cos": np.ones((40, 32)), "rotary_sin": np.ones((40, 16))},
    "k: expected keys to rotate": {
        "k": None,
        "v": None,
        "rotary_cos": np.ones((40, 32)),
        "rotary_sin": np.ones((40, 32)),
    },
    "q: expected .*128 or more": {"rotary_cos": np.ones((40, 64)), "rotary_sin": np.ones((40, 64))},
    "q": {"q": np.zeros((B, H, D), np.float32)},
    "softmax_scale": {"softmax_scale": 0.0},
    "window_size": {"window_size": (1, 2, 3)},
    "window_size: .*got 5": {"window_size": 5},
    "alibi_slopes": {"alibi_slopes": np.ones(3, np.float32)},
}


@pytest.mark.parametrize("match", CASES)
def test_refused_calls_leave_the_cache_as_it_was(rng, caches, match):
    before = [cache.copy() for cache in caches]
    with pytest.raises(pyfa.InvalidArgumentError, match=f"^flash_attn_with_kvcache: {match}"):
        call(rng, caches, **CASES[match])
    for cache, old in zip(caches, before, strict=True):
        np.testing.assert_array_equal(cache, old)


def test_read_only_caches_are_refused(rng, caches):
    caches[1].flags.writeable = False
    with pytest.raises(pyfa.InvalidArgumentError, match="^flash_attn_with_kvcache: v_cache: .*read-only"):
        call(rng, caches)
    assert call(rng, caches, k=None, v=None).shape == (B, 1, H, D)


def test_unsupported_is_named(rng, caches):
    with pytest.raises(pyfa.UnsupportedError, match="^flash_attn_with_kvcache: cache_leftpad: "):
        call(rng, caches, cache_leftpad=np.zeros(B, np.int32))
    with pytest.raises(pyfa.UnsupportedError, match="^flash_attn_with_kvcache: k: .*no backward pass"):
        call(rng, caches, k=of_kind(random(rng, B, 2, HKV, D), "torch").requires_grad_())
