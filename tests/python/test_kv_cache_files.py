"""Saved caches: what comes back, and what is refused without a change."""

from __future__ import annotations

import json
import sys
import zlib

import numpy as np
import pytest

import pyfa

safetensors = pytest.importorskip("safetensors.numpy")

from tests.python.test_kv_cache import cache_of, tokens  # noqa: E402 - after the check above


def filled(rng, name="tq6", count=5, **options):
    cache = pyfa.KVCache(2, 64, options.pop("capacity", 8), name, **options)
    cache.append(*tokens(rng, count, batch=cache.batch))
    return cache


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.safetensors"


@pytest.mark.parametrize("name", ["f32", "bf16", "q8", "tq3", ("f16", "tq7"), "tq4_v1", "tq_hb6"])
def test_round_trip(device, rng, path, name):
    cache = cache_of(device, name, batch=2, capacity=8)
    cache.append(*tokens(rng, 5, batch=2))
    cache.truncate(3, sequence=1)
    cache.save(path)
    back = pyfa.KVCache.load(path, device=device)
    assert back.header == cache.header
    assert back.ranges == cache.ranges
    assert back.capacity == 8
    for sequence in range(2):
        np.testing.assert_array_equal(back.dequantize(sequence), cache.dequantize(sequence))
    step = tokens(rng, 1, batch=2)
    q = rng.standard_normal((2, 4, 1, 64)).astype(np.float32)
    np.testing.assert_array_equal(back.attend(q, append=step), cache.attend(q, append=step))


def test_only_slots_in_use_are_written(rng, path):
    cache = filled(rng, "tq8", capacity=1000)
    cache.save(path)
    assert path.stat().st_size < 10 * cache.bytes_per_token + 4096
    assert pyfa.KVCache.load(path).capacity == 1000


def test_wrapped_ring_and_options(rng, path):
    cache = filled(rng, "tq5", 11, capacity=4, ring=True, window=3, seed=2**64 - 1, norms="f16", dtype=np.float16)
    cache.save(path)
    back = pyfa.KVCache.load(path)
    assert back.ranges == (range(7, 11),)
    assert back.header == cache.header
    np.testing.assert_array_equal(back.dequantize(), cache.dequantize())


def test_empty_cache(path):
    pyfa.KVCache(2, 64, 8).save(path)
    assert len(pyfa.KVCache.load(path)) == 0


def test_restore_takes_the_place_of_what_was_there(rng, path):
    saved, cache = filled(rng), filled(rng, count=7)
    saved.save(path)
    cache.restore(path)
    assert cache.ranges == saved.ranges
    np.testing.assert_array_equal(cache.dequantize(), saved.dequantize())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "tq5"}, "keys: expected tq5, as the cache has, got tq6"),
        ({"name": ("tq6", "f16")}, "values: expected f16, as the cache has, got tq6"),
        ({"seed": 4}, "seed: expected 4, as the cache has, got 0"),
        ({"norms": "f16"}, "norm_dtype: expected f16, as the cache has, got f32"),
        ({"ring": True}, "ring: expected True, as the cache has, got False"),
        ({"batch": 2}, "batch: expected 2, as the cache has, got 1"),
        ({"capacity": 4}, "capacity: expected at most 4 tokens, got 5"),
    ],
)
def test_caches_of_another_kind(rng, path, options, message):
    filled(rng).save(path)
    cache = filled(rng, options.pop("name", "tq6"), 2, **options)
    before = [cache.dequantize(i) for i in range(cache.batch)]
    with pytest.raises(pyfa.InvalidArgumentError, match=message):
        cache.restore(path)
    np.testing.assert_array_equal([cache.dequantize(i) for i in range(cache.batch)], before)


def rewritten(path, change, *, signed=True):
    """Change the header of a file; `signed` also gives it the checksum that belongs to it."""
    with _open(path) as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    header = json.loads(metadata["pyfa"])
    change(header, tensors)
    text = json.dumps(header, sort_keys=True)
    checksum = str(zlib.crc32(text.encode())) if signed else metadata["header_crc32"]
    safetensors.save_file(tensors, path, {"pyfa": text, "header_crc32": checksum})


def _open(path):
    import safetensors as library

    return library.safe_open(path, framework="numpy")


def table(header, _):
    header["keys"]["table_crc32"] ^= 1


def version(header, _):
    header["file_version"] = 2


def another_format(header, _):
    header["format"] = "something else"


def more_tokens(header, _):
    header["ends"] = [6]


def no_tokens(header, _):
    header["ends"] = None


def no_head_dim(header, _):
    del header["head_dim"]


def one_tensor_less(header, tensors):
    del tensors["v"]
    header["data_crc32"] = _crc(tensors)


def another_shape(header, tensors):
    tensors["k"] = tensors["k"][:, :, :, :-1].copy()
    header["data_crc32"] = _crc(tensors)


def _crc(tensors):
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name], zlib.crc32(name.encode(), total))
    return total


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (table, pyfa.UnsupportedError, "codes mean nothing without their table"),
        (version, pyfa.UnsupportedError, "expected a file of version 1, got 2"),
        (another_format, pyfa.FileError, "it is no saved cache"),
        (more_tokens, pyfa.FileError, r"its 5 slots do not hold the tokens \[0\] to \[6\]"),
        (no_tokens, pyfa.FileError, "does not say which tokens there are"),
        (one_tensor_less, pyfa.FileError, "it has tensors"),
        (another_shape, pyfa.FileError, "k has shape"),
    ],
)
def test_headers_that_do_not_fit(rng, path, change, error, message):
    filled(rng).save(path)
    rewritten(path, change)
    with pytest.raises(error, match=message):
        pyfa.KVCache.load(path)
    cache = filled(rng, count=2)
    before = cache.dequantize()
    with pytest.raises(error, match=message):
        cache.restore(path)
    np.testing.assert_array_equal(cache.dequantize(), before)


def test_header_without_a_size(rng, path):
    filled(rng).save(path)
    rewritten(path, no_head_dim)
    with pytest.raises(pyfa.FileError, match="its header cannot be used"):
        pyfa.KVCache.load(path)


def test_damage_is_found(rng, path):
    filled(rng).save(path)
    whole = path.read_bytes()
    rewritten(path, more_tokens, signed=False)
    with pytest.raises(pyfa.FileError, match="its header is damaged"):
        pyfa.KVCache.load(path)
    for size in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(pyfa.FileError, match="KVCache.load: path: expected a saved cache"):
            pyfa.KVCache.load(path)
    for at in (-1, -300):
        damaged = bytearray(whole)
        damaged[at] ^= 16
        path.write_bytes(damaged)
        with pytest.raises(pyfa.FileError, match="its data is damaged"):
            pyfa.KVCache.load(path)


def test_foreign_files(path):
    with pytest.raises(pyfa.FileError, match="path"):
        pyfa.KVCache.load(path)
    path.write_bytes(b"something else entirely, and long enough to look like a header")
    with pytest.raises(pyfa.FileError, match="path"):
        pyfa.KVCache.load(path)
    safetensors.save_file({"weights": np.ones(3, np.float32)}, path)
    with pytest.raises(pyfa.FileError, match="it is no saved cache"):
        pyfa.KVCache.load(path)


def test_a_file_that_cannot_be_written(rng, tmp_path):
    with pytest.raises(pyfa.FileError, match="path"):
        filled(rng).save(tmp_path / "no" / "cache.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_without_the_package(rng, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(pyfa.UnsupportedError, match="expected the package safetensors, got none"):
        filled(rng).save(path)
