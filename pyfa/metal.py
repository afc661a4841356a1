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
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from pyfa._constants import Constant
from pyfa._device import Device, KernelRegistry, default_device
from pyfa._encoder import CommandEncoder
from pyfa._errors import invalid
from pyfa._metal_arguments import Arguments, memory
from pyfa._reflection import FunctionConstant, KernelArgument, arguments, functions
from pyfa._shader_options import options

__all__ = [
    "Argument",
    "Function",
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
    "options",
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
# What Python's own numbers become, by the type a constant is declared with.
_INTEGERS: dict[str, type[np.integer[Any]]] = {
    "char": char,
    "short": short,
    "int": int32,
    "long": long,
    "uchar": uchar,
    "ushort": ushort,
    "uint": uint,
    "ulong": ulong,
}
_REALS: dict[str, Any] = {"half": half, "bfloat": bfloat, "float": float32}


class Library:
    """Compiled Metal source.

    Parameters
    ----------
    source : str
        Metal Shading Language, up to version 3.2. ``#include "name.h"`` finds the library's own shader headers.
    device : Device, optional
        What the kernels are for; `default_device` by default.
    defines : mapping of str to str, int, float or bool, optional
        What the preprocessor defines in front of the source.
    name : str, optional
        What errors and findings call the source; ``program_source`` by default.

    Raises
    ------
    CompileError
        The source does not compile; ``log`` names its lines as ``NAME:LINE:COLUMN``.
    InvalidArgumentError
        A source, macro or name that cannot be one.

    Examples
    --------
    >>> source = "kernel void fill(device TYPE *x [[buffer(0)]]) { *x = 7; }"
    >>> library = pyfa.metal.Library(source, defines={"TYPE": "int"})
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
        defines: Mapping[str, str | float] | None = None,
        name: str | None = None,
        device: Device | None = None,
    ) -> None:
        operation = "metal.Library"
        for argument, value in (("source", source), ("name", name or "")):
            if not isinstance(value, str):
                raise invalid(operation, argument, "a str", type(value).__name__)
        self._device = device or default_device()
        self._registry = KernelRegistry(self._device)
        self._registry.register(_SOURCE, _preamble(operation, defines, name) + source)
        constants = functions(self._registry, _SOURCE)  # compiles the source
        self._functions = {name: Function(self, name, found) for name, found in constants.items()}

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
    def functions(self) -> dict[str, Function]:
        """The kernels by host name, each with its function constants and arguments."""
        return dict(self._functions)

    def kernel(self, name: str, constants: Mapping[int | str, Constant] | None = None) -> Kernel:
        """Specialise a function and make it ready to run.

        Parameters
        ----------
        name : str
            Host name.
        constants : mapping, optional
            Function constants by index or name. Python's bool, int and float become what the constant is declared as,
            if that is of their kind; a value of one of this module's types is exactly that:
            ``{50: pyfa.metal.uint(8)}``.

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
        InvalidArgumentError
            A constant that the function does not have by that name, or a value its type cannot hold.
        """
        return Kernel(self, name, constants)

    def __repr__(self) -> str:
        return f"<pyfa.metal.Library on {self._device!r}>"


@dataclass(frozen=True)
class Function:
    """A kernel of a `Library` before it is specialised."""

    library: Library = field(repr=False)
    name: str
    """Host name."""
    constants: tuple[FunctionConstant, ...]
    """What it uses, by rising index."""

    @property
    def arguments(self) -> tuple[KernelArgument, ...]:
        """What it takes, buffers first, each by slot; a `CompileError` if it cannot do without constants."""
        return Kernel(self.library, self.name).arguments


class Kernel:
    """A function of a `Library` with its function constants; made by `Library.kernel`, run by calling it."""

    def __init__(self, library: Library, name: str, constants: Mapping[int | str, Constant] | None = None) -> None:
        self._library = library
        self._name = name
        self._given = dict(constants) if isinstance(constants, Mapping) else {}
        function = library.functions.get(name)
        self._constants = _by_index(function, constants) if function else {}  # a missing one has no arguments either
        self._arguments = arguments(library.registry, name, self._constants)

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
        buffers: Mapping[int, Argument],
        *,
        threads: int | Sequence[int],
        threadgroups: int | Sequence[int] | None = None,
        grid: int | Sequence[int] | None = None,
        threadgroup_memory: Mapping[int, int] | None = None,
        check: bool | None = None,
        encoder: CommandEncoder | None = None,
    ) -> None:
        """Dispatch the kernel and wait for it, or encode it only, if an encoder is given.

        Parameters
        ----------
        buffers : mapping of int to Argument
            What each buffer slot gets. A C-contiguous array or a `Buffer` is memory: what the kernel writes is there
            afterwards, unless it is read-only. The rest are values: Python's bool, int and float as Metal's ``bool``,
            ``int`` and ``float``; a NumPy scalar, structs (``np.void``) included; or anything with bytes, such as a
            ctypes structure.
        threads : int or sequence of int
            Threads of a threadgroup, up to three extents.
        threadgroups : int or sequence of int
            How many threadgroups, up to three extents; this or `grid`.
        grid : int or sequence of int
            How many threads in all, up to three extents; threadgroups at the edge are smaller.
        threadgroup_memory : mapping of int to int, optional
            Bytes of threadgroup memory for each threadgroup slot, multiples of 16.
        check : bool, optional
            Whether SoftMetal looks for mistakes, whatever its `options` say; of no effect on a Mac.
        encoder : CommandEncoder, optional
            Of the library's device. The kernel has not run when the call returns; arrays must be usable where they
            are, which is any aligned one on Linux.

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
        if (threadgroups is None) == (grid is None):
            raise invalid(
                operation, "threadgroups", "either threadgroups or grid", "neither" if grid is None else "both"
            )
        device = self._library.device
        bound = Arguments(operation, buffers, device)
        if encoder is not None and bound.copies:
            raise invalid(
                operation, "buffers", "with an encoder, Buffers or arrays of aligned memory", "an array to copy"
            )
        checks = (
            nullcontext() if check is None or device.info().backend == "Metal" else options(check=check, device=device)
        )
        with checks, nullcontext(encoder) if encoder else CommandEncoder(device) as work:
            work.dispatch(
                self._name,
                bound.values,
                grid=threadgroups if grid is None else grid,  # type: ignore[arg-type]
                unit="threadgroups" if grid is None else "threads",
                threads=threads,
                constants=self._constants,
                threadgroup_bytes=memory(operation, threadgroup_memory),
                writes=bound.writes,
                registry=self._library.registry,
            )
            work.keep(bound, self._library)
        if encoder is None:
            bound.copy_back()

    def __repr__(self) -> str:
        return f"<pyfa.metal.Kernel {self._name!r} constants={self._given}>"


def _by_index(function: Function, constants: Mapping[int | str, Constant] | None) -> dict[int, Constant]:
    """Return constants by index, Python's numbers as what they are declared to be."""
    operation = "metal.Library.kernel"
    if constants is not None and not isinstance(constants, Mapping):
        raise invalid(operation, "constants", "a mapping of indices or names to values", repr(constants))
    by_name = {each.name: each for each in function.constants}
    by_index = {each.index: each for each in function.constants}
    values: dict[int, Constant] = {}
    for key, value in (constants or {}).items():
        constant = by_name.get(key) if isinstance(key, str) else by_index.get(key)
        if constant is None and isinstance(key, str):
            names = ", ".join(by_name) or "none"
            raise invalid(operation, "constants", f"an index or one of the function's names ({names})", repr(key))
        index = constant.index if constant else key
        if index in values:
            raise invalid(operation, "constants", "each constant once", f"{key!r} besides {index}")
        values[index] = _declared(operation, constant, value) if constant else value  # type: ignore[index]
    return values


def _declared(operation: str, constant: FunctionConstant, value: Constant) -> Constant:
    """Return a value of the constant's type for a Python number of its kind, anything else as it is."""
    if type(value) is int and constant.type in _INTEGERS:
        limits = np.iinfo(_INTEGERS[constant.type])
        if not limits.min <= value <= limits.max:
            name = f"constants[{constant.name!r}]"
            raise invalid(operation, name, f"a {constant.type}, {limits.min} ... {limits.max}", str(value))
        return _INTEGERS[constant.type](value)
    if type(value) is float and constant.type in _REALS:
        real: Constant = _REALS[constant.type](value)
        return real
    return value


def _preamble(operation: str, defines: Mapping[str, str | float] | None, name: str | None) -> str:
    """Return text in front of a source that defines macros, and leaves its lines their numbers."""
    if name is not None and (not name or not name.isprintable() or set(name) & set('"\\')):
        raise invalid(operation, "name", "printable text without quotes and backslashes", repr(name))
    lines: list[str] = []
    for macro, value in (defines or {}).items():
        if not _IDENTIFIER.fullmatch(str(macro)):
            raise invalid(operation, "defines", "names that are identifiers", repr(macro))
        text = str(int(value)) if isinstance(value, bool) else str(value)
        if len(text.splitlines()) > 1:
            raise invalid(operation, f"defines[{macro!r}]", "a number or one line of text", repr(value))
        lines.append(f"#define {macro} {text}\n")
    if name is not None:
        lines.append(f'#line 1 "{name}"\n')
    elif lines:
        lines.append("#line 1\n")
    return "".join(lines)
