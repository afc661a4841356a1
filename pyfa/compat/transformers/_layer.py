"""The keys and values of one layer of a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import torch
from transformers.cache_utils import CacheLayerMixin

import pyfa
from pyfa._errors import invalid, unsupported
from pyfa.kv_cache import Codec

from ._states import CachedStates

_FIRST_CAPACITY = 256  # tokens; doubled as they come
_MOST_TOKENS = 1 << 24
_STEP = 256  # tokens that a ring takes at once, beside its window
_DTYPES = {torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: ml_dtypes.bfloat16}


class PyfaLayer(CacheLayerMixin):
    """The keys and values of one layer.

    Parameters
    ----------
    codec : str or (str, str)
        As for `pyfa.KVCache`.
    sliding_window : int, optional
        Keys a query attends at most, its own included: no more tokens than that are kept, and 255 to spare.
    """

    is_compileable = False
    is_croppable = True

    def __init__(self, codec: Codec = "tq8", sliding_window: int | None = None) -> None:
        super().__init__()
        self.codec: tuple[str, str] = (codec, codec) if isinstance(codec, str) else (codec[0], codec[1])
        self.sliding_window, self.is_sliding = sliding_window, sliding_window is not None
        self.cache: pyfa.KVCache | None = None
        self.version = 0  # changes with what there is to read
        self._length = 0  # tokens there have been
        self._visible = 0  # tokens that the queries of the last update may attend
        # Tokens of the last update that the cache has not got yet: a ring takes them in steps, and is read after each.
        self._pending: tuple[torch.Tensor, torch.Tensor] | None = None
        self._in_steps = False  # and so cannot be read twice
        self._states: tuple[torch.Tensor, torch.Tensor] | None = None

    # ------------------------------------------------------------------------------------------- what models call

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make the cache for tokens like these, if there is none."""
        if self.cache is not None:
            return
        if value_states.shape != key_states.shape:
            expected = f"the shape of keys, {tuple(key_states.shape)}"
            raise unsupported("PyfaLayer", "value_states", expected, str(tuple(value_states.shape)))
        if key_states.dtype not in _DTYPES:
            raise invalid("PyfaLayer", "key_states", "float32, float16 or bfloat16", str(key_states.dtype))
        batch, kv_heads, _, head_dim = key_states.shape
        sizes: dict[str, Any] = {"capacity": _FIRST_CAPACITY, "max_capacity": _MOST_TOKENS}
        if self.sliding_window is not None:
            sizes = {"capacity": self.sliding_window - 1 + _STEP, "ring": True, "window": self.sliding_window}
        dtype = _DTYPES[key_states.dtype]
        self.cache = pyfa.KVCache(kv_heads, head_dim, codec=self.codec, batch=batch, dtype=dtype, **sizes)
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_arguments: Any, **_options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens ``[B, Hkv, n, D]``; return the keys and values that their queries may attend."""
        self.lazy_initialization(key_states, value_states)
        self._flush()
        visible = self._window(self._length) + key_states.shape[2]
        self._change(self._length + key_states.shape[2], visible)
        self._pending = key_states.detach(), value_states.detach()
        return CachedStates(self, False, key_states, visible), CachedStates(self, True, key_states, visible)

    def attend(self, query: torch.Tensor, out: torch.Tensor, **options: Any) -> None:
        """Attend the tokens of the last update, and those before it.

        Parameters
        ----------
        query : torch.Tensor
            ``[B, H, n, D]``: the queries of the last update's tokens.
        out : torch.Tensor
            Where the result is written, as `query`.
        options
            Those of `pyfa.KVCache.attend`.
        """
        cache = self._readable()
        if self._pending is None:
            cache.attend(query, out=out, **options)
            return
        done = 0
        for tokens in self._take():
            end = done + tokens[0].shape[2]
            cache.attend(query[:, :, done:end], append=tokens, out=out[:, :, done:end], **options)
            done = end

    def states(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values ``[B, Hkv, kL, D]``, as the codec has them, that the last update's queries attend."""
        if self._states is None:
            cache = self._readable()
            new = 0 if self._pending is None else self._pending[0].shape[2]
            parts = [_newest(cache, self._visible - new)]
            for tokens in self._take():
                cache.append(*tokens)
                parts.append(_newest(cache, tokens[0].shape[2]))
            keys, values = (torch.cat(both, dim=2) for both in zip(*parts, strict=True))
            self._states = keys, values
        return self._states

    def get_seq_length(self) -> int:
        """Return how many tokens there have been."""
        return self._length

    def get_max_length(self) -> int:
        """Return how many tokens queries may attend at most; -1 where that is not bounded."""
        return -1 if self.sliding_window is None else self.sliding_window

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many keys the next queries may attend, and the position of the first."""
        before = self._window(self._length)
        return before + query_length, self._length - before

    # ------------------------------------------------------------------------------------- what decoding strategies do

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the newest tokens, so many as the negative number says."""
        if tokens_to_remove > 0:
            raise invalid("PyfaLayer.crop", "tokens_to_remove", "0 or less", str(tokens_to_remove))
        if self.cache is not None and tokens_to_remove < 0:
            self._flush()
            self.cache.truncate(self._length + tokens_to_remove)
            self._change(self._length + tokens_to_remove)

    def activate_past_recording(self) -> None:
        """Do nothing: a ring has room for the tokens that `crop` may bring back."""

    def reset(self) -> None:
        """Forget every token."""
        self.cache, self._pending, self.is_initialized = None, None, False
        self._change(0)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Give every sequence the tokens of another: those of ``beam_idx[i]`` to sequence i."""
        if self.cache is None:
            return
        self._flush()
        order = beam_idx.cpu().numpy()
        for buffer in self.cache.buffers().values():
            memory = buffer.numpy()
            memory[:] = memory[order]
        self._change(self._length)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Refuse: the number of sequences is fixed."""
        raise unsupported("PyfaLayer.batch_repeat_interleave", "repeats", "1", str(repeats))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Refuse: the number of sequences is fixed."""
        raise unsupported("PyfaLayer.batch_select_indices", "indices", "every sequence", str(indices.tolist()))

    def offload(self) -> None:
        """Do nothing: the memory is the processor's."""

    def prefetch(self) -> None:
        """Do nothing: the memory is the processor's."""

    # ----------------------------------------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokens to a safetensors file."""
        if self.cache is None:
            raise invalid("PyfaLayer.save", "self", "tokens", "none yet")
        self._flush()
        self.cache.save(path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Take over what `save` wrote, from a layer of the same kind."""
        cache = pyfa.KVCache.load(path)
        header = cache.header
        found, expected = (cache.codec, header["window"] or None), (self.codec, self.sliding_window)
        if found != expected:
            raise invalid("PyfaLayer.load", "path", f"codec and window {expected}", str(found))
        self.cache, self._pending, self.is_initialized = cache, None, True
        self.dtype, self.device = getattr(torch, header["dtype"]), torch.device("cpu")
        self._change(cache.ranges[0].stop)

    # ---------------------------------------------------------------------------------------------------------- inside

    def _window(self, length: int) -> int:
        """How many of so many tokens the next query may attend beside itself."""
        return length if self.sliding_window is None else min(length, self.sliding_window - 1)

    def _change(self, length: int, visible: int | None = None) -> None:
        self._length, self._visible = length, self._window(length) if visible is None else visible
        self._states, self._in_steps = None, False
        self.version += 1

    def _take(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Hand out the tokens of the last update, no more at once than a ring has room for beside its window."""
        if self._pending is None:
            return
        (keys, values), self._pending = self._pending, None
        count = keys.shape[2]
        step = count if self.sliding_window is None else _STEP
        self._in_steps = count > step
        for begin in range(0, count, step):
            yield keys[:, :, begin : begin + step], values[:, :, begin : begin + step]

    def _flush(self) -> None:
        for tokens in self._take():
            if self.cache is not None:
                self.cache.append(*tokens)

    def _readable(self) -> pyfa.KVCache:
        """The cache, if it has everything that the queries of the last update may attend."""
        if self.cache is None or self._in_steps:
            expected = f"more than {_STEP} tokens of a sliding window to be read once"
            raise unsupported("PyfaLayer", "keys and values", expected, "a second time")
        return self.cache


def _newest(cache: pyfa.KVCache, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    keys, values = (_tensor(array[:, :, array.shape[2] - count :]) for array in cache.dequantize())
    return keys, values


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """PyTorch does not know NumPy's bfloat16."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(np.ascontiguousarray(array).view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)
