"""What the command line's words mean: buffers, constants, extents, schedules."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfa import _dtypes, metal

# Metal's names.
TYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind) for name, kind in {"bool": metal.boolean, **metal._INTEGERS, **metal._REALS}.items()
}
_NAMES = {dtype.name: dtype for dtype in TYPES.values()}
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_ORDERS = ("forward", "reverse", "random")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class BufferSpec:
    """What a buffer slot gets: a file's array, a made one, or a value."""

    slot: int
    kind: str  # "file", "zeros", "arange" or "value"
    path: str = ""
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()
    scalar: np.generic | None = None

    def make(self) -> npt.NDArray[Any] | np.generic:
        """Return the array or value.

        Raises
        ------
        OSError, ValueError, MemoryError
            A file that is no array, or more than there is memory for.
        """
        if self.scalar is not None:
            return self.scalar
        if self.kind == "zeros":
            return np.zeros(self.shape, self.dtype)
        if self.kind == "arange":
            # Types without NumPy's arange (bfloat) and with few values (char) count as a conversion does.
            return np.arange(math.prod(self.shape)).astype(self.dtype or np.int32).reshape(self.shape)
        with Path(self.path).open("rb") as file:
            array = np.load(file, allow_pickle=False)
            if not isinstance(array, np.ndarray):
                array.close()
                raise ValueError("expected one array, as in a .npy file, got an archive")  # noqa: TRY004
        if array.dtype == np.dtype("V2"):
            array = array.view(_dtypes.BFLOAT16)  # how .npy keeps a bfloat
        return np.require(array, requirements=["C", "W", "O"])


def scalar(dtype: np.dtype[Any], word: str) -> np.generic:
    """Read a number as a type has it.

    Raises
    ------
    ValueError
        It is none, or out of the type's range.
    """
    if dtype.kind == "b":
        if word.lower() not in _TRUTH:
            raise ValueError(f"expected true, false, 1 or 0, got {word!r}")
        return np.bool_(_TRUTH[word.lower()])
    name = next(name for name, known in TYPES.items() if known == dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        try:
            number = int(word, 0)
        except ValueError:
            raise ValueError(f"expected a number of type {name}, got {word!r}") from None
        if not limits.min <= number <= limits.max:
            raise ValueError(f"expected a number of type {name} ({limits.min} … {limits.max}), got {word}")
        whole: np.generic = dtype.type(number)
        return whole
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"expected a number of type {name}, got {word!r}") from None
    with np.errstate(over="ignore"):
        result: np.generic = np.array([value], np.float64).astype(dtype)[0]
    if math.isfinite(value) and not math.isfinite(float(result)):
        raise ValueError(f"expected a number of type {name}, got {word}, which is beyond it")
    return result


def definition(word: str) -> tuple[str, str]:
    """Read ``NAME`` or ``NAME=VALUE``; without a value it is 1, as compilers have it."""
    name, equals, value = word.partition("=")
    if not _IDENTIFIER.fullmatch(name):
        raise argparse.ArgumentTypeError(f"expected NAME or NAME=VALUE with an identifier, got {word!r}")
    return name, value if equals else "1"


def constant(word: str) -> tuple[int | str, str]:
    """Read ``INDEX=VALUE`` or ``NAME=VALUE``; the value's type is the constant's."""
    key, equals, value = word.partition("=")
    if not equals or not value or not (_IDENTIFIER.fullmatch(key) or _digits(key)):
        raise argparse.ArgumentTypeError(f"expected INDEX=VALUE or NAME=VALUE, got {word!r}")
    return (int(key) if _digits(key) else key), value


def extents(word: str) -> tuple[int, ...]:
    """Read ``X``, ``X,Y`` or ``X,Y,Z``."""
    parts = word.split(",")
    if len(parts) > 3 or not all(_digits(part) and 0 < int(part) < 1 << 32 for part in parts):
        raise argparse.ArgumentTypeError(f"expected X, X,Y or X,Y,Z, each 1 or more, got {word!r}")
    return tuple(map(int, parts))


def count(word: str) -> int:
    """Read a number of 1 or more."""
    if not _digits(word) or not 0 < int(word) <= 1 << 20:
        raise argparse.ArgumentTypeError(f"expected a number of 1 … {1 << 20}, got {word!r}")
    return int(word)


def schedule(word: str) -> tuple[str, int]:
    """Read an order and, for ``random:SEED``, its seed."""
    order, colon, seed = word.partition(":")
    if order not in _ORDERS or (colon and (order != "random" or not _digits(seed) or int(seed) >= 1 << 64)):
        raise argparse.ArgumentTypeError(f"expected forward, reverse, random or random:SEED, got {word!r}")
    return order, int(seed or 0)


def slot_file(word: str) -> tuple[int, str]:
    """Read ``SLOT=FILE``."""
    slot, path = _slot(word, "SLOT=FILE")
    return slot, path


def slot_bytes(word: str) -> tuple[int, int]:
    """Read ``SLOT=BYTES``."""
    slot, size = _slot(word, "SLOT=BYTES")
    if not _digits(size) or int(size) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"expected SLOT=BYTES, got {word!r}")
    return slot, int(size)


def buffer(word: str) -> BufferSpec:
    """Read ``SLOT=`` and what it gets."""
    slot, spec = _slot(word, "SLOT=FILE.npy, SLOT=zeros:TYPE:SHAPE, SLOT=arange:TYPE:SHAPE or SLOT=value:TYPE:NUMBER")
    kind, *rest = spec.split(":")
    if kind not in ("zeros", "arange", "value"):
        return BufferSpec(slot, "file", path=spec)
    last = "NUMBER" if kind == "value" else "SHAPE"
    if len(rest) != 2:
        raise argparse.ArgumentTypeError(f"expected {kind}:TYPE:{last}, got {spec!r}")
    dtype = TYPES.get(rest[0]) or _NAMES.get(rest[0])
    if dtype is None:
        raise argparse.ArgumentTypeError(f"expected a type of Metal ({', '.join(TYPES)}), got {rest[0]!r}")
    if kind == "value":
        try:
            return BufferSpec(slot, kind, scalar=scalar(dtype, rest[1]))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    sizes = rest[1].split(",")
    if not all(_digits(size) and 0 < int(size) < 1 << 40 for size in sizes):
        raise argparse.ArgumentTypeError(f"expected a shape such as 64 or 4,8, got {rest[1]!r}")
    return BufferSpec(slot, kind, dtype=dtype, shape=tuple(map(int, sizes)))


def _slot(word: str, expected: str) -> tuple[int, str]:
    slot, equals, rest = word.partition("=")
    if not equals or not rest or not _digits(slot) or int(slot) >= 1 << 16:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {word!r}")
    return int(slot), rest


def _digits(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 20
