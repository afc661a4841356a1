"""Sentences as padded batches of token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from pyfa.demo._errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Some sentences as token ids, padded to the longest of them."""

    rows: list[int]
    """Where each sentence stands in the caller's list."""
    ids: NDArray[np.int64]
    """[B, L], 0 where padded."""
    mask: NDArray[np.bool_]
    """[B, L], true where there is a token."""


@dataclass(frozen=True)
class Tokens:
    """Tokenised sentences."""

    ids: list[list[int]]
    truncated: list[int]
    """Which sentences were too long and lost their end."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of at most `size` sentences; neighbours in length go together, so little is padded."""
        order = sorted(range(len(self.ids)), key=lambda row: len(self.ids[row]))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            lengths = np.array([len(self.ids[row]) for row in rows])
            mask = np.arange(lengths.max())[None, :] < lengths[:, None]
            ids = np.zeros(mask.shape, dtype=np.int64)
            ids[mask] = np.concatenate([self.ids[row] for row in rows])
            yield Batch(rows, ids, mask)


def tokenize(directory: Path, sentences: Sequence[str], max_tokens: int) -> Tokens:
    """Token ids of each sentence with the model's own tokenizer, cut after `max_tokens`."""
    path = directory / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception for malformed files
        raise DemoError(f"{path}: cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    encodings = tokenizer.encode_batch(list(sentences))
    truncated = [row for row, encoding in enumerate(encodings) if encoding.overflowing]
    return Tokens([encoding.ids for encoding in encodings], truncated)
