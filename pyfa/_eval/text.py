"""The text codecs are judged on, cut into windows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyfa._lm._errors import LanguageModelError
from pyfa._lm.corpus import modules

LEAST_BYTES = 64


@dataclass(frozen=True)
class Windows:
    """Stretches of held-out modules; in each, all bytes but the first are predicted from those before."""

    ids: NDArray[np.uint8]
    """[N, L]."""
    modules: int
    """How many the stretches were taken from, all of them together one text."""

    @property
    def predictions(self) -> int:
        """Bytes predicted in all windows together."""
        return int(self.ids[:, 1:].size)

    @property
    def sha256(self) -> str:
        """Of the bytes: equal on machines whose results may be compared."""
        return hashlib.sha256(self.ids.tobytes()).hexdigest()

    @classmethod
    def of_held_out(cls, wanted: int, context: int) -> Windows:
        """Take windows, as long as the model's context, spread evenly over the held-out modules.

        Parameters
        ----------
        wanted : int
            Bytes; rounded down to whole windows, of which there is one at least, shorter if need be.
        context : int
            Bytes of a window.

        Raises
        ------
        LanguageModelError
            If there are not so many, or there is no source of the standard library.
        """
        found = modules(held_out=True)
        text = np.frombuffer(b"".join(found.values()), np.uint8)
        if not LEAST_BYTES <= wanted <= len(text):
            raise LanguageModelError(
                f"--bytes: expected {LEAST_BYTES} to {len(text)}, which held-out modules have, got {wanted}"
            )
        length = min(wanted, context)
        starts = np.linspace(0, len(text) - length, wanted // length).astype(np.int64)
        return cls(text[starts[:, None] + np.arange(length)], len(found))
