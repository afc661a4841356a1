"""Function constants as the header's ``fa_constant``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from pyfa import _dtypes
from pyfa._errors import invalid
from pyfa._ffi import CData, ffi, integer, lib

Constant: TypeAlias = "bool | int | float | np.generic"
Constants: TypeAlias = "Mapping[int, Constant]"
"""Values by function-constant index. Python's bool, int and float are Metal's ``bool``, ``int`` (32 bits) and
``float``; a NumPy scalar is what its dtype says, so ``np.uint32(8)`` is a ``uint``."""

_PYTHON: dict[type, int] = {bool: lib.FA_CONSTANT_BOOL, int: lib.FA_CONSTANT_INT, float: lib.FA_CONSTANT_FLOAT}
_NUMPY: dict[np.dtype[Any], int] = {
    np.dtype(np.bool_): lib.FA_CONSTANT_BOOL,
    np.dtype(np.int8): lib.FA_CONSTANT_CHAR,
    np.dtype(np.uint8): lib.FA_CONSTANT_UCHAR,
    np.dtype(np.int16): lib.FA_CONSTANT_SHORT,
    np.dtype(np.uint16): lib.FA_CONSTANT_USHORT,
    np.dtype(np.int32): lib.FA_CONSTANT_INT,
    np.dtype(np.uint32): lib.FA_CONSTANT_UINT,
    np.dtype(np.int64): lib.FA_CONSTANT_LONG,
    np.dtype(np.uint64): lib.FA_CONSTANT_ULONG,
    np.dtype(np.float16): lib.FA_CONSTANT_HALF,
    _dtypes.BFLOAT16: lib.FA_CONSTANT_BFLOAT,
    np.dtype(np.float32): lib.FA_CONSTANT_FLOAT,
}


def encode_constants(operation: str, constants: Constants | None) -> CData:
    """Make an array of ``fa_constant``."""
    if constants is not None and not isinstance(constants, Mapping):
        raise invalid(operation, "constants", "a mapping of indices to values", repr(constants))
    values = dict(constants or {})
    array = ffi.new("fa_constant[]", len(values))
    for entry, (index, value) in zip(array, values.items(), strict=True):
        name = f"constants[{index}]"
        entry.index = _index(operation, index)
        # NumPy's float64 is a Python float too, but Metal has no such constant.
        kind = _NUMPY.get(value.dtype) if isinstance(value, np.generic) else _PYTHON.get(type(value))
        if kind is None:
            expected = "a bool, int, float or NumPy scalar of at most 64 bits, float64 excepted"
            raise invalid(operation, name, expected, repr(value))
        entry.type = kind
        if kind in (lib.FA_CONSTANT_HALF, lib.FA_CONSTANT_BFLOAT, lib.FA_CONSTANT_FLOAT):
            entry.real = float(value)
        elif kind == lib.FA_CONSTANT_ULONG:
            entry.integer = int(np.uint64(value).astype(np.int64))  # the same 64 bits
        else:
            entry.integer = integer(operation, name, int(value), 32 if type(value) is int else 64)
    return array


def _index(operation: str, index: object) -> int:
    number = integer(operation, "constants", index)
    if not 0 <= number < 1 << 16:
        raise invalid(operation, "constants", "indices of 0 ... 65535", str(number))
    return number
