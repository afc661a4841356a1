"""Caches as flash-attn keeps them: whole sequences or pages, written in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyfa._errors import invalid
from pyfa.compat._arrays import Array, floats, integers, rows, view


def slots(operation: str, argument: str, tensor: Any) -> Array:
    """Return the memory of a cache itself, ``[pages, page_size, Hkv, D]``."""
    array = view(operation, argument, tensor)
    if array.ndim != 4 or rows(array) is not array:
        expected = "4 dimensions, the last contiguous, for a copy would not be the cache"
        raise invalid(operation, argument, expected, f"{list(array.shape)} with strides {list(array.strides)} bytes")
    return array


class Cache:
    """Which slots of a cache the keys of each sequence of a batch are in.

    A cache without pages is one whose pages are whole sequences.

    Parameters
    ----------
    operation : str
        Named by errors.
    keys, values : numpy.ndarray
        ``[pages, page_size, Hkv, D]``.
    batch : int
        Sequences of the call.
    lengths, sequences, table
        Of the caller, or None.
    """

    def __init__(
        self, operation: str, keys: Array, values: Array, batch: int, lengths: Any, sequences: Any, table: Any
    ) -> None:
        self.operation, self.keys, self.values = operation, keys, values
        if values.shape != keys.shape or values.dtype != keys.dtype:
            expected = f"{keys.dtype} {list(keys.shape)}, as k_cache"
            raise invalid(operation, "v_cache", expected, f"{values.dtype} {list(values.shape)}")
        if table is None:
            self.given = "cache_batch_idx"
            if sequences is None:
                if len(keys) != batch:
                    raise invalid(operation, "k_cache", f"{batch} sequences, as q", str(len(keys)))
                sequences = np.arange(batch)
            self.table = integers(operation, self.given, sequences, (batch,))[:, None]
        else:
            self.given = "block_table"
            if sequences is not None:
                raise invalid(operation, "cache_batch_idx", "None together with block_table", "an array")
            self.table = integers(operation, self.given, table, (batch, -1))
        self.capacity = self.table.shape[1] * keys.shape[1]
        known = self.capacity if lengths is None else lengths
        self.lengths = integers(operation, "cache_seqlens", known, (batch,))
        if ((self.lengths < 0) | (self.lengths > self.capacity)).any():
            raise invalid(operation, "cache_seqlens", f"0 ... {self.capacity}", str(self.lengths.tolist()))

    def append(self, keys: Array, values: Array) -> Callable[[], None]:
        """Write keys and values ``[B, new, Hkv, D]`` behind those that are there; return what takes that back."""
        batch, size = len(self.lengths), self.keys.shape[1]
        for argument, array in (("k", keys), ("v", values)):
            shape = (batch, keys.shape[1] if keys.ndim == 4 else "new", *self.keys.shape[2:])
            if array.shape != shape or array.dtype != self.keys.dtype:
                expected = f"{self.keys.dtype} [{', '.join(map(str, shape))}]"
                raise invalid(self.operation, argument, expected, f"{array.dtype} {list(array.shape)}")
        for argument, array in (("k_cache", self.keys), ("v_cache", self.values)):
            if not array.flags.writeable:
                raise invalid(self.operation, argument, "memory that can be written", "a read-only array")
        new = keys.shape[1]
        if (self.lengths + new > self.capacity).any():
            expected = f"room for {new} more tokens in {self.capacity} slots"
            raise invalid(self.operation, "cache_seqlens", expected, str(self.lengths.tolist()))
        at = self.lengths[:, None] + np.arange(new)
        pages, slots = np.take_along_axis(self.table, at // max(size, 1), 1), at % max(size, 1)
        if ((pages < 0) | (pages >= len(self.keys))).any():
            wrong = pages[(pages < 0) | (pages >= len(self.keys))]
            raise invalid(self.operation, self.given, f"0 ... {len(self.keys) - 1}", str(wrong[0]))
        saved = self.keys[pages, slots], self.values[pages, slots], self.lengths

        def undo() -> None:
            self.keys[pages, slots], self.values[pages, slots], self.lengths = saved

        self.keys[pages, slots], self.values[pages, slots] = keys, values
        self.lengths = self.lengths + new
        return undo


class Rotation:
    """Rotary embedding by tables of cosines and sines, ``[positions, rotary_dim / 2]``."""

    def __init__(self, operation: str, cos: Any, sin: Any, interleaved: bool) -> None:
        self.operation, self.interleaved = operation, interleaved
        if cos is None or sin is None:
            missing = "rotary_cos" if cos is None else "rotary_sin"
            raise invalid(operation, missing, "rotary_cos and rotary_sin together", "None")
        tables = [floats(view(operation, name, table)) for name, table in (("rotary_cos", cos), ("rotary_sin", sin))]
        if tables[0].ndim != 2 or tables[0].shape != tables[1].shape:
            shapes = " and ".join(str(list(table.shape)) for table in tables)
            raise invalid(operation, "rotary_cos", "[positions, rotary_dim / 2], as rotary_sin", shapes)
        self.cos, self.sin = (table.astype(np.float32) for table in tables)

    def turn(self, argument: str, vectors: Array, starts: Array, *, each: bool) -> Array:
        """Return vectors ``[B, L, heads, D]`` turned; `each` by its own position, or all by that of the first."""
        width = 2 * self.cos.shape[1]
        if vectors.ndim != 4 or vectors.shape[3] < width:
            raise invalid(self.operation, argument, f"[B, L, heads, {width} or more]", str(list(vectors.shape)))
        at = starts[:, None] + np.arange(vectors.shape[1]) * each
        last = at.max(initial=-1)
        if last >= len(self.cos):
            raise invalid(self.operation, "rotary_cos", f"{last + 1} positions or more", str(len(self.cos)))
        cos, sin = self.cos[at][:, :, None], self.sin[at][:, :, None]
        half = width // 2
        first, second = (
            (slice(0, width, 2), slice(1, width, 2))
            if self.interleaved
            else (
                slice(0, half),
                slice(half, width),
            )
        )
        turned = vectors.copy()
        result = floats(turned)
        x, y = (floats(vectors)[..., part].astype(np.float32) for part in (first, second))
        result[..., first], result[..., second] = x * cos - y * sin, x * sin + y * cos
        return turned
