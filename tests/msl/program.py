"""Small Metal programs with what they must give.

A program is one kernel and, beside it, a function of its inputs that says what the Metal Shading Language
Specification makes of them. Programs that belong together are an `Area`: one source, compiled once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

BFLOAT = np.dtype(ml_dtypes.bfloat16)

# Values are exact wherever a program does not say otherwise: nothing is fused or reordered.
HEADER = """\
#include <metal_stdlib>
#include <metal_simdgroup_matrix>
using namespace metal;
#pragma METAL fp math_mode(safe)
#pragma METAL fp contract(off)
"""

SCALARS: dict[str, np.dtype[Any]] = {
    "bool": np.dtype(np.bool_),
    "char": np.dtype(np.int8),
    "uchar": np.dtype(np.uint8),
    "short": np.dtype(np.int16),
    "ushort": np.dtype(np.uint16),
    "int": np.dtype(np.int32),
    "uint": np.dtype(np.uint32),
    "long": np.dtype(np.int64),
    "ulong": np.dtype(np.uint64),
    "half": np.dtype(np.float16),
    "bfloat": BFLOAT,
    "float": np.dtype(np.float32),
}
_NAMES = {dtype: name for name, dtype in SCALARS.items()}


def metal_type(array: np.ndarray) -> str:
    """The type of an array's elements; rows of 2, 3 or 4 are vectors, those of 3 packed ones."""
    name = _NAMES[array.dtype]
    if array.ndim == 1:
        return name
    width = array.shape[1]
    return f"packed_{name}3" if width == 3 else f"{name}{width}"


def storage(name: str, count: int) -> np.ndarray:
    """An array for elements of a type, filled with bytes that are no result."""
    scalar = name.removeprefix("packed_").rstrip("234")
    width = name[-1] if name[-1] in "234" else ""
    shape = (count, int(width)) if width else (count,)
    assert width != "3" or name.startswith("packed_"), "a vector of 3 has a hole; give its packed type"
    dtype = SCALARS[scalar]
    return np.frombuffer(b"\xa5" * (math.prod(shape) * dtype.itemsize), dtype).reshape(shape).copy()


# ---------------------------------------------------------------------------------------------------- comparing


def exact(found: np.ndarray, expected: np.ndarray) -> None:
    """The same values, signs of zeros included; one NaN is as good as another."""
    assert expected.dtype == found.dtype, f"the expected values are {expected.dtype}, the results {found.dtype}"
    assert expected.shape == found.shape
    if found.dtype.kind in "fV":
        wide, wanted = found.astype(np.float64), expected.astype(np.float64)
        same = (wide == wanted) & (np.signbit(wide) == np.signbit(wanted)) | np.isnan(wide) & np.isnan(wanted)
    else:
        same = found == expected
    wrong = np.argwhere(~same)
    assert not len(wrong), (
        f"at {wrong[:4].tolist()} of {len(wrong)}: {found[~same][:4]}, expected {expected[~same][:4]}"
    )


def ulps(limit: float, at_least: float = 0.0) -> Callable[[np.ndarray, np.ndarray], None]:
    """Within so many units in the last place of the true values, or so much in all; denormals may be flushed."""

    def compare(found: np.ndarray, expected: np.ndarray) -> None:
        assert expected.dtype == np.float64, "true values are wider than results"
        assert expected.shape == found.shape
        bits, least = {"float16": (10, 2.0**-14), "float32": (23, 2.0**-126), "bfloat16": (7, 2.0**-126)}[
            found.dtype.name
        ]
        wide = found.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            size = np.abs(expected)
            unit = 2.0 ** (np.floor(np.log2(np.where(size < least, least, size))) - bits)
            slack = np.maximum(limit * unit, at_least) + np.where(size < 2 * least, least, 0.0)
            same = np.abs(wide - expected) <= slack
            rounded = expected.astype(found.dtype).astype(np.float64)
        same |= (wide == rounded) | np.isnan(wide) & np.isnan(expected)
        wrong = np.argwhere(~same)
        assert not len(wrong), (
            f"at {wrong[:4].tolist()} of {len(wrong)}: {wide[~same][:4]}, expected {expected[~same][:4]}"
        )

    return compare


