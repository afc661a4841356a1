"""A cache of transformers that keeps keys and values in `pyfa.KVCache`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import Cache

from pyfa._errors import invalid, unsupported
from pyfa.kv_cache import Codec

from ._layer import PyfaLayer

_KINDS = ("full_attention", "sliding_attention")


class PyfaCache(Cache):
    """Keys and values of a model's layers, as they are or quantised.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
        Of the model: how many layers it has, and which of them have a sliding window.
    codec : str or (str, str)
        As for `pyfa.KVCache`: one for keys and values, or one for each.

    Raises
    ------
    UnsupportedError
        A layer that attends neither everything nor a sliding window.

    Notes
    -----
    Models whose ``attn_implementation`` is pyfa's attend the quantised tokens themselves. Any other implementation,
    and batches with padding, get them dequantised.
    """

    def __init__(self, config: Any, codec: Codec = "tq8") -> None:
        text = config.get_text_config(decoder=True)
        window = getattr(text, "sliding_window", None)
        kinds = getattr(text, "layer_types", None)
        if kinds is None:
            kinds = [_KINDS[window is not None]] * text.num_hidden_layers
        for kind in kinds:
            if kind not in _KINDS:
                raise unsupported("PyfaCache", "config", f"layers of {' or '.join(_KINDS)}", kind)
        super().__init__(layers=[])
        self.layers = [PyfaLayer(codec, window if kind == _KINDS[1] else None) for kind in kinds]

    @property
    def nbytes(self) -> int:
        """Bytes of memory, used or not."""
        return sum(layer.cache.nbytes for layer in self.layers if layer.cache is not None)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the tokens to safetensors files, one a layer.

        Parameters
        ----------
        directory : str or path-like
            Where; made if there is none.

        Raises
        ------
        InvalidArgumentError
            There are no tokens yet.
        FileError
            A file cannot be written.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        for number, layer in enumerate(self.layers):
            layer.save(folder / _name(number))

    def load(self, directory: str | os.PathLike[str]) -> None:
        """Take over what `save` wrote, from a cache for the same model with the same codec.

        Parameters
        ----------
        directory : str or path-like
            Where the files are.

        Raises
        ------
        InvalidArgumentError
            Other codecs, windows or numbers of layers; the cache is as it was.
        FileError
            A file cannot be read, or is damaged; the cache is as it was.
        """
        folder = Path(directory)
        found = len(list(folder.glob(_name("*"))))
        if found != len(self.layers):
            raise invalid("PyfaCache.load", "directory", f"{len(self.layers)} layers", f"{found} in {folder}")
        loaded = [PyfaLayer(layer.codec, layer.sliding_window) for layer in self.layers]
        for number, layer in enumerate(loaded):
            layer.load(folder / _name(number))
        self.layers = loaded


def _name(number: int | str) -> str:
    return f"layer_{number}.safetensors"
