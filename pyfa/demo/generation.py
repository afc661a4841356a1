"""Text from the language model of bytes: a quantised cache beside a dense one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyfa._lm.generate import Continuation, generate
from pyfa._lm.model import LanguageModel
from pyfa._lm.weights import SHIPPED, load

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = b'def read_text(path, encoding=None):\n    """'
BYTES = 160
CODECS = ("f16", "tq8")
ROUNDS = 3
"""They alternate, so that a busy moment of the machine falls on all."""


def writer(weights: Path | None) -> LanguageModel | None:
    """Return the model that writes; None if no weights are named and there are none here.

    Raises
    ------
    LanguageModelError
        If the file cannot be read, or holds something else.
    """
    if weights is None and not SHIPPED.is_file():
        return None
    return LanguageModel(load(weights or SHIPPED))


def continuations(model: LanguageModel) -> dict[str, Continuation]:
    """Let the model write on from `PROMPT` with each of `CODECS`; of the rounds, the fastest counts."""
    rounds = [{codec: generate(model, PROMPT, BYTES, codec) for codec in CODECS} for _ in range(ROUNDS)]
    return {codec: min((done[codec] for done in rounds), key=lambda text: text.seconds) for codec in CODECS}
