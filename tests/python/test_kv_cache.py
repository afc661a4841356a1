"""KVCache: what it keeps, what it attends, and how it refuses."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import pyfa
from tests.python import codec_reference as codec
from tests.python import decode_reference as oracle
from tests.python.reference import DTYPES, TOLERANCE, attention
from tests.python.shader_devices import CHECKED, shader_device

FORMATS = ["f32", "f16", "bf16", "q8", *(f"tq{bits}" for bits in range(2, 9))]
VERSION_1 = ["tq4_v1", "tq_hb5", "tq_hb6", "tq_hb8"]
F32, F16, BF16 = DTYPES.values()


def tokens(rng, count, *, batch=1, kv_heads=2, head_dim=64, dtype=np.float32):
    return tuple(rng.standard_normal((2, batch, kv_heads, count, head_dim)).astype(dtype))


def cache_of(device, name="f32", *, capacity=16, kv_heads=2, head_dim=64, **options):
    return pyfa.KVCache(kv_heads, head_dim, capacity, name, device=device, **options)


def kept(x, name, **options):
    """What a cache stands for after x [..., D] was appended, by the oracle."""
    if name in ("f32", "f16", "bf16"):
        return x.astype(DTYPES[name]).astype(np.float64)
    if name in VERSION_1:
        data, norms = codec.encode_v1(x, name)
        return codec.unrotate(codec.decode_v1(data, norms, name, x.shape[-1]))
    data, norms = codec.encode(x, name, **options)
    return codec.decode(data, norms, name, x.shape[-1], seed=options.get("seed", 0))


def attended(cache, q, **options):
    """The oracle's output for what the cache says it holds."""
    k, v = cache.dequantize()
    return oracle.decode(q, k, v, [k.shape[2]] * len(k), mask_type=oracle.CAUSAL, **options)


def close(found, expected):
    bound = TOLERANCE[found.dtype]
    error = oracle.error(found.astype(np.float64), expected)
    assert error <= bound, f"error {error:.3g}, at most {bound:.3g} allowed"


@pytest.mark.parametrize("name", [*FORMATS, *VERSION_1])
def test_what_is_appended_comes_back(device, rng, name):
    k, v = tokens(rng, 5)
    cache = cache_of(device, name)
    cache.append(k[:, :, :3], v[:, :, :3])
    cache.append(k[:, :, 3:], v[:, :, 3:])
    found = cache.dequantize()
    for x, back in zip((k, v), found, strict=True):
        np.testing.assert_allclose(back, kept(x, name), rtol=0, atol=2e-6 * np.abs(x).max())
    assert len(cache) == 5
    assert cache.ranges == (range(5),)


@pytest.mark.parametrize(("name", "head_dim"), [("tq5", 128), ("tq_hb6", 512), ("tq4_v1", 512), ("q8", 256)])
def test_head_dimensions(device, rng, name, head_dim):
    k, v = tokens(rng, 3, head_dim=head_dim)
    cache = cache_of(device, name, head_dim=head_dim)
    cache.append(k, v)
    np.testing.assert_allclose(cache.dequantize()[1], kept(v, name), rtol=0, atol=4e-6 * np.abs(v).max())
    q = rng.standard_normal((1, 4, 2, head_dim)).astype(np.float32)
    close(cache.attend(q), attended(cache, q)[0])


@pytest.mark.parametrize("name", [("f16", "tq4"), ("tq8", "q8"), ("tq_hb8", "tq4_v1"), ("bf16", "tq_hb5")])
def test_keys_and_values_of_their_own_codecs(device, rng, name):
    k, v = tokens(rng, 4)
    cache = cache_of(device, name)
    cache.append(k, v)
    assert cache.codec == name
    for x, one, back in zip((k, v), name, cache.dequantize(), strict=True):
        np.testing.assert_allclose(back, kept(x, one), rtol=0, atol=2e-6 * np.abs(x).max())
    q = rng.standard_normal((1, 4, 1, 64)).astype(np.float32)
    close(cache.attend(q), attended(cache, q)[0])


@pytest.mark.parametrize("name", ["f32", "f16", "bf16", "tq8", "tq3", "tq4_v1", "tq_hb8"])
@pytest.mark.parametrize("q_len", [1, 5, 11])
def test_attend_agrees_with_the_oracle(device, rng, name, q_len):
    cache = cache_of(device, name, capacity=40)
    cache.append(*tokens(rng, 33))
    q = rng.standard_normal((1, 4, q_len, 64)).astype(np.float32)
    out, lse = cache.attend(q, return_lse=True)
    expected, expected_lse = attended(cache, q)
    close(out, expected)
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [F16, BF16])
@pytest.mark.parametrize("name", ["f32", "f16", "tq6", "tq_hb5"])
def test_queries_of_other_types(device, rng, name, dtype):
    cache = cache_of(device, name)
    cache.append(*tokens(rng, 9, dtype=dtype))
    q = rng.standard_normal((1, 4, 3, 64)).astype(dtype)
    out = cache.attend(q)
    assert out.dtype == dtype
    close(out, attended(cache, q)[0])