def columns(*compares: Callable[[np.ndarray, np.ndarray], None]) -> Callable[[np.ndarray, np.ndarray], None]:
    """One comparison for each column."""

    def compare(found: np.ndarray, expected: np.ndarray) -> None:
        assert found.shape == expected.shape
        for column, one in enumerate(compares):
            one(found[:, column], expected[:, column])

    return compare


# ------------------------------------------------------------------------------------------------------ programs


@dataclass(frozen=True)
class Program:
    """One kernel: what it is given at slots 1, 2 ..., what comes back at slot 0, and how it is dispatched."""

    area: Area
    name: str
    out: np.ndarray
    inputs: Mapping[str, Any]
    expected: Callable[..., np.ndarray]
    dispatch: Mapping[str, Any]
    constants: Mapping[int, Any] = field(default_factory=dict)
    compare: Callable[[np.ndarray, np.ndarray], None] = exact

    def __str__(self) -> str:
        return f"{self.area.name}-{self.name}"

    def check(self, kernel: Callable[..., None]) -> None:
        """Run the program's kernel and compare."""
        found = self.out.copy()
        given = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in self.inputs.items()}
        kernel(dict(enumerate([found, *given.values()])), **self.dispatch)
        with np.errstate(all="ignore"):
            self.compare(found, np.asarray(self.expected(**self.inputs)))


class Area:
    """Programs that share one source."""

    def __init__(self, name: str, prelude: str = "") -> None:
        self.name = name
        self.programs: list[Program] = []
        self._texts = [HEADER, prelude]

    @property
    def source(self) -> str:
        """What is compiled."""
        return "\n".join(self._texts)

    def kernel(
        self,
        text: str,
        out: tuple[str, int] | np.ndarray,
        *,
        inputs: Mapping[str, Any] | None = None,
        constants: Mapping[int, Any] | None = None,
        compare: Callable[[np.ndarray, np.ndarray], None] = exact,
        host_name: str | None = None,
        threads: int | Sequence[int] = 32,
        threadgroups: int | Sequence[int] | None = None,
        grid: int | Sequence[int] | None = None,
        memory: Mapping[int, int] | None = None,
    ) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
        """A kernel in full. The function beside it has its name; `out` is what slot 0 holds before, or its type."""

        def add(expected: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
            name = host_name or expected.__name__
            assert name in text or any(name in earlier for earlier in self._texts), f"no kernel {name}"
            assert name not in [program.name for program in self.programs], f"{name} twice"
            self._texts.append(text)
            dispatch: dict[str, Any] = {"threads": threads}
            if grid is None:
                dispatch["threadgroups"] = 1 if threadgroups is None else threadgroups
            else:
                dispatch["grid"] = grid
            if memory is not None:
                dispatch["threadgroup_memory"] = memory
            prepared = out if isinstance(out, np.ndarray) else storage(*out)
            program = Program(
                self, name, prepared, dict(inputs or {}), expected, dispatch, dict(constants or {}), compare
            )
            self.programs.append(program)
            return expected

        return add

    def each(
        self,
        out: str,
        body: str,
        *,
        compare: Callable[[np.ndarray, np.ndarray], None] = exact,
        name: str | None = None,
        **inputs: np.ndarray,
    ) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
        """A kernel by its body, run for every index `i` of its inputs; the body sets `r`, of type `out`."""
        count = len(next(iter(inputs.values())))

        def add(expected: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
            title = name or expected.__name__
            arguments = "".join(
                f"    device const {metal_type(array)} *{argument}s [[buffer({slot})]],\n"
                for slot, (argument, array) in enumerate(inputs.items(), 1)
            )
            loads = "".join(
                f"  const {metal_type(array).removeprefix('packed_')} {argument} = {argument}s[i];\n"
                for argument, array in inputs.items()
            )
            plain = out.removeprefix("packed_")
            text = (
                f"kernel void {title}(\n    device {out} *out [[buffer(0)]],\n{arguments}"
                f"    uint i [[thread_position_in_grid]]) {{\n{loads}  {plain} r;\n  {body}\n  out[i] = r;\n}}\n"
            )
            self.kernel(
                text,
                (out, count),
                inputs=inputs,
                compare=compare,
                host_name=title,
                threads=min(count, 64),
                grid=count,
            )(expected)
            return expected

        return add
