"""Kernels of your own: any Metal source, run on NumPy arrays, on a Mac and on Linux alike.

A `Library` is compiled source, a `Kernel` one of its functions with its function constants, and calling a kernel
dispatches it and waits. The names of Metal's scalar types, such as `uint` and `half`, are NumPy's types: as constants
and as arguments they say what a plain Python number leaves open.

Examples
--------
>>> library = pyfa.metal.Library('''
...     #include <metal_stdlib>
...     using namespace metal;
...     constant float factor [[function_constant(0)]];
...     kernel void scale(device float *x [[buffer(0)]], constant uint &count [[buffer(1)]],
...                       uint i [[thread_position_in_grid]]) {
...       if (i < count) x[i] *= factor;
...     }''')
>>> double = library.kernel("scale", {0: 2.0})
>>> x = np.arange(5, dtype=np.float32)
>>> double({0: x, 1: pyfa.metal.uint(4)}, threadgroups=1, threads=32)
>>> x
array([0., 2., 4., 6., 4.], dtype=float32)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from pyfa._buffer import Buffer
from pyfa._constants import Constants
from pyfa._device import Device, KernelRegistry, default_device
from pyfa._encoder import CommandEncoder
from pyfa._errors import invalid
from pyfa._ffi import ffi, integer
from pyfa._reflection import FunctionConstant, KernelArgument, arguments, functions

__all__ = [
    "Argument",
    "FunctionConstant",
    "Kernel",
    "KernelArgument",
    "Library",
    "bfloat",
    "boolean",
    "char",
    "float32",
    "half",
    "int32",
    "long",
    "short",
    "uchar",
    "uint",
    "ulong",
    "ushort",
]

boolean = np.bool_
char, short, int32, long = np.int8, np.int16, np.int32, np.int64
uchar, ushort, uint, ulong = np.uint8, np.uint16, np.uint32, np.uint64
half, bfloat, float32 = np.float16, ml_dtypes.bfloat16, np.float32

Argument: TypeAlias = Any
"""What a slot may be given: memory, which is an array or a `Buffer`, or a value: a bool, int, float or NumPy scalar, or
anything with bytes (PEP 688 has a type for that, in Python 3.12)."""

_SOURCE = "program_source"
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_LARGEST_VALUE = 4096  # bytes; Metal takes larger values in buffers only
_ALIGNMENT = 16  # bytes; no Metal type wants more
# What Metal has no type for: double, complex numbers, text, objects and dates.
_FOREIGN_KINDS = frozenset("cSUOmM")


class Library:
    """Compiled Metal source.

    Parameters
    ----------
    source : str
        Metal Shading Language, up to version 3.2. ``#include "name.h"`` finds the library's own shader headers.
    device : Device, optional
        What the kernels are for; `default_device` by default.
    macros : mapping of str to str, int, float or bool, optional
        What the preprocessor defines in front of the source.

    Raises
    ------
    CompileError
        The source does not compile; ``log`` names its lines as ``program_source:LINE:COLUMN``.
    InvalidArgumentError
        A source or macro that cannot be one.

    Examples
    --------
    >>> source = "kernel void fill(device TYPE *x [[buffer(0)]]) { *x = 7; }"
    >>> library = pyfa.metal.Library(source, macros={"TYPE": "int"})
    >>> x = np.zeros(1, np.int32)
    >>> library.kernel("fill")({0: x}, threadgroups=1, threads=1)
    >>> int(x[0])
    7
    >>> library.function_names
    ['fill']
    """

    def __init__(
        self,
        source: str,
        *,
        device: Device | None = None,
        macros: Mapping[str, str | float] | None = None,
    ) -> None:
        operation = "metal.Library"
        if not isinstance(source, str):
            raise invalid(operation, "source", "a str", type(source).__name__)
        self._device = device or default_device()
        self._registry = KernelRegistry(self._device)
        self._registry.register(_SOURCE, _definitions(operation, macros) + source)
        self._functions = functions(self._registry, _SOURCE)  # compiles the source

    @property
    def device(self) -> Device:
        """What the kernels run on."""
        return self._device

    @property
    def registry(self) -> KernelRegistry:
        """Where `CommandEncoder.dispatch` finds the kernels, for work of several dispatches."""
        return self._registry

    @property
    def function_names(self) -> list[str]:
        """Host names of the kernels, in alphabetical order."""
        return list(self._functions)

    @property
    def function_constants(self) -> dict[str, tuple[FunctionConstant, ...]]:
        """The function constants that each kernel uses, by rising index."""
        return dict(self._functions)

    def kernel(self, name: str, constants: Constants | None = None) -> Kernel:
        """Specialise a function and make it ready to run.

        Parameters
        ----------
        name : str
            Host name.
        constants : mapping, optional
            Function constants by index. Python's bool, int and float are Metal's ``bool``, ``int`` and ``float``; the
            types of this module say anything else: ``{50: pyfa.metal.uint(8)}``.

        Returns
        -------
        Kernel
            Compiled; the same function with other constants is another kernel.

        Raises
        ------
        KernelNotFoundError
            The source has no such function.
        CompileError
            It does not specialise: a constant is missing or has another type.
        """
        return Kernel(self, name, constants)

    def __repr__(self) -> str:
        return f"<pyfa.metal.Library on {self._device!r}>"


class Kernel:
    """A function of a `Library` with its function constants; made by `Library.kernel`, run by calling it."""

    def __init__(self, library: Library, name: str, constants: Constants | None = None) -> None:
        self._library = library
        self._name = name
        self._constants = dict(constants or {})
        self._arguments = arguments(library.registry, name, constants)

    @property
    def name(self) -> str:
        """Host name."""
        return self._name

    @property
    def arguments(self) -> tuple[KernelArgument, ...]:
        """What the kernel takes under its constants: buffers, then threadgroup memory, each by slot."""
        return self._arguments

    def __call__(
        self,
        arguments: Mapping[int, Argument],
        *,
        threads: int | Sequence[int],
        threadgroups: int | Sequence[int] | None = None,
        grid_threads: int | Sequence[int] | None = None,
        threadgroup_memory: Mapping[int, int] | None = None,
    ) -> None:
        """Dispatch the kernel and wait for it.

        Parameters
        ----------
        arguments : mapping of int to Argument
            What each buffer slot gets. A C-contiguous array or a `Buffer` is memory: what the kernel writes is there
            afterwards, unless it is read-only. The rest are values: Python's bool, int and float as Metal's ``bool``,
            ``int`` and ``float``; a NumPy scalar, structs (``np.void``) included; or anything with bytes, such as a
            ctypes structure.
        threads : int or sequence of int
            Threads of a threadgroup, up to three extents.
        threadgroups : int or sequence of int
            How many threadgroups, up to three extents; this or `grid_threads`.
        grid_threads : int or sequence of int
            How many threads in all, up to three extents; threadgroups at the edge are smaller.
        threadgroup_memory : mapping of int to int, optional
            Bytes of threadgroup memory for each threadgroup slot, multiples of 16.

        Raises
        ------
        InvalidArgumentError
            Something that cannot be bound, or a grid that cannot be.
        DeviceError
            The device refused or aborted the work: an argument is missing or too small, or the kernel failed.
        ShaderCheckError
            A race, an access out of bounds or a read of unset memory, where SoftMetal checks for them.
        """
        operation = "metal.Kernel"
        if (threadgroups is None) == (grid_threads is None):
            got = "neither" if grid_threads is None else "both"
            raise invalid(operation, "threadgroups", "either threadgroups or grid_threads", got)
        bound = _Arguments(operation, arguments, self._library.device)
        with CommandEncoder(self._library.device) as encoder:
            encoder.dispatch(
                self._name,
                bound.values,
                grid=threadgroups if grid_threads is None else grid_threads,  # type: ignore[arg-type]
                unit="threadgroups" if grid_threads is None else "threads",
                threads=threads,
                constants=self._constants,
                threadgroup_bytes=_memory(operation, threadgroup_memory),
                writes=bound.writes,
                registry=self._library.registry,
            )
        bound.copy_back()

    def __repr__(self) -> str:
        return f"<pyfa.metal.Kernel {self._name!r} constants={self._constants}>"


class _Arguments:
    """Arguments as an encoder takes them, and what is to be copied back."""

    def __init__(self, operation: str, arguments: Mapping[int, Argument], device: Device) -> None:
        if not isinstance(arguments, Mapping):
            raise invalid(operation, "arguments", "a mapping of slots to values", type(arguments).__name__)
        self.values: dict[int, Any] = {}
        self.writes: list[int] = []
        self._operation = operation
        self._device = device
        info = device.info()
        self._whole_pages = info.page_bytes if info.backend == "Metal" else 0
        self._arrays: list[tuple[npt.NDArray[Any], Buffer]] = []
        self._copies: list[tuple[npt.NDArray[Any], Buffer]] = []
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
        for array, buffer in self._copies:
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
            self._copies.append((array, buffer))
        return buffer

    def _value(self, name: str, value: object) -> bytes | Buffer:
        """Return a value's bytes, in a buffer if they are many."""
        if isinstance(value, np.generic):
            _check_dtype(self._operation, name, value.dtype)
            data = value.tobytes()
        elif isinstance(value, bool):
            data = boolean(value).tobytes()
        elif isinstance(value, int):
            data = int32(integer(self._operation, name, value, 32)).tobytes()
        elif isinstance(value, float):
            data = float32(value).tobytes()
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


def _memory(operation: str, sizes: Mapping[int, int] | None) -> list[int]:
    """Return bytes by slot, from slot 0 on."""
    slots = len(ffi.new("fa_dispatch *").threadgroup_bytes)
    memory = [0] * slots
    for slot, size in (sizes or {}).items():
        number = integer(operation, "threadgroup_memory", slot)
        if not 0 <= number < slots:
            raise invalid(operation, "threadgroup_memory", f"slots of 0 ... {slots - 1}", str(number))
        memory[number] = integer(operation, f"threadgroup_memory[{slot}]", size)
    return memory


def _definitions(operation: str, macros: Mapping[str, str | float] | None) -> str:
    """Return macros as text in front of a source whose lines keep their numbers."""
    if not macros:
        return ""
    lines: list[str] = []
    for name, value in macros.items():
        if not _IDENTIFIER.fullmatch(str(name)):
            raise invalid(operation, "macros", "names that are identifiers", repr(name))
        text = str(int(value)) if isinstance(value, bool) else str(value)
        if len(text.splitlines()) > 1:
            raise invalid(operation, f"macros[{name!r}]", "a number or one line of text", repr(value))
        lines.append(f"#define {name} {text}\n")
    return "".join(lines) + "#line 1\n"
