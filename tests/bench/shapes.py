"""The problems of the bench's prefill parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import pyfa
from pyfa._bench.problem import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable


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

    def operands(self, dtype: str) -> list[np.ndarray[Any, Any]]:
        """Return q, k and v."""
        rng = np.random.default_rng(0)
        sizes = [(self.batch, heads, self.length, self.head_dim) for heads in (self.heads, *2 * [self.kv_heads])]
        return [rng.standard_normal(size).astype(DTYPES[dtype]) for size in sizes]

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


def prepared(arrays: list[np.ndarray[Any, Any]], **options: Any) -> tuple[Callable[[], object], pyfa.Buffer]:
    """Return the operation on buffers of q, k and v, and the buffer it writes."""
    buffers = [pyfa.Buffer.from_array(array) for array in arrays]
    out = pyfa.Buffer.zeros(arrays[0].shape, arrays[0].dtype)
    return lambda: pyfa.ops.flash_attn_prefill(*buffers, out, **options), out