@pytest.mark.parametrize("name", ["f32", "tq8", "tq_hb8"])
def test_options_of_attend(device, rng, name):
    cache = cache_of(device, name, capacity=64)
    cache.append(*tokens(rng, 50))
    q = rng.standard_normal((1, 4, 3, 64)).astype(np.float32)
    sinks = rng.standard_normal(4).astype(np.float32)
    options = {"softcap": 5.0, "scale": 0.3}
    out, lse = cache.attend(q, sinks=sinks, window=7, return_lse=True, **options)
    k, v = cache.dequantize()
    expected = oracle.decode(q, k, v, [50], mask_type=oracle.WINDOW, window=7, sinks=sinks, **options)
    close(out, expected[0])
    np.testing.assert_allclose(lse, expected[1], rtol=0, atol=1e-5)
    close(cache.attend(q, causal=False), oracle.decode(q, k, v, [50])[0])


@pytest.mark.parametrize("name", ["f32", "tq4", "tq4_v1"])
def test_empty_cache_gives_zeros(device, name):
    out, lse = cache_of(device, name).attend(np.ones((1, 4, 2, 64), np.float32), return_lse=True)
    assert not out.any()
    assert np.isneginf(lse).all()


@pytest.mark.parametrize("name", ["f32", "tq8", "tq_hb6"])
@pytest.mark.parametrize("capacity", [1, 3, 4])
def test_ring_wraps_at_every_offset(device, rng, name, capacity):
    k, v = tokens(rng, 3 * capacity + 1)
    cache = cache_of(device, name, capacity=capacity, ring=True)
    q = rng.standard_normal((1, 4, 1, 64)).astype(np.float32)
    for end in range(1, k.shape[2] + 1):
        step = (k[:, :, end - 1 : end], v[:, :, end - 1 : end])
        out = cache.attend(q, append=step)
        begin = max(end - capacity, 0)
        assert cache.ranges == (range(begin, end),)
        found = cache.dequantize()
        for x, back in zip((k, v), found, strict=True):
            np.testing.assert_allclose(back, kept(x[:, :, begin:end], name), rtol=0, atol=2e-6 * np.abs(x).max())
        close(out, oracle.decode(q, *found, [end - begin])[0])


@pytest.mark.parametrize("name", ["f16", "tq5", "tq_hb8"])
def test_ring_takes_more_than_it_holds(device, rng, name):
    k, v = tokens(rng, 11)
    cache = cache_of(device, name, capacity=4, ring=True)
    cache.append(k, v)
    assert cache.ranges == (range(7, 11),)
    np.testing.assert_allclose(cache.dequantize()[0], kept(k[:, :, 7:], name), rtol=0, atol=2e-6 * np.abs(k).max())


@pytest.mark.parametrize("name", ["f32", "tq8", "tq_hb8"])
def test_sequences_of_different_lengths(device, rng, name):
    k, v = tokens(rng, 6, batch=3)
    cache = cache_of(device, name, batch=3)
    cache.append(k, v)
    cache.truncate(2, sequence=1)
    cache.truncate(0, sequence=2)
    assert [len(there) for there in cache.ranges] == [6, 2, 0]
    assert cache.dequantize(2)[0].shape == (2, 0, 64)
    for sequence, count in enumerate((6, 2)):
        back, _ = cache.dequantize(sequence)
        np.testing.assert_allclose(back, kept(k[sequence, :, :count], name), rtol=0, atol=2e-6 * np.abs(k).max())
    q = rng.standard_normal((3, 4, 2, 64)).astype(np.float32)
    padded = [np.stack([np.pad(x, ((0, 0), (0, 6 - x.shape[1]), (0, 0))) for x in half])
              for half in zip(*(cache.dequantize(i) for i in range(3)), strict=True)]  # fmt: skip
    expected = oracle.decode(q, *padded, [6, 2, 0], mask_type=oracle.CAUSAL)
    out, lse = cache.attend(q, return_lse=True)
    close(out, expected[0])
    np.testing.assert_allclose(lse, expected[1], rtol=0, atol=1e-5)
    with pytest.raises(pyfa.InvalidArgumentError, match=r"sequence: expected one, .* got \[6, 2, 0\] tokens"):
        cache.dequantize()


