"""Prefill beside PyTorch's CPU attention: the operation on prepared buffers, and `pyfa.attention` end to end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import pyfa
from pyfa._bench.contenders import fastest_torch, torch_tensor
from pyfa._bench.timing import Time, interleaved

from .shapes import prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyfa._bench.peak import Peak

    from .shapes import Shape

# Largest difference from torch that rounding explains: results are below 8, about two units in the last place each.
TOLERANCE = {"f32": 1e-5, "f16": 4e-3, "bf16": 4e-2}
TARGET = 1.0  # not slower than torch


@dataclass(frozen=True)
class Goal:
    """What a large problem should reach."""

    over_torch: float
    of_peak: float


GOALS = {"bf16": Goal(5.0, 0.75), "f16": Goal(4.0, 0.8), "f32": Goal(2.7, 0.8)}
# Without AVX-512, two dtypes are converted to the arithmetic of the third.
AVX2_GOAL = Goal(1.3, 0.8)


def goal(dtype: str, isa: str) -> Goal:
    """Return the goal of a dtype on an instruction set."""
    return AVX2_GOAL if isa == "x86-64-v3" else GOALS[dtype]


@dataclass(frozen=True)
class Result:
    """One problem in one dtype."""

    shape: Shape
    dtype: str
    times: dict[str, Time]
    """Of "op", "attention" and "torch"; of "peak" where there is a loop for it."""
    difference: float
    """Largest absolute difference between pyfa's and torch's result."""
    isa: str
    peak: float | None = None
    """Most billions of operations in a second that the machine did in the same run, where known."""

    def ratio(self, contender: str) -> float:
        """How many times as fast as torch."""
        return self.times["torch"].median / self.times[contender].median

    def gflops(self, contender: str) -> float:
        """Billions of operations in a second."""
        return self.shape.flops / self.times[contender].median / 1e9

    @property
    def of_peak(self) -> float | None:
        """The operation's share of the peak."""
        return self.gflops("op") / self.peak if self.peak else None

    @property
    def peak_over_torch(self) -> float | None:
        """How many times as fast as torch anything could be here."""
        return self.peak / self.gflops("torch") if self.peak else None

    @property
    def met(self) -> bool:
        """Whether neither way of calling is slower than torch, and a large problem reaches its goal.

        The share of the peak decides where it is known: how fast torch is depends on the machine.
        """
        if min(self.ratio("op"), self.ratio("attention")) < TARGET:
            return False
        wanted, share = goal(self.dtype, self.isa), self.of_peak
        reached = self.ratio("op") >= wanted.over_torch if share is None else share >= wanted.of_peak
        return reached or not self.shape.large

    @property
    def right(self) -> bool:
        """Whether both computed the same; false for NaN."""
        return self.difference <= TOLERANCE[self.dtype]

    def record(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        times = {
            name: {
                "ms": 1e3 * time.median,
                "ms_quartiles": [1e3 * time.lower, 1e3 * time.upper],
                "gflops": self.gflops(name),
            }
            for name, time in self.times.items()
            if name != "peak"
        }
        return {
            "name": self.shape.name,
            "shape": str(self.shape),
            "dtype": self.dtype,
            "times": times,
            "op_over_torch": self.ratio("op"),
            "attention_over_torch": self.ratio("attention"),
            "peak_gflops": self.peak,
            "of_peak": self.of_peak,
            "peak_over_torch": self.peak_over_torch,
            "met": self.met,
            "difference": self.difference,
        }


def measure(shape: Shape, dtype: str, rounds: int, block: float, peak: Peak) -> Result:
    """Run one problem with every contender, the machine's peak among them."""
    q, k, v = shape.operands(dtype)
    op, out = prepared([q, k, v], causal=shape.causal)
    theirs = fastest_torch(*(torch_tensor(x) for x in (q, k, v)), causal=shape.causal)
    calls: dict[str, Callable[[], object]] = {
        "op": op,
        "attention": lambda: pyfa.attention(q, k, v, causal=shape.causal),
        "torch": theirs,
    }
    peak_call = peak.call(dtype)
    if peak_call is not None:
        calls["peak"] = peak_call
    expected = theirs().float().numpy()
    op()
    results = [out.read(), pyfa.attention(q, k, v, causal=shape.causal)]
    difference = float(np.max([np.abs(x.astype(np.float32) - expected).max() for x in results]))
    times = interleaved(calls, rounds, block)
    return Result(shape, dtype, times, difference, pyfa.default_device().info().isa)


def with_peaks(results: Sequence[Result], peak: Peak) -> list[Result]:
    """Return the results with the best of all measurements of their dtype's peak."""
    return [replace(result, peak=peak.best(result.dtype)) for result in results]


def beyond_peak(results: Sequence[Result]) -> list[str]:
    """Say of each dtype where its goal over torch is more than the machine can do."""
    lines = []
    for dtype, wanted in {result.dtype: goal(result.dtype, result.isa).over_torch for result in results}.items():
        known = {r.shape.name: r.peak_over_torch for r in results if r.dtype == dtype and r.shape.large and r.peak}
        beyond = [name for name, most in known.items() if most is not None and most < wanted]
        if known:
            what = f"more than the peak for {', '.join(beyond)}" if beyond else "below the peak for all large problems"
            lines.append(f"{dtype}: {wanted:g} x torch is {what}")
    return lines


def decode_step(rounds: int, block: float) -> dict[str, Time]:
    """Time the smallest call, which is nothing but overhead: one query, one key, one head."""
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, 1, 64)).astype(np.float32)
    return interleaved({"pyfa.attention": lambda: pyfa.attention(q, k, v)}, rounds, block)
