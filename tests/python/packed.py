"""Packed batches for the tests: random sequences, their keys in pages, and each of them alone."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from tests.python.reference import DTYPES

# Rows and keys of each sequence: none of either, one, tiles of 8 and 32 rows and of 8, 16 and 64 keys, and one off.
LENGTHS = (
    (0, 5), (3, 0), (1, 1), (31, 64), (32, 63), (33, 65), (0, 0), (8, 15), (7, 17), (65, 16), (1, 130), (70, 33),
)  # fmt: skip


def crosses(*factors):
    """Return every choice of the factors, as a parameter called `case`, of which shaders run some."""
    return pytest.mark.parametrize("case", list(itertools.product(*factors)), ids=lambda case: "-".join(map(str, case)))


class Packed(NamedTuple):
    """A packed batch."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    q_starts: np.ndarray
    k_starts: np.ndarray

    @property
    def kv_lens(self):
        return np.diff(self.k_starts)

    def alone(self, b):
        """Return q, k and v of a sequence as a batch of its own."""
        rows, keys = (slice(*starts[b : b + 2]) for starts in (self.q_starts, self.k_starts))
        return [np.ascontiguousarray(x.swapaxes(0, 1)[None]) for x in (self.q[rows], self.k[keys], self.v[keys])]


class Paged(NamedTuple):
    """The keys and values of a packed batch in pages."""

    k: np.ndarray
    v: np.ndarray
    block_table: np.ndarray


def packed(rng, lengths=LENGTHS, dtype="f32", heads=(4, 2), head_dim=64):
    """Make random operands."""
    starts = np.cumsum([(0, 0), *lengths], axis=0)
    shapes = ((heads[0], starts[-1, 0]), (heads[1], starts[-1, 1]), (heads[1], starts[-1, 1]))
    tensors = [rng.standard_normal((n, h, head_dim)).astype(DTYPES[dtype]) for h, n in shapes]
    return Packed(*tensors, starts[:, 0], starts[:, 1])


def paged(rng, batch, page_size, spare=3):
    """Put keys and values into shuffled pages: NaN in all that no sequence has, -1 in entries behind its pages."""
    counts = -(-batch.kv_lens // page_size)
    order = rng.permutation(counts.sum() + spare)
    table = np.full((len(counts), counts.max(initial=0) + 1), -1)
    pages = [np.full((len(order), page_size, *x.shape[1:]), np.nan, x.dtype) for x in (batch.k, batch.v)]
    used = iter(order)
    for b, i in ((b, i) for b, count in enumerate(counts) for i in range(count)):
        table[b, i] = page = next(used)
        first = batch.k_starts[b] + i * page_size
        last = min(first + page_size, batch.k_starts[b + 1])
        for to, rows in zip(pages, (batch.k, batch.v), strict=True):
            to[page, : last - first] = rows[first:last]
    return Paged(*pages, table)
