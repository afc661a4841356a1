"""What the operations on caches have in common: one call, and how its options are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyfa._buffer import Buffer
from pyfa._device import Device, KernelRegistry, default_device
from pyfa._errors import invalid
from pyfa._ffi import CData, check, choices, ffi, integer, lib
from pyfa._handle import live
from pyfa.ops import _operands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyfa._encoder import CommandEncoder
    from pyfa.ops._operands import Operand

FORMATS = choices("fa_kv_format", "FA_KV_")
_INTEGERS, _ENCODER = ffi.typeof("int64_t[]"), ffi.typeof("fa_encoder **")


class Call:
    """One operation: encoded where an encoder is given, else run at once; and what it keeps alive."""

    __slots__ = ("device", "encoder", "kept", "operation", "registry")

    def __init__(
        self, operation: str, encoder: CommandEncoder | None, registry: KernelRegistry | None, device: Device | None
    ) -> None:
        self.operation = operation
        self.encoder = encoder
        self.device = encoder.device if encoder is not None else device or default_device()
        self.registry = registry or self.device.registry
        self.kept: list[Buffer | None] = []

    def handle(self, name: str, operand: object, *, written: bool = False) -> CData:
        """Return the handle of an operand, null for none; arrays are copied, and not written."""
        if isinstance(operand, Buffer):
            self.kept.append(operand)
            return live(operand, self.operation)
        if operand is None:
            return ffi.NULL
        if written:
            raise invalid(self.operation, name, "a Buffer", type(operand).__name__)
        buffer = _operands.buffer_of(_operands.checked(self.operation, name, operand), self.device)
        self.kept.append(buffer)
        return _operands.handle(buffer, self.operation)

    def new(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """Make a buffer for a result."""
        return Buffer.zeros(shape, dtype, device=self.device)

    def __call__(self, function: Any, *arguments: CData) -> None:
        """Encode, and run unless an encoder was given."""
        registry = live(self.registry, self.operation)
        if self.encoder is not None:
            check(function(live(self.encoder, self.operation), registry, *arguments))
            self.encoder.keep(*self.kept)
            return
        device, encoder = live(self.device, self.operation), ffi.new(_ENCODER)
        try:
            check(lib.fa_encoder_create(device, encoder))
            check(function(encoder[0], registry, *arguments))
            check(lib.fa_encoder_commit_and_wait(encoder[0]))
        finally:  # wherever an interrupt came
            if encoder[0]:
                lib.fa_encoder_release(encoder[0])

    def result(self, buffer: Buffer, given: object, like: Operand) -> Any:
        """Return what was computed, as the caller has its operands."""
        return buffer if self.encoder is not None else _operands.given_back(buffer, given, like)

    def attend(
        self,
        function: Any,
        arguments: Sequence[CData],
        buffers: CData,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        out: Buffer | None,
    ) -> Any:
        """Bind operands by name and run one of the decoding rooms; o and lse of the `outputs` go back."""
        for name, operand in inputs.items():
            if operand is not None:
                setattr(buffers, name, self.handle(name, operand))
        for name, buffer in outputs.items():
            if buffer is not None:
                self.kept.append(buffer)
                setattr(buffers, name, live(buffer, self.operation))
        self(function, *arguments, buffers)
        q, target, sums = inputs["q"], outputs["o"], outputs["lse"]
        first = self.result(target, out, q)
        return first if sums is None else (first, self.result(sums, None, q))


def rank_of(operation: str, name: str, operand: Operand, rank: int) -> tuple[int, ...]:
    """Return the shape of an operand of so many dimensions."""
    shape = _operands.checked(operation, name, operand).shape
    if len(shape) != rank:
        raise invalid(operation, name, f"{rank} dimensions", str(len(shape)))
    return shape


def per_sequence(operation: str, name: str, values: int | Sequence[int], batch: int) -> CData:
    """Return one integer for each sequence; a single one stands for all."""
    if isinstance(values, int) or np.ndim(values) == 0:
        return ffi.new(_INTEGERS, (integer(operation, name, values),) * batch)
    given = list(values)
    if len(given) != batch:
        raise invalid(operation, name, f"one for each of {batch} sequences", str(len(given)))
    return ffi.new(_INTEGERS, [integer(operation, name, value) for value in given])


def seed_of(operation: str, seed: int) -> int:
    """Return a seed of 64 bits."""
    number = integer(operation, "seed", seed, 65)
    if number < 0:
        raise invalid(operation, "seed", "0 to 2^64 - 1", str(number))
    return number


def choose_sizes(operation: str, raw: CData, sizes: Mapping[str, int | None], bits: int = 32) -> None:
    """Set what is given; in the struct, 0 leaves the choice to the library."""
    for name, value in sizes.items():
        if value is not None:
            setattr(raw, name, integer(operation, name, value, bits))
            if getattr(raw, name) == 0:
                raise invalid(operation, name, "1 or more", "0")
