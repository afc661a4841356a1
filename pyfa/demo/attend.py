"""The attention functions the encoder is run with: pyfa's, plain NumPy's, and both at once for comparison."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

import pyfa

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

    from pyfa.demo.layers import Bools, Floats

DTYPES: dict[str, DTypeLike] = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}


def numpy_attention(q: Floats, k: Floats, v: Floats, mask: Bools) -> Floats:
    """Softmax attention written out in NumPy: q, k, v [B, L, H, D], mask broadcastable to [B, H, L, L]."""
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
    scores = q @ k.swapaxes(-1, -2)
    scores *= np.float32(q.shape[-1] ** -0.5)
    np.copyto(scores, -np.inf, where=~mask)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    out: Floats = np.ascontiguousarray((scores @ v).transpose(0, 2, 1, 3))
    return out


@dataclass(frozen=True)
class PyfaAttention:
    """``pyfa.attention`` in a dtype of choice, between float32 activations."""

    dtype: str = "f32"

    def __call__(self, _layer: int, q: Floats, k: Floats, v: Floats, mask: Bools) -> Floats:
        """Attend; see `pyfa.demo.model.Attention`."""
        cast = (x.astype(DTYPES[self.dtype], copy=False) for x in (q, k, v))
        out: Floats = pyfa.attention(*cast, mask=mask, layout="blhd").astype(np.float32, copy=False)
        return out


@dataclass
class LayerTimes:
    """What the comparison found for one layer, over all its calls."""

    pyfa: float = 0.0
    """Seconds: sum over the calls of the median of their repeats."""
    numpy: float = 0.0
    difference: float = 0.0
    """Largest absolute difference of any output element."""


@dataclass
class ComparedAttention:
    """NumPy's float32 attention, which also runs pyfa on the same q, k and v and keeps times and differences.

    The repeats of both alternate, so that a busy moment of the machine falls on both. Casting to pyfa's dtype is not
    part of its time, but its rounding is part of the difference.
    """

    layers: int
    dtype: str = "f32"
    repeats: int = 5
    times: list[LayerTimes] = field(init=False)

    def __post_init__(self) -> None:
        self.times = [LayerTimes() for _ in range(self.layers)]

    def __call__(self, layer: int, q: Floats, k: Floats, v: Floats, mask: Bools) -> Floats:
        """Attend; see `pyfa.demo.model.Attention`."""
        cast = tuple(x.astype(DTYPES[self.dtype], copy=False) for x in (q, k, v))
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(self.repeats):
            seconds, fast = _timed(lambda: pyfa.attention(*cast, mask=mask, layout="blhd"))
            ours.append(seconds)
            seconds, plain = _timed(lambda: numpy_attention(q, k, v, mask))
            theirs.append(seconds)
        entry = self.times[layer]
        entry.pyfa += median(ours)
        entry.numpy += median(theirs)
        # maximum() keeps a NaN, max() might drop it.
        entry.difference = float(np.maximum(entry.difference, np.abs(fast.astype(np.float32) - plain).max()))
        return plain


def _timed(call: Callable[[], Floats]) -> tuple[float, Floats]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result
