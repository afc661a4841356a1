"""Judge codecs: the same windows, once with a dense f32 cache and once with each codec's.

Each byte's keys and values go through the codec before anything attends them, its own query included, layer by layer
as in decoding. Whether a window's queries attend together or one by one is the same up to the rounding of float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyfa._eval.text import Windows
from pyfa._lm.caches import Caches
from pyfa._lm.model import Floats, LanguageModel
from pyfa.attention import attention
from pyfa.kv_cache import Codec

BASELINE = "f32"
_BATCH = 4
"""Windows at once."""
_TIMED_STEPS, _ROUNDS = 32, 5

Advance = Callable[[], None]


@dataclass(frozen=True)
class Result:
    """What one codec costs."""

    codec: str
    """Such as ``tq8``, or ``tq8/tq4`` where values are kept in another one than keys."""
    bits_per_byte: float
    change: float
    """Bits per byte more than with f32."""
    argmax_changes: float
    """Part of the predictions whose likeliest byte is another than with f32."""
    attention_cosine: float
    """Between attention's output and what a dense f32 cache would have given; mean over bytes, heads and layers."""
    cache_bytes_per_token: int
    """All layers."""
    tokens_per_second: float
    """Decoded one by one at the end of the model's context, the whole model; the best of several rounds."""


@dataclass
class _Tally:
    bits: float = 0.0
    changes: int = 0
    cosine: float = 0.0
    cosines: int = 0


class _Compared:
    """Attend through caches, and compare with the same queries on keys and values as they were."""

    def __init__(self, caches: Caches, tally: _Tally) -> None:
        self._caches, self._tally = caches, tally

    def __call__(self, layer: int, q: Floats, k: Floats, v: Floats) -> Floats:
        out = self._caches(layer, q, k, v)
        dense: Floats = attention(q, k, v, causal=True)
        both, ours, theirs = (np.einsum("...d,...d->...", a, b) for a, b in ((out, dense), (out, out), (dense, dense)))
        # A head may say nothing at all, and then says it in any codec.
        cosine = np.where(ours + theirs == 0, 1, both / np.sqrt(np.maximum(ours * theirs, np.finfo(np.float32).tiny)))
        self._tally.cosine += float(cosine.sum(dtype=np.float64))
        self._tally.cosines += cosine.size
        return out


def parse_codec(text: str) -> Codec:
    """Read ``tq8``, or ``tq8/tq4`` for keys and values."""
    keys, slash, values = text.partition("/")
    return (keys, values) if slash else keys


def measure(model: LanguageModel, windows: Windows, codecs: Sequence[str], advance: Advance) -> list[Result]:
    """Judge codecs.

    Parameters
    ----------
    model : LanguageModel
        What reads the text.
    windows : Windows
        The text.
    codecs : sequence of str
        As `parse_codec` reads them.
    advance : callable
        Called `steps` times as the work goes on.

    Returns
    -------
    list of Result
        In the order of `codecs`.

    Raises
    ------
    pyfa.PyfaError
        For a codec that is none, or does not have the model's head dimension; nothing has been computed then.
    """
    names = list(dict.fromkeys((BASELINE, *codecs)))
    sizes = {name: Caches(model.config, parse_codec(name), capacity=1).bytes_per_token for name in names}
    tallies = {name: _Tally() for name in names}
    for ids in _batches(windows):
        expected: NDArray[np.int64] | None = None
        for name in names:
            caches = Caches(model.config, parse_codec(name), batch=len(ids), capacity=ids.shape[1])
            logits = model(ids, 0, _Compared(caches, tallies[name]))[:, :-1]
            likeliest = logits.argmax(axis=-1)
            if expected is None:
                expected = likeliest
            tallies[name].bits += bits(logits, ids[:, 1:])
            tallies[name].changes += int((likeliest != expected).sum())
            advance()
    rates = _decoding_rates(model, windows, names, advance)
    baseline = tallies[BASELINE].bits / windows.predictions
    return [
        Result(
            codec=name,
            bits_per_byte=tallies[name].bits / windows.predictions,
            change=tallies[name].bits / windows.predictions - baseline,
            argmax_changes=tallies[name].changes / windows.predictions,
            attention_cosine=tallies[name].cosine / tallies[name].cosines,
            cache_bytes_per_token=sizes[name],
            tokens_per_second=rates[name],
        )
        for name in dict.fromkeys(codecs)
    ]


def steps(windows: Windows, codecs: Sequence[str]) -> int:
    """How often `measure` calls `advance`."""
    return len({BASELINE, *codecs}) * (len(list(_batches(windows))) + 1)


def bits(logits: Floats, following: NDArray[np.uint8]) -> float:
    """Bits that it takes to say which bytes followed, in all.

    Parameters
    ----------
    logits : numpy.ndarray
        float32 [B, n, 256].
    following : numpy.ndarray
        The bytes, uint8 [B, n].
    """
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(scores, following[..., None].astype(np.int64), axis=-1)[..., 0]
    return float((np.log(np.exp(scores).sum(axis=-1)) - chosen).sum()) / math.log(2)


def _batches(windows: Windows) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(windows.ids), _BATCH):
        yield windows.ids[start : start + _BATCH]


def _decoding_rates(model: LanguageModel, windows: Windows, names: Sequence[str], advance: Advance) -> dict[str, float]:
    """Tokens per second of each codec; rounds alternate, so that a busy moment of the machine falls on all."""
    ids = windows.ids[:1]
    past = ids.shape[1] - min(_TIMED_STEPS, ids.shape[1] // 2)
    filled = {}
    for name in names:
        filled[name] = caches = Caches(model.config, parse_codec(name), capacity=ids.shape[1])
        model(ids[:, :past], 0, caches)
    best = dict.fromkeys(names, math.inf)
    for _ in range(_ROUNDS):
        for name, caches in filled.items():
            start = time.perf_counter()
            for position in range(past, ids.shape[1]):
                model(ids[:, position : position + 1], position, caches)
            best[name] = min(best[name], time.perf_counter() - start)
            caches.truncate(past)
    for _ in names:
        advance()
    return {name: (ids.shape[1] - past) / seconds for name, seconds in best.items()}
