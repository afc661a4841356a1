"""The codec's shaders against the oracle: every byte, every edge."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.python import codec_reference as codec
from tests.python.codec_kernels import UNTOUCHED, Cache, Rooms
from tests.python.reference import DTYPES, assert_close
from tests.python.shader_devices import CHECKED, SCHEDULES, STRICT, shader_device

QUANTISED = ("q8", *codec.TABLES)
# Every head dimension with every way of packing it has, and each part of a code at each width.
FORMATS = (
    *((64, name) for name in QUANTISED),
    *((128, name) for name in ("q8", "tq2", "tq3", "tq5", "tq7")),
    *((256, name) for name in ("q8", "tq4", "tq7", "tq8")),
    *((512, name) for name in ("q8", "tq3", "tq6", "tq8")),
)
# How far from a boundary rounding may choose the other code, for levels of size one.
NEAR = 1e-6


@pytest.fixture(scope="module")
def rooms():
    with shader_device() as device:
        yield Rooms(device)


@pytest.fixture(scope="module")
def checked():
    """Kernels that run without lockstep and with every check."""
    if sys.platform == "darwin":
        pytest.skip("a GPU does not check what a kernel does")
    with shader_device(**STRICT, **CHECKED) as device:
        yield Rooms(device)


def vectors(seed, *shape):
    """Vectors of different lengths and kinds; the last axis is one."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * np.exp(rng.standard_normal((*shape[:-1], 1)) * 2)
    flat = x.reshape(-1, shape[-1])
    flat[1] = 0
    flat[2] *= 1e-13
    flat[3] = 0
    flat[3, 5] = -3
    flat[4] = np.where(np.arange(shape[-1]) % 3 == 0, 1e-3, 10)
    return x.astype(np.float32)


def assert_codes(codes, y, name):
    """Codes are the oracle's, except where rounding decides."""
    if name == "q8":
        expected, off = np.clip(np.rint(y), -127, 127).astype(np.int8), np.abs(np.abs(y - np.trunc(y)) - 0.5)
        codes, near = codes.view(np.int8), 127 * NEAR
    else:
        edges = codec.boundaries(name)
        expected, off = codec.table_codes(y, name), np.abs(y[..., None] - edges).min(-1) if len(edges) < 64 else None
        if off is None:
            after = np.searchsorted(edges, y).clip(1, len(edges) - 1)
            off = np.minimum(np.abs(y - edges[after]), np.abs(y - edges[after - 1]))
        near = NEAR
    wrong = (codes != expected) & (off > near * np.maximum(1, np.abs(y)))
    assert not wrong.any(), (name, np.argwhere(wrong)[:5], y[wrong][:5], codes[wrong][:5], expected[wrong][:5])


def assert_norms(norms, expected):
    """Norms are the oracle's to the last bit but one of their type."""
    assert norms.dtype == expected.dtype
    np.testing.assert_allclose(
        norms.astype(np.float64),
        expected.astype(np.float64),
        rtol=2 * np.finfo(norms.dtype).eps,
        atol=np.finfo(norms.dtype).smallest_subnormal,
    )


def assert_encoded(data, norms, x, name, seed=0):
    """Rows and norms are those of x."""
    head_dim = x.shape[-1]
    _, expected = codec.encode(x, name, norm_dtype=norms.dtype, seed=seed)
    assert_norms(norms, expected)
    codes = codec.unpack(data, codec.packed_bits(name), head_dim)
    with np.errstate(invalid="ignore", over="ignore"):
        assert_codes(codes, codec.levels(codec.rotate(x, seed), norms, name), name)
    np.testing.assert_array_equal(codec.pack(codes, codec.packed_bits(name)), data)


@pytest.mark.parametrize("head_dim", codec.HEAD_DIMS)
def test_rotation(rooms, head_dim):
    x = vectors(head_dim, 7, head_dim)
    for kind, expected in (
        ("fwht_standalone", codec.fwht(x)),
        ("fwht_sign_premult", codec.rotate(x)),
        ("fwht_sign_undo", codec.unrotate(x)),
    ):
        rows = x.copy()
        rooms.fwht(kind, rows)
        assert_close(rows, expected)
    rows = x.copy()
    rooms.fwht("fwht_sign_premult", rows, signs=99)
    assert_close(rows, codec.rotate(x, 99))
    rooms.fwht("fwht_sign_undo", rows, signs=99)
    assert_close(rows, x.astype(np.float64))


