"""Decoding one token beside PyTorch's CPU attention and beside a plain read of memory, for every kind of cache."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import pyfa
from pyfa import ops
from pyfa._bench.contenders import torch_tensor
from pyfa._bench.problem import DTYPES
from pyfa._bench.timing import Time, interleaved
from tests.python import codec_reference as codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DENSE = DTYPES
CODED = ("q8", "tq8", "tq6", "tq5", "tq4", "tq_hb8")
# Q and O have the type of a dense cache. Of other caches they are bf16, as in a model of that type; of these f32, too.
F32_QUERIES = {f"{kind}, f32 q": kind for kind in ("tq8", "tq4")}
FORMATS = (*DENSE, *CODED, *F32_QUERIES)
# Largest difference that rounding explains.
TOLERANCE = {"f32": 1e-5, "f16": 1e-3, "bf16": 8e-3} | dict.fromkeys(CODED, 1e-2) | dict.fromkeys(F32_QUERIES, 1e-5)
# More than the last cache of any machine this is meant for, so that every call reads memory.
COLD_BYTES = 192 << 20
STREAM_BYTES = 256 << 20
MOST_COPIES = 24


@dataclass(frozen=True)
class Shape:
    """One query for each head against a full cache."""

    heads: int
    kv_heads: int
    length: int
    head_dim: int

    @property
    def name(self) -> str:
        """How the command line calls it."""
        return f"{self.heads}:{self.kv_heads}x{self.length}x{self.head_dim}"

    def cache_bytes(self, kind: str) -> int:
        """Bytes that a call has to read."""
        kind = F32_QUERIES.get(kind, kind)
        row = ops.kv_format(kind, self.head_dim)
        norms = 0 if kind in DENSE else 4 * (2 if self.head_dim == 512 and kind == "tq_hb8" else 1)
        return 2 * self.kv_heads * self.length * (row.width * np.dtype(row.dtype).itemsize + norms)


SHAPES = (
    Shape(16, 8, 1024, 256),
    Shape(16, 8, 4096, 256),
    Shape(16, 8, 16384, 256),
    Shape(16, 2, 4096, 512),
    Shape(32, 8, 8192, 128),
)


@dataclass(frozen=True)
class Result:
    """One shape."""

    shape: Shape
    times: dict[str, dict[str, Time]]
    """By format, in the same rounds: its own, "bf16", "stream", and of dense ones "torch" and "torch grouped"."""
    difference: dict[str, float]
    """Of each format's result from that of float64, over the latter's largest value."""

    def ratio(self, kind: str, other: str) -> float:
        """How many times as fast as another contender of its rounds."""
        return self.times[kind][other].over(self.times[kind][kind])

    def of_stream(self, kind: str) -> float:
        """Bytes of the cache in a second, of those that reading alone takes in."""
        return self.ratio(kind, "stream") * self.shape.cache_bytes(kind) / STREAM_BYTES

    def speed(self, kind: str) -> float:
        """Bytes of the cache in a second."""
        return self.shape.cache_bytes(kind) / self.times[kind][kind].median

    def stream(self, kind: str) -> float:
        """Bytes in a second of reading alone, in the format's rounds."""
        return STREAM_BYTES / self.times[kind]["stream"].median

    @property
    def wrong(self) -> list[str]:
        """Formats whose results are not explained by rounding."""
        return [kind for kind, found in self.difference.items() if not found <= TOLERANCE[kind]]

    def record(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        formats = {
            kind: {
                "us": {name: 1e6 * time.median for name, time in times.items()},
                "us_quartiles": {name: [1e6 * time.lower, 1e6 * time.upper] for name, time in times.items()},
                "stream_gb_s": self.stream(kind) / 1e9,
                "of_stream": self.of_stream(kind),
                "times_as_fast_as": {name: self.ratio(kind, name) for name in times if name not in (kind, "stream")},
                "difference": self.difference[kind],
            }
            for kind, times in self.times.items()
        }
        return {"shape": self.shape.name, "formats": formats}


def measure(shape: Shape, rounds: int, block: float) -> Result:
    """Run one shape with every contender, a format at a time: what is compared has to be close together in time."""
    rng = np.random.default_rng(0)
    memory = torch.ones(STREAM_BYTES // 4)
    times, difference = {}, {}
    beside = _contender("bf16", shape, rng)[0]
    for name in FORMATS:
        call, difference[name], torch_calls = _contender(name, shape, rng)
        calls = {name: call} | ({} if name == "bf16" else {"bf16": beside}) | {"stream": memory.sum} | torch_calls
        if name == "q8":
            calls["tq8"] = _contender("tq8", shape, rng)[0]
        times[name] = interleaved(calls, rounds, block)
    return Result(shape, times, difference)


Calls = dict[str, "Callable[[], object]"]


def _contender(name: str, shape: Shape, rng: np.random.Generator) -> tuple[Callable[[], object], float, Calls]:
    """Return a format's call, how far its result is from float64's, and torch's calls on the same caches, if dense."""
    kind = F32_QUERIES.get(name, name)
    caches = _caches(shape, kind, rng)
    q = rng.standard_normal((1, shape.heads, 1, shape.head_dim)).astype(_query_dtype(name))
    query, out = pyfa.Buffer.from_array(q), pyfa.Buffer.zeros(q.shape, q.dtype)
    _attend(kind, query, out, shape, caches[0])
    difference = _difference(out.read(), q, *(_values(kind, cache, shape) for cache in caches[0]))
    torch_calls = {}
    if kind in DENSE:
        tensors = itertools.cycle([[torch_tensor(data.numpy()) for data, _ in cache] for cache in caches])
        torch_calls = _torch_calls(torch_tensor(q), shape, tensors)
    return _call(kind, query, out, shape, itertools.cycle(caches)), difference, torch_calls


def overheads(rounds: int, block: float) -> dict[str, Time]:
    """Time calls with next to no work: a query for each of 16 heads against one key, and a token to append."""
    shape, rng = Shape(16, 8, 1, 256), np.random.default_rng(0)
    q = rng.standard_normal((1, shape.heads, 1, shape.head_dim)).astype(np.float32)
    query, out = pyfa.Buffer.from_array(q), pyfa.Buffer.zeros(q.shape, q.dtype)
    calls: dict[str, Callable[[], object]] = {
        "decode": _call("tq8", query, out, shape, itertools.cycle(_caches(shape, "tq8", rng)))
    }
    k, v = rng.standard_normal((2, 1, shape.kv_heads, 1, shape.head_dim)).astype(np.float32)
    for kind in ("f32", "tq8"):
        cache = pyfa.KVCache(shape.kv_heads, shape.head_dim, 4096, kind, ring=True)
        calls[f"append {kind}"] = partial(cache.append, k, v)
    return interleaved(calls, rounds, block)


Side = tuple[pyfa.Buffer, "pyfa.Buffer | None"]


def _caches(shape: Shape, kind: str, rng: np.random.Generator) -> list[tuple[Side, Side]]:
    """Return full caches of the format, as many as no processor's own memory holds; all but one are copies."""
    rows = (1, shape.kv_heads, shape.length)
    first: list[tuple[Any, Any]] = []
    for _ in range(2):
        if kind in DENSE:
            first.append((rng.standard_normal((*rows, shape.head_dim), dtype=np.float32).astype(DENSE[kind]), None))
            continue
        row = ops.kv_format(kind, shape.head_dim)
        halves = (*rows, 2) if shape.head_dim == 512 and kind == "tq_hb8" else rows
        scale = 1 / 60 if kind == "q8" else 1.0 if len(halves) > len(rows) else shape.head_dim**0.5
        codes = rng.integers(0, 256, (*rows, row.width), dtype=np.uint8)
        first.append((codes, (rng.uniform(0.5, 1, halves) * scale).astype(np.float32)))
    copies = min(MOST_COPIES, 1 + COLD_BYTES // shape.cache_bytes(kind))
    return [
        tuple((pyfa.Buffer.from_array(x), None if n is None else pyfa.Buffer.from_array(n)) for x, n in first)
        for _ in range(copies)
    ]  # type: ignore[misc]


def _query_dtype(name: str) -> Any:
    return np.float32 if name in F32_QUERIES else DENSE.get(name, DENSE["bf16"])


def _attend(kind: str, query: pyfa.Buffer, out: pyfa.Buffer, shape: Shape, cache: tuple[Side, Side]) -> None:
    (k, k_norms), (v, v_norms) = cache
    ops.flash_attn_decode(query, k, v, shape.length, kind, k_norms=k_norms, v_norms=v_norms, out=out)


def _call(
    kind: str, query: pyfa.Buffer, out: pyfa.Buffer, shape: Shape, caches: Iterator[tuple[Side, Side]]
) -> Callable[[], object]:
    return lambda: _attend(kind, query, out, shape, next(caches))


def _values(kind: str, side: Side, shape: Shape) -> np.ndarray[Any, Any]:
    """What half a cache stands for."""
    data, norms = side
    if kind in DENSE:
        return data.read().astype(np.float64)
    assert norms is not None
    if kind in codec.VERSION_1:
        return codec.decode_v1(data.read(), norms.read(), kind, shape.head_dim).astype(np.float64)
    return codec.decode(data.read(), norms.read(), kind, shape.head_dim, undo_rotation=False).astype(np.float64)


def _difference(
    found: np.ndarray[Any, Any], q: np.ndarray[Any, Any], k: np.ndarray[Any, Any], v: np.ndarray[Any, Any]
) -> float:
    _, heads, _, head_dim = q.shape
    grouped = q.astype(np.float64).reshape(k.shape[1], -1, head_dim)
    scores = grouped @ k[0].swapaxes(1, 2) * head_dim**-0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = (weights @ v[0] / weights.sum(-1, keepdims=True)).reshape(1, heads, 1, head_dim)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _torch_calls(q: torch.Tensor, shape: Shape, caches: Iterator[list[torch.Tensor]]) -> Calls:
    """torch with the heads of a group as rows of a query, which is its fastest way, and with its own grouping."""
    attention = torch.nn.functional.scaled_dot_product_attention
    folded = q.reshape(1, shape.kv_heads, -1, shape.head_dim)
    return {
        "torch": lambda: attention(folded, *next(caches)),
        "torch grouped": lambda: attention(q, *next(caches), enable_gqa=True),
    }
