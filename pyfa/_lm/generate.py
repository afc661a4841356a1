"""Greedy generation: always the likeliest byte."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from pyfa._lm.caches import Caches
from pyfa._lm.model import LanguageModel
from pyfa.kv_cache import Codec


@dataclass(frozen=True)
class Continuation:
    """What the model wrote."""

    text: bytes
    seconds: float
    """Of the decoding; taking in the prompt is not part of it."""
    bytes_per_token: int
    """Of the cache, all layers."""


def generate(model: LanguageModel, prompt: bytes, count: int, codec: Codec) -> Continuation:
    """Continue a prompt.

    Parameters
    ----------
    model : LanguageModel
        Whose opinion counts.
    prompt : bytes
        One byte or more.
    count : int
        Bytes to write; one or more.
    codec : str or (str, str)
        How the cache keeps keys and values.

    Returns
    -------
    Continuation
        The bytes, without the prompt.

    Raises
    ------
    ValueError
        If prompt and text do not fit into the model's context, or there is no prompt.
    """
    if not prompt:
        raise ValueError("expected a prompt, got none")
    caches = Caches(model.config, codec, capacity=len(prompt) + count)
    logits = model(np.frombuffer(prompt, np.uint8)[None], 0, caches)
    written = [int(logits[0, -1].argmax())]
    start = time.perf_counter()
    while len(written) < count:
        logits = model(np.array([[written[-1]]], np.uint8), len(caches), caches)
        written.append(int(logits[0, -1].argmax()))
    return Continuation(bytes(written), time.perf_counter() - start, caches.bytes_per_token)