@pytest.mark.parametrize(("head_dim", "name"), FORMATS)
def test_tokens_become_the_oracles_bytes_and_come_back(rooms, head_dim, name):
    tokens = vectors(head_dim, 2, 5, 3, head_dim)  # token before head
    x = tokens.swapaxes(1, 2)
    cache = Cache(name, head_dim, 2, 3, capacity=9)
    rooms.encode(x, cache, [1, 4])
    for batch, first in enumerate((1, 4)):
        kept = slice(first, first + 5)
        assert_encoded(cache.data[batch, :, kept], cache.norms[batch, :, kept], x[batch], name)
        rest = np.delete(np.arange(9), np.arange(first, first + 5))
        assert (cache.data[batch][:, rest] == UNTOUCHED).all()
        assert (cache.norms[batch][:, rest].view(np.uint32) == UNTOUCHED * 0x01010101).all()
    both = slice(4, 6)
    for undo in (True, False):
        expected = codec.decode(cache.data[:, :, both], cache.norms[:, :, both], name, head_dim, undo_rotation=undo)
        assert_close(rooms.decode(cache, 4, 2, undo=undo), expected)


@pytest.mark.parametrize("name", codec.DENSE)
def test_dense_formats_keep_what_they_are_given(rooms, name):
    x = vectors(3, 1, 2, 3, 128)
    x[0, 0, 0, :4] = np.nan, np.inf, 1e30, -0.0
    cache = Cache(name, 128, 1, 2, capacity=4)
    rooms.encode(x, cache, [1])
    expected, _ = codec.encode(x, name)
    np.testing.assert_array_equal(cache.dense()[:, :, 1:].astype(np.float32), expected.astype(np.float32))
    assert (cache.data[:, :, 0] == UNTOUCHED).all()
    np.testing.assert_array_equal(rooms.decode(cache, 1, 3), expected.astype(np.float32))


@pytest.mark.parametrize(("dtype", "name"), [("f16", "tq5"), ("bf16", "tq7"), ("f16", "q8"), ("bf16", "f16")])
def test_other_sources_and_results(rooms, dtype, name):
    x = vectors(4, 1, 2, 3, 256).astype(DTYPES[dtype])
    cache = Cache(name, 256, 1, 2, capacity=3)
    rooms.encode(x, cache, [0])
    if name in codec.DENSE:
        np.testing.assert_array_equal(cache.dense(), x.astype(codec.DENSE[name]))
        data, norms = cache.dense(), None
    else:
        assert_encoded(cache.data, cache.norms, x.astype(np.float32), name)
        data, norms = cache.data, cache.norms
    assert_close(rooms.decode(cache, 0, 3, dtype=DTYPES[dtype]), codec.decode(data, norms, name, 256))


@pytest.mark.parametrize("name", ["q8", "tq4"])
def test_norms_of_half_precision(rooms, name):
    x = vectors(5, 2, 1, 6, 128)
    x[1, 0, 0] *= 1e6 / np.abs(x[1, 0, 0]).max()  # its norm is too large for half, and so is its scale in q8 below
    x[1, 0, 1] *= 1e8 / np.abs(x[1, 0, 1]).max()
    x[1, 0, 2] *= 1e-5 / np.abs(x[1, 0, 2]).max()  # subnormal as half
    x[1, 0, 3] *= 1e-9 / np.abs(x[1, 0, 3]).max()  # 0 as half
    cache = Cache(name, 128, 2, 1, capacity=6, norm_dtype=np.float16)
    rooms.encode(x, cache, [0, 0])
    assert_encoded(cache.data, cache.norms, x, name)
    assert np.isnan(cache.norms[1, 0, 1])
    assert cache.norms[1, 0, 3] == 0
    decoded = rooms.decode(cache, 0, 6)
    np.testing.assert_array_equal(np.isnan(decoded).any(-1), np.isnan(cache.norms))
    assert_close(np.nan_to_num(decoded), np.nan_to_num(codec.decode(cache.data, cache.norms, name, 128)))


