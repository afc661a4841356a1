"""flash_attn_decode with its keys in pages, and with a bias by distance."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa import ops
from tests.python import codec_reference as codec
from tests.python import decode_reference as oracle
from tests.python.reference import DTYPES
from tests.python.test_decode_ops import ANY, cache, random

TOLERANCE = {"f32": 2e-6, "f16": 1e-3, "bf16": 8e-3}
LENGTHS = (0, 1, 15, 16, 70)


class Pages:
    """What sequences of these lengths have in pages of equal size, and what they have in a row."""

    def __init__(self, rng, lengths, page_size, kv_heads, head_dim, kind="f32", layout="nhd"):
        self.lengths, self.layout = lengths, layout
        columns = max(-(-max(lengths) // page_size), 1)
        used = [-(-length // page_size) for length in lengths]
        count = sum(used) + 3
        order = iter(rng.permutation(count))
        # Entries that nobody may look at are no pages.
        self.table = np.full((len(lengths), columns), -7)
        self.k, self.k_norms, self.dense_k = self._cache(rng, count, page_size, kv_heads, head_dim, kind)
        self.v, self.v_norms, self.dense_v = self._cache(rng, count, page_size, kv_heads, head_dim, kind)
        kept = np.zeros((count, page_size), bool)
        for b, length in enumerate(lengths):
            for column in range(used[b]):
                page = self.table[b, column] = next(order)
                kept[page, : length - column * page_size] = True
        self._poison(~kept)

    def _cache(self, rng, count, page_size, kv_heads, head_dim, kind):
        x = random(rng, count, page_size, kv_heads, head_dim)
        rows, norms, stands_for = cache(x if self.layout == "nhd" else x.swapaxes(1, 2).copy(), kind)
        return rows, norms, stands_for if self.layout == "nhd" else stands_for.swapaxes(1, 2)

    def _poison(self, unused):
        for rows in (self.k, self.k_norms, self.v, self.v_norms):
            if rows is not None:
                by_slot = rows if self.layout == "nhd" else rows.swapaxes(1, 2)
                by_slot[unused] = (
                    255 if rows.dtype == np.uint8 else np.iinfo(np.int8).min if rows.dtype == np.int8 else np.nan
                )

    def in_a_row(self, x):
        """Return pages as [B, Hkv, capacity, D]."""
        rows = x[np.maximum(self.table, 0)]
        return rows.reshape(len(self.table), -1, *rows.shape[3:]).swapaxes(1, 2)

    def decode(self, q, formats, **options):
        return ops.flash_attn_decode(
            q, self.k, self.v, self.lengths, formats, k_norms=self.k_norms, v_norms=self.v_norms,
            block_table=self.table, page_layout=self.layout, **options,
        )  # fmt: skip

    def expected(self, q, **options):
        return oracle.decode(q, self.in_a_row(self.dense_k), self.in_a_row(self.dense_v), self.lengths, **options)


@pytest.mark.parametrize("layout", ["nhd", "hnd"])
@pytest.mark.parametrize("page_size", [1, 8, 16, 256])
@pytest.mark.parametrize("splits", [1, 4])
def test_pages(device, rng, page_size, layout, splits):
    pages = Pages(rng, LENGTHS, page_size, 2, 64, layout=layout)
    q = random(rng, len(LENGTHS), 4, 3, 64)
    out, lse = pages.decode(q, "f32", return_lse=True, splits=splits, device=device)
    expected, expected_lse = pages.expected(q, mask_type=oracle.CAUSAL)
    assert oracle.error(out, expected) < 2e-6
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", range(len(ANY)))
def test_pages_of_any_format(device, rng, case):
    name = ANY[case]
    pages = Pages(rng, (33, 0, 16), 16, 2, 64, name)
    q = random(rng, 3, 4, 2, 64)
    coded = name not in DTYPES
    out = pages.decode(q, name, rotate_query=coded, undo_rotation=coded, device=device)
    expected, _ = pages.expected(codec.rotate(q) if coded else q, mask_type=oracle.CAUSAL)
    assert oracle.error(out, codec.unrotate(expected) if coded else expected) < 2e-6


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("head_dim", [64, 128, 256, 512])
def test_pages_and_distance_of_any_type(device, rng, kind, head_dim):
    pages = Pages(rng, (0, 40, 17), 16, 1, head_dim, kind, "hnd")
    q = random(rng, 3, 4, 1, head_dim).astype(DTYPES[kind])
    slopes = 2.0 ** -np.arange(1, 5, dtype=np.float32)
    out = pages.decode(q, kind, alibi=slopes, device=device)
    assert oracle.error(out.astype(np.float64), pages.expected(q, alibi=slopes)[0]) < TOLERANCE[kind]


@pytest.mark.parametrize("group", [1, 3, 8, 16])
def test_groups(device, rng, group):
    pages = Pages(rng, (5, 90), 16, 2, 64)
    q = random(rng, 2, 2 * group, 2, 64)
    slopes = random(rng, 2, 2 * group) / 8
    options = {"softcap": 5.0, "sinks": random(rng, 2 * group), "window": 50, "alibi": slopes}
    out, lse = pages.decode(q, "f32", return_lse=True, device=device, **options)
    expected, expected_lse = pages.expected(q, mask_type=oracle.WINDOW, **options)
    assert oracle.error(out, expected) < 2e-6
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("per_sequence", [False, True])
def test_distance(device, rng, causal, per_sequence):
    """Of keys after the query, too, and of sequences with fewer keys than queries."""
    q = random(rng, 3, 4, 5, 64)
    k, v = random(rng, 2, 3, 2, 70, 64)
    slopes = np.abs(random(rng, 3, 4) if per_sequence else random(rng, 4))
    options = {"ring_starts": [11, 0, 69], "alibi": slopes}
    lengths = [70, 3, 34]
    out, lse = ops.flash_attn_decode(q, k, v, lengths, "f32", causal=causal, return_lse=True, device=device, **options)
    mask_type = oracle.CAUSAL if causal else oracle.NO_MASK
    expected, expected_lse = oracle.decode(q, k, v, lengths, mask_type=mask_type, **options)
    assert oracle.error(out, expected) < 2e-6
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=1e-5)


def test_no_slope_is_no_bias(device, rng):
    q, (k, v) = random(rng, 1, 4, 2, 64), random(rng, 2, 1, 2, 70, 64)
    plain = ops.flash_attn_decode(q, k, v, 70, "f32", device=device)
    found = ops.flash_attn_decode(q, k, v, 70, "f32", alibi=np.zeros(4, np.float32), device=device)
    np.testing.assert_array_equal(found, plain)


def test_sequences_share_pages(device, rng):
    """Three sequences that begin alike, one of them with a page twice."""
    k, v = random(rng, 2, 5, 8, 1, 64)
    table = np.array([[3, 0, 4], [3, 0, 1], [3, 3, 2]], np.int32)
    lengths = [20, 16, 24]
    q = random(rng, 3, 2, 1, 64)
    out = ops.flash_attn_decode(q, k, v, lengths, "f32", block_table=table, device=device)
    rows = [x[table].reshape(3, 1, 24, 64) for x in (k, v)]
    assert oracle.error(out, oracle.decode(q, *rows, lengths)[0]) < 2e-6


def test_pages_before_the_window_are_not_looked_at(device, rng):
    pages = Pages(rng, (100, 30), 16, 1, 64)
    q = random(rng, 2, 2, 2, 64)
    expected, _ = pages.expected(q, mask_type=oracle.WINDOW, window=20)
    pages.table[0, :4] = 2**40  # the older query attends keys from 79 on
    out = pages.decode(q, "f32", window=20, device=device)
    assert oracle.error(out, expected) < 2e-6
    with pytest.raises(
        pyfa.InvalidArgumentError, match=r"block_table.0..3.: expected a page in 0\.\.\.11, got 2147483647"
    ):
        pages.decode(q, "f32", window=36, device=device)


def test_a_table_longer_than_metal_takes_inline(device, rng):
    """1,500 entries of a sequence, and all of them count."""
    pages = Pages(rng, (1500, 700), 1, 1, 64)
    q = random(rng, 2, 1, 1, 64)
    assert oracle.error(pages.decode(q, "f32", device=device), pages.expected(q)[0]) < 2e-6
    with pyfa.CommandEncoder(device) as encoder:
        outs = [pages.decode(q, "f32", encoder=encoder) for _ in range(2)]
    for out in outs:
        assert oracle.error(out.read(), pages.expected(q)[0]) < 2e-6


Q, K = np.ones((2, 4, 1, 64), np.float32), np.ones((5, 8, 2, 64), np.float32)
TABLE = np.array([[0, 4], [2, 1]])


def paged(k=K, v=K, lengths=(16, 9), table=TABLE, **options):
    return ops.flash_attn_decode(Q, k, v, lengths, options.pop("formats", "f32"), block_table=table, **options)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (r"block_table.1..1.: expected a page in 0\.\.\.4, got 5", lambda: paged(table=[[0, 4], [2, 5]])),
        (r"block_table.0..0.: expected a page in 0\.\.\.4, got -1", lambda: paged(table=[[-1, 4], [2, 1]])),
        ("kv_len: expected 0 to the capacity, 16, got 17", lambda: paged(lengths=(17, 1))),
        (r"integers .2, pages of a sequence., got float64 .2, 2.", lambda: paged(table=TABLE / 2)),
        (r"block_table: expected integers .2, pages of a sequence., got int64 .1, 2.", lambda: paged(table=TABLE[:1])),
        (r"integers .2, pages of a sequence., got int64 .2, 0.", lambda: paged(table=TABLE[:, :0])),
        (r"block_table: expected integers .2, pages of a sequence., got int64 .4.", lambda: paged(table=TABLE.ravel())),
        ("page_layout: expected one of 'nhd', 'hnd', got 'dhn'", lambda: paged(page_layout="dhn")),
        ("ring_starts: expected none with a block_table", lambda: paged(ring_starts=3)),
        ("v: expected pages .5, 8, 2., as k has, got .5, 16, 1.", lambda: paged(v=K.reshape(5, 16, 1, 64))),
        ("k_norms: expected a buffer, got none", lambda: paged(*[K.astype(np.uint8)] * 2, formats="tq8")),
        ("k_norms: expected pages .5, 8, 2., as k has, got .5, 2, 8.",
         lambda: paged(*[K.astype(np.uint8)] * 2, formats="tq8", k_norms=np.ones((5, 2, 8), np.float32),
                       v_norms=np.ones((5, 8, 2), np.float32))),
        ("kv_heads: expected a divisor of heads = 4, got 8", lambda: paged(page_layout="hnd")),
        ("page_size: expected 1 to", lambda: paged(*[K[:, :0]] * 2)),
        (r"alibi: expected .4. or .2, 4., got .3.", lambda: paged(alibi=np.ones(3, np.float32))),
        ("alibi: expected f32, got f16", lambda: paged(alibi=np.ones(4, np.float16))),
        ("alibi: expected a Buffer or a NumPy array, got float", lambda: paged(alibi=0.5)),
    ],
)  # fmt: skip
def test_bad_input_is_refused(message, call):
    with pytest.raises(pyfa.PyfaError, match=message):
        call()


def test_explain():
    report = paged(alibi=np.ones(4, np.float32), explain=True)
    assert [step.kernel for step in report.passes] == ["flash_attn_decode_f32_d64"]
