"""Block bytes of masks: against NumPy, and without a trace in what attention computes from them."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa.ops import (
    FlashAttnPrefillBlkProblem,
    flash_attn_prefill,
    flash_attn_prefill_blk,
    flash_attn_prefill_blk_bytes,
    flash_attn_prefill_blk_explain,
    flash_attn_prefill_d512,
)
from tests.python import prefill_model, reference
from tests.python.prefill_model import additive, blk_bytes, sliding_mask

INVALID = pyfa.InvalidArgumentError
TILES = [(32, 16), (8, 64), (32, 8), (8, 8), (7, 5), (1, 1), (3, 100), (100, 33), (64, 1)]


@pytest.mark.parametrize("tile", [(32, 16), (8, 64), (13, 77)], ids=str)
@pytest.mark.parametrize(("length", "window"), [(2048, None), (2048, 1024), (2455, None), (2455, 1024)], ids=str)
def test_causal_and_sliding_masks(length, window, tile, device):
    if device.info().provider == "shader" and (length, window) != (2048, 1024):
        pytest.skip("seconds of work for a shader on the CPU")
    mask = sliding_mask(length, length, window)
    expected = blk_bytes(mask, tile)
    assert set(np.unique(expected)) == {0, 1, 2}
    np.testing.assert_array_equal(flash_attn_prefill_blk(mask, tile=tile, device=device), expected)
    bias = additive(mask, reference.DTYPES["bf16"])
    np.testing.assert_array_equal(flash_attn_prefill_blk(bias, tile=tile, device=device), expected)


def patchy(rng, shape, dtype):
    """Make a mask whose tiles are of every kind: excluded, free, and mixed by one element only."""
    coarse = rng.integers(0, 3, (*shape[:-2], -(-shape[-2] // 9), -(-shape[-1] // 11)))
    kind = np.repeat(np.repeat(coarse, 9, axis=-2), 11, axis=-1)[..., : shape[-2], : shape[-1]]
    lone = rng.random(shape) < 0.01
    if dtype == "bool":
        return (kind > 0) ^ lone
    values = np.select([kind == 0, kind == 1], [-np.inf, 0.0], rng.choice([0.0, -0.0, -1e30, 3.0, -np.inf], shape))
    values[lone] = rng.choice([np.nan, -np.inf, 0.0, -65504.0], int(lone.sum()))
    with np.errstate(over="ignore"):
        return np.where(values == -1e30, -6e4, values).astype(reference.DTYPES[dtype])


@pytest.mark.parametrize("dtype", ["bool", *reference.DTYPES])
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_random_masks(rng, tile, dtype, device):
    if device.info().provider == "shader" and tile not in ((8, 64), (7, 5)):
        pytest.skip("the shader's own tests have more")
    for shape in ((1, 1), (33, 47), (64, 128), (2, 65, 63), (2, 3, 40, 130)):
        mask = patchy(rng, shape, dtype)
        np.testing.assert_array_equal(
            flash_attn_prefill_blk(mask, tile=tile, device=device), blk_bytes(mask, tile), err_msg=str(shape)
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -65504.0, 1e-7])
@pytest.mark.parametrize("dtype", reference.DTYPES)
def test_one_value(value, dtype, device):
    mask = np.full((8, 70), value).astype(reference.DTYPES[dtype])
    found = flash_attn_prefill_blk(mask, tile=(8, 64), device=device)
    np.testing.assert_array_equal(found, blk_bytes(mask, (8, 64)))
    assert found[0, 0] == (0 if value == -np.inf else 2 if mask[0, 0] == 0 else 1)


def test_broadcast_planes_by_strides(rng, device):
    """One row of keys for each head: strides of 0 stand for what is not there."""
    keys = rng.random((3, 100)) < 0.5
    keys[:, 32:64] = False
    problem = FlashAttnPrefillBlkProblem(
        batch=2, heads=3, q_len=50, kv_len=100, tile_rows=32, tile_keys=16, dtype=np.bool_, mask_strides=(0, 100, 0)
    )
    found = flash_attn_prefill_blk(keys, problem=problem, device=device)
    whole = np.broadcast_to(keys[None, :, None], (2, 3, 50, 100))
    np.testing.assert_array_equal(found, blk_bytes(whole, (32, 16)))


def test_bytes_of_a_plane():
    assert flash_attn_prefill_blk_bytes(2048, 2048, (32, 16)) == 64 * 128
    assert flash_attn_prefill_blk_bytes(2455, 2455, (8, 64)) == -(-307 * 39 // 32) * 32
    assert flash_attn_prefill_blk_bytes(1, 1, (32, 16)) == 32
    for sizes, tile in (((0, 5), (8, 8)), ((5, -1), (8, 8)), ((5, 5), (0, 8)), ((5, 5), (8, 2**31))):
        with pytest.raises(INVALID, match=r"^flash_attn_prefill_blk: \w+: expected 1 to 2147483647, got "):
            flash_attn_prefill_blk_bytes(*sizes, tile)


def test_rounded_buffer_is_enough_and_its_end_untouched(rng, device):
    mask = rng.random((50, 50)) < 0.5
    target = pyfa.Buffer.from_array(np.full(32, 9, np.uint8), device=device)
    assert flash_attn_prefill_blk(mask, target, tile=(16, 16), device=device) is target
    np.testing.assert_array_equal(target.read()[:16].reshape(4, 4), blk_bytes(mask, (16, 16)))
    assert (target.read()[16:] == 9).all()


BAD = [
    ("mask", {"mask": np.ones(5, bool)}),
    ("mask", {"mask": [1.0]}),
    ("tile", {"tile": None}),
    ("tile", {"tile": (1, 2, 3)}),
    ("tile", {"tile": (8, 1.5)}),
    ("tile_rows", {"tile": (0, 8)}),
    ("tile_keys", {"tile": (8, -8)}),
    ("blk", {"blk": np.zeros((1, 1), np.uint8)}),
]


@pytest.mark.parametrize(("argument", "changed"), BAD, ids=str)
def test_bad_arguments(argument, changed, device):
    arguments = {"mask": np.ones((5, 9), bool), "tile": (8, 8)} | changed
    with pytest.raises(INVALID, match=f"^flash_attn_prefill_blk: {argument}: expected .*, got "):
        flash_attn_prefill_blk(arguments.pop("mask"), arguments.pop("blk", None), **arguments, device=device)


def test_bad_buffers(device):
    mask = pyfa.Buffer.from_array(np.ones((50, 50), bool), device=device)
    for shape, words in (((3, 4), "needs 16 bytes"), (15, "needs 16 bytes"), ((2, 8), "4 by 4 tiles")):
        target = pyfa.Buffer.from_array(np.full(shape, 9, np.uint8), device=device)
        with pytest.raises(INVALID, match=f"^flash_attn_prefill_blk: blk: .*{words}.*, got"):
            flash_attn_prefill_blk(mask, target, tile=(16, 16), device=device)
        assert (target.read() == 9).all()
    short = mask.view((50, 49))
    problem = FlashAttnPrefillBlkProblem(
        q_len=50, kv_len=50, tile_rows=8, tile_keys=8, dtype=np.bool_, mask_rank=2
    )  # fmt: skip
    with pytest.raises(INVALID, match=r"^flash_attn_prefill_blk: mask: needs 2500 bytes for .* got 2450"):
        flash_attn_prefill_blk(short, problem=problem, device=device)
    with pytest.raises(pyfa.UnsupportedError, match=r"^flash_attn_prefill_blk: dtype: expected bf16, f16, f32 or bool"):
        flash_attn_prefill_blk(np.zeros((5, 5), np.int32), tile=(8, 8), device=device)


def test_explain(device):
    problem = FlashAttnPrefillBlkProblem(
        batch=2, heads=3, q_len=50, kv_len=100, tile_rows=8, tile_keys=64, dtype=np.float16, mask_rank=4
    )
    report = flash_attn_prefill_blk_explain(problem, device=device)
    [only] = report.passes
    assert (only.room, only.kernel) == ("flash_attn_prefill_blk", "flash_attn_prefill_blk_f16")
    assert {c.name: (c.index, c.value) for c in only.constants} == {"BQ": (400, 8), "BK": (401, 64)}
    assert (only.threadgroups, only.threads) == ((2, 7, 6), (32, 1, 1))
    assert report.problem["tile_keys"] == 64
    assert "flash_attn_prefill_blk_f16" in str(report)


# ----------------------------------------------------------------------------------------- what reads the bytes


def tile_of(q, k, mask, device):
    """Return the tile of the pass that attends, from its explanation."""
    tile = pyfa.explain(q, k, k, mask=mask, device=device).passes[-1].tile
    return tile["BQ"], tile["BK"]


@pytest.mark.parametrize(
    ("dtype", "head_dim"),
    [("f32", 64), ("f16", 64), ("bf16", 64), ("f32", 256), ("bf16", 256), ("f32", 512), ("f16", 512), ("bf16", 512)],
)
@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_bytes_change_no_bit(rng, kind, dtype, head_dim, device):
    if device.info().provider == "shader" and (dtype, kind) != ("bf16", "bool"):
        pytest.skip("every instance of the shader has its own test")
    io = reference.DTYPES[dtype]
    q, k, v = (rng.standard_normal((1, 2, 150, head_dim)).astype(io) for _ in range(3))
    operation = flash_attn_prefill_d512 if head_dim == 512 and dtype != "f32" else flash_attn_prefill
    mask = sliding_mask(150, 150, 48)
    mask[70:75] = False
    given = mask if kind == "bool" else np.where(mask, rng.integers(0, 2, mask.shape), -np.inf).astype(io)
    tile = tile_of(q, k, given, device)
    blk = flash_attn_prefill_blk(given, tile=tile, device=device)
    assert {0, 1} <= set(np.unique(blk))
    for options in ({}, {"causal": True, "sinks": np.float32([0.5, -1])}):
        plain = operation(q, k, v, mask=given, lse=True, **options, device=device)
        skipped = operation(q, k, v, mask=given, blk=blk, lse=True, **options, device=device)
        for one, other in zip(plain, skipped, strict=True):
            np.testing.assert_array_equal(one, other)
        reference.assert_close(plain[0], reference.attention(q, k, v, mask=given, **options)[0])


def test_bytes_of_several_planes(rng, device):
    q, k, v = (rng.standard_normal((2, 3, 70, 64), dtype=np.float32) for _ in range(3))
    for shape in ((2, 3), (1, 3), (2, 1), (2,), (1,)):
        mask = np.stack([sliding_mask(70, 70, 5 + 9 * i) for i in range(int(np.prod(shape)))]).reshape(*shape, 70, 70)
        blk = flash_attn_prefill_blk(mask, tile=(32, 16), device=device)
        plain = flash_attn_prefill(q, k, v, mask=mask, device=device)
        np.testing.assert_array_equal(plain, flash_attn_prefill(q, k, v, mask=mask, blk=blk, device=device))
        reference.assert_close(plain, reference.attention(q, k, v, mask=mask)[0])


def test_skipped_keys_are_not_read(rng, device):
    """Where the bytes say that nothing is attended, keys and values may be anything."""
    q, k, v = (rng.standard_normal((1, 1, 64, 64), dtype=np.float32) for _ in range(3))
    mask = np.ones((64, 64), bool)
    mask[:, 16:48] = False
    blk = flash_attn_prefill_blk(mask, tile=(32, 16), device=device)
    clean = flash_attn_prefill(q, k, v, mask=mask, blk=blk, device=device)
    k[:, :, 16:48], v[:, :, 16:48] = np.nan, np.nan
    np.testing.assert_array_equal(flash_attn_prefill(q, k, v, mask=mask, blk=blk, device=device), clean)


def test_bad_bytes(rng, device):
    q, k, v = (rng.standard_normal((1, 2, 70, 64), dtype=np.float32) for _ in range(3))
    mask = sliding_mask(70, 70)
    blk = flash_attn_prefill_blk(mask, tile=(32, 16), device=device)
    bad = [
        ("none without a mask, got block bytes", {"mask": None}),
        ("3 by 5 tiles.*got", {"blk": flash_attn_prefill_blk(mask, tile=(16, 32), device=device)}),
        ("3 by 5 tiles.*got", {"blk": np.zeros(64, np.uint8)}),
        ("needs 15 bytes.*got", {"blk": np.zeros(14, np.uint8)}),
        ("u8, got i32", {"blk": blk.astype(np.int32)}),
        ("batch.*got", {"blk": np.zeros((1, 3, 3, 5), np.uint8)}),
        ("batch.*got", {"blk": np.zeros((1, 1, 1, 3, 5), np.uint8)}),
    ]
    for words, changed in bad:
        out = pyfa.Buffer.zeros(q.shape, np.float32, device=device)
        with pytest.raises(INVALID, match=f"^flash_attn_prefill: blk: .*{words}"):
            flash_attn_prefill(q, k, v, out, **({"mask": mask, "blk": blk} | changed), device=device)
        assert not out.read().any()
    # Rounded up to 32, as the helper says, is fine.
    flat = np.zeros(32, np.uint8)
    flat[:15] = blk.ravel()
    np.testing.assert_array_equal(
        flash_attn_prefill(q, k, v, mask=mask, blk=flat, device=device),
        flash_attn_prefill(q, k, v, mask=mask, device=device),
    )


@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_attention_makes_its_own(rng, kind, device):
    """A large mask that heads share is looked through first, and the result has the same bits."""
    q, k, v = (rng.standard_normal((1, 4, 300, 64), dtype=np.float32) for _ in range(3))
    mask = sliding_mask(300, 300, 64)
    given = mask if kind == "bool" else additive(mask)
    report = pyfa.explain(q, k, v, mask=given, device=device)
    assert [step.room for step in report.passes] == ["flash_attn_prefill_blk", "flash_attn_prefill"]
    assert report.passes[0].tile["BQ"] == report.passes[1].tile["BQ"]
    assert report.scratch_bytes == 10 * 19
    found = pyfa.attention(q, k, v, mask=given, return_lse=True, device=device)
    direct = flash_attn_prefill(q, k, v, mask=given, lse=True, device=device)
    for one, other in zip(found, direct, strict=True):
        np.testing.assert_array_equal(one, other)
    # Of their own for each head, the planes are not worth it; nor is a small mask.
    own = np.broadcast_to(given, (1, 4, 300, 300)).copy()
    assert len(pyfa.explain(q, k, v, mask=own, device=device).passes) == 1
    small = pyfa.explain(q[:, :, :40], k, v, mask=given[:40], device=device)
    assert len(small.passes) == 1
    assert any(entry.kernel.startswith("flash_attn_prefill_blk") for entry in small.rejected)


def test_skip_rate_of_a_sliding_window():
    """What the window of a 2455-token prompt saves."""
    blk = prefill_model.blk_bytes(sliding_mask(2455, 2455, 1024), (32, 16))
    assert (blk == 0).mean() > 0.55
