"""Packed batches: every sequence is what it is alone, whatever its length and wherever its keys are."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from tests.python import dlpack_library, reference
from tests.python.packed import LENGTHS, crosses, packed, paged
from tests.python.shader_devices import CHECKED, SCHEDULES, STRICT, shader_device

DTYPES = reference.DTYPES
SLOPES = np.float32([0.5, 0.1, 0.02, 0])
PAGE_SIZES = (1, 7, 16, 256)

OPTIONS = {
    "full": {},
    "causal": {"causal": True},
    "window": {"window": (20, 5)},
    "sliding": {"window": (9, 0), "alibi": SLOPES},
    "everything": {
        "causal": True, "window": (40, 3), "softcap": 3.0, "sinks": np.float32([-1, 0, 1, -np.inf]), "alibi": SLOPES,
        "scale": 0.2,
    },
}  # fmt: skip


def attend(batch, device, **options):
    given = {"cu_seqlens_k": batch.k_starts} | options
    return pyfa.attention_varlen(batch.q, batch.k, batch.v, batch.q_starts, **given, return_lse=True, device=device)


def attend_pages(rng, batch, page_size, device, **options):
    k, v, table = paged(rng, batch, page_size)
    return pyfa.attention_varlen(
        batch.q, k, v, batch.q_starts, block_table=table, kv_lens=batch.kv_lens, **options, return_lse=True,
        device=device,
    )  # fmt: skip


def check(batch, found, **options):
    expected, expected_lse = reference.attention_varlen(*batch, **options)
    for b, rows in enumerate(slice(*batch.q_starts[b : b + 2]) for b in range(len(batch.q_starts) - 1)):
        assert np.isfinite(found[0][rows].astype(np.float32)).all(), f"sequence {b}"
        reference.assert_close(found[0][rows], expected[rows])
        reference.assert_lse_close(found[1][:, rows], expected_lse[:, rows], batch.q.dtype)


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))


@crosses(OPTIONS, DTYPES)
def test_packed(rng, case, device):
    name, dtype = case
    batch = packed(rng, dtype=dtype)
    check(batch, attend(batch, device, **OPTIONS[name]), **OPTIONS[name])


@crosses(OPTIONS, DTYPES)
def test_each_sequence_is_what_it_is_alone(rng, case, device):
    name, dtype = case
    batch = packed(rng, dtype=dtype)
    out, lse = attend(batch, device, **OPTIONS[name])
    for b, rows in enumerate(slice(*batch.q_starts[b : b + 2]) for b in range(len(LENGTHS))):
        one, one_lse = pyfa.attention(*batch.alone(b), **OPTIONS[name], return_lse=True, device=device)
        assert_same((out[rows], lse[:, rows]), (one[0].swapaxes(0, 1).copy(), one_lse[0]))


@crosses(PAGE_SIZES, ("full", "everything"), DTYPES)
def test_pages_are_the_packed_keys(rng, case, device):
    page_size, name, dtype = case
    batch = packed(rng, dtype=dtype)
    found = attend_pages(rng, batch, page_size, device, **OPTIONS[name])
    check(batch, found, **OPTIONS[name])
    assert_same(found, attend(batch, device, **OPTIONS[name]))


@crosses((32, 80, 96, 128, 192, 256, 512), DTYPES)
def test_every_head_dim(rng, case, device):
    head_dim, dtype = case
    lengths = ((9, 20), (0, 3), (33, 65), (1, 1))
    batch = packed(rng, lengths, dtype, heads=(2, 1), head_dim=head_dim)
    found = attend(batch, device, causal=True)
    check(batch, found, causal=True)
    assert_same(found, attend_pages(rng, batch, 5, device, causal=True))


@pytest.mark.parametrize("heads", [(1, 1), (3, 3), (6, 1), (8, 4)])
def test_shared_heads(rng, heads, device):
    batch = packed(rng, ((9, 20), (33, 40)), heads=heads)
    found = attend(batch, device, causal=True)
    check(batch, found, causal=True)
    assert_same(found, attend_pages(rng, batch, 16, device, causal=True))


def test_slopes_of_each_sequence(rng, device):
    batch = packed(rng, ((9, 20), (0, 3), (33, 40)))
    slopes = rng.random((3, 4), dtype=np.float32)
    check(batch, attend(batch, device, alibi=slopes, causal=True), alibi=slopes, causal=True)


@pytest.mark.parametrize("name", OPTIONS)
def test_lengths_within_packed_room(rng, name, device):
    """Keys behind a length are never read."""
    batch = packed(rng)
    lens = np.array([n // 2 for _, n in LENGTHS])
    for b, n in enumerate(lens):
        batch.k[batch.k_starts[b] + n : batch.k_starts[b + 1]] = np.nan
        batch.v[batch.k_starts[b] + n : batch.k_starts[b + 1]] = np.nan
    out, lse = attend(batch, device, kv_lens=lens, **OPTIONS[name])
    expected, expected_lse = reference.attention_varlen(*batch, lens, **OPTIONS[name])
    reference.assert_close(out, expected)
    reference.assert_lse_close(lse, expected_lse, batch.q.dtype)


@pytest.mark.parametrize("count", [2000])
def test_many_sequences(rng, count, device):
    """More starts than go inline with a dispatch."""
    batch = packed(rng, [(n % 3, n % 5) for n in range(count)], heads=(2, 1), head_dim=32)
    found = attend(batch, device, causal=True)
    check_rows(batch, found)
    assert_same(found, attend_pages(rng, batch, 2, device, causal=True))


def check_rows(batch, found):
    expected, expected_lse = reference.attention_varlen(*batch, causal=True)
    reference.assert_close(found[0], expected)
    reference.assert_lse_close(found[1], expected_lse, batch.q.dtype)


def test_long_beside_short(rng):
    """More than is packed at a time, on several threads."""
    device = pyfa.Device("native")
    batch = packed(rng, ((1, 9000), (40, 40), (300, 20000), (2, 700), (0, 9000), (130, 17)), "f16", (8, 4), 128)
    found = attend(batch, device, causal=True)
    check(batch, found, causal=True)
    assert_same(found, attend_pages(rng, batch, 16, device, causal=True))


def test_views_need_no_copy(rng, device):
    batch = packed(rng, ((9, 20), (33, 40)))
    wide = [np.zeros((len(x), 2 * x.shape[1], x.shape[2]), x.dtype) for x in batch[:3]]
    for to, x in zip(wide, batch[:3], strict=True):
        to[:, ::2] = x
    q, k, v = (x[:, ::2] for x in wide)
    starts = (batch.q_starts, batch.k_starts)
    assert_same(pyfa.attention_varlen(q, k, v, *starts, return_lse=True, device=device), attend(batch, device))
    assert pyfa.explain_varlen(q, k, v, *starts, device=device).copies == ()


def test_result_goes_where_it_is_told(rng, device):
    batch = packed(rng, ((9, 20), (33, 40)))
    out = np.full_like(batch.q, np.nan)
    found = attend(batch, device, out=out)
    assert found[0] is out
    assert_same(found, attend(batch, device))


@pytest.mark.parametrize("kind", [list, tuple, np.int32, np.uint64])
def test_starts_of_any_integers(rng, kind, device):
    batch = packed(rng, ((9, 20), (33, 40)))
    starts = [[int(n) for n in s] if kind in (list, tuple) else s.astype(kind) for s in batch[3:]]
    starts = [tuple(s) if kind is tuple else s for s in starts]
    found = pyfa.attention_varlen(*batch[:3], *starts, return_lse=True, device=device)
    assert_same(found, attend(batch, device))


def test_tensors_of_other_libraries(rng, device):
    batch = packed(rng, ((9, 20), (33, 40)))
    tensors = [dlpack_library.Tensor(x) for x in batch]
    found = pyfa.attention_varlen(*tensors, return_lse=True, device=device)
    assert all(type(x) is dlpack_library.Tensor for x in found)
    assert_same([np.from_dlpack(x) for x in found], attend(batch, device))
    tensors[3] = dlpack_library.Unexportable(batch.q_starts)
    with pytest.raises(pyfa.InvalidArgumentError, match="q_starts: expected integers in 1 dimensions, in CPU memory"):
        pyfa.attention_varlen(*tensors, device=device)


def test_pages_may_be_shared(rng, device):
    q = rng.standard_normal((2, 6, 4, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 3, 8, 2, 64), dtype=np.float32)
    table = [[2, 0], [2, 1]]
    out = pyfa.attention_varlen(
        q.reshape(12, 4, 64), k, v, [0, 6, 12], block_table=table, kv_lens=[16, 13], causal=True, device=device
    )
    for b, n in ((0, 16), (1, 13)):
        keys = [x[table[b]].reshape(1, 16, 2, 64)[:, :n] for x in (k, v)]
        alone = pyfa.attention(q[b : b + 1], *keys, causal=True, layout="blhd", device=device)
        np.testing.assert_array_equal(out[6 * b : 6 * b + 6], alone[0])


def test_no_rows_at_all(rng, device):
    batch = packed(rng, ((0, 5), (0, 0)))
    pyfa.reset_counters()
    out, lse = attend(batch, device)
    assert (out.shape, lse.shape) == ((0, 4, 64), (4, 0))
    assert pyfa.counters().dispatches == 0


def test_no_keys_at_all(rng, device):
    batch = packed(rng, ((3, 0), (2, 0)))
    for options in ({}, {"sinks": np.float32([1, 2, 3, 4])}):
        out, lse = attend(batch, device, **options)
        assert not out.any()
        floor = options.get("sinks", np.full(4, -np.inf))
        np.testing.assert_array_equal(lse, np.broadcast_to(floor[:, None], lse.shape))
    found = pyfa.attention_varlen(
        batch.q, np.zeros((0, 4, 2, 64), np.float32), np.zeros((0, 4, 2, 64), np.float32), batch.q_starts,
        block_table=np.zeros((2, 0), int), kv_lens=[0, 0], device=device,
    )  # fmt: skip
    assert not found.any()


@pytest.mark.parametrize(
    ("dtype", "head_dim", "schedule"),
    [("f16", 64, "random"), ("f16", 64, "reverse"), ("f32", 256, "interleaved"), ("f32", 512, "random"),
     ("f32", 512, "forward"), ("bf16", 512, "reverse"), ("bf16", 512, "interleaved")],
)  # fmt: skip
def test_strict_and_checked(rng, dtype, head_dim, schedule):
    lengths = ((9, 20), (0, 3), (33, 65), (3, 0), (1, 1))
    batch = packed(rng, lengths, dtype, heads=(2, 1), head_dim=head_dim)
    options = {"causal": True, "alibi": np.float32([0.5, 0.1]), "sinks": np.float32([0.3, -1]), "window": (30, 2)}
    device = shader_device(**STRICT, **CHECKED, **SCHEDULES[schedule])
    expected = attend(batch, shader_device(), **options)
    assert_same(attend(batch, device, **options), expected)
    assert_same(attend_pages(rng, batch, 3, device, **options), expected)


def test_explanation(rng, device):
    batch = packed(rng, ((9, 20), (40, 40)))
    k, v, table = paged(rng, batch, 8)
    told = pyfa.explain_varlen(
        batch.q, k, v, batch.q_starts, block_table=table, kv_lens=[20, 40], causal=True, device=device
    )
    assert (told.problem.q_lens, told.problem.kv_lens, told.problem.page_size) == ((9, 40), (20, 40), 8)
    assert told.problem.layout == "paged"
    assert told.passes[0].threadgroups == (2, 4, 2)
    constants = {c.name: c.value for c in told.passes[0].constants}
    assert [constants[f"has_{name}"] for name in ("varlen", "pages", "kv_lens", "k_starts")] == [
        True,
        True,
        True,
        False,
    ]
    assert "pages of 8 keys" in str(told)
    told = pyfa.explain_varlen(*batch, device=device)
    assert (told.problem.q_lens, told.problem.kv_lens, told.problem.page_size) == ((9, 40), (20, 40), 0)
    assert told.operation == "attention_varlen"
    assert pyfa.explain(*batch.alone(0), device=device).problem.q_lens is None


# What is wrong, in place of what a sound call has, and what the error says.
SOUND = {"cu_seqlens_q": [0, 9, 12], "cu_seqlens_k": [0, 20, 30]}
MISTAKES = {
    "no starts": ({"cu_seqlens_q": None}, "q_starts: expected integers in 1 dimension"),
    "empty starts": ({"cu_seqlens_q": [], "cu_seqlens_k": []}, "batch: expected 1 to"),
    "no sequence": ({"cu_seqlens_q": [0], "cu_seqlens_k": [0]}, "batch: expected 1 to"),
    "falling": ({"cu_seqlens_q": [0, 13, 12]}, "q_starts: expected 13, the one before, to .*got 12"),
    "falling keys": ({"cu_seqlens_k": [0, 31, 30]}, "k_starts: expected 31, the one before, to .*got 30"),
    "late begin": ({"cu_seqlens_q": [1, 9, 12]}, "q_starts: expected 0 to begin with, got 1"),
    "negative": ({"cu_seqlens_k": [-1, 20, 30]}, "k_starts: expected 0 to begin with, got -1"),
    "rows left": ({"cu_seqlens_q": [0, 9, 11]}, "q_starts: expected 12, the rows of q, in the end, got 11"),
    "beyond q": ({"cu_seqlens_q": [0, 9, 13]}, "q_starts: expected 12, the rows of q, in the end, got 13"),
    "beyond k": ({"cu_seqlens_k": [0, 20, 31]}, "k_starts: expected at most 30, the rows of k, got 31"),
    "other count": ({"cu_seqlens_k": [0, 30]}, "k_starts: expected 3, for 2 sequences, got 2"),
    "no keys": ({"cu_seqlens_k": None}, "k_starts: expected starts, or a block_table, with q_starts, got none"),
    "floats": ({"cu_seqlens_q": [0.0, 9.0, 12.0]}, "q_starts: expected integers, got float64"),
    "two dimensions": ({"cu_seqlens_q": [[0, 9, 12]]}, "q_starts: expected integers in 1 dimension"),
    "ragged": ({"cu_seqlens_q": [[0], [9, 12]]}, "q_starts: expected integers in 1 dimension"),
    "too long": ({"kv_lens": [20, 11]}, "kv_lens: expected 0 to 10, the room of sequence 1, got 11"),
    "negative length": ({"kv_lens": [-1, 5]}, "kv_lens: expected 0 to 20, the room of sequence 0, got -1"),
    "lengths of others": ({"kv_lens": [1, 2, 3]}, "kv_lens: expected 2, for 2 sequences, got 3"),
    "window": ({"window": (-2, 0)}, "window: expected 0 to"),
    "softcap": ({"softcap": -1.0}, "softcap: expected a finite number"),
    "scale": ({"scale": 0.0}, "scale: expected a finite number other than 0"),
    "no number": ({"scale": "1"}, "scale: expected a number or None"),
    "causal": ({"causal": 1}, "causal: expected a bool"),
    "sinks": ({"sinks": np.zeros(3, np.float32)}, r"sinks: expected \[4\]"),
    "alibi": ({"alibi": np.zeros((3, 4), np.float32)}, r"alibi: expected \[4\] or \[2, 4\]"),
    "q of rank 4": ({"q": np.zeros((1, 12, 4, 64), np.float32)}, "q: expected 3 dimensions, got 4"),
    "k of rank 4": ({"k": np.zeros((1, 30, 2, 64), np.float32)}, "k: expected 3 dimensions, got 4"),
    "k of f16": ({"k": np.zeros((30, 2, 64), np.float16)}, "k: expected f32, got f16"),
    "k of other width": ({"k": np.zeros((30, 2, 32), np.float32)}, "k: expected head_dim 64"),
    "k of other heads": ({"k": np.zeros((30, 3, 64), np.float32)}, "v: expected"),
    "out of other shape": ({"out": np.zeros((11, 4, 64), np.float32)}, "o: expected"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(rng, name, device):
    mistake, text = MISTAKES[name]
    batch = packed(rng, ((9, 20), (3, 10)))
    out = np.full_like(batch.q, 7)
    given = {"q": batch.q, "k": batch.k, "v": batch.v, "out": out} | SOUND | mistake
    with pytest.raises(pyfa.InvalidArgumentError, match=f"attention_varlen: {text}"):
        pyfa.attention_varlen(**given, device=device)
    assert (out == 7).all()


PAGE_MISTAKES = {
    "no lengths": ({"kv_lens": None}, "kv_lens: expected lengths with a block_table, got none"),
    "starts too": ({"cu_seqlens_k": [0, 20, 30]}, "k_starts: expected none with a block_table, got starts"),
    "beyond the pages": ({"block_table": [[0, 1, 2], [3, 5, 0]]}, r"block_table: .*below 5, got 5 at \[1, 1\]"),
    "negative page": ({"block_table": [[0, -1, 2], [3, 4, 0]]}, r"block_table: .*got 4294967295 at \[0, 1\]"),
    "huge page": ({"block_table": [[0, 2**32 + 1, 2], [3, 4, 0]]}, r"block_table: .*got 4294967295 at \[0, 1\]"),
    "too long": ({"kv_lens": [20, 25]}, "kv_lens: expected 0 to 24, the room of sequence 1, got 25"),
    "rows of others": ({"block_table": [[0, 1, 2]]}, r"block_table: expected \[2, pages of a sequence\], got \[1, 3\]"),
    "one dimension": ({"block_table": [0, 1, 2]}, "block_table: expected integers in 2 dimensions"),
    "floats": ({"block_table": [[0.0, 1, 2], [3, 4, 0]]}, "block_table: expected integers, got float64"),
    "k of rank 3": ({"k": np.zeros((40, 2, 64), np.float32)}, "k: expected 4 dimensions, got 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", PAGE_MISTAKES)
def test_mistakes_with_pages(rng, name, device):
    mistake, text = PAGE_MISTAKES[name]
    q = rng.standard_normal((12, 4, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 5, 8, 2, 64), dtype=np.float32)
    sound = {"block_table": [[0, 1, 2], [3, 4, 99]], "kv_lens": [20, 10]}
    pyfa.attention_varlen(q, k, v, [0, 9, 12], **sound, device=device)
    out = np.full_like(q, 7)
    given = {"k": k, "v": v, "out": out} | sound | mistake
    with pytest.raises(pyfa.InvalidArgumentError, match=f"attention_varlen: {text}"):
        pyfa.attention_varlen(q, cu_seqlens_q=[0, 9, 12], **given, device=device)
    assert (out == 7).all()
