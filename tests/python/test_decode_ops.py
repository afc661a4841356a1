"""flash_attn_vec and its family as operations on buffers."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa import ops
from tests.python import codec_reference as codec
from tests.python import decode_reference as oracle
from tests.python.reference import DTYPES

VERSION_1 = ("tq4_v1", "tq_hb5", "tq_hb6", "tq_hb8")
MASKS = {"none": oracle.NO_MASK, "causal": oracle.CAUSAL, "window": oracle.WINDOW}


def random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def coded(x, name):
    """Codes and norms of x [B, Hkv, capacity, D], and what they stand for, rotated."""
    rows, norms = codec.encode_v1(x, name)
    return rows, norms.astype(np.float32), codec.decode_v1(rows, norms, name, x.shape[-1])


@pytest.mark.parametrize("head_dim", [64, 128, 256, 512])
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("nwg", [None, 1, 5])
def test_dense(device, rng, head_dim, kind, nwg):
    q = random(rng, 1, 4, 1, head_dim)
    k, v = random(rng, 2, 1, 2, 70, head_dim).astype(DTYPES[kind])
    k[:, :, 66:], v[:, :, 66:] = np.nan, np.nan
    out, lse = ops.flash_attn_vec(q, k, v, 66, nwg=nwg, return_lse=True, device=device)
    expected, expected_lse = oracle.decode(q, k, v, [66])
    assert oracle.error(out, expected) < 2e-6
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("nwg", [1, 3])
def test_options(device, rng, mask, nwg):
    q = random(rng, 3, 4, 5, 64)
    k, v = random(rng, 2, 3, 2, 40, 64)
    lengths, starts = [40, 7, 0], [13, 0, 39]
    options = {"softcap": 4.0, "scale": 0.2, "sinks": random(rng, 4), "ring_starts": starts}
    if mask == "window":
        options["window"] = 6
    out, lse = ops.flash_attn_vec(q, k, v, lengths, mask=mask, nwg=nwg, return_lse=True, device=device, **options)
    expected, expected_lse = oracle.decode(q, k, v, lengths, mask_type=MASKS[mask], **options)
    assert oracle.error(out, expected) < 2e-6
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=1e-5)


def as_read(q, device):
    """Queries of the rooms whose shaders round them to half; the native kernels do not."""
    return q if device.info().provider == "native" else q.astype(np.float16)


@pytest.mark.parametrize("nwg", [None, 1, 32])
def test_peer_port(device, rng, nwg):
    q = random(rng, 2, 4, 1, 128)
    k, v = random(rng, 2, 2, 2, 48, 128).astype(np.float16)
    out = ops.flash_attn_vec(q, k, v, [48, 9], ring_starts=[5, 0], nwg=nwg, peer_port=True, device=device)
    expected, _ = oracle.decode(as_read(q, device), k, v, [48, 9], ring_starts=[5, 0])
    assert oracle.error(out, expected) < 1e-5


@pytest.mark.parametrize("name", VERSION_1)
@pytest.mark.parametrize("head_dim", [64, 512])
@pytest.mark.parametrize("nwg", [1, 4])
def test_codes(device, rng, name, head_dim, nwg):
    q = random(rng, 2, 4, 3, head_dim)
    k, v = random(rng, 2, 2, 2, 50, head_dim)
    rotated = codec.rotate(q).astype(np.float32)
    (k_codes, k_norms, k), (v_codes, v_norms, v) = coded(k, name), coded(v, name)
    lengths = [50, 33]
    byte_codes = name != "tq4_v1"
    options = {"nsg": 4, "rotate_query": True} if byte_codes else {}
    caches = (k_codes, k_norms, v_codes, v_norms)
    given = q if byte_codes else rotated
    out, lse = ops.flash_attn_vec_tq(
        given, *caches, lengths, codec=name, mask="causal", nwg=nwg, return_lse=True, undo_rotation=True,
        device=device, **options,
    )  # fmt: skip
    expected, expected_lse = oracle.decode(as_read(rotated, device), k, v, lengths, mask_type=oracle.CAUSAL)
    bound = 1e-3 if byte_codes else 1e-5  # what the kernel rotates may round to another half
    assert oracle.error(out, codec.unrotate(expected)) < bound
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=5e-3 if byte_codes else 1e-5)
    stays = ops.flash_attn_vec_tq(
        given, *caches, lengths, codec=name, mask="causal", nwg=nwg, device=device, **options
    )  # fmt: skip
    assert oracle.error(stays, expected) < bound


def test_second_pass_by_itself(device, rng):
    """Partial results of three work-groups, as their layout says."""
    heads, dim, nwg = 2, 64, 3
    values, sums, tops = random(rng, heads, nwg, dim), rng.random((heads, nwg)) + 1, random(rng, heads, nwg)
    tmp = np.concatenate([
        values.reshape(heads, nwg, dim // 4, 4).swapaxes(1, 2).ravel(),
        np.stack([sums, tops], axis=-1).ravel(),
    ]).astype(np.float32)  # fmt: skip
    out, lse = (pyfa.Buffer.zeros(shape, np.float32, device=device) for shape in ((1, heads, 1, dim), (1, heads, 1)))
    weights = np.exp(tops - tops.max(axis=1, keepdims=True))
    total = (sums * weights).sum(axis=1)
    expected = (values * weights[:, :, None]).sum(axis=1) / total[:, None]
    partial = pyfa.Buffer.from_array(tmp, device=device)
    ops.flash_attn_vec_reduce(partial, out, nwg=nwg, lse=lse, device=device)
    np.testing.assert_allclose(out.read()[0, :, 0], expected, rtol=0, atol=2e-6)
    np.testing.assert_allclose(lse.read()[0, :, 0], tops.max(axis=1) + np.log(total), rtol=0, atol=1e-5)
    ops.flash_attn_vec_reduce(partial, out, nwg=nwg, undo_rotation=True, seed=3, device=device)
    np.testing.assert_allclose(out.read()[0, :, 0], codec.unrotate(expected, 3), rtol=0, atol=2e-6)


def test_encoded_with_other_work(device, rng):
    q, (k, v) = random(rng, 1, 4, 1, 64), random(rng, 2, 1, 2, 40, 64)
    expected = ops.flash_attn_vec(q, k, v, 40, device=device)
    with pyfa.CommandEncoder(device) as encoder:
        found = [ops.flash_attn_vec(q, k, v, 40, encoder=encoder) for _ in range(3)]
    for out in found:
        assert isinstance(out, pyfa.Buffer)
        np.testing.assert_array_equal(out.read(), expected)


ANY = ["f32", "f16", "bf16", "q8", *(f"tq{bits}" for bits in range(2, 9)), *VERSION_1]


def cache(x, name):
    """What a cache of any format has for x, and what that stands for, rotated unless dense."""
    if name in DTYPES:
        return x.astype(DTYPES[name]), None, x.astype(DTYPES[name]).astype(np.float64)
    if name in VERSION_1:
        return coded(x, name)
    rows, norms = codec.encode(x, name)
    return rows, norms.astype(np.float32), codec.decode(rows, norms, name, x.shape[-1], undo_rotation=False)


@pytest.mark.parametrize("case", range(len(ANY)))
@pytest.mark.parametrize("splits", [1, 3])
def test_decode_of_any_formats(device, rng, case, splits):
    names = ANY[case], ANY[(case + 4) % len(ANY)]
    q = random(rng, 2, 4, 3, 64)
    (k, k_norms, keys), (v, v_norms, values) = (cache(random(rng, 2, 2, 40, 64), name) for name in names)
    rotates, undoes = (name not in DTYPES for name in names)
    out, lse = ops.flash_attn_decode(
        q, k, v, [40, 23], names, k_norms=k_norms, v_norms=v_norms, ring_starts=[7, 39], window=30, return_lse=True,
        rotate_query=rotates, undo_rotation=undoes, splits=splits, device=device,
    )  # fmt: skip
    seen = codec.rotate(q) if rotates else q
    expected, expected_lse = oracle.decode(
        seen, keys, values, [40, 23], ring_starts=[7, 39], mask_type=oracle.WINDOW, window=30
    )
    assert oracle.error(out, codec.unrotate(expected) if undoes else expected) < 2e-6
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head_dim", [64, 128, 256, 512])
@pytest.mark.parametrize("kind", DTYPES)
def test_decode_in_many_parts(device, rng, head_dim, kind):
    """The merge has threadgroup memory of its own, and the kernel before it nearly all there is."""
    q = random(rng, 1, 4, 2, head_dim).astype(DTYPES[kind])
    k, v = random(rng, 2, 1, 2, 70, head_dim).astype(DTYPES[kind])
    for splits in (2, 9):
        out = ops.flash_attn_decode(q, k, v, 70, kind, splits=splits, device=device)
        expected, _ = oracle.decode(q, k, v, [70], mask_type=oracle.CAUSAL)
        assert oracle.error(out, expected) < {"f32": 2e-6, "f16": 1e-3, "bf16": 8e-3}[kind]


def test_a_native_decode_shares_out_its_keys_itself(device):
    q, k = np.ones((1, 8, 1, 128), np.float32), np.ones((1, 2, 4096, 128), np.float16)
    passes = {
        splits: len(ops.flash_attn_decode(q, k, k, 4096, "f16", splits=splits, device=device, explain=True).passes)
        for splits in (None, 1, 4)
    }
    assert passes == {None: 1 if device.info().provider == "native" else 2, 1: 1, 4: 2}


def test_explain():
    q, k = np.ones((1, 8, 1, 128), np.float32), np.ones((1, 2, 5000, 128), np.float16)
    report = ops.flash_attn_vec(q, k, k, 4096, explain=True)
    assert [step.kernel for step in report.passes] == ["flash_attn_vec_f16kv_dk128", "flash_attn_vec_reduce_dk128"]
    assert report.passes[0].threadgroups == (1, 8, 32)
    assert report.passes[0].threadgroup_bytes == (2 * (128 + 128 + 256),)
    assert [len(ops.flash_attn_vec(q, k, k, count, explain=True).passes) for count in (0, 32, 33)] == [1, 1, 2]


def test_work_is_shared_out_as_the_environment_says(monkeypatch):
    import subprocess
    import sys

    code = (
        "import numpy as np, pyfa\n"
        "q, k = np.ones((1, 4, 1, 64), np.float32), np.ones((1, 2, 2000, 64), np.uint8)\n"
        "n = np.ones((1, 2, 2000), np.float32)\n"
        "r = pyfa.ops.flash_attn_vec_tq(q, k, n, k, n, 2000, codec='tq_hb8', explain=True)\n"
        "print(r.passes[0].threadgroups[2], r.passes[0].threads[1])\n"
    )
    for environment, expected in (({}, "32 4"), ({"PYFA_TQ_NWG": "7", "PYFA_TQ_NSG": "2"}, "7 2")):
        for name in ("PYFA_TQ_NWG", "PYFA_TQ_NSG"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


Q, K = np.ones((1, 4, 1, 64), np.float32), np.ones((1, 2, 10, 64), np.float32)
CODES, NORMS = np.ones((1, 2, 10, 64), np.uint8), np.ones((1, 2, 10), np.float32)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("kv_len: expected 0 to the capacity, 10, got 11", lambda: ops.flash_attn_vec(Q, K, K, 11)),
        ("kv_len: expected 0 to the capacity, 10, got -1", lambda: ops.flash_attn_vec(Q, K, K, -1)),
        ("ring_start: expected 0 to 9, got 10", lambda: ops.flash_attn_vec(Q, K, K, 9, ring_starts=10)),
        ("kv_lens: expected one for each of 1 sequences, got 2", lambda: ops.flash_attn_vec(Q, K, K, [1, 2])),
        ("ring_starts: expected one for each of 1 seq", lambda: ops.flash_attn_vec(Q, K, K, 1, ring_starts=[1, 2])),
        ("v: needs 5120 bytes for .1, 2, 10, 64. f32, got 4608", lambda: ops.flash_attn_vec(Q, K, K[:, :, :9], 3)),
        ("q: expected f32, got f16", lambda: ops.flash_attn_vec(Q.astype(np.float16), K, K, 3)),
        ("q_len: expected 1 to 8, got 9", lambda: ops.flash_attn_vec(np.ones((1, 4, 9, 64), np.float32), K, K, 3)),
        ("head_dim: expected 64, 128, 256 or 512, got 80",
         lambda: ops.flash_attn_vec(*(x[..., :1].repeat(80, -1) for x in (Q, K, K)), 1)),
        ("kv_heads: expected a divisor of heads = 4, got 3",
         lambda: ops.flash_attn_vec(Q, np.ones((1, 3, 10, 64), np.float32), np.ones((1, 3, 10, 64), np.float32), 1)),
        ("nwg: expected 1 to 32, got 33", lambda: ops.flash_attn_vec(Q, K, K, 1, nwg=33)),
        ("nwg: expected 1 or more, got 0", lambda: ops.flash_attn_vec(Q, K, K, 1, nwg=0)),
        ("nwg: expected 1 or 32, got 2",
         lambda: ops.flash_attn_vec(Q, *[K.astype(np.float16)] * 2, 1, nwg=2, peer_port=True)),
        ("softcap: expected none for this kernel, got 2.0",
         lambda: ops.flash_attn_vec(Q, *[K.astype(np.float16)] * 2, 1, softcap=2, peer_port=True)),
        ("format: expected one of f16, got f32", lambda: ops.flash_attn_vec(Q, K, K, 1, peer_port=True)),
        ("window: expected 1 to", lambda: ops.flash_attn_vec(Q, K, K, 1, mask="window", window=0)),
        ("window: expected a number of keys with mask 'window' only", lambda: ops.flash_attn_vec(Q, K, K, 1, window=3)),
        ("mask: expected one of", lambda: ops.flash_attn_vec(Q, K, K, 1, mask="some")),
        ("scale: expected a finite number other than 0", lambda: ops.flash_attn_vec(Q, K, K, 1, scale=0)),
        ("softcap: expected a finite number that", lambda: ops.flash_attn_vec(Q, K, K, 1, softcap=np.inf)),
        ("sinks: needs 16 bytes", lambda: ops.flash_attn_vec(Q, K, K, 1, sinks=np.ones(3, np.float32))),
        ("k: expected batch 1", lambda: ops.flash_attn_vec(Q, *[K.repeat(2, 0)] * 2, 1)),
        ("format: expected one of tq_hb5, tq_hb6, tq_hb8, got tq7",
         lambda: ops.flash_attn_vec_tq(Q, CODES, NORMS, CODES, NORMS, 3, codec="tq7")),
        ("nsg: expected 1, 2 or 4, got 3",
         lambda: ops.flash_attn_vec_tq(Q, CODES, NORMS, CODES, NORMS, 3, codec="tq_hb8", nsg=3)),
        ("nsg: expected none, or 1, for this kernel, got 2",
         lambda: ops.flash_attn_vec_tq(Q, CODES, NORMS, CODES, NORMS, 3, nsg=2)),
        ("rotate_query: expected false for this kernel",
         lambda: ops.flash_attn_vec_tq(Q, CODES, NORMS, CODES, NORMS, 3, rotate_query=True)),
        ("k_norms: needs 80 bytes",
         lambda: ops.flash_attn_vec_tq(Q, CODES, NORMS[:, :, :9], CODES, NORMS, 3, codec="tq_hb8")),
        ("k: needs 1280 bytes",
         lambda: ops.flash_attn_vec_tq(Q, CODES[..., :60], NORMS, CODES, NORMS, 3, codec="tq_hb5")),
        ("v_norms: expected a buffer, got none",
         lambda: ops.flash_attn_vec_tq(Q, CODES, NORMS, CODES, None, 3, codec="tq_hb8")),
        ("scale_factor_d512: expected a finite number above 0, got -1",
         lambda: ops.flash_attn_vec_tq(Q, CODES, NORMS, CODES, NORMS, 3, codec="tq_hb8", scale_factor_d512=-1)),
        ("flash_attn_decode: k_norms: expected a buffer, got none",
         lambda: ops.flash_attn_decode(Q, CODES, CODES, 3, "tq8", v_norms=NORMS)),
        ("flash_attn_decode: v: expected u8, got f32",
         lambda: ops.flash_attn_decode(Q, K, K, 3, ("f32", "q8"), v_norms=NORMS)),
        ("flash_attn_decode: kv_len: expected 0 to the capacity, 10, got 11",
         lambda: ops.flash_attn_decode(Q, K, K, 11, "f32")),
        ("flash_attn_decode: nsg: expected one of .1, 2, 4, 8. for head_dim 64, got 3",
         lambda: ops.flash_attn_decode(Q, K, K, 1, "f32", nsg=3)),
        ("flash_attn_decode: window: expected 1 or more, got 0",
         lambda: ops.flash_attn_decode(Q, K, K, 1, "f32", window=0)),
        ("flash_attn_decode: formats: expected one of", lambda: ops.flash_attn_decode(Q, K, K, 1, "tq9")),
        ("flash_attn_decode: rotate_query: expected false for dense keys",
         lambda: ops.flash_attn_decode(Q, K, K, 1, "f32", rotate_query=True)),
        ("flash_attn_decode: ring_start: expected 0 to 9, got -1",
         lambda: ops.flash_attn_decode(Q, K, K, 1, "f32", ring_starts=-1)),
        ("flash_attn_vec_reduce: tmp: needs 1584 bytes",
         lambda: ops.flash_attn_vec_reduce(
             pyfa.Buffer.zeros(395, np.float32), pyfa.Buffer.zeros((1, 2, 1, 64), np.float32), nwg=3)),
        ("flash_attn_vec_reduce: nwg: expected 1 to 32, got 0",
         lambda: ops.flash_attn_vec_reduce(
             pyfa.Buffer.zeros(396, np.float32), pyfa.Buffer.zeros((1, 2, 1, 64), np.float32), nwg=0)),
    ],
)  # fmt: skip
def test_bad_input_is_refused(message, call):
    with pytest.raises(pyfa.PyfaError, match=message):
        call()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_norms_that_no_encoder_writes(device, bad):
    """They are factors like any other: nothing outside the row's own weight is touched."""
    codes, norms = CODES.copy(), NORMS.copy()
    norms[0, 0, 4] = bad
    options = {"codec": "tq_hb8", "device": device}
    beyond = ops.flash_attn_vec_tq(Q, codes, norms, codes, norms, 4, **options)
    plain = ops.flash_attn_vec_tq(Q, codes, NORMS, codes, NORMS, 4, **options)
    np.testing.assert_array_equal(beyond, plain)
    seen = ops.flash_attn_vec_tq(Q, codes, norms, codes, norms, 5, **options)
    assert np.isfinite(seen[0, 2:]).all()
    assert np.isfinite(seen).all() == np.isfinite(bad)
