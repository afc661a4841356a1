"""Caches in safetensors files: slots that are in use, and a header that says what they mean."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyfa._device import Device
from pyfa._errors import FileError, InvalidArgumentError, UnsupportedError, invalid
from pyfa._ffi import check, ffi, lib
from pyfa._handle import live

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyfa.kv_cache import KVCache

FORMAT = "pyfa.kv_cache"
VERSION = 1
_KEY = "pyfa"


def save(cache: KVCache, path: str | os.PathLike[str]) -> None:
    """Write a cache; the file takes its place when it is whole."""
    operation = "KVCache.save"
    file = _library(operation)
    ranges = cache.ranges
    used = _used(ranges, cache.capacity)
    tensors = {name: _bytes(buffer.numpy()[:, :, :used]) for name, buffer in cache.buffers().items()} if used else {}
    header = cache.header | {
        "format": FORMAT, "file_version": VERSION, "capacity": cache.capacity, "slots": used,
        "begins": [there.start for there in ranges], "ends": [there.stop for there in ranges],
        "data_crc32": _checksum(tensors),
    }  # fmt: skip
    metadata = {_KEY: json.dumps(header, sort_keys=True), "header_crc32": str(_header_checksum(header))}
    temporary = Path(f"{os.fspath(path)}.{os.getpid()}.tmp")
    try:
        file.save_file(tensors, temporary, metadata)
        temporary.replace(path)
    except (OSError, file.SafetensorError) as error:
        raise _failed(operation, path, str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def load(kind: type[KVCache], path: str | os.PathLike[str], device: Device | None) -> KVCache:
    """Make a cache as the file says, and fill it."""
    operation = "KVCache.load"
    header, tensors = _read(operation, path)
    try:
        cache = kind(
            header["kv_heads"], header["head_dim"], header["capacity"],
            (header["keys"]["codec"], header["values"]["codec"]), batch=header["batch"], ring=header["ring"],
            window=header["window"] or None, max_capacity=header["max_capacity"] or None, seed=header["seed"],
            norms=header["norm_dtype"], dtype=header["dtype"], device=device,
        )  # fmt: skip
    except (KeyError, TypeError, InvalidArgumentError) as error:
        raise _failed(operation, path, f"its header cannot be used: {error}") from error
    _compare_tables(operation, header, cache)
    _fill(operation, path, cache, header, tensors)
    return cache


def restore(cache: KVCache, path: str | os.PathLike[str]) -> None:
    """Fill a cache of the kind that the file says."""
    operation = "KVCache.restore"
    live(cache, operation)
    header, tensors = _read(operation, path)
    own = cache.header
    for name in ("batch", "kv_heads", "head_dim", "ring", "seed", "norm_dtype"):
        if header.get(name) != own[name]:
            raise invalid(operation, name, f"{own[name]}, as the cache has", str(header.get(name)))
    _compare_tables(operation, header, cache)
    capacity = header.get("capacity")
    if header.get("ring") and capacity != cache.capacity:
        raise invalid(operation, "capacity", f"{cache.capacity}, as the ring has", str(capacity))
    if header.get("slots", 0) > cache.capacity:
        raise invalid(operation, "capacity", f"at most {cache.capacity} tokens", str(header["slots"]))
    _fill(operation, path, cache, header, tensors)


def _compare_tables(operation: str, header: Mapping[str, Any], cache: KVCache) -> None:
    own = cache.header
    for half in ("keys", "values"):
        there = header.get(half)
        if not isinstance(there, dict) or there.get("codec") != own[half]["codec"]:
            codec = there.get("codec") if isinstance(there, dict) else there
            raise invalid(operation, half, f"{own[half]['codec']}, as the cache has", str(codec))
        if there != own[half]:
            text = f"{operation}: {half}: expected {own[half]}, got {there}: codes mean nothing without their table"
            raise UnsupportedError(text, operation=operation, argument=half)


def _fill(
    operation: str, path: object, cache: KVCache, header: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Check everything, then write."""
    used = header.get("slots")
    begins, ends = header.get("begins"), header.get("ends")
    buffers = cache.buffers()
    lists = all(isinstance(item, list) and all(type(entry) is int for entry in item) for item in (begins, ends))
    if type(used) is not int or not lists or len(begins) != cache.batch or len(ends) != cache.batch:  # type: ignore[arg-type]
        raise _failed(operation, path, "its header does not say which tokens there are")
    assert isinstance(begins, list) and isinstance(ends, list)  # noqa: S101, PT018 - as the check above has found
    ranges = [range(begin, end) for begin, end in zip(begins, ends, strict=True)]
    if used != _used(ranges, cache.capacity) or not 0 <= used <= cache.capacity:
        raise _failed(operation, path, f"its {used} slots do not hold the tokens {begins} to {ends}")
    if set(tensors) != (set(buffers) if used else set()):
        raise _failed(operation, path, f"it has tensors {sorted(tensors)}, not {sorted(buffers)}")
    for name, tensor in tensors.items():
        room = buffers[name].numpy()
        width = room[:, :, :1].nbytes // (room.shape[0] * room.shape[1])
        expected = (room.shape[0], room.shape[1], used, width)
        if tensor.shape != expected or tensor.dtype != np.uint8:
            raise _failed(operation, path, f"{name} has shape {list(tensor.shape)}, not {list(expected)} bytes")
    # Refused by the library before a byte changes; what comes after cannot fail.
    check(lib.fa_kv_cache_set_ranges(live(cache, operation), _int64(begins), _int64(ends), cache.batch))
    for name, tensor in tensors.items():
        room = buffers[name].numpy()
        room.view(np.uint8).reshape(*room.shape[:3], -1)[:, :, :used] = tensor


