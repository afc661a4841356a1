"""Prefill beside PyTorch's CPU attention: the operation on prepared buffers, and `pyfa.attention` end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import pyfa
from pyfa._bench.contenders import fastest_torch, torch_tensor
from pyfa._bench.problem import DTYPES
from pyfa._bench.timing import Time, interleaved

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfa._bench.peak import Peak

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
class Shape:
    """One problem; q_len is kv_len."""

    name: str
    heads: int
    kv_heads: int
    length: int
    head_dim: int
    causal: bool = False
    batch: int = 1
    large: bool = False
    """Whether it has a goal of its own."""

    @property
    def flops(self) -> float:
        """Two multiply-adds for each head, attended pair and element."""
        pairs = self.length * (self.length + 1) / 2 if self.causal else self.length**2
        return 4.0 * self.batch * self.heads * self.head_dim * pairs

    def __str__(self) -> str:
        heads = f"{self.heads}" if self.heads == self.kv_heads else f"{self.heads}:{self.kv_heads}"
        return f"B{self.batch} H{heads} L{self.length} D{self.head_dim}{' causal' if self.causal else ''}"


SHAPES = (
    Shape("native", heads=12, kv_heads=12, length=512, head_dim=64, large=True),
    Shape("d128", heads=16, kv_heads=16, length=1024, head_dim=128, causal=True, large=True),
    Shape("d256", heads=16, kv_heads=8, length=1024, head_dim=256, causal=True, large=True),
    Shape("d256-long", heads=16, kv_heads=8, length=2048, head_dim=256, causal=True, large=True),
    Shape("d512", heads=8, kv_heads=2, length=1024, head_dim=512, causal=True, large=True),
    Shape("ragged", heads=4, kv_heads=2, length=200, head_dim=128, causal=True),
    Shape("small", heads=3, kv_heads=1, length=77, head_dim=64, batch=2),
    Shape("causal", heads=12, kv_heads=12, length=512, head_dim=64, causal=True),
    Shape("gqa", heads=8, kv_heads=2, length=512, head_dim=64, causal=True),
    Shape("long", heads=12, kv_heads=12, length=2048, head_dim=64),
    Shape("narrow", heads=12, kv_heads=12, length=512, head_dim=32),
)


@dataclass(frozen=True)
class Result:
    """One problem in one dtype."""

    shape: Shape
    dtype: str
    times: dict[str, Time]
    """Of "op", "attention" and "torch"; of "peak" where it is known."""
    difference: float
    """Largest absolute difference between pyfa's and torch's result."""
    isa: str
    peak: float | None
    """Billions of operations in a second that the machine could do, in the same rounds."""

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
            "met": self.met,
            "difference": self.difference,
        }


def measure(shape: Shape, dtype: str, rounds: int, block: float, peak: Peak) -> Result:
    """Run one problem with every contender, the machine's peak among them."""
    rng = np.random.default_rng(0)
    q, k, v = (
        rng.standard_normal((shape.batch, heads, shape.length, shape.head_dim)).astype(DTYPES[dtype])
        for heads in (shape.heads, shape.kv_heads, shape.kv_heads)
    )
    buffers = [pyfa.Buffer.from_array(x) for x in (q, k, v)]
    out = pyfa.Buffer.zeros(q.shape, q.dtype)
    theirs = fastest_torch(*(torch_tensor(x) for x in (q, k, v)), causal=shape.causal)
    calls: dict[str, Callable[[], object]] = {
        "op": lambda: pyfa.ops.flash_attn_prefill(*buffers, out, causal=shape.causal),
        "attention": lambda: pyfa.attention(q, k, v, causal=shape.causal),
        "torch": theirs,
    }
    peak_call = peak.call(dtype)
    if peak_call is not None:
        calls["peak"] = peak_call
    expected = theirs().float().numpy()
    calls["op"]()
    results = [out.read(), pyfa.attention(q, k, v, causal=shape.causal)]
    difference = float(np.max([np.abs(x.astype(np.float32) - expected).max() for x in results]))
    times = interleaved(calls, rounds, block)
    rate = peak_call() / times["peak"].median / 1e9 if peak_call is not None else None
    return Result(shape, dtype, times, difference, pyfa.default_device().info().isa, rate)


def decode_step(rounds: int, block: float) -> dict[str, Time]:
    """Time the smallest call, which is nothing but overhead: one query, one key, one head."""
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, 1, 64)).astype(np.float32)
    return interleaved({"pyfa.attention": lambda: pyfa.attention(q, k, v)}, rounds, block)
