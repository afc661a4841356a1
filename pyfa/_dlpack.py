"""DLPack tensors in CPU memory, read and given back without a copy and without importing their library.

NumPy can read neither bfloat16 nor newer tensors through DLPack, so the capsule is read here. The capsule is left
unconsumed: its own destructor frees the export when the operation has ended.
"""

from __future__ import annotations

import ctypes
import math
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt

from pyfa import _dtypes
from pyfa._errors import invalid, unsupported
from pyfa._ffi import CData, ffi

if TYPE_CHECKING:
    from collections.abc import Callable

# The stable part of DLPack's ABI; see https://dmlc.github.io/dlpack.
ffi.cdef(
    """
    typedef struct { void *data; int32_t device_type, device_id; int32_t ndim; uint8_t code, bits; uint16_t lanes;
                     int64_t *shape, *strides; uint64_t byte_offset; } pyfa_dl_tensor;
    typedef struct { uint32_t major, minor; void *context, *deleter; uint64_t flags;
                     pyfa_dl_tensor tensor; } pyfa_dl_versioned;
    """
)
_CPU = 1
_READ_ONLY = 1

_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_capsule_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))


@runtime_checkable
class SupportsDLPack(Protocol):
    """A tensor of any library that follows DLPack's Python protocol."""

    def __dlpack__(self, *, stream: Any = None) -> Any:
        """Export the tensor as a capsule."""

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Name the device its memory is on."""


def is_tensor(thing: object) -> TypeGuard[SupportsDLPack]:
    """Tell whether something follows the protocol; asking `typing` takes as long as the whole import."""
    return hasattr(thing, "__dlpack__") and hasattr(thing, "__dlpack_device__")


class Imported(NamedTuple):
    """A tensor's memory; valid while ``capsule`` lives."""

    data: CData
    code: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    read_only: bool
    capsule: object


def _struct(capsule: object) -> tuple[CData, bool]:
    """Return the tensor struct in an unconsumed capsule, and whether it is read-only."""
    name = _capsule_name(capsule)
    address = ffi.cast("void *", _capsule_pointer(capsule, name))
    if name == b"dltensor_versioned":
        versioned = ffi.cast("pyfa_dl_versioned *", address)
        return versioned.tensor, bool(versioned.flags & _READ_ONLY)
    return ffi.cast("pyfa_dl_tensor *", address), False


def _export(tensor: SupportsDLPack) -> object:
    """Ask for a versioned capsule, which tells read-only memory apart; older libraries have none."""
    try:
        return tensor.__dlpack__(max_version=(1, 0))  # type: ignore[call-arg]
    except TypeError:
        return tensor.__dlpack__()


def import_tensor(operation: str, argument: str, tensor: SupportsDLPack) -> Imported:
    """Describe the memory of a tensor that lives on the CPU."""
    device = int(tensor.__dlpack_device__()[0])
    if device != _CPU:
        raise unsupported(operation, argument, "a tensor in CPU memory", f"DLPack device type {device}")
    try:
        capsule = _export(tensor)
    except (BufferError, RuntimeError, ValueError) as error:
        raise invalid(operation, argument, "a tensor that its library can export", str(error)) from error
    struct, read_only = _struct(capsule)
    code = _dtypes.FROM_DLPACK.get((struct.code, struct.bits)) if struct.lanes == 1 else None
    if code is None:
        got = f"DLPack type code {struct.code} of {struct.bits} bits, {struct.lanes} lanes"
        raise _dtypes.unsupported_operand(operation, argument, got)
    shape = tuple(struct.shape[0 : struct.ndim])
    if struct.strides:
        strides = tuple(struct.strides[0 : struct.ndim])
    else:
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(struct.ndim))
    data = ffi.cast("char *", struct.data) + struct.byte_offset
    return Imported(data, code, shape, strides, read_only, capsule)


class _Bfloat16:
    """An exporter of bf16 arrays: NumPy's own capsule of their bits, marked as bfloat16."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._bits: Any = array.view(np.uint16)

    def __dlpack__(self, **options: Any) -> object:
        capsule: object = self._bits.__dlpack__(**options)
        struct, _ = _struct(capsule)
        struct.code, struct.bits = _dtypes.DLPACK[_dtypes.CODE[_dtypes.BFLOAT16]]
        return capsule

    def __dlpack_device__(self) -> tuple[Any, int]:
        device: tuple[Any, int] = self._bits.__dlpack_device__()
        return device


@lru_cache(maxsize=64)
def _from_dlpack(kind: type) -> Callable[[Any], Any] | None:
    """Find ``from_dlpack`` in the module that defines a tensor type or in one of its parents."""
    path = kind.__module__.split(".")
    for depth in range(len(path), 0, -1):
        found = getattr(sys.modules.get(".".join(path[:depth])), "from_dlpack", None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    return None


def importer(operation: str, argument: str, tensor: SupportsDLPack) -> Callable[[npt.NDArray[Any]], Any]:
    """Return what turns a fresh NumPy array into a tensor of the same library as ``tensor``, sharing memory."""
    namespace = getattr(tensor, "__array_namespace__", None)
    found = getattr(namespace(), "from_dlpack", None) if namespace else _from_dlpack(type(tensor))
    if found is None:
        kind = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
        raise invalid(operation, argument, "a tensor whose library has from_dlpack, for the result", kind)

    def convert(array: npt.NDArray[Any]) -> Any:
        return found(_Bfloat16(array) if array.dtype == _dtypes.BFLOAT16 else array)

    return convert