@pytest.mark.parametrize("name", ["q8", "tq3"])
def test_what_has_no_norm(rooms, name):
    x = np.random.default_rng(6).standard_normal((1, 1, 8, 64)).astype(np.float32)
    x[0, 0, 1, 3] = np.nan
    x[0, 0, 2, 9] = np.inf
    x[0, 0, 3, 60] = -np.inf
    x[0, 0, 4] = 3e38
    x[0, 0, 5] = 0
    x[0, 0, 6] *= 1e-20
    x[0, 0, 7] *= np.float32(1e-38)
    cache = Cache(name, 64, 1, 1, capacity=8)
    rooms.encode(x, cache, [0])
    assert_encoded(cache.data, cache.norms, x, name)
    np.testing.assert_array_equal(cache.data[0, 0, 5], codec.encode(x[0, 0, 5], name)[0])  # a tie of two codes
    # The same NaN everywhere, and the codes of zeros.
    assert (cache.norms.view(np.uint32)[0, 0, 1:5] == 0x7FC00000).all()
    np.testing.assert_array_equal(cache.data[0, 0, 1:5], cache.data[0, 0, [5] * 4])
    decoded = rooms.decode(cache, 0, 8)
    assert np.isnan(decoded[0, 0, 1:5]).all()
    assert not np.isnan(decoded[0, 0, [0, 5, 6, 7]]).any()
    np.testing.assert_array_equal(decoded[0, 0, 5], 0)


def test_ties_of_eight_bits_and_a_scale(rooms):
    r = np.zeros(64)
    r[:7] = 127, 0.5, 1.5, 2.5, -0.5, -1.5, -127
    x = codec.unrotate(r).astype(np.float32)
    np.testing.assert_array_equal(codec.rotate(x), r)  # exact in float, and so is the scale 1
    cache = Cache("q8", 64, 1, 1, capacity=1)
    rooms.encode(x[None, None, None], cache, [0])
    assert cache.data[0, 0, 0, :8].view(np.int8).tolist() == [127, 0, 2, 2, 0, -2, -127, 0]
    assert cache.norms[0, 0, 0] == 1


@pytest.mark.parametrize("tokens", [1, 3, 6, 7, 13])
def test_a_ring_keeps_the_last_tokens(rooms, tokens):
    x = vectors(7, 2, 1, 13, 64)[:, :, :tokens].copy()
    first = (2, 4_294_967_290)  # the positions of the second sequence leave 32 bits
    cache = Cache("tq6", 64, 2, 1, capacity=6)
    rooms.encode(x, cache, first, ring=True)
    for batch in range(2):
        kept = np.arange(max(0, tokens - 6), tokens)
        slots = (first[batch] + kept) % 6
        assert_encoded(
            cache.data[batch, :, slots], cache.norms[batch, :, slots], x[batch][:, kept].swapaxes(0, 1), "tq6"
        )
        free = np.setdiff1d(np.arange(6), slots)
        assert (cache.data[batch][:, free] == UNTOUCHED).all()
    oldest = 2 + max(0, tokens - 6)
    count = min(6, tokens)
    slots = (oldest + np.arange(count)) % 6
    expected = codec.decode(cache.data[:, :, slots], cache.norms[:, :, slots], "tq6", 64)
    assert_close(rooms.decode(cache, oldest, count, ring=True)[:1], expected[:1])


def test_tokens_past_the_end_are_dropped(rooms):
    x = vectors(8, 1, 2, 4, 64)
    cache = Cache("tq4", 64, 1, 2, capacity=3)
    rooms.encode(x, cache, [1])
    assert_encoded(cache.data[:, :, 1:], cache.norms[:, :, 1:], x[:, :, :2], "tq4")
    assert (cache.data[:, :, 0] == UNTOUCHED).all()
    out = rooms.decode(cache, 2, 3)
    assert (out[:, :, 1:] == UNTOUCHED).all()


