"""The model's past: a `pyfa.KVCache` for each layer."""

from __future__ import annotations

from pyfa._lm.config import Config
from pyfa._lm.model import Floats
from pyfa.kv_cache import Codec, KVCache


class Caches:
    """Keys and values of every layer; an instance is an `Attend` of `LanguageModel`.

    Parameters
    ----------
    config : Config
        Sizes of the model.
    codec : str or (str, str)
        How keys and values are kept, as for `pyfa.KVCache`.
    batch : int
        Sequences.
    capacity : int, optional
        Tokens there is room for; the model's context by default.
    """

    def __init__(self, config: Config, codec: Codec, *, batch: int = 1, capacity: int | None = None) -> None:
        self._layers = [
            KVCache(config.kv_heads, config.head_dim, capacity or config.context, codec, batch=batch)
            for _ in range(config.layers)
        ]

    def __call__(self, layer: int, q: Floats, k: Floats, v: Floats) -> Floats:
        """Append tokens to a layer's cache, then attend what the cache holds: none is seen but through its codec."""
        out: Floats = self._layers[layer].attend(q, append=(k, v))
        return out

    def __len__(self) -> int:
        """Tokens that are there."""
        return len(self._layers[0])

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token of one sequence takes, in all layers."""
        return sum(cache.bytes_per_token for cache in self._layers)

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        for cache in self._layers:
            cache.truncate(length)
