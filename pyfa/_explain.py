"""What the library says it would do, as data and as a report."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """The problem that was asked about; lengths in rows, `q_offset` in keys."""

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    q_len: int
    kv_len: int
    dtype: str
    causal: bool
    q_offset: int
    window: tuple[int, int]
    """Keys before and after a row's position; -1: all."""
    scale: float
    softcap: float
    """0: none."""
    mask: str
    sinks: bool
    alibi: bool
    layout: str
    q_lens: tuple[int, ...] | None
    """Rows of each sequence of a packed batch."""
    kv_lens: tuple[int, ...] | None
    """Keys of each sequence, where they differ."""
    page_size: int
    """0: keys are not in pages."""

    def __str__(self) -> str:
        heads = f"H={self.heads}" + ("" if self.heads == self.kv_heads else f"/{self.kv_heads}")
        text = f"B={self.batch} {heads} qL={self.q_len} kL={self.kv_len} D={self.head_dim} {self.dtype} {self.layout}"
        if self.causal:
            text += ", causal" + self._offset
        if self.window != (-1, -1):
            left, right = ("all" if side < 0 else side for side in self.window)
            text += f", window ({left}, {right})" + self._offset
        if self.mask != "none":
            text += f", {self.mask} mask"
        if self.softcap:
            text += f", softcap {self.softcap:g}"
        if self.sinks:
            text += ", sinks"
        if self.alibi:
            text += ", alibi"
        if self.page_size:
            text += f", pages of {self.page_size} keys"
        return f"{text}, scale {self.scale:g}"

    @property
    def _offset(self) -> str:
        differ = self.q_lens is not None or self.kv_lens is not None
        return "" if differ else f" at offset {self.q_offset}"


@dataclass(frozen=True)
class FunctionConstant:
    """One function constant a kernel is specialised with."""

    index: int
    name: str
    value: bool | int | float


@dataclass(frozen=True)
class Pass:
    """One dispatch: `threadgroups` of `threads`, with dynamic `threadgroup_bytes` for each slot."""

    room: str
    kernel: str
    provider: str
    constants: tuple[FunctionConstant, ...]
    threadgroups: tuple[int, int, int]
    threads: tuple[int, int, int]
    threadgroup_bytes: tuple[int, ...]
    tile: dict[str, int]

    def __str__(self) -> str:
        grid, threads = (" x ".join(map(str, sizes)) for sizes in (self.threadgroups, self.threads))
        lines = [f"{self.kernel} ({self.provider}): {grid} threadgroups of {threads} threads"]
        if self.tile:
            lines.append("tile " + ", ".join(f"{name} {size}" for name, size in self.tile.items()))
        if self.constants:
            lines.append("constants " + ", ".join(f"{c.name}[{c.index}]={c.value}" for c in self.constants))
        if any(self.threadgroup_bytes):
            lines.append("threadgroup memory " + ", ".join(f"{size} bytes" for size in self.threadgroup_bytes))
        return "\n    ".join(lines)


@dataclass(frozen=True)
class Rejection:
    """A kernel that was considered, and why it does not serve."""

    kernel: str
    reason: str


@dataclass(frozen=True)
class Copy:
    """An operand whose memory cannot be used as it is."""

    operand: str
    bytes: int
    reason: str


@dataclass(frozen=True)
class Explanation:
    """What a call would do; ``str`` gives a report to read."""

    operation: str
    device: str
    backend: str
    provider: str
    isa: str
    problem: Any
    """A `Problem` of attention; of other operations its sizes by name, as a dict."""
    passes: tuple[Pass, ...]
    rejected: tuple[Rejection, ...]
    copies: tuple[Copy, ...]
    scratch_bytes: int

    @classmethod
    def from_json(cls, text: str) -> Explanation:
        """Read the library's JSON."""
        data: dict[str, Any] = json.loads(text)
        nested = {
            "problem": _problem(data["problem"]),
            "passes": tuple(_pass(entry) for entry in data["passes"]),
            "rejected": tuple(_pick(Rejection, entry) for entry in data["rejected"]),
            "copies": tuple(_pick(Copy, entry) for entry in data["copies"]),
        }
        return _pick(cls, data | nested)

    def __str__(self) -> str:
        isa = f", {self.isa}" if self.isa else ""
        lines = [
            f"{self.operation} on {self.device} ({self.backend}, {self.provider}{isa})",
            f"  problem: {self.problem}",
        ]
        lines += [f"  pass {number}: {step}" for number, step in enumerate(self.passes, 1)]
        lines += [f"  copies {copy.operand}, {copy.bytes} bytes: {copy.reason}" for copy in self.copies]
        if not self.copies:
            lines.append("  copies nothing")
        if self.scratch_bytes:
            lines.append(f"  scratch memory: {self.scratch_bytes} bytes")
        lines += [f"  not {kernels}: {reason}" for kernels, reason in self._reasons()]
        return "\n".join(lines)

    def _reasons(self) -> list[tuple[str, str]]:
        """Return the rejected kernels, those of one reason together, and the reason."""
        by_reason: dict[str, list[str]] = {}
        for entry in self.rejected:
            by_reason.setdefault(entry.reason, []).append(entry.kernel)
        return [(_listed(kernels), reason) for reason, kernels in by_reason.items()]


def _listed(kernels: list[str]) -> str:
    return kernels[0] if len(kernels) == 1 else f"{kernels[0]} and {len(kernels) - 1} more"


def _problem(data: dict[str, Any]) -> Problem | dict[str, Any]:
    if "kv_heads" not in data:
        return data
    lengths = {name: None if data[name] is None else tuple(data[name]) for name in ("q_lens", "kv_lens")}
    return _pick(Problem, data | lengths | {"window": tuple(data["window"])})


def _pick(kind: type[T], data: dict[str, Any]) -> T:
    """Make a dataclass of the keys it has fields for; a later library may tell more."""
    return kind(**{field.name: data[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def _pass(data: dict[str, Any]) -> Pass:
    nested = {
        "constants": tuple(_pick(FunctionConstant, entry) for entry in data["constants"]),
        "threadgroups": tuple(data["threadgroups"]),
        "threads": tuple(data["threads"]),
        "threadgroup_bytes": tuple(data["threadgroup_bytes"]),
    }
    return _pick(Pass, data | nested)