@pytest.mark.parametrize("name", ["f32", "tq6"])
def test_decode_of_a_text_is_its_prefill(device, rng, name):
    """Token by token through the cache, and at once over what the cache then stands for."""
    count = 512 if device.info().provider == "native" else 64
    k, v = tokens(rng, count)
    q = rng.standard_normal((1, 4, count, 64)).astype(np.float32)
    cache = cache_of(device, name, capacity=count)
    steps = []
    for first in range(0, count, 4):
        part = slice(first, first + 4)
        steps.append(cache.attend(q[:, :, part], append=(k[:, :, part], v[:, :, part])))
    whole = attention(q, *cache.dequantize(), causal=True)[0]
    close(np.concatenate(steps, axis=2), whole)
    close(cache.attend(q), whole)


@pytest.mark.parametrize("head_dim", [128, 256])
def test_bytes_of_a_token(head_dim):
    dense = pyfa.KVCache(8, head_dim, 4, "f16").bytes_per_token
    assert dense == 2 * 2 * 8 * head_dim
    for name, most in {"tq8": 0.52, "tq6": 0.395, "tq5": 0.33, "tq4": 0.27}.items():
        cache = pyfa.KVCache(8, head_dim, 4, name)
        assert cache.bytes_per_token <= most * dense
        assert cache.nbytes == 4 * cache.bytes_per_token


def test_growth_doubles_up_to_its_limit(device, rng):
    k, v = tokens(rng, 13)
    cache = cache_of(device, "tq8", capacity=2, max_capacity=13)
    seen = []
    for at in range(13):
        cache.append(k[:, :, at : at + 1], v[:, :, at : at + 1])
        seen.append(cache.capacity)
    assert seen == [2, 2, 4, 4, *[8] * 4, *[13] * 5]
    np.testing.assert_allclose(cache.dequantize()[0], kept(k, "tq8"), rtol=0, atol=2e-6 * np.abs(k).max())
    with pytest.raises(pyfa.InvalidArgumentError, match="at most 0 tokens, the room left of 13, got 1"):
        cache.append(k[:, :, :1], v[:, :, :1])


def test_copy_is_independent(device, rng):
    cache = cache_of(device, "tq4", batch=2)
    cache.append(*tokens(rng, 3, batch=2))
    twin = cache.copy()
    before = twin.dequantize()
    cache.append(*tokens(rng, 2, batch=2))
    cache.truncate(1)
    assert [len(cache), len(twin)] == [1, 3]
    np.testing.assert_array_equal(twin.dequantize(), before)
    twin.append(*tokens(rng, 2, batch=2))
    assert [len(cache), len(twin)] == [1, 5]


def test_rollback_and_go_on(device, rng):
    k, v = tokens(rng, 8)
    cache = cache_of(device, "f32", capacity=6, ring=True)
    cache.append(k[:, :, :7], v[:, :, :7])
    cache.truncate(4)
    assert cache.ranges == (range(1, 4),)
    cache.append(k[:, :, 4:6], v[:, :, 4:6])
    np.testing.assert_array_equal(cache.dequantize()[0], k[:, :, 1:6])
    with pytest.raises(pyfa.InvalidArgumentError, match="expected 1 to 6, the positions that sequence 0 has, got 0"):
        cache.truncate(0)
    with pytest.raises(pyfa.InvalidArgumentError, match="got 7"):
        cache.truncate(7)


def test_seeds_and_half_norms(device, rng):
    k, v = tokens(rng, 4)
    cache = cache_of(device, "tq6", seed=2**63 + 5, norms="f16")
    cache.append(k, v)
    expected = kept(k, "tq6", seed=2**63 + 5, norm_dtype=np.float16)
    np.testing.assert_allclose(cache.dequantize()[0], expected, rtol=0, atol=1e-5 * np.abs(k).max())
    other = cache_of(device, "tq6")
    other.append(k, v)
    assert (cache.buffers()["k"].read() != other.buffers()["k"].read()).any()
    assert cache.bytes_per_token == other.bytes_per_token - 2 * 2 * 2


