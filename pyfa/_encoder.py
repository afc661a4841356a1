"""Command encoders: work for a device, in the caller's order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from pyfa._buffer import Buffer
from pyfa._capture import OPS, UNITS, Capture
from pyfa._constants import Constants, encode_constants
from pyfa._device import Device, KernelRegistry, default_device
from pyfa._errors import invalid
from pyfa._ffi import CData, check, choose, ffi, integer, integers, lib, result, text
from pyfa._handle import Handle, live

if TYPE_CHECKING:
    from types import TracebackType

Argument: TypeAlias = "Buffer | bytes | bytearray | memoryview | np.generic"
OpKind = Literal["other", "sdpa", "softmax", "rms_norm", "elementwise_mul", "elementwise_add"]
GridUnit = Literal["threadgroups", "threads"]


@dataclass
class _InFlight:
    """What must outlive submitted work: the memory of wrapped arrays belongs to Python."""

    kept: list[object]
    pending: bool = False

    def finish(self, cdata: CData) -> None:
        """Release an encoder, but not the memory its work may still use."""
        if self.pending:
            lib.fa_encoder_wait(cdata)
        lib.fa_encoder_release(cdata)
        self.kept.clear()


class CommandEncoder(Handle):
    """Encodes dispatches into one command buffer, which is committed once.

    As a context manager it commits and waits at the end of the block, and gives up the work if the block raises.
    Dispatches may run in any order, also at once, unless a `barrier` or ``tracked=True`` orders them.

    Parameters
    ----------
    device : Device, optional
        What runs the work; `default_device` by default.
    label : str, optional
        Shown by Metal's tools.

    Notes
    -----
    Arrays and buffers given to an encoder are kept alive until it has been waited for or released, and releasing
    waits for work that was committed.

    Examples
    --------
    >>> q = pyfa.Buffer.zeros((1, 8, 5, 64), np.float32)
    >>> with pyfa.CommandEncoder() as encoder:
    ...     out = pyfa.ops.flash_attn_prefill(q, q, q, encoder=encoder)
    >>> out.shape
    (1, 8, 5, 64)
    """

    def __init__(self, device: Device | None = None, *, label: str | None = None) -> None:
        self._device = device or default_device()
        self._flight = _InFlight([])
        self._committed = False
        handle = live(self._device, "CommandEncoder")
        super().__init__(result("fa_encoder *", lib.fa_encoder_create, handle), self._flight.finish)
        if label is not None:
            self.set_label(label)

    def dispatch(
        self,
        kernel: str,
        arguments: Mapping[int, Argument],
        *,
        grid: int | Sequence[int],
        threads: int | Sequence[int],
        unit: GridUnit = "threadgroups",
        constants: Constants | None = None,
        threadgroup_bytes: Sequence[int] = (),
        writes: Collection[int] | None = None,
        tracked: bool = False,
        op: OpKind = "other",
        label: str | None = None,
        registry: KernelRegistry | None = None,
    ) -> None:
        """Encode one dispatch of any registered kernel.

        Parameters
        ----------
        kernel : str
            Host name.
        arguments : mapping of int to Buffer, bytes-like or NumPy scalar
            What is bound to each slot. Bytes are copied now, at most 4096; see `pack_struct`.
        grid : int or sequence of int
            Up to three extents, counted in `unit`.
        threads : int or sequence of int
            Threads of a threadgroup, up to three extents.
        unit : {"threadgroups", "threads"}
            What `grid` counts.
        constants : mapping, optional
            Function constants by index. Python's bool, int and float are Metal's ``bool``, ``int`` and ``float``; a
            NumPy scalar is what its dtype says.
        threadgroup_bytes : sequence of int
            Dynamic threadgroup memory of the slots 0 ... 3, multiples of 16.
        writes : collection of int, optional
            Slots the kernel writes to; the others are then only read. By default it may write to every buffer that is
            not read-only. Used by `tracked`.
        tracked : bool
            Put a barrier in front if this conflicts with an earlier dispatch.
        op : str
            What a capture says this is.
        label : str, optional
            Shown by Metal's tools.
        registry : KernelRegistry, optional
            Where the kernel is looked up; the device's own by default.

        Raises
        ------
        InvalidArgumentError
            An argument the kernel or the device cannot take, or an encoder that was committed.
        KernelNotFoundError
            No registered source has the kernel.
        CompileError
            It does not compile or specialise.
        """
        operation = "CommandEncoder.dispatch"
        handle = live(self, operation)
        raw = ffi.new("fa_dispatch *")
        name, shown = text(operation, "kernel", kernel), None if label is None else text(operation, "label", label)
        values = encode_constants(operation, constants)
        bound, kept = _encode_arguments(operation, arguments, writes)
        raw.kernel, raw.label = name, shown or ffi.NULL
        raw.constants, raw.constant_count = values, len(values)
        raw.arguments, raw.argument_count = bound, len(bound)
        raw.grid = _extents(operation, "grid", grid)
        raw.threads = _extents(operation, "threads", threads)
        memory = integers(operation, "threadgroup_bytes", threadgroup_bytes)
        if len(memory) > len(raw.threadgroup_bytes):
            raise invalid(
                operation, "threadgroup_bytes", f"at most {len(raw.threadgroup_bytes)} slots", str(len(memory))
            )
        raw.threadgroup_bytes = memory
        raw.unit = choose(operation, "unit", UNITS, unit)
        raw.op = choose(operation, "op", OPS, op)
        raw.tracked = bool(tracked)
        check(lib.fa_encoder_dispatch(handle, live(registry or self._device.registry, operation), raw))
        self.keep(*kept)

    def barrier(self) -> None:
        """Let later dispatches see the writes of earlier ones."""
        check(lib.fa_encoder_barrier(live(self, "CommandEncoder.barrier")))

    def set_label(self, label: str) -> None:
        """Name the command buffer for Metal's tools.

        Parameters
        ----------
        label : str
            The name.
        """
        operation = "CommandEncoder.set_label"
        check(lib.fa_encoder_set_label(live(self, operation), text(operation, "label", label)))

    def end(self) -> None:
        """End encoding without committing."""
        check(lib.fa_encoder_end(live(self, "CommandEncoder.end")))

    def commit(self) -> None:
        """Submit the work; an encoder is committed once."""
        check(lib.fa_encoder_commit(live(self, "CommandEncoder.commit")))
        self._committed = self._flight.pending = True

    def wait(self) -> None:
        """Wait for committed work and raise what the device made of it."""
        handle = live(self, "CommandEncoder.wait")
        flight = self._flight
        status = lib.fa_encoder_wait(handle)
        if self._committed:
            flight.pending = False
            flight.kept.clear()
        check(status)

    def commit_and_wait(self) -> None:
        """`commit`, then `wait`."""
        self.commit()
        self.wait()

    @property
    def device(self) -> Device:
        """What runs the work."""
        return self._device

    @property
    def committed(self) -> bool:
        """Whether the work was submitted."""
        return self._committed

    def gpu_time(self) -> tuple[float, float]:
        """Return when completed work started and ended on the device.

        Returns
        -------
        start, end : float
            Seconds, on the device's clock.
        """
        start, end = ffi.new("double *"), ffi.new("double *")
        check(lib.fa_encoder_gpu_time(live(self, "CommandEncoder.gpu_time"), start, end))
        return start[0], end[0]

    def start_capture(self) -> None:
        """Record dispatches and barriers from here on instead of encoding them."""
        check(lib.fa_encoder_start_capture(live(self, "CommandEncoder.start_capture")))

    def take_capture(self) -> Capture:
        """End recording.

        Returns
        -------
        Capture
            What was recorded since `start_capture`.
        """
        taken = result("fa_capture *", lib.fa_encoder_take_capture, live(self, "CommandEncoder.take_capture"))
        return Capture(taken, tuple(self._flight.kept))

    def replay(self, capture: Capture) -> None:
        """Encode everything that was recorded.

        Parameters
        ----------
        capture : Capture
            Of an encoder of the same device.
        """
        operation = "CommandEncoder.replay"
        if not isinstance(capture, Capture):
            raise invalid(operation, "capture", "a Capture", type(capture).__name__)
        check(lib.fa_encoder_replay(live(self, operation), live(capture, operation)))
        self.keep(*capture.kept)

    def keep(self, *objects: object) -> None:
        """Keep objects alive until the work has been waited for or given up.

        Parameters
        ----------
        *objects
            Such as the owner of memory that a buffer wraps.
        """
        self._flight.kept.extend(objects)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self.released and not self._committed:
                self.commit()
            if kind is None and self._flight.pending:
                self.wait()
        except BaseException:
            self.release()
            raise
        if kind is not None:
            self.release()


def _extents(operation: str, argument: str, extents: int | Sequence[int]) -> list[int]:
    sizes = integers(operation, argument, extents)
    if not 1 <= len(sizes) <= 3:
        raise invalid(operation, argument, "one to three extents", str(len(sizes)))
    return sizes + [1] * (3 - len(sizes))


def _encode_arguments(
    operation: str, arguments: Mapping[int, Argument], writes: Collection[int] | None
) -> tuple[CData, list[object]]:
    """Return an array of ``fa_argument``, and what it points into."""
    if not isinstance(arguments, Mapping):
        raise invalid(operation, "arguments", "a mapping of slots to values", type(arguments).__name__)
    if writes is not None and not set(writes) <= set(arguments):
        raise invalid(operation, "writes", f"slots of {sorted(arguments)}", str(sorted(writes)))
    array = ffi.new("fa_argument[]", len(arguments))
    kept: list[object] = []
    for entry, (slot, value) in zip(array, arguments.items(), strict=True):
        name = f"arguments[{slot}]"
        entry.slot = integer(operation, name, slot, 32)
        if isinstance(value, Buffer):
            entry.kind, entry.buffer = lib.FA_ARGUMENT_BUFFER, live(value, operation)
            if writes is None:
                entry.access = lib.FA_ACCESS_READ if value.read_only else lib.FA_ACCESS_READ_WRITE
            else:
                entry.access = lib.FA_ACCESS_READ_WRITE if slot in writes else lib.FA_ACCESS_READ
            kept.append(value)
        elif isinstance(value, (bytes, bytearray, memoryview, np.generic)):
            data = bytes(value.tobytes() if isinstance(value, np.generic) else value)
            memory = ffi.from_buffer(data)
            entry.kind, entry.bytes, entry.byte_count = lib.FA_ARGUMENT_BYTES, memory, len(data)
            kept.append(memory)
        else:
            raise invalid(operation, name, "a Buffer, bytes or a NumPy scalar", type(value).__name__)
    return array, kept
