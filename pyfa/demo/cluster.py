"""Groups of similar sentences, in an order that puts neighbours in meaning next to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyfa.demo.layers import Floats


def groups(similarity: Floats, count: int) -> list[list[int]]:
    """Merge the most similar groups, by average linkage, until `count` are left, and order them by likeness.

    Parameters
    ----------
    similarity : numpy.ndarray
        Symmetric, float32 [N, N].
    count : int
        Number of groups, at least 1; no more than N are returned.

    Returns
    -------
    list of list of int
        Row numbers, group by group: every row once. Both inside a group and from one to the next, rows that meet
        are alike where the merging allows it.
    """
    members = [[row] for row in range(len(similarity))]
    links = similarity.astype(np.float64)
    np.fill_diagonal(links, -np.inf)
    chosen: list[list[int]] = [list(group) for group in members]
    while len(members) > 1:
        if len(members) == max(count, 1):
            chosen = [list(group) for group in members]
        first, second = sorted(divmod(int(np.argmax(links)), len(members)))
        sizes = len(members[first]), len(members[second])
        row = (links[first] * sizes[0] + links[second] * sizes[1]) / sum(sizes)
        row[first] = -np.inf
        links[first] = links[:, first] = row
        links = np.delete(np.delete(links, second, axis=0), second, axis=1)
        members[first] = _joined(members[first], members.pop(second), similarity)
    if max(count, 1) == 1:
        return members
    order = {row: place for place, row in enumerate(members[0])}
    return sorted((sorted(group, key=order.__getitem__) for group in chosen), key=lambda group: order[group[0]])


def centre(group: list[int], similarity: Floats) -> int:
    """Return the row of a group that is most similar to the whole group."""
    rows = np.array(group)
    block: NDArray[np.float32] = similarity[np.ix_(rows, rows)]
    return int(rows[np.argmax(block.sum(axis=0))])


def _joined(left: list[int], right: list[int], similarity: Floats) -> list[int]:
    """Both groups in a row, turned so that the ends that meet are the most similar ones."""
    turns = [(a, b) for a in (left, left[::-1]) for b in (right, right[::-1])]
    a, b = max(turns, key=lambda turn: float(similarity[turn[0][-1], turn[1][0]]))
    return a + b