def test_strides_and_single_sequences(device, rng):
    k, v = tokens(rng, 5)
    cache = cache_of(device, "tq8")
    swapped = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in (k, v)]
    cache.append(*swapped)
    plain = cache_of(device, "tq8")
    plain.append(k[0], v[0])
    np.testing.assert_array_equal(cache.dequantize(), plain.dequantize())
    q = rng.standard_normal((4, 2, 64)).astype(np.float32)
    out, lse = cache.attend(q, return_lse=True)
    assert (out.shape, lse.shape) == (q.shape, (4, 2))
    np.testing.assert_array_equal(out, cache.attend(q[None])[0])
    target = np.empty_like(q)
    assert cache.attend(q, out=target) is target
    np.testing.assert_array_equal(target, out)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_so(device, rng, bad):
    k, v = tokens(rng, 3)
    k[0, 1, 1, 7] = bad
    dense, coded = cache_of(device, "f32"), cache_of(device, "tq8")
    for cache in (dense, coded):
        cache.append(k, v)
    np.testing.assert_array_equal(dense.dequantize()[0], k)
    back = coded.dequantize()[0]
    assert np.isnan(back[0, 1, 1]).all()
    assert np.isfinite(np.delete(back.reshape(6, 64), 4, axis=0)).all()
    for cache in (dense, coded):
        cache.truncate(1)
        assert np.isfinite(cache.attend(np.ones((1, 4, 1, 64), np.float32))).all()


def test_explain_names_the_passes(device, rng):
    rooms = {}
    for name in ("f32", "tq4_v1", ("f16", "tq8")):
        cache = cache_of(device, name, capacity=600)
        cache.append(*tokens(rng, 600))
        for q_len in (8, 9):
            report = cache.explain(np.ones((1, 4, q_len, 64), np.float32))
            rooms[name, q_len] = list(dict.fromkeys(step.room for step in report.passes))
            assert (report.problem["keys"], report.problem["values"]) == cache.codec
            assert report.rejected
            assert str(report)
    merges = [] if device.info().provider == "native" else ["flash_attn_decode_merge"]
    for name in ("f32", "tq4_v1", ("f16", "tq8")):
        assert rooms[name, 8] == ["flash_attn_decode", *merges]
    assert rooms["f32", 9] == ["flash_attn_prefill"]
    for name in ("tq4_v1", ("f16", "tq8")):
        assert rooms[name, 9] == ["kv_decode", "flash_attn_prefill"]


def test_a_step_is_one_submission(device, rng):
    for name in ("f16", "tq8", "tq_hb5"):
        cache = cache_of(device, name, capacity=2000)
        cache.append(*tokens(rng, 1999))
        pyfa.reset_counters()
        cache.attend(np.ones((1, 4, 1, 64), np.float32), append=tokens(rng, 1))
        counted = pyfa.counters()
        assert (counted.command_buffers, counted.waits, counted.auto_barriers) == (1, 1, 0)
        # Between the stages: cast and encode for version 1, append and attend, attend and merge unless it is native.
        merges = device.info().provider != "native"
        assert counted.barriers == (3 if name == "tq_hb5" else 1) + merges


@pytest.mark.parametrize("name", ["f16", "tq5", "tq_hb6"])
def test_checks_find_nothing(rng, name):
    device = shader_device(**CHECKED)
    cache = cache_of(device, name, batch=2, capacity=8, ring=True)
    for count in (5, 1, 4):
        out = cache.attend(np.ones((2, 4, 1, 64), np.float32), append=tokens(rng, count, batch=2))
        assert np.isfinite(out).all()
    assert np.isfinite(cache.attend(np.ones((2, 4, 9, 64), np.float32))).all()


CONFIGURATIONS = {
    "head_dim: expected 64, 128, 256 or 512, got 96": {"head_dim": 96},
    "capacity: expected 1 or more, got 0": {"capacity": 0},
    "kv_heads: expected 1 to 2147483647, got -2": {"kv_heads": -2},
    "batch: expected 1 to 1024, got 1025": {"batch": 1025},
    "codec: expected one of .*, got 'tq9'": {"codec": "tq9"},
    "keys and values: expected a pair": {"codec": ("tq8",)},
    "max_capacity: expected 16 to 2147483647, got 8": {"max_capacity": 8},
    "max_capacity: expected none with a ring, got 32": {"max_capacity": 32, "ring": True},
    "window: expected 1 to 2147483647, got -4": {"window": -4},
    "seed: expected 0 with version 1 of the codec": {"codec": "tq_hb8", "seed": 3},
    "norms: expected f32 with version 1 of the codec": {"codec": "tq4_v1", "norms": "f16"},
    "norms: expected none for a cache that is not quantised": {"codec": "f16", "norms": "f16"},
    "seed: expected 0 to 2\\^64 - 1, got -1": {"seed": -1},
    "norms: expected one of 'f32', 'f16', got 'f64'": {"norms": "f64"},
}


@pytest.mark.parametrize("message", CONFIGURATIONS)
def test_configurations_that_cannot_be(message):
    options = {"kv_heads": 2, "head_dim": 64, "capacity": 16} | CONFIGURATIONS[message]
    with pytest.raises((pyfa.InvalidArgumentError, pyfa.UnsupportedError), match=message):
        pyfa.KVCache(**options)


