"""What a Metal kernel is called with, as an encoder takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfa._buffer import Buffer
from pyfa._device import Device
from pyfa._errors import invalid
from pyfa._ffi import ffi, integer

_LARGEST_VALUE = 4096  # bytes; Metal takes larger values in buffers only
_ALIGNMENT = 16  # bytes; no Metal type wants more
# What Metal has no type for: double, complex numbers, text, objects and dates.
_FOREIGN_KINDS = frozenset("cSUOmM")


class Arguments:
    """Arguments as an encoder takes them, and what is to be copied back."""

    def __init__(self, operation: str, arguments: Mapping[int, Any], device: Device) -> None:
        if not isinstance(arguments, Mapping):
            raise invalid(operation, "arguments", "a mapping of slots to values", type(arguments).__name__)
        self.values: dict[int, Any] = {}
        self.writes: list[int] = []
        self._operation = operation
        self._device = device
        info = device.info()
        self._whole_pages = info.page_bytes if info.backend == "Metal" else 0
        self._arrays: list[tuple[npt.NDArray[Any], Buffer]] = []
        self.copies: list[tuple[npt.NDArray[Any], Buffer]] = []
        for slot, value in arguments.items():
            name = f"arguments[{slot}]"
            if isinstance(value, np.ndarray):
                self.values[slot], writable = self._array(name, value), value.flags.writeable
            elif isinstance(value, Buffer):
                self.values[slot], writable = value, not value.read_only
            else:
                self.values[slot], writable = self._value(name, value), False
            if writable:
                self.writes.append(slot)

    def copy_back(self) -> None:
        for array, buffer in self.copies:
            array.reshape(-1).view(np.uint8)[:] = buffer.numpy()

    def _array(self, name: str, array: npt.NDArray[Any]) -> Buffer:
        """Return a buffer of an array's bytes: its own memory if the device can use that, else a copy."""
        _check_dtype(self._operation, name, array.dtype)
        if not array.flags.c_contiguous or not array.nbytes:
            got = f"strides {list(array.strides)} for shape {list(array.shape)}"
            raise invalid(self._operation, name, "a C-contiguous array that is not empty", got)
        for other, buffer in self._arrays:
            if array.ctypes.data == other.ctypes.data and array.nbytes == other.nbytes:
                return buffer
            if np.may_share_memory(array, other) and (array.flags.writeable or other.flags.writeable):
                raise invalid(self._operation, name, "memory of its own", "an array that overlaps another argument")
        content = array.reshape(-1).view(np.uint8)
        unit = self._whole_pages
        fits = (array.ctypes.data | array.nbytes) % unit == 0 if unit else array.ctypes.data % _ALIGNMENT == 0
        buffer = (Buffer.wrap if fits else Buffer.from_array)(content, device=self._device)
        self._arrays.append((array, buffer))
        if not fits and array.flags.writeable:
            self.copies.append((array, buffer))
        return buffer

    def _value(self, name: str, value: object) -> bytes | Buffer:
        """Return a value's bytes, in a buffer if they are many."""
        if isinstance(value, np.generic):
            _check_dtype(self._operation, name, value.dtype)
            data = value.tobytes()
        elif isinstance(value, bool):
            data = np.bool_(value).tobytes()
        elif isinstance(value, int):
            data = np.int32(integer(self._operation, name, value, 32)).tobytes()
        elif isinstance(value, float):
            data = np.float32(value).tobytes()
        else:
            try:
                data = bytes(memoryview(value))  # type: ignore[arg-type]
            except (TypeError, ValueError):
                expected = "a NumPy array, a Buffer, a number, or something with bytes"
                raise invalid(self._operation, name, expected, type(value).__name__) from None
        if len(data) <= _LARGEST_VALUE:
            return data
        return Buffer.from_array(np.frombuffer(data, np.uint8), device=self._device)


def _check_dtype(operation: str, name: str, dtype: np.dtype[Any]) -> None:
    """Refuse elements that no Metal type has, in structs too."""
    if dtype.subdtype is not None:
        dtype = dtype.subdtype[0]
    if dtype.fields is not None:
        for field in dtype.fields.values():
            _check_dtype(operation, name, field[0])
    elif dtype.kind in _FOREIGN_KINDS or (dtype.kind == "f" and dtype.itemsize > 4) or not dtype.isnative:
        raise invalid(operation, name, "a dtype that Metal has, such as float32", str(dtype))


def memory(operation: str, sizes: Mapping[int, int] | None) -> list[int]:
    """Return bytes by slot, from slot 0 on."""
    slots = len(ffi.new("fa_dispatch *").threadgroup_bytes)
    memory = [0] * slots
    for slot, size in (sizes or {}).items():
        number = integer(operation, "threadgroup_memory", slot)
        if not 0 <= number < slots:
            raise invalid(operation, "threadgroup_memory", f"slots of 0 ... {slots - 1}", str(number))
        memory[number] = integer(operation, f"threadgroup_memory[{slot}]", size)
    return memory
