"""Nearest sentences to queries, and whether two sets of embeddings give the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pyfa.demo.layers import Floats

Answer = tuple[int, float]
"""Row of a sentence, and its cosine with the query."""


def search(sentences: Floats, queries: Floats, top: int) -> list[list[Answer]]:
    """For each query the `top` most similar sentences, best first; unit vectors [N, W] and [Q, W]."""
    cosines = queries @ sentences.T
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :top]
    return [[(int(row), float(line[row])) for row in rows] for line, rows in zip(cosines, best, strict=True)]


@dataclass(frozen=True)
class Agreement:
    """How near two sets of embeddings of the same texts are."""

    min_cosine: float
    """Least cosine between the two embeddings of one text."""
    equal_answers: int
    """Queries whose first answer is the same in both."""
    queries: int

    @classmethod
    def of(cls, one: Floats, other: Floats, sentences: int) -> Agreement:
        """Compare unit vectors [N, W] whose first `sentences` rows are sentences and the others queries."""
        # In double, and with the lengths divided out: float32 is itself uncertain in the seventh digit.
        a, b = one.astype(np.float64), other.astype(np.float64)
        cosines = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        firsts = [[best[0][0] for best in search(x[:sentences], x[sentences:], 1)] for x in (one, other)]
        equal = sum(a == b for a, b in zip(*firsts, strict=True))
        return cls(float(cosines.min()), equal, len(firsts[0]))

    def holds(self, min_cosine: float) -> bool:
        """Whether every embedding is near enough and every first answer equal; false for NaN."""
        return self.min_cosine >= min_cosine and self.equal_answers == self.queries