def test_bad_tokens_leave_the_cache_as_it_was(device, rng):
    k, v = tokens(rng, 3)
    cache = cache_of(device, "tq8", capacity=4)
    cache.append(k, v)
    before = cache.dequantize()
    for message, pair in {
        r"k: expected \[1, 2, 2, 64\], got \[1, 3, 2, 64\]": tokens(rng, 2, kv_heads=3),
        r"v: expected \[1, 2, 1, 64\], got \[1, 2, 2, 64\]": (k[:, :, :1], v[:, :, :2]),
        "k: expected at most 1 tokens, the room left of 4, got 2": (k[:, :, :2], v[:, :, :2]),
        "k: expected 4 dimensions, got 2": (k[0, 0], v[0, 0]),
        "k: expected f32 or f16 or bf16, got u32": (k.view(np.uint32), v),
        "keys and values: expected a pair": (k,),
    }.items():
        with pytest.raises(pyfa.PyfaError, match=message):
            cache.attend(np.ones((1, 2, 1, 64), np.float32), append=pair)
        np.testing.assert_array_equal(cache.dequantize(), before)
    with pytest.raises(pyfa.InvalidArgumentError, match="q: expected a multiple of 2 heads, got 3"):
        cache.attend(np.ones((1, 3, 1, 64), np.float32), append=(k[:, :, :1], v[:, :, :1]))
    np.testing.assert_array_equal(cache.dequantize(), before)


QUERIES = {
    r"q: expected \[1, heads, queries, 64\], got \[2, 4, 1, 64\]": {"q": np.ones((2, 4, 1, 64), np.float32)},
    r"q: expected \[1, heads, queries, 64\], got \[1, 4, 1, 32\]": {"q": np.ones((1, 4, 1, 32), np.float32)},
    "q: expected f32 or f16 or bf16, got i32": {"q": np.ones((1, 4, 1, 64), np.int32)},
    "o: expected f32, got f16": {"out": np.ones((1, 4, 1, 64), np.float16)},
    r"o: expected \[1, 4, 1, 64\] as q, got \[1, 4, 2, 64\]": {"out": np.ones((1, 4, 2, 64), np.float32)},
    r"sinks: expected \[4\], one for each head, got \[3\]": {"sinks": np.ones(3, np.float32)},
    "sinks: expected f32, got f16": {"sinks": np.ones(4, np.float16)},
    "window: expected 1 or more keys, got 0": {"window": 0},
    "window: expected none unless causal, got 4": {"window": 4, "causal": False},
    "softcap: expected a finite number that is not negative": {"softcap": -1.0},
    "scale: expected a finite number other than 0, got nan": {"scale": np.nan},
}


@pytest.mark.parametrize("name", ["f32", "tq8"])
@pytest.mark.parametrize("message", QUERIES)
def test_bad_queries(rng, name, message):
    cache = pyfa.KVCache(2, 64, 8, name)
    cache.append(*tokens(rng, 3))
    options = {"q": np.ones((1, 4, 1, 64), np.float32)} | QUERIES[message]
    with pytest.raises(pyfa.PyfaError, match=message):
        cache.attend(**options)


def test_output_that_is_an_input(rng):
    cache = pyfa.KVCache(2, 64, 8, "f32")
    cache.append(*tokens(rng, 3))
    q = np.ones((1, 4, 1, 64), np.float32)
    with pytest.raises(pyfa.InvalidArgumentError, match="o: expected memory of its own, got memory it shares with q"):
        cache.attend(q, out=q)
    q.flags.writeable = False
    with pytest.raises(pyfa.InvalidArgumentError, match="o: expected a writable tensor"):
        cache.attend(np.ones_like(q), out=q)


def test_released_cache_is_refused():
    cache = pyfa.KVCache(2, 64, 8)
    cache.release()
    assert repr(cache) == "<pyfa.KVCache released>"
    with pytest.raises(pyfa.InvalidArgumentError, match="used after release"):
        cache.append(np.ones((1, 2, 1, 64), np.float32), np.ones((1, 2, 1, 64), np.float32))


def test_bits_of_bfloat16_are_bfloat16(device, rng):
    k, v = tokens(rng, 2, dtype=ml_dtypes.bfloat16)
    one, other = cache_of(device, "bf16"), cache_of(device, "bf16")
    one.append(k, v)
    other.append(k.view(np.uint16), v.view(np.uint16))
    np.testing.assert_array_equal(one.dequantize(), other.dequantize())
