"""Recorded work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from pyfa._ffi import CData, check, choices, ffi, lib, result, string
from pyfa._handle import Handle, live

OPS = choices("fa_op_kind", "FA_OP_")
UNITS = choices("fa_grid_unit", "FA_GRID_")
_OP_NAMES = {value: name for name, value in OPS.items()}
_UNIT_NAMES = {value: name for name, value in UNITS.items()}


@dataclass(frozen=True)
class CaptureNode:
    """One recorded dispatch, or a barrier (whose `kernel` is None)."""

    kernel: str | None
    op: str
    unit: str
    argument_count: int
    is_barrier: bool
    grid: tuple[int, int, int]
    threads: tuple[int, int, int]


class Capture(Handle, Sequence[CaptureNode]):
    """Dispatches and barriers recorded by `CommandEncoder.take_capture`, as a sequence of `CaptureNode`."""

    def __init__(self, cdata: CData, kept: Sequence[object]) -> None:
        super().__init__(cdata, lib.fa_capture_release)
        self._kept = kept

    @property
    def kept(self) -> Sequence[object]:
        """What the recorded dispatches use."""
        return self._kept

    def __len__(self) -> int:
        return int(result("uint64_t", lib.fa_capture_count, live(self, "Capture.len")))

    @overload
    def __getitem__(self, index: int) -> CaptureNode: ...

    @overload
    def __getitem__(self, index: slice) -> list[CaptureNode]: ...

    def __getitem__(self, index: int | slice) -> CaptureNode | list[CaptureNode]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        count = len(self)
        position = index + count if index < 0 else index
        if not 0 <= position < count:
            raise IndexError(f"Capture: index: needs {-count} ... {count - 1}, got {index}")
        raw = ffi.new("fa_node_info *")
        check(lib.fa_capture_node(live(self, "Capture.getitem"), position, raw))
        return CaptureNode(
            kernel=string(raw.kernel) if raw.kernel else None,
            op=_OP_NAMES[raw.op],
            unit=_UNIT_NAMES[raw.unit],
            argument_count=raw.argument_count,
            is_barrier=bool(raw.is_barrier),
            grid=tuple(raw.grid),
            threads=tuple(raw.threads),
        )

    def __iter__(self) -> Iterator[CaptureNode]:
        return (self[position] for position in range(len(self)))
