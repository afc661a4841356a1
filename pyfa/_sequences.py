"""Sequences of different lengths: starts, lengths and block tables, as a caller has them and as structs want them."""

from __future__ import annotations

from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from pyfa import _dlpack
from pyfa._buffer import Buffer
from pyfa._errors import invalid
from pyfa._ffi import CData, ffi

Integers: TypeAlias = Any
"""A sequence, an array, a `Buffer` or a DLPack tensor of integers."""

# What structs point into lives as long as they do.
_kept: WeakKeyDictionary[Any, list[CData]] = WeakKeyDictionary()


def integers(operation: str, name: str, values: Integers, rank: int) -> npt.NDArray[np.int64]:
    """Return integers of a caller as an array of so many dimensions."""
    try:
        if isinstance(values, Buffer):
            values = values.numpy()
        elif _dlpack.is_tensor(values) and not isinstance(values, np.ndarray):
            values = np.from_dlpack(values)
        array = np.asarray(values)
    except (ValueError, TypeError, BufferError, RuntimeError) as error:
        raise invalid(operation, name, f"integers in {rank} dimensions, in CPU memory", str(error)) from None
    if array.ndim != rank:
        raise invalid(operation, name, f"integers in {rank} dimensions", f"{array.ndim} dimensions")
    if array.dtype.kind not in "iu" and array.size:
        raise invalid(operation, name, "integers", str(array.dtype))
    return np.ascontiguousarray(array, np.int64)


def point(operation: str, raw: CData, name: str, values: Integers) -> npt.NDArray[np.int64] | None:
    """Set a pointer of a struct to one integer after the other."""
    if values is None:
        return None
    array = integers(operation, name, values, 1)
    # An empty array has no address, and null would say that there is none.
    _keep(raw, name, ffi.from_buffer("int64_t[]", array if array.size else np.zeros(1, np.int64)))
    return array


def point_to_table(operation: str, raw: CData, table: Integers) -> tuple[int, ...] | None:
    """Set `block_table` and `pages_per_sequence`; return the table's shape."""
    if table is None:
        return None
    array = integers(operation, "block_table", table, 2)
    # No page has a number beyond 32 bits; where an entry is not looked at, any will do.
    none = np.int64(0xFFFFFFFF)
    entries = np.where((array < 0) | (array > none), none, array).astype(np.uint32)
    raw.pages_per_sequence = array.shape[1]
    _keep(raw, "block_table", ffi.from_buffer("uint32_t[]", entries if entries.size else np.zeros(1, np.uint32)))
    return array.shape


def _keep(raw: CData, name: str, memory: CData) -> None:
    setattr(raw, name, memory)
    _kept.setdefault(raw, []).append(memory)
