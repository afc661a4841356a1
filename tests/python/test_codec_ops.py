"""The codec's operations on buffers: fwht, kv_encode, kv_decode, hadamard_quantize_kv, tq_dequantize_kv."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa import ops
from tests.python import codec_reference as codec
from tests.python.reference import DTYPES

HEAD_DIMS = (64, 128, 256, 512)


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_fwht(device, rng, head_dim):
    x = rng.standard_normal((3, 2, head_dim)).astype(np.float32)
    rows = pyfa.Buffer.from_array(x, device=device)
    for transform, expected in {
        "standalone": codec.fwht(x), "sign_premult": codec.rotate(x, 9), "sign_undo": codec.unrotate(x, 9),
    }.items():  # fmt: skip
        rows.write(x)
        ops.fwht_standalone(rows, transform, seed=9, device=device)
        np.testing.assert_allclose(rows.read(), expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("name", ["bf16", "q8", "tq5"])
def test_encode_and_decode(device, rng, head_dim, name):
    x = rng.standard_normal((2, 3, 4, head_dim)).astype(np.float32)
    form = ops.kv_format(name, head_dim)
    data = pyfa.Buffer.zeros((2, 3, 7, form.width), form.dtype, device=device)
    norms = pyfa.Buffer.zeros((2, 3, 7), np.float32, device=device) if form.norms else None
    with pyfa.CommandEncoder(device) as encoder:
        ops.kv_encode(x, data, norms, name, [1, 3], encoder=encoder)
        encoder.barrier()
        first = ops.kv_decode(data, norms, name, head_dim, 4, position=1, encoder=encoder)
        second = ops.kv_decode(data, norms, name, head_dim, 4, position=3, dtype=np.float16, encoder=encoder)
    if form.norms:
        codes, norm = codec.encode(x, name)
        expected = codec.decode(codes, norm, name, head_dim)
    else:
        expected = x.astype(DTYPES[name]).astype(np.float64)
    np.testing.assert_allclose(first.read()[0], expected[0], rtol=0, atol=2e-6 * np.abs(x).max())
    np.testing.assert_allclose(second.read()[1].astype(float), expected[1], rtol=0, atol=1e-3 * np.abs(x).max())


@pytest.mark.parametrize("name", ["tq4_v1", "tq_hb5", "tq_hb6", "tq_hb8"])
@pytest.mark.parametrize("head_dim", [128, 512])
def test_version_1(device, rng, name, head_dim):
    x = rng.standard_normal((3, 2, head_dim)).astype(np.float32)
    form = ops.kv_format(name, head_dim)
    packed = pyfa.Buffer.zeros((2, 4, form.width), np.uint8, device=device)
    norms = pyfa.Buffer.zeros(form.norm_shape((2, 4)), np.float32, device=device)
    ops.hadamard_quantize_kv(x[:2], packed, norms, name, 2, device=device)
    ops.hadamard_quantize_kv(x[2:], packed, norms, name, 4, ring=True, device=device)
    rows, levels = codec.encode_v1(x, name)
    expected = codec.decode_v1(rows, levels, name, head_dim)
    for token, slot in enumerate((2, 3, 0)):
        found = ops.tq_dequantize_kv(packed, norms, name, head_dim, position=slot, device=device).read()
        np.testing.assert_allclose(found, expected[token], rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["tq4_v1", "tq_hb5", "tq_hb6", "tq_hb8"])
@pytest.mark.parametrize("head_dim", [64, 128, 256, 512])
@pytest.mark.parametrize("dtype", DTYPES)
def test_version_1_as_a_whole(device, rng, name, head_dim, dtype):
    """Positions 5 ... 8 of a ring of 4 slots, of two sequences, in one dispatch."""
    packed = rng.integers(0, 256, (2, 3, 4, ops.kv_format(name, head_dim).width), np.uint8)
    levels = rng.uniform(0.3, 0.9, (2, 3, 4, 2) if head_dim == 512 else (2, 3, 4)).astype(np.float32)
    options = {"position": 5, "ring": True, "scale_factor_d512": 1.25, "dtype": DTYPES[dtype], "device": device}
    expected = np.roll(codec.decode_v1(packed, levels, name, head_dim, 1.25), -1, axis=2)
    bound = {"f32": 2e-6, "f16": 1e-3, "bf16": 8e-3}[dtype]
    for undo in (False, True):
        found = ops.kv_decode(packed, levels, name, head_dim, 4, undo_rotation=undo, **options)
        exact = codec.unrotate(expected) if undo else expected
        assert found.dtype == DTYPES[dtype]
        np.testing.assert_allclose(found.astype(float), exact, rtol=0, atol=bound * np.abs(exact).max())


@pytest.mark.parametrize(
    ("message", "norms", "options"),
    [
        ("norms: expected f32 with tq_hb8, got f16", np.ones((1, 1, 4), np.float16), {}),
        ("seed: expected 0 with tq_hb8, got 3", np.ones((1, 1, 4), np.float32), {"seed": 3}),
        ("scale_factor_d512: expected a finite", np.ones((1, 1, 4), np.float32), {"scale_factor_d512": np.inf}),
    ],
)
def test_version_1_has_no_options_of_version_2(message, norms, options):
    with pytest.raises(pyfa.InvalidArgumentError, match=message):
        ops.kv_decode(np.zeros((1, 1, 4, 64), np.uint8), norms, "tq_hb8", 64, 4, **options)


def test_probe(device, rng):
    x = rng.standard_normal((1, 2, 64)).astype(np.float32)
    packed = pyfa.Buffer.zeros((2, 4, 32), np.uint8, device=device)
    norms, probe = (pyfa.Buffer.zeros(shape, np.float32, device=device) for shape in ((2, 4), (1, 2, 64)))
    ops.hadamard_quantize_kv(x, packed, norms, "tq4_v1", rms_scratch=probe, device=device)
    rotated = codec.rotate(x)
    expected = rotated * 8 / np.linalg.norm(rotated, axis=-1, keepdims=True)
    np.testing.assert_allclose(probe.read(), expected, rtol=0, atol=1e-5)


def test_formats():
    assert ops.kv_format("tq4_v1", 512).norm_shape((3,)) == (3, 2)
    assert ops.kv_format("f16", 64).norms == 0
    form = ops.kv_format("tq7", 128)
    assert (form.name, form.version, form.bits, form.width, form.table_crc32) == ("tq7", 2, 7, 112, 0x5881D222)
    with pytest.raises(pyfa.InvalidArgumentError, match="name: expected one of .*, got 'tq9'"):
        ops.kv_format("tq9", 64)


def new(*shape, dtype=np.uint8):
    return pyfa.Buffer.zeros(shape, dtype)


def tokens(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("fwht_standalone: head_dim: expected 64, 128, 256 or 512, got 96",
         lambda: ops.fwht_standalone(new(2, 96, dtype=np.float32))),
        ("fwht_standalone: data: expected f32, got f16", lambda: ops.fwht_standalone(new(2, 64, dtype=np.float16))),
        ("fwht_standalone: data: expected a Buffer, got ndarray", lambda: ops.fwht_standalone(tokens(2, 64))),
        ("fwht_standalone: transform: expected one of",
         lambda: ops.fwht_standalone(new(2, 64, dtype=np.float32), "twice")),
        ("kv_encode: data: needs 512 bytes for .1, 2, 4, 64. u8, got 448",
         lambda: ops.kv_encode(tokens(1, 2, 3, 64), new(1, 2, 4, 56), new(1, 2, 4, dtype=np.float32), "tq8")),
        ("kv_encode: norms: needs 32 bytes for .1, 2, 4. f32, got 28",
         lambda: ops.kv_encode(tokens(1, 2, 3, 64), new(1, 2, 4, 64), new(7, dtype=np.float32), "tq8")),
        ("kv_encode: norms: expected a buffer, got none",
         lambda: ops.kv_encode(tokens(1, 2, 3, 64), new(1, 2, 4, 64), None, "tq8")),
        ("kv_encode: norms: expected none for this problem, got a buffer",
         lambda: ops.kv_encode(
             tokens(1, 2, 3, 64), new(1, 2, 4, 64, dtype=np.float32), new(8, dtype=np.float32), "f32")),
        ("kv_encode: data: expected f16, got u8",
         lambda: ops.kv_encode(tokens(1, 2, 3, 64), new(1, 2, 4, 64), None, "f16")),
        ("kv_encode: write_pos: expected 0 to 4 - 3, so that every token has a slot .*, got 2",
         lambda: ops.kv_encode(tokens(1, 2, 3, 64), new(1, 2, 4, 64), new(8, dtype=np.float32), "tq8", 2)),
        ("kv_encode: write_pos: expected 0 to .*, got -1",
         lambda: ops.kv_encode(tokens(1, 2, 3, 64), new(1, 2, 4, 64), new(8, dtype=np.float32), "tq8", -1, ring=True)),
        ("kv_encode: positions: expected one for each of 1 sequences, got 2",
         lambda: ops.kv_encode(tokens(1, 2, 3, 64), new(1, 2, 4, 64), new(8, dtype=np.float32), "tq8", [0, 1])),
        ("kv_encode: format: expected one of f32, .*, got tq_hb8",
         lambda: ops.kv_encode(tokens(1, 2, 3, 64), new(1, 2, 4, 64), new(8, dtype=np.float32), "tq_hb8")),
        ("kv_encode: dtype: expected f32, f16 or bf16, got i32",
         lambda: ops.kv_encode(np.ones((1, 2, 3, 64), np.int32), new(1, 2, 4, 64), new(8, dtype=np.float32), "tq8")),
        ("kv_decode: read_pos: expected 0 to 1, got 2",
         lambda: ops.kv_decode(new(1, 2, 4, 64), new(8, dtype=np.float32), "tq8", 64, 3, position=2)),
        ("kv_decode: tokens: expected 1 to the capacity, 4, got 5",
         lambda: ops.kv_decode(new(1, 2, 4, 64), new(8, dtype=np.float32), "tq8", 64, 5, ring=True)),
        ("kv_decode: out: needs 1536 bytes",
         lambda: ops.kv_decode(new(1, 2, 4, 64), new(8, dtype=np.float32), "tq8", 64, 3, new(9, dtype=np.float32))),
        ("hadamard_quantize_kv_hb: write_pos: expected 0 to 4 - 1, got 4",
         lambda: ops.hadamard_quantize_kv(tokens(1, 2, 64), new(2, 4, 64), new(8, dtype=np.float32), "tq_hb8", 4)),
        ("hadamard_quantize_kv_hb: format: expected one of tq_hb5, tq_hb6, tq_hb8, got tq7",
         lambda: ops.hadamard_quantize_kv(tokens(1, 2, 64), new(2, 4, 64), new(8, dtype=np.float32), "tq7")),
        ("hadamard_quantize_kv_hb: rms_scratch: expected none for this format",
         lambda: ops.hadamard_quantize_kv(
             tokens(1, 2, 64), new(2, 4, 64), new(8, dtype=np.float32), "tq_hb5",
             rms_scratch=new(128, dtype=np.float32))),
        ("hadamard_quantize_kv_fast: norms: needs 64 bytes for .2, 4, 2. f32, got 32",
         lambda: ops.hadamard_quantize_kv(tokens(1, 2, 512), new(2, 4, 256), new(8, dtype=np.float32), "tq4_v1")),
        ("hadamard_quantize_kv_fast: scale_factor_d512: expected a finite number other than 0, got nan",
         lambda: ops.hadamard_quantize_kv(
             tokens(1, 2, 64), new(2, 4, 32), new(8, dtype=np.float32), "tq4_v1", scale_factor_d512=np.nan)),
        ("tq_dequantize_kv: read_pos: expected 0 to 3, got 4",
         lambda: ops.tq_dequantize_kv(new(2, 4, 32), new(8, dtype=np.float32), "tq4_v1", 64, position=4)),
        ("tq_dequantize_hb_kv: packed: needs 512 bytes",
         lambda: ops.tq_dequantize_kv(new(2, 4, 32), new(8, dtype=np.float32), "tq_hb8", 64)),
    ],
)  # fmt: skip
def test_bad_input_is_refused(message, call):
    with pytest.raises(pyfa.PyfaError, match=message):
        call()
