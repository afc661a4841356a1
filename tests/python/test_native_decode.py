"""Native decode and codec kernels against the oracles, by raw dispatches: every host name, format and option."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from tests.python import codec_reference as codec
from tests.python import decode_reference as reference
from tests.python import decode_shaders as vec
from tests.python import flash_attn_decode_shader as decode
from tests.python import test_codec_shaders as codec_tests
from tests.python.codec_kernels import Cache, Rooms
from tests.python.decode_reference import CAUSAL, WINDOW
from tests.python.native_kernels import NativeKernel, in_place_of_shaders
from tests.python.reference import DTYPES, assert_close
from tests.python.test_isa import available, run_with

HEAD_DIMS = (64, 128, 256, 512)
LENGTHS = (0, 1, 31, 63, 64, 65, 129, 1025)
FORMATS = tuple(codec.FORMATS)
EACH_DIM = pytest.mark.parametrize("dim", HEAD_DIMS)

pytestmark = pytest.mark.skipif(
    pyfa.default_device().info().backend != "SoftMetal", reason="native kernels are the CPU's"
)


@pytest.fixture(autouse=True)
def _native():
    with in_place_of_shaders():
        yield


# ------------------------------------------------------------------------------------------------- the vec family


@EACH_DIM
@pytest.mark.parametrize("family", vec.FAMILIES)
def test_vec(family, dim):
    some = (1, 32) if family == "peer" else (1, 3, 32)
    for nwg in some:
        vec.check(vec.Problem(family, dim, kv_lens=LENGTHS, capacity=1030, nwg=nwg))
    ring = vec.Problem(family, dim, (6, 2), kv_lens=(0, 40, 77, 80), ring_starts=(3, 60, 79, 1), capacity=80)
    vec.check(ring.but(mask_type=WINDOW, window=33, q_len=3, softcap=2.0, sinks=True))
    vec.check(ring.but(mask_type=CAUSAL, q_len=8, nwg=32))
    vec.check(vec.Problem(family, dim, (8, 1), kv_len=70, capacity=80))


@EACH_DIM
def test_vec_rotations(dim):
    problem = vec.Problem("hb8", dim, (4, 2), kv_lens=(0, 1, 33, 300), q_len=2, capacity=300)
    vec.check(problem.but(fuse=True, nsg=4))
    vec.check(problem.but(fuse=True, undo=True, signs=7, nwg=16))


@pytest.mark.parametrize("family", vec.FAMILIES)
def test_a_ring_is_its_keys_in_order(family):
    """Rotating the slots of a ring changes nothing, to the bit."""
    plain = vec.Problem(family, 64, kv_lens=(99,), capacity=99, mask_type=WINDOW, window=90, nwg=32, poison=False)
    x = vec.operands(plain)
    out, lse = vec.run(plain, x)
    for start in (1, 17, 50, 98):
        x.caches = [np.ascontiguousarray(np.roll(cache, start, axis=2)) for cache in vec.operands(plain).caches]
        found, found_lse = vec.run(plain.but(ring_starts=(start,)), x)
        np.testing.assert_array_equal(found, out)
        np.testing.assert_array_equal(found_lse, lse)


# ----------------------------------------------------------------------------------------------- flash_attn_decode


MIXED = decode.Problem(
    heads=(6, 2), q_len=3, kv_lens=(0, 1, 33, 371), capacity=375, ring_starts=(5, 374, 60, 333), causal=True,
    window=290, softcap=4.0, sinks=True,
)  # fmt: skip


@EACH_DIM
@pytest.mark.parametrize("number", range(len(FORMATS)), ids=FORMATS)
def test_decode_formats(dim, number):
    """Each format is once that of K and once that of V for each head dimension."""
    pair = (FORMATS[number], FORMATS[(number + dim // 64) % len(FORMATS)])
    problem = MIXED.but(dim=dim, formats=pair)
    decode.check(problem)
    decode.check(problem.but(splits=3, window=0, causal=False))


@EACH_DIM
@pytest.mark.parametrize("dtype", DTYPES)
def test_decode_types(dim, dtype):
    problem = MIXED.but(dim=dim, formats=(dtype, dtype), dtype=dtype)
    decode.check(problem)
    decode.check(problem.but(splits=3))
    coded = problem.but(formats=("tq8", "tq4"), half_norms=True, rotate=True, undo=True, signs=3)
    decode.check(coded, lse_tolerance=1e-2 if dtype == "bf16" else 4e-6)  # bf16 queries may be rounded after rotation


@pytest.mark.parametrize("group", range(1, 10))
def test_decode_groups(group):
    for q_len in (1, 2, 5):
        decode.check(MIXED.but(heads=(group, 1), q_len=q_len, kv_lens=(0, 5, 300, 375)))


@EACH_DIM
@pytest.mark.parametrize("number", range(len(FORMATS)), ids=FORMATS)
def test_decode_pages(dim, number):
    pair = (FORMATS[number], FORMATS[(number + dim // 64) % len(FORMATS)])
    problem = MIXED.but(dim=dim, formats=pair, alibi="heads" if number % 2 else "sequences")
    for page_size, layout in ((1, "hnd"), (16, "nhd"), (40, "hnd"), (256, "nhd"), (375, "nhd")):
        decode.check(problem.in_pages(page_size, layout))
    decode.check(problem.but(splits=3, window=0, causal=False).in_pages(7, "nhd"))


@pytest.mark.parametrize(("dtype", "formats"), [("f32", ("tq5", "f16")), ("bf16", ("tq5", "bf16"))], ids=str)
def test_pages_are_a_cache_to_the_bit(dtype, formats):
    problem = MIXED.but(dtype=dtype, formats=formats, ring_starts=())
    out, lse = decode.run(problem)
    for page_size, layout in ((64, "nhd"), (64, "hnd"), (128, "nhd"), (375, "hnd"), (65, "nhd"), (7, "hnd")):
        found, found_lse = decode.run(problem.in_pages(page_size, layout))
        np.testing.assert_array_equal(found, out)
        np.testing.assert_array_equal(found_lse, lse)


@pytest.mark.parametrize("formats", [("f32", "bf16"), ("tq8", "tq5")], ids=str)
def test_a_query_does_not_see_the_values_of_later_keys(formats):
    """NaN in the keys of later tokens reaches these tokens alone."""
    problem = decode.Problem(formats=formats, heads=(3, 1), q_len=4, kv_lens=(200,), capacity=200, causal=True)
    x = decode.operands(problem)
    clean, _ = decode.run(problem, x)
    for cache in x.caches[0 if formats[0] == "f32" else 1 :: 2]:
        cache[:, :, 198] = np.nan
    out, _ = decode.run(problem, x)
    np.testing.assert_array_equal(out[:, :, :2], clean[:, :, :2])
    assert np.isnan(out[:, :, 2:]).all()


# ----------------------------------------------------------------------------------------------------------- codec


@EACH_DIM
def test_rotation(dim):
    x = codec_tests.vectors(dim, 40, dim)
    for kind, expected in (
        ("fwht_standalone", codec.fwht(x)),
        ("fwht_sign_premult", codec.rotate(x)),
        ("fwht_sign_undo", codec.unrotate(x)),
    ):
        rows = x.copy()
        Rooms(None).fwht(kind, rows)
        assert_close(rows, expected)
    rows = x.copy()
    Rooms(None).fwht("fwht_sign_premult", rows, signs=99)
    assert_close(rows, codec.rotate(x, 99))


@EACH_DIM
@pytest.mark.parametrize("name", ["q8", *codec.TABLES])
def test_tokens_become_the_oracles_bytes_and_come_back(dim, name):
    rooms, norm_dtype = Rooms(None), np.float16 if dim == 128 else np.float32
    x = codec_tests.vectors(dim, 2, 3, 21, dim)
    cache = Cache(name, dim, 2, 3, capacity=23, norm_dtype=norm_dtype)
    rooms.encode(x, cache, [0, 2], signs=5)
    for batch, first in enumerate((0, 2)):
        kept = slice(first, first + 21)
        codec_tests.assert_encoded(cache.data[batch, :, kept], cache.norms[batch, :, kept], x[batch], name, seed=5)
    found = rooms.decode(cache, 2, 19, signs=5)
    rows, norms = cache.data[:, :, 2:21], cache.norms[:, :, 2:21]
    assert_close(found, codec.decode(rows, norms, name, dim, seed=5))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", codec.DENSE)
def test_dense_tokens_are_kept_as_they_are(dtype, name):
    rooms = Rooms(None)
    x = codec_tests.vectors(3, 1, 2, 9, 64).astype(dtype)
    cache = Cache(name, 64, 1, 2, capacity=5)
    rooms.encode(x, cache, [3], ring=True)
    expected = x[:, :, 4:].astype(codec.DENSE[name])  # of nine tokens in five slots the last five stay
    np.testing.assert_array_equal(np.roll(cache.dense(), -2, axis=2), expected)
    found = rooms.decode(cache, 7, 5, dtype=dtype, ring=True)
    np.testing.assert_array_equal(found, expected.astype(dtype))


@EACH_DIM
@pytest.mark.parametrize("name", codec.VERSION_1)
def test_version_1(dim, name):
    rooms = Rooms(None)
    x = codec_tests.vectors(dim, 7, 3, dim)
    one, many = (Cache(name, dim, 3, capacity=7) for _ in range(2))
    rooms.encode_v1(x, many, 3, sliding=True, factor=1.25)
    for token in range(7):
        rooms.encode_v1(x[token : token + 1], one, 3 + token, sequence=False, sliding=True, factor=1.25)
    np.testing.assert_array_equal(one.data, many.data)
    np.testing.assert_array_equal(one.norms, many.norms)
    values = codec.decode_v1(many.data, many.norms, name, dim, 1.25)
    for position in (0, 4):
        assert_close(rooms.decode_v1(many, position, 1.25), values[:, position])
    levels = {"tq4_v1": 0.11, "tq_hb5": 0.06, "tq_hb6": 0.03, "tq_hb8": 0.01}[name]
    rotated = codec.rotate(x).swapaxes(0, 1)
    found = np.roll(values, -3, axis=1)
    assert np.linalg.norm((found - rotated)[:, 5:]) < 1.3 * levels * np.linalg.norm(rotated[:, 5:])


# ---------------------------------------------------------------------------------------------- what they refuse


def refused(problem, module=decode, **kwargs):
    with pytest.raises(pyfa.DeviceError) as error:
        module.run(problem, **kwargs)
    return str(error.value)


@pytest.mark.parametrize(
    ("slot", "name"),
    [(1, "Q"), (2, "K"), (3, "K_norms"), (4, "V"), (5, "V_norms"), (6, "O"), (8, "kv_lens"), (9, "ring_starts"),
     (10, "sinks"), (11, "LSE"), (12, "signs")],
)  # fmt: skip
def test_short_buffers(monkeypatch, slot, name):
    cut_short(monkeypatch, slot)
    text = refused(MIXED.but(formats=("tq5", "tq6"), rotate=True, signs=2))
    assert "flash_attn_decode_f32_d64" in text
    assert f"slot {slot} ({name}): needs" in text
    assert "got" in text


def cut_short(monkeypatch, slot):
    """Bind a little less than there should be in a slot."""

    def kernel(_text, host_name, constants, _options=()):
        whole = NativeKernel(host_name, dict(constants))

        def short(slots, **launch):
            # Rows of Q and O have eight bytes behind them.
            missing = 9 if slot in (1, 6) else 1
            given = np.frombuffer(slots[slot].tobytes(), np.uint8)
            cut = given[:-missing].copy()
            whole(slots | {slot: cut}, **launch)

        return short

    monkeypatch.setattr(decode, "kernel", kernel)


@pytest.mark.parametrize(
    ("slot", "name"),
    [(2, "K"), (3, "K_norms"), (4, "V"), (5, "V_norms"), (14, "block_table"), (15, "alibi")],
)
def test_short_buffers_of_pages(monkeypatch, slot, name):
    cut_short(monkeypatch, slot)
    problem = MIXED.but(formats=("tq5", "tq6"), alibi="sequences").in_pages(25, "hnd")
    assert f"slot {slot} ({name}): needs" in refused(problem)


def test_pages_that_are_not_there():
    problem = MIXED.but(kv_lens=(0, 1, 33, 375)).in_pages(16, "nhd")
    x = decode.operands(problem)
    x.table[3, 20] = problem.columns * 4 + 2
    assert f"entry 20 of sequence 3: needs a page below {problem.columns * 4 + 2}, got" in refused(problem, x=x)


def test_parameters_that_no_kernel_can_follow():
    assert "heads mod kv_heads: needs 0, got 1" in refused(MIXED.but(heads=(5, 2)))
    assert "softcap: needs a finite number" in refused(MIXED.but(softcap=float("nan")))
    problem = vec.Problem("hb8", 64, kv_lens=(4,), capacity=4)
    assert "nwg: needs 1 to 32, got 33" in refused(problem.but(nwg=33), vec)
    assert "mask_type: needs 0 to 2, got 3" in refused(problem.but(mask_type=3), vec)


def test_bits_and_formats_that_are_not_offered(monkeypatch):
    monkeypatch.setitem(codec.FORMATS, "tq2", 9)
    assert "needs a format of fa_kv_format, got 9" in refused(MIXED.but(formats=("tq2", "f32")))
    monkeypatch.setattr(vec, "BITS", 50)
    problem = vec.Problem("hb8", 64, kv_lens=(4,), capacity=4)
    x = vec.operands(problem)
    monkeypatch.setattr(vec, "params", lambda _p: vec.struct("fa_vec_tq_hb_params", heads=2, kv_heads=1, head_dim=128))
    assert "head_dim: needs 64, got 128" in refused(problem, vec, x=x)


# --------------------------------------------------------------------------------------- every instruction set


def check_a_sample():
    """Compare a sample with the oracle, in a process that has its instruction set already."""
    with in_place_of_shaders():
        for number, name in enumerate(FORMATS):
            dim = HEAD_DIMS[number % 4]
            decode.check(MIXED.but(dim=dim, formats=(name, name)))
            decode.check(MIXED.but(dim=dim, formats=(name, "f32"), heads=(8, 1), q_len=1))
            decode.check(MIXED.but(dim=dim, formats=(name, name), alibi="heads").in_pages(20, "nhd"))
        for dtype in DTYPES:
            decode.check(MIXED.but(dim=128, formats=(dtype, dtype), dtype=dtype, splits=2))
        for family in vec.FAMILIES:
            vec.check(vec.Problem(family, 64, (4, 2), q_len=2, kv_lens=(0, 1, 90), capacity=90, nwg=32))
        for dim in HEAD_DIMS:
            test_rotation(dim)
            for name in ("q8", "tq3", "tq7", "tq8"):
                test_tokens_become_the_oracles_bytes_and_come_back(dim, name)


@pytest.mark.parametrize("isa", available())
def test_every_instruction_set(isa):
    code = "import pyfa; from tests.python import test_native_decode as t; print(pyfa.Device().info().isa); "
    code += "t.check_a_sample()"
    ran = run_with(isa, code)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == isa


def test_the_oracle_notices_a_wrong_answer():
    """The comparison that all of the above rests on can fail."""
    problem = MIXED.but(sinks=False)
    x = decode.operands(problem)
    out, _ = decode.run(problem, x)
    x.k = x.k * 1.001
    assert reference.error(out, decode.expected(problem, x)[0]) > 1e-5
