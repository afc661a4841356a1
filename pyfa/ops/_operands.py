"""Operands of the operations: arrays and buffers in, arrays or buffers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyfa import _dtypes
from pyfa._buffer import Buffer
from pyfa._errors import invalid
from pyfa._ffi import CData, ffi, integer
from pyfa._handle import live

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyfa._device import Device

Operand = Buffer | npt.NDArray[Any]


def checked(operation: str, name: str, operand: object) -> Operand:
    """Return an operand that is a buffer or an array."""
    if isinstance(operand, (Buffer, np.ndarray)):
        return operand
    raise invalid(operation, name, "a Buffer or a NumPy array", type(operand).__name__)


def element_type(operand: Operand) -> np.dtype[Any]:
    """Return what an operand holds: uint16 arrays hold the bits of bf16."""
    is_bits = not isinstance(operand, Buffer) and operand.dtype == _dtypes.UINT16
    return _dtypes.BFLOAT16 if is_bits else operand.dtype


def buffer_of(operand: Operand | None, device: Device) -> Buffer | None:
    """Return a buffer of an operand: itself, or a copy of an array; none of nothing, as no buffer is empty."""
    if operand is None or isinstance(operand, Buffer):
        return operand
    return Buffer.from_array(operand, dtype=element_type(operand), device=device) if operand.size else None


def handle(buffer: Buffer | None, operation: str) -> CData:
    """Return a buffer's handle, null for none."""
    return ffi.NULL if buffer is None else live(buffer, operation)


def given_back(buffer: Buffer, given: object, like: Operand) -> Operand:
    """Return a computed buffer as the caller's kind: what it passed, or an array where `like` was one."""
    if given is buffer or isinstance(like, Buffer):
        return buffer
    array = buffer.numpy()
    return array.view(np.uint16) if like.dtype == np.uint16 and array.dtype == _dtypes.BFLOAT16 else array


def output(operation: str, name: str, given: object) -> Buffer | None:
    """Return the buffer an operation is told to write."""
    if given is None or isinstance(given, Buffer):
        return given
    raise invalid(operation, name, "a Buffer", type(given).__name__)


def set_sizes(operation: str, raw: CData, problem: object, names: Iterable[str]) -> None:
    """Copy sizes of a problem into its struct."""
    for name in names:
        setattr(raw, name, integer(operation, name, getattr(problem, name)))


def set_strides(operation: str, raw: CData, problem: object, name: str) -> None:
    """Copy strides of a problem into its struct; the default ones, 0, are there."""
    given = getattr(problem, name)
    if given is getattr(type(problem), name):
        return
    strides = [integer(operation, name, stride) for stride in given]
    count = len(getattr(raw, name))
    if len(strides) != count:
        what = "batches, heads and rows" if count == 3 else "batches and heads"
        raise invalid(operation, name, f"strides of {what}", str(strides))
    setattr(raw, name, strides)


def number(operation: str, raw: CData, name: str, value: object) -> None:
    """Copy a number into a float field."""
    try:
        setattr(raw, name, value)
    except (TypeError, OverflowError):
        raise invalid(operation, name, "a number or None", repr(value)) from None


def plane_strides(shape: Sequence[int]) -> tuple[int, int]:
    """Return the strides of batches and heads of a contiguous ``[..., rows, columns]``; 0 where there is but one."""
    plane = shape[-2] * shape[-1]
    batch, heads = ((1, 1), (shape[0], 1), tuple(shape[:2]))[len(shape) - 2]
    return (0 if batch == 1 else heads * plane), (0 if heads == 1 else plane)
