"""The codec's oracle itself: rotation, packing, tables, and how far decoded vectors are from the encoded ones."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import pytest

from scripts import make_codebooks
from tests.python import codec_reference as codec

# Mean squared error of the best quantiser of a standard normal variable, by bits.
OPTIMUM = {2: 0.117482, 3: 0.0345478, 4: 0.00950101, 5: 0.00250467, 6: 6.44240e-4, 7: 1.63478e-4, 8: 4.11850e-5}
# The same for the tables of version 1, two of which are not the best.
OPTIMUM_V1 = {"tq4_v1": 9.5010e-3, "tq_hb5": 2.50467e-3, "tq_hb6": 6.4865e-4, "tq_hb8": 6.2743e-5}
# CRC-32 of published tables: what version 1 was written with.
CHECKSUM_V1 = {"tq4_v1": 0x91C2CD28, "tq_hb5": 0xF5D23C76, "tq_hb6": 0xAD37A051, "tq_hb8": 0x42D643D4}
COORDINATES = 1_000_000


@pytest.fixture(scope="module", params=codec.HEAD_DIMS)
def gaussian(request):
    """Normal vectors of 10^6 coordinates."""
    head_dim = request.param
    return np.random.default_rng(1000 + head_dim).standard_normal((COORDINATES // head_dim + 1, head_dim))


def hadamard(n):
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    return h


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
@pytest.mark.parametrize("head_dim", codec.HEAD_DIMS)
def test_rotation_is_its_definition_and_orthogonal(head_dim, seed):
    matrix = hadamard(head_dim) @ np.diag(codec.signs(head_dim, seed)) / np.sqrt(head_dim)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(head_dim), atol=1e-14)
    x = np.random.default_rng(1).standard_normal((3, head_dim))
    np.testing.assert_allclose(codec.rotate(x, seed), x @ matrix.T, atol=1e-13)
    np.testing.assert_allclose(codec.unrotate(x, seed), x @ matrix, atol=1e-13)
    np.testing.assert_allclose(codec.fwht(codec.fwht(x)), x, atol=1e-13)


def test_default_signs_are_the_published_ones():
    table = codec.sign_table()
    assert hashlib.sha256(table[:32]).hexdigest().startswith("3ef1038e")
    assert hashlib.sha256(table).hexdigest().startswith("44f13ce9")
    assert [(codec.signs(d) < 0).sum() for d in (256, 512)] == [132, 263]


def test_seeds_give_the_outputs_of_splitmix64():
    # The generator's published first outputs for the state 1234567.
    expected = (
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    )
    table = codec.sign_table(1234567)
    assert tuple(int.from_bytes(table[8 * i : 8 * i + 8], "little") for i in range(5)) == expected
    assert len({codec.sign_table(seed) for seed in range(100)}) == 100


def test_version_1_tables_are_the_published_ones():
    tables = make_codebooks.tables()
    assert {name: zlib.crc32(tables[name].tobytes()) for name in codec.VERSION_1} == CHECKSUM_V1
    assert tables["tq_hb8"][-1] == np.float32(5.0652659)
    assert tables["tq_hb6"][32] == np.float32(0.0311537)


@pytest.mark.parametrize("bits", range(2, 9))
def test_packing_loses_nothing(bits):
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (5, 7, 128))
    rows = codec.pack(codes, bits)
    assert rows.shape == (5, 7, 16 * bits)
    np.testing.assert_array_equal(codec.unpack(rows, bits, 128), codes)


def test_bytes_of_a_row_of_seven_bits():
    codes = np.zeros(64, np.uint8)
    codes[:9] = [0x7F, 0, 0x5A, 0x21, 0, 0, 0, 0x40, 0x4F]
    row = codec.pack(codes, 7)
    assert len(row) == 56
    assert row[:5].tolist() == [0x0F, 0x1A, 0, 0, 0x0F]  # low nibbles, 2b below 2b + 1
    assert row[32:35].tolist() == [0b10_01_00_11, 0, 0b00]  # bits 4 and 5
    assert row[48:50].tolist() == [0b1000_0101, 0b1]  # bit 6


@pytest.mark.parametrize("name", codec.TABLES + codec.VERSION_1)
def test_codes_are_those_of_the_nearest_centroid(name):
    y = np.random.default_rng(3).standard_normal(20_000) * 1.5
    codes = codec.table_codes(y, name)
    nearest = np.abs(y[:, None] - codec.centroids(name)).min(1)
    np.testing.assert_allclose(np.abs(y - codec.centroids(name)[codes]), nearest, atol=1e-6)
    middles = codec.boundaries(name)
    np.testing.assert_array_equal(codec.table_codes(middles, name), np.arange(len(middles)))  # a tie: the lower one
    assert codec.table_codes(np.array([0.0, np.nan]), name).tolist() == [len(middles) // 2] * 2


def expected_error(name, head_dim, power=2):
    """Mean squared error over directions without preference, integrated: a coordinate of a vector on the sphere of
    radius sqrt(D) has a density proportional to (1 - y^2 / D)^((D - 3) / 2). Or the mean of another power."""
    radius, centroids = np.sqrt(head_dim), codec.centroids(name)
    edges = np.concatenate([[-radius], codec.boundaries(name), [radius]])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    half = 0.5 * np.diff(edges)[:, None]
    y = 0.5 * (edges[1:] + edges[:-1])[:, None] + half * nodes
    mass = half * weights * (1 - y * y / head_dim) ** ((head_dim - 3) / 2)
    return (mass * (y - centroids[:, None]) ** power).sum() / mass.sum()


@pytest.mark.parametrize("head_dim", codec.HEAD_DIMS)
def test_no_table_does_better_on_directions_than_on_normal_variables(head_dim):
    for bits, optimum in OPTIMUM.items():
        assert 0.95 * optimum <= expected_error(f"tq{bits}", head_dim) <= optimum * 1.00001
    for name, optimum in OPTIMUM_V1.items():
        assert 0.95 * optimum <= expected_error(name, head_dim) <= optimum * 1.00001


def assert_error_of_rotated(decoded, r, name, head_dim):
    """The mean squared error is the expected one, but for chance: the few coordinates in the tails weigh much."""
    error = ((decoded - r) ** 2).mean() / (r * r).mean()
    expected = expected_error(name, head_dim)
    margin = 5 * np.sqrt(expected_error(name, head_dim, 4) / r.size)
    assert abs(error - expected) <= margin, (name, error / expected, margin / expected)


def test_decoded_vectors_are_as_near_as_can_be(gaussian):
    head_dim = gaussian.shape[1]
    r = codec.rotate(gaussian)
    norms = np.sqrt((r * r).sum(-1)).astype(np.float32)
    for name in codec.TABLES:
        codes = codec.table_codes(codec.levels(r, norms, name), name)
        decoded = codec.centroids(name)[codes] * norms[:, None] / np.sqrt(head_dim)
        assert_error_of_rotated(decoded, r, name, head_dim)


def test_decoded_vectors_of_version_1(gaussian):
    head_dim = gaussian.shape[1]
    r = codec.rotate(gaussian)
    for name in codec.VERSION_1:
        decoded = codec.decode_v1(*codec.encode_v1(gaussian, name), name, head_dim)
        # Halves of 256 coordinates have norms of their own.
        assert_error_of_rotated(decoded, r, name, min(head_dim, 256))


def test_decoded_vectors_of_eight_bits_and_a_scale(gaussian):
    head_dim = gaussian.shape[1]
    data, scales = codec.encode(gaussian, "q8")
    error = ((codec.decode(data, scales, "q8", head_dim) - gaussian) ** 2).mean()
    assert error <= {64: 3.6e-5, 128: 4.2e-5, 256: 4.9e-5, 512: 5.6e-5}[head_dim]


@pytest.mark.parametrize("norm_dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", ["q8", *codec.TABLES])
def test_vectors_that_are_no_vectors(name, norm_dtype):
    x = np.zeros((5, 64), np.float32)
    x[1, 3] = 1e-12
    x[2, 5] = np.nan
    x[3, 6] = -np.inf
    x[4, 7] = 1e10
    rows, norms = codec.encode(x, name, norm_dtype=norm_dtype)
    zero, _ = codec.encode(np.zeros((1, 64)), name)
    decoded = codec.decode(rows, norms, name, 64)
    np.testing.assert_array_equal(rows[0], zero[0])
    np.testing.assert_array_equal(decoded[0], 0)
    assert np.abs(decoded[1]).max() <= 1e-12
    np.testing.assert_array_equal(rows[2:4], np.repeat(zero, 2, axis=0))
    assert np.isnan(norms[2:4]).all()
    assert np.isnan(decoded[2:4]).all()
    assert np.isnan(norms[4]) == (norm_dtype == np.float16)  # beyond its range
    assert np.isnan(codec.encode(np.full((1, 64), 1e19), name, norm_dtype=norm_dtype)[1]).all()


@pytest.mark.parametrize("name", ["q8", "tq8"])
def test_norms_of_half_precision_cost_little(name):
    x = np.random.default_rng(5).standard_normal((2000, 128))
    errors = []
    for dtype in (np.float32, np.float16):
        rows, norms = codec.encode(x, name, norm_dtype=dtype)
        assert norms.dtype == dtype
        errors.append(((codec.decode(rows, norms, name, 128) - x) ** 2).mean())
    assert errors[1] == pytest.approx(errors[0], rel=0.01)


@pytest.mark.parametrize("factor", [0.0, 1.0, 16.0])
def test_halves_of_head_dimension_512_have_norms_of_their_own(factor):
    x = np.zeros((1, 512))
    x[0, :3] = 1, 2, 3
    r = codec.rotate(x)[0]
    y, norms = codec.levels_v1(x, factor)
    np.testing.assert_allclose(norms[0], [np.sqrt((r[:256] ** 2).mean()), np.sqrt((r[256:] ** 2).mean())], rtol=1e-7)
    used = factor or 1.0
    np.testing.assert_allclose(y[0, :256], r[:256] / norms[0, 0] * used, rtol=1e-6)
    np.testing.assert_allclose(y[0, 256:], r[256:] / norms[0, 1] * used, rtol=1e-6)