def test_offsets_beyond_32_bits(rooms):
    """The last slot of the second head, 4 GiB into the rows; the system gives memory only where it is touched."""
    capacity = (1 << 32) // 512 + 3
    cache = Cache("tq8", 512, 1, 2, capacity=1)
    cache.capacity = capacity
    try:
        cache.data, cache.norms = np.zeros((1, 2, capacity, 512), np.uint8), np.zeros((1, 2, capacity), np.float32)
    except MemoryError:
        pytest.skip("no address space for 8 GiB")
    x = vectors(15, 1, 2, 5, 512)[:, :, :1].copy()
    rooms.encode(x, cache, [capacity - 1])
    data, norms = cache.data[:, :, -1:].copy(), cache.norms[:, :, -1:].copy()
    assert_encoded(data, norms, x, "tq8")
    assert_close(rooms.decode(cache, capacity - 1, 1), codec.decode(data, norms, "tq8", 512))


@pytest.mark.parametrize("head_dim", codec.HEAD_DIMS)
def test_other_signs(rooms, head_dim):
    x = vectors(9, 1, 1, 6, head_dim)
    cache = Cache("tq8", head_dim, 1, 1, capacity=6)
    rooms.encode(x, cache, [0], signs=12345)
    assert_encoded(cache.data, cache.norms, x, "tq8", seed=12345)
    expected = codec.decode(cache.data, cache.norms, "tq8", head_dim, seed=12345)
    assert_close(rooms.decode(cache, 0, 6, signs=12345), expected)


@pytest.mark.parametrize("name", ["q8", "tq4", "tq8"])
def test_decoded_vectors_are_near_the_encoded_ones(rooms, name):
    """10^5 coordinates: the mean squared error of the shaders is the codec's."""
    x = np.random.default_rng(1256).standard_normal((1, 4, 100, 256)).astype(np.float32)
    cache = Cache(name, 256, 1, 4, capacity=100)
    rooms.encode(x, cache, [0])
    error = ((rooms.decode(cache, 0, 100).astype(np.float64) - x) ** 2).mean()
    expected = ((codec.decode(*codec.encode(x, name), name, 256) - x) ** 2).mean()
    assert error == pytest.approx(expected, rel=1e-3)
    assert error <= {"q8": 4.9e-5, "tq4": 9.5010e-3 * 1.01, "tq8": 4.2e-5}[name]


# --------------------------------------------------------------------------------------------------------- version 1


def assert_encoded_v1(data, norms, x, name, factor=1.0):
    """Rows and norms are those of x, heads before tokens."""
    y, expected = codec.levels_v1(x, factor)
    assert_norms(norms, expected)
    codes = codec.unpack(data, codec.packed_bits(name), x.shape[-1])
    assert_codes(codes, y, name)
    np.testing.assert_array_equal(codec.pack(codes, codec.packed_bits(name)), data)


@pytest.mark.parametrize("head_dim", codec.HEAD_DIMS)
@pytest.mark.parametrize("sequence", [True, False])
def test_version_1(rooms, head_dim, sequence):
    x = vectors(head_dim + 1, 5 if sequence else 1, 6, head_dim)
    x[0, 5] = np.nan
    for name, factor in (("tq4_v1", 1.0), ("tq4_v1", 0.5), ("tq_hb5", 1.0), ("tq_hb6", 0.0), ("tq_hb8", 2.0)):
        cache = Cache(name, head_dim, 6, capacity=8)
        rooms.encode_v1(x, cache, 3, sequence=sequence, factor=factor)
        kept = slice(3, 3 + len(x))
        with np.errstate(invalid="ignore"):
            assert_encoded_v1(cache.data[:, kept], cache.norms[:, kept], x.swapaxes(0, 1), name, factor)
        rest = np.delete(np.arange(8), np.arange(3, 3 + len(x)))
        assert (cache.data[:, rest] == UNTOUCHED).all()
        zeros, _ = codec.encode_v1(np.zeros(head_dim), name)
        np.testing.assert_array_equal(cache.data[1, 3], zeros)  # a tie of two codes
        expected = codec.decode_v1(cache.data[:, 3], cache.norms[:, 3], name, head_dim, factor)
        decoded = rooms.decode_v1(cache, 3, factor)
        np.testing.assert_array_equal(np.isnan(decoded), np.isnan(expected))
        assert_close(decoded[:5], expected[:5])