def _int64(values: list[int]) -> Any:
    return ffi.new("int64_t[]", values)


def _used(ranges: Iterable[range], capacity: int) -> int:
    """Slots from the first on that hold tokens: all of a ring that has wrapped."""
    return max(min(there.stop, capacity) for there in ranges)


def _bytes(slots: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    whole = np.ascontiguousarray(slots)
    return whole.view(np.uint8).reshape(*whole.shape[:3], -1)


def _checksum(tensors: Mapping[str, npt.NDArray[np.uint8]]) -> int:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].tobytes(), zlib.crc32(name.encode(), total))
    return total


def _header_checksum(header: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(header, sort_keys=True).encode())


def _library(operation: str) -> Any:
    """Return the safetensors package: NumPy's functions, and the names that stand above them."""
    try:
        import safetensors  # noqa: PLC0415 - needed for files alone
        import safetensors.numpy  # noqa: PLC0415
    except ImportError as error:
        text = f"{operation}: expected the package safetensors, got none: pip install safetensors"
        raise UnsupportedError(text, operation=operation, argument="") from error
    return SimpleNamespace(
        save_file=safetensors.numpy.save_file, open=safetensors.safe_open, SafetensorError=safetensors.SafetensorError
    )


def _read(operation: str, path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return header and tensors of a file that is whole."""
    library = _library(operation)
    try:
        with library.open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (OSError, library.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise _failed(operation, path, str(error)) from error
    try:
        header = json.loads(metadata[_KEY])
        known = header["format"] == FORMAT
        version = header["file_version"]
    except (KeyError, TypeError, ValueError) as error:
        raise _failed(operation, path, "it is no saved cache") from error
    if not known:
        raise _failed(operation, path, "it is no saved cache")
    if version != VERSION:
        text = f"{operation}: path: expected a file of version {VERSION}, got {version}"
        raise UnsupportedError(text, operation=operation, argument="path")
    if metadata.get("header_crc32") != str(_header_checksum(header)):
        raise _failed(operation, path, "its header is damaged")
    if header.get("data_crc32") != _checksum(tensors):
        raise _failed(operation, path, "its data is damaged")
    return header, tensors


def _failed(operation: str, path: object, reason: str) -> FileError:
    text = f"{operation}: path: expected a saved cache that can be used, got {path!s}: {reason}"
    return FileError(text, operation=operation, argument="path")
