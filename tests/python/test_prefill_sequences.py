"""flash_attn_prefill with sequences of different lengths: in padded tensors, packed, and in pages."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa._ffi import ffi, lib, string
from pyfa.ops import FlashAttnPrefillProblem, flash_attn_prefill, flash_attn_prefill_d512
from tests.python import reference
from tests.python.native_kernels import NativeKernel, native_device
from tests.python.packed import crosses, packed, paged
from tests.python.prefill_model import blk_bytes
from tests.python.shader_prefill import struct

DTYPES = reference.DTYPES
KV_LENS = (0, 1, 15, 16, 17, 33, 64, 70)
SLOPES = np.float32([0.5, 0.1, 0.02, 0])


def padded(rng, dtype="f32", q_len=20, capacity=70, layout="bhld", head_dim=64):
    """Make q, and k and v with NaN behind the lengths."""
    batch = len(KV_LENS)
    q = rng.standard_normal((batch, 4, q_len, head_dim)).astype(DTYPES[dtype])
    k, v = rng.standard_normal((2, batch, 2, capacity, head_dim)).astype(DTYPES[dtype])
    for b, n in enumerate(KV_LENS):
        k[b, :, n:], v[b, :, n:] = np.nan, np.nan
    return [x.copy() if layout == "bhld" else x.swapaxes(1, 2).copy() for x in (q, k, v)]


def check(found, q, k, v, layout="bhld", masks=None, **options):
    """Compare with each sequence alone, by the oracle."""
    keys = 2 if layout == "bhld" else 1
    for b, n in enumerate(KV_LENS):
        own = (x[b : b + 1].take(range(n), axis=keys) for x in (k, v))
        mask = None if masks is None else masks[b : b + 1, ..., :n]
        expected, expected_lse = reference.attention(q[b : b + 1], *own, layout=layout, mask=mask, **options)
        reference.assert_close(found[0][b : b + 1], expected)
        reference.assert_lse_close(found[1][b : b + 1], expected_lse, q.dtype)


OPTIONS = {"full": {}, "all": {"causal": True, "window": (30, None), "alibi": SLOPES}}


@crosses(OPTIONS, ("bhld", "blhd"), DTYPES)
def test_lengths(rng, case, device):
    name, layout, dtype = case
    options = OPTIONS[name]
    q, k, v = padded(rng, dtype, layout=layout)
    found = flash_attn_prefill(q, k, v, kv_lens=KV_LENS, layout=layout, lse=True, **options, device=device)
    check(found, q, k, v, layout, **options)


def test_lengths_of_full_tiles(rng, device):
    """Sizes of the tensors are those of tiles, and lengths are not."""
    q, k, v = padded(rng, q_len=64, capacity=96)
    check(flash_attn_prefill(q, k, v, kv_lens=KV_LENS, causal=True, lse=True, device=device), q, k, v, causal=True)


@pytest.mark.parametrize("kind", ["bool", "additive"])
@pytest.mark.parametrize("with_blk", [False, True])
def test_lengths_beside_a_mask(rng, with_blk, kind, device):
    """A mask is as wide as the room, and what it says behind a length does not matter."""
    q, k, v = padded(rng, q_len=40)
    mask = rng.random((len(KV_LENS), 1, 40, 70)) < 0.7
    mask[..., 16:48] = False
    if kind == "additive":
        mask = np.where(mask, rng.standard_normal(mask.shape), -np.inf).astype(np.float32)
    blk = blk_bytes(mask, (32, 16)) if with_blk else None
    found = flash_attn_prefill(q, k, v, mask=mask, blk=blk, kv_lens=KV_LENS, causal=True, lse=True, device=device)
    check(found, q, k, v, masks=mask, causal=True)


@crosses(("bhld", "blhd"), (1, 16, 256), DTYPES)
def test_pages_of_padded_queries(rng, case, device):
    layout, page_size, dtype = case
    q, k, v = padded(rng, dtype)
    batch = packed(rng, [(0, n) for n in KV_LENS], dtype)
    for b, n in enumerate(KV_LENS):
        keys = slice(*batch.k_starts[b : b + 2])
        batch.k[keys], batch.v[keys] = k[b, :, :n].swapaxes(0, 1), v[b, :, :n].swapaxes(0, 1)
    pages = paged(rng, batch, page_size)
    given = q if layout == "bhld" else q.swapaxes(1, 2).copy()
    out, lse = flash_attn_prefill(
        given, pages.k, pages.v, block_table=pages.block_table, kv_lens=KV_LENS, layout=layout, causal=True, lse=True,
        device=device,
    )  # fmt: skip
    check((out if layout == "bhld" else out.swapaxes(1, 2), lse), q, k, v, causal=True)


@pytest.mark.parametrize("given", ["arrays", "buffers"])
def test_packed_operands(rng, given, device):
    batch = packed(rng)
    expected = pyfa.attention_varlen(*batch, causal=True, return_lse=True, device=device)
    q, k, v, *starts = batch
    if given == "buffers":
        q, k, v = (pyfa.Buffer.from_array(x, device=device) for x in (q, k, v))
        starts = [pyfa.Buffer.from_array(s.astype(np.uint32), device=device) for s in starts]
    found = flash_attn_prefill(q, k, v, q_starts=starts[0], k_starts=starts[1], causal=True, lse=True, device=device)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a if given == "arrays" else a.numpy(), b)


@crosses((1, 5, 64), ("f16", "bf16"), (4, 8))
def test_head_dim_512(rng, case, device):
    page_size, dtype, nsg = case
    batch = packed(rng, ((9, 70), (0, 3), (20, 64), (3, 0)), dtype, heads=(2, 1), head_dim=512)
    pages = paged(rng, batch, page_size)
    options = {"q_starts": batch.q_starts, "causal": True, "lse": True, "nsg": nsg, "device": device}
    found = flash_attn_prefill_d512(*batch[:3], k_starts=batch.k_starts, **options)
    expected, expected_lse = reference.attention_varlen(*batch, causal=True)
    reference.assert_close(found[0], expected)
    reference.assert_lse_close(found[1], expected_lse, DTYPES[dtype])
    again = flash_attn_prefill_d512(
        batch.q, pages.k, pages.v, block_table=pages.block_table, kv_lens=batch.kv_lens, **options
    )
    for a, b in zip(again, found, strict=True):
        np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))


def test_encoded_calls_keep_their_starts(rng, device):
    """What a call is given may change once it is encoded."""
    batch = packed(rng, [(n % 3, n % 5) for n in range(1500)], heads=(2, 1), head_dim=32)
    expected = pyfa.attention_varlen(*batch, device=device)
    starts = [s.copy() for s in batch[3:]]
    with pyfa.CommandEncoder(device) as encoder:
        out = flash_attn_prefill(*batch[:3], q_starts=starts[0], k_starts=starts[1], encoder=encoder)
        starts[0][:], starts[1][:] = 0, 0
    np.testing.assert_array_equal(out.numpy(), expected)


def test_pages_of_any_strides(rng, device):
    """Pages [count, Hkv, size, D]: strides of a problem say where pages, heads and rows are."""
    batch = packed(rng, ((9, 20), (3, 33)))
    pages = paged(rng, batch, 8)
    k, v = (np.ascontiguousarray(x.swapaxes(1, 2)) for x in (pages.k, pages.v))
    strides = (2 * 8 * 64, 8 * 64, 64)
    problem = FlashAttnPrefillProblem(
        batch=2, heads=4, kv_heads=2, head_dim=64, q_len=0, kv_len=0, dtype=np.float32, layout="strided",
        q_strides=(0, 64, 256), o_strides=(0, 64, 256), k_strides=strides, v_strides=strides, causal=True,
        q_starts=batch.q_starts, kv_lens=batch.kv_lens, block_table=pages.block_table, pages=len(k), page_size=8,
    )  # fmt: skip
    out = flash_attn_prefill(batch.q, k, v, problem=problem, device=device)
    np.testing.assert_array_equal(out, pyfa.attention_varlen(*batch, causal=True, device=device))


MISTAKES = {
    "offset": ({"q_offset": 0}, "q_offset: expected none with kv_lens, got 0"),
    "keys there are": ({"kv_len": 5}, "kv_len: expected none"),
    "too long": ({"kv_lens": [5, 10]}, "kv_lens: expected 0 to 9, the room of sequence 1, got 10"),
    "one too few": ({"kv_lens": [5]}, "kv_lens: expected one for each of 2 sequences, got 1"),
    "starts of keys alone": ({"k_starts": [0, 5, 9]}, "k_starts: expected none without q_starts"),
    "starts of padded rows": ({"q_starts": [0, 3, 5]}, "q: expected 3 dimensions, got 4"),
    "table": ({"block_table": [[0], [1]], "mask": np.ones((5, 9), bool)}, "mask: expected"),
    "batch": ({"k": np.zeros((3, 2, 9, 64), np.float32)}, "k: expected head_dim 64 and batch 2"),
    "values": ({"v": np.zeros((2, 2, 8, 64), np.float32)}, "v: expected the shape of k"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(rng, name, device):
    mistake, text = MISTAKES[name]
    q = rng.standard_normal((2, 4, 5, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 2, 2, 9, 64), dtype=np.float32)
    with pytest.raises(pyfa.InvalidArgumentError, match=f"flash_attn_prefill: {text}"):
        flash_attn_prefill(**({"q": q, "k": k, "v": v, "kv_lens": [5, 9]} | mistake), device=device)


def test_masks_of_packed_batches_are_refused(rng, device):
    q = rng.standard_normal((5, 4, 64), dtype=np.float32)
    sizes = {"batch": 1, "heads": 4, "kv_heads": 4, "head_dim": 64, "q_len": 0, "kv_len": 0, "dtype": np.float32}
    starts = {"q_starts": [0, 5], "k_starts": [0, 5]}
    for extra, argument in (({"mask": "bool"}, "mask"), ({"has_blk": True}, "blk")):
        problem = FlashAttnPrefillProblem(**sizes, **starts, **extra)
        with pytest.raises(pyfa.InvalidArgumentError, match=f"{argument}: expected none with q_starts"):
            flash_attn_prefill(q, q, q, mask=np.ones((5, 5), bool), problem=problem, device=device)


def test_buffers_of_other_sizes_are_refused(rng, device):
    q = rng.standard_normal((5, 4, 64), dtype=np.float32)
    sizes = {"batch": 1, "heads": 4, "kv_heads": 4, "head_dim": 64, "q_len": 0, "kv_len": 0, "dtype": np.float32}
    for starts, argument in (
        ({"q_starts": [0, 6], "k_starts": [0, 5]}, "q"),
        ({"q_starts": [0, 5], "k_starts": [0, 6]}, "k"),
    ):
        problem = FlashAttnPrefillProblem(**sizes, **starts)
        with pytest.raises(pyfa.InvalidArgumentError, match=f"{argument}: needs 6144 bytes"):
            flash_attn_prefill(q, q, q, problem=problem, device=device)


def test_bad_c_structs(device):
    """What only C can say."""
    zeros, ones = ffi.new("int64_t[2]", [0, 0]), ffi.new("int64_t[1]", [1])
    table = ffi.new("uint32_t[1]")
    sizes = {"heads": 2, "kv_heads": 1, "head_dim": 64, "scale": 0.125, "q_len": 1, "kv_len": 1, "batch": 1}
    pages = {"kv_lens": ones, "block_table": table, "pages_per_sequence": 1, "page_size": 16, "pages": 1}
    for changed, words in (
        ({"q_starts": zeros, "k_starts": zeros, "batch": -1}, "batch: expected 1 to"),
        ({"q_starts": zeros, "k_starts": zeros, "batch": 2**40}, "batch: expected 1 to"),
        (pages | {"page_size": 0}, "page_size: expected 1 to 2147483647, got 0"),
        (pages | {"page_size": 2**31}, "page_size: expected 1 to 2147483647, got 2147483648"),
        (pages | {"pages": -1}, "pages: expected 0 to 2147483647, got -1"),
        (pages | {"pages_per_sequence": -1}, "block_table: expected at most 2147483647 entries"),
        (pages | {"pages_per_sequence": 2**62}, "block_table: expected at most 2147483647 entries"),
        (pages | {"pages": 0}, "block_table: expected pages below 0, got 0 at [0, 0]"),
        (pages | {"has_q_offset": 1}, "q_offset: expected none with a block_table, got 0"),
        ({"has_alibi": 1, "alibi_stride": -1}, "alibi_stride: expected 0 to"),
    ):
        problem = ffi.new("fa_flash_attn_prefill_problem *", sizes | changed)
        out = ffi.new("const char **", ffi.NULL)
        assert lib.fa_flash_attn_prefill_explain(device._cdata, problem, out) == lib.FA_INVALID_ARGUMENT
        assert string(lib.fa_last_error()).startswith(f"flash_attn_prefill: {words}")


class Raw:
    """A raw dispatch of the native kernel, which trusts no buffer."""

    def __init__(self, rng):
        self.q = rng.standard_normal((5, 2, 32), dtype=np.float32)
        self.out = np.full((5, 2, 32), np.nan, np.float32)
        k = rng.standard_normal((6, 2, 32), dtype=np.float32)
        strides = [0, 32, 64]
        self.params = {
            "B": 2, "H": 2, "D": 32, "qL": 4, "kL": 4, "gqa_factor": 1, "scale": 1.0,
            "Q_strides": strides, "K_strides": strides, "V_strides": strides, "O_strides": strides,
        }  # fmt: skip
        self.constants = {200: False, 201: False, 300: False, 301: True, 310: True, 313: True}
        self.arguments = {0: self.q, 1: k, 2: k, 3: self.out, 13: np.uint32([0, 1, 5]), 14: np.uint32([0, 2, 6])}

    def __call__(self, **changed):
        slots = {int(name[1:]): value for name, value in changed.items()}
        arguments = self.arguments | {4: np.void(struct("fa_attn_params", **self.params))} | slots
        NativeKernel("flash_attn_prefill_f32_d32", self.constants)(
            arguments, threads=(32, 4, 1), threadgroups=(1, 2, 2)
        )


def test_native_kernel_checks_its_buffers(rng):
    assert native_device().info().provider == "native"
    raw = Raw(rng)
    for changed, words in (
        ({"s13": np.uint32([0, 1])}, "slot 13 .*needs 12 bytes, got 8"),
        ({"s13": np.uint32([0, 6, 5])}, "slot 13 .*got 5"),
        ({"s13": np.uint32([0, 1, 6])}, "slot 0 .*needs"),
        ({"s14": np.uint32([0, 2, 7])}, "slot 1 .*needs"),
        ({"s14": np.uint32([0, 2, 2**31])}, "slot 14 .*got 2147483648"),
    ):
        with pytest.raises(pyfa.PyfaError, match=words):
            raw(**changed)
        assert np.isnan(raw.out).all()
    raw()
    assert np.isfinite(raw.out).all()
    lengths = Raw(rng)
    lengths.constants = raw.constants | {312: True}
    with pytest.raises(pyfa.PyfaError, match="kv_lens.*at most 4 keys for sequence 1, got 5"):
        lengths(s16=np.uint32([2, 5]))
    pages = Raw(rng)
    pages.constants = raw.constants | {311: True, 312: True, 313: False}
    pages.params["K_strides"] = pages.params["V_strides"] = [128, 32, 64]
    page_params = np.void(struct("fa_attn_page_params", page_size=2, pages_per_sequence=2))
    good = {"s15": np.uint32([0, 9, 2, 1]), "s16": np.uint32([2, 4]), "s17": page_params}
    for changed, words in (
        ({"s15": np.uint32([0, 9, 3, 1])}, "slot 1 .*needs"),
        ({"s15": np.uint32([0, 9, 2])}, "slot 15 .*needs 16 bytes, got 12"),
        ({"s16": np.uint32([2, 5])}, "kv_lens.*at most 4 keys for sequence 1, got 5"),
        ({"s17": np.void(struct("fa_attn_page_params", page_size=0, pages_per_sequence=2))}, "page_size.*got 0"),
    ):
        with pytest.raises(pyfa.PyfaError, match=words):
            pages(**(good | changed))
        assert np.isnan(pages.out).all()
    pages(**good)
    assert np.isfinite(pages.out).all()