@pytest.mark.parametrize("name", ["tq4_v1", "tq_hb8"])
def test_version_1_keeps_the_last_tokens_of_a_ring(rooms, name):
    x = vectors(10, 7, 2, 64)
    cache = Cache(name, 64, 2, capacity=5)
    rooms.encode_v1(x, cache, 4, sliding=True)
    kept = np.arange(2, 7)
    slots = (4 + kept) % 5
    assert_encoded_v1(cache.data[:, slots], cache.norms[:, slots], x[kept].swapaxes(0, 1), name)
    rooms.encode_v1(x[:1], cache, 11, sequence=False, sliding=True)
    assert_encoded_v1(cache.data[:, 1], cache.norms[:, 1], x[0], name)
    rooms.encode_v1(x, before := Cache(name, 64, 2, capacity=5), 5)
    assert (before.data == UNTOUCHED).all()


@pytest.mark.parametrize(("name", "unused"), [("tq_hb5", 0xE0), ("tq_hb6", 0xC0)])
def test_bits_that_no_code_has_are_not_read(rooms, name, unused):
    cache = Cache(name, 64, 2, capacity=1)
    rooms.encode_v1(vectors(16, 1, 6, 64)[:, 4:].copy(), cache, 0)
    expected = rooms.decode_v1(cache, 0)
    cache.data |= np.uint8(unused)
    np.testing.assert_array_equal(rooms.decode_v1(cache, 0), expected)


def test_the_probe_gets_what_is_looked_up(rooms):
    x = vectors(11, 3, 2, 512)
    cache, probe = Cache("tq4_v1", 512, 2, capacity=3), np.zeros((3, 2, 512), np.float32)
    rooms.encode_v1(x, cache, 0, probe=probe)
    assert_close(probe, codec.levels_v1(x)[0])


# ------------------------------------------------------------------------------------------------------------ checks


@pytest.mark.parametrize(("head_dim", "name"), [(64, name) for name in QUANTISED] + [(128, "tq7"), (512, "tq7")])
def test_no_check_finds_anything(rooms, checked, head_dim, name):
    x = vectors(12, 1, 2, 3, head_dim)
    found, expected = (Cache(name, head_dim, 1, 2, capacity=2) for _ in range(2))
    for kernels, cache in ((checked, found), (rooms, expected)):
        kernels.encode(x, cache, [1], ring=True)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.norms, expected.norms)
    np.testing.assert_array_equal(checked.decode(found, 2, 2, ring=True), rooms.decode(expected, 2, 2, ring=True))


@pytest.mark.parametrize("head_dim", [64, 512])
def test_no_check_finds_anything_in_version_1(rooms, checked, head_dim):
    x = vectors(13, 3, 2, head_dim)
    for name in ("tq4_v1", "tq_hb6"):
        found, expected = (Cache(name, head_dim, 2, capacity=2) for _ in range(2))
        for kernels, cache in ((checked, found), (rooms, expected)):
            kernels.encode_v1(x, cache, 1, sliding=True)
        np.testing.assert_array_equal(found.data, expected.data)
        np.testing.assert_array_equal(checked.decode_v1(found, 1), rooms.decode_v1(expected, 1))
    rows = x[0].copy()
    checked.fwht("fwht_sign_premult", rows, signs=3)
    assert_close(rows, codec.rotate(x[0], 3))


@pytest.mark.skipif(sys.platform == "darwin", reason="a GPU has no schedules to choose from")
def test_every_schedule_gives_the_same_bytes():
    x = vectors(14, 1, 2, 3, 64)
    caches = []
    for schedule in SCHEDULES.values():
        with shader_device(**STRICT, **schedule) as device:
            caches.append(Cache("tq7", 64, 1, 2, capacity=3))
            Rooms(device).encode(x, caches[-1], [0])
    for cache in caches[1:]:
        np.testing.assert_array_equal(cache.data, caches[0].data)
        np.testing.assert_array_equal(cache.norms, caches[0].norms)
