"""What options of prefill cost: a mask and what is known of it, a window, a softcap, beside plain causal attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

import pyfa
from pyfa._bench.problem import DTYPES
from pyfa._bench.timing import Time, interleaved

from .prefill import TOLERANCE
from .shapes import Shape, prepared

WINDOW = 1024  # keys a row attends
SOFTCAP = 30.0
MIDDLE = Shape("variants", heads=8, kv_heads=8, length=2048, head_dim=128, causal=True)
LONG = replace(MIDDLE, heads=1, kv_heads=1, length=16384, head_dim=64)
MASK = 1.15  # times the time of the same attention without one


@dataclass(frozen=True)
class Variant:
    """A way to call the operation beside plain causal attention."""

    kind: Literal["mask", "softcap", "window"]
    name: str
    shape: Shape
    work: float
    """Attended pairs, in times of plain causal attention's."""
    limit: float | None = None
    """Most times the plain call's time it may take."""
    same: bool = False
    """Whether it computes the same as the plain call."""


VARIANTS = (
    Variant("mask", "bool causal mask, its tiles known", MIDDLE, 1.0, MASK, same=True),
    Variant("softcap", f"softcap {SOFTCAP:g}", MIDDLE, 1.0),
    Variant(
        "window",
        f"window of {WINDOW} keys",
        LONG,
        WINDOW * (2 * LONG.length - WINDOW + 1) / (LONG.length * (LONG.length + 1)),
    ),
)


@dataclass(frozen=True)
class Result:
    """One variant in one dtype."""

    variant: Variant
    dtype: str
    times: dict[str, Time]
    """Of "plain" and "variant"."""
    difference: float
    """Largest absolute difference from the plain result; 0 where another one is wanted."""

    @property
    def ratio(self) -> float:
        """Its time, in times of the plain call's."""
        return self.times["variant"].median / self.times["plain"].median

    @property
    def met(self) -> bool | None:
        """Whether it keeps within its limit, if it has one."""
        return None if self.variant.limit is None else self.ratio <= self.variant.limit

    @property
    def right(self) -> bool:
        """Whether both computed the same where they should; false for NaN."""
        return self.difference <= TOLERANCE[self.dtype]

    def record(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        return {
            "name": self.variant.name,
            "shape": str(self.variant.shape),
            "dtype": self.dtype,
            "ms": {name: 1e3 * time.median for name, time in self.times.items()},
            "ratio": self.ratio,
            "work": self.variant.work,
            "limit": self.variant.limit,
            "difference": self.difference,
        }


def measure(variant: Variant, dtype: str, rounds: int, block: float) -> Result:
    """Run the operation with and without an variant."""
    shape = variant.shape
    arrays = shape.operands(dtype)
    plain, expected = prepared(arrays, causal=True)
    changed, found = prepared(arrays, **_arguments(variant, dtype))
    times = interleaved({"plain": plain, "variant": changed}, rounds, block)
    difference = 0.0
    if variant.same:
        difference = float(np.abs(found.read().astype(np.float32) - expected.read().astype(np.float32)).max())
    return Result(variant, dtype, times, difference)


def _arguments(variant: Variant, dtype: str) -> dict[str, Any]:
    if variant.kind == "window":
        return {"causal": True, "window": (WINDOW - 1, 0)}
    if variant.kind == "softcap":
        return {"causal": True, "softcap": SOFTCAP}
    length = variant.shape.length
    problem = pyfa.ops.FlashAttnPrefillProblem(
        batch=variant.shape.batch,
        heads=variant.shape.heads,
        kv_heads=variant.shape.kv_heads,
        head_dim=variant.shape.head_dim,
        q_len=length,
        kv_len=length,
        dtype=DTYPES[dtype],
        mask="bool",
        mask_rank=2,
    )
    tile = pyfa.ops.flash_attn_prefill_explain(problem).passes[-1].tile
    mask = pyfa.Buffer.from_array(np.tri(length, dtype=np.bool_))
    return {"mask": mask, "blk": pyfa.ops.flash_attn_prefill_blk(mask, tile=(tile["BQ"], tile["BK"]))}
