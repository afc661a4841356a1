"""The decoder in NumPy; its attention is a function the caller chooses.

The arithmetic is float32 throughout. Activations are [B, n, W]: sequences, tokens, width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyfa._lm.weights import Weights

Floats = NDArray[np.float32]
Attend = Callable[[int, Floats, Floats, Floats], Floats]
"""``(layer, q, k, v) -> out`` of new tokens: q and out [B, H, n, D], k and v [B, Hkv, n, D]."""


class _Layer(NamedTuple):
    """Norms [W] and matrices [in, out]; `qkv` and `gate_up` hold theirs side by side."""

    attention_norm: Floats
    qkv: Floats
    o: Floats
    mlp_norm: Floats
    gate_up: Floats
    down: Floats


class LanguageModel:
    """Tells, for each byte of a text, how likely every byte is to come next.

    Parameters
    ----------
    weights : Weights
        As `pyfa._lm.weights.load` reads them.
    """

    def __init__(self, weights: Weights) -> None:
        self.config = config = weights.config
        tensors = weights.tensors

        def beside(layer: int, *names: str) -> Floats:
            return np.ascontiguousarray(np.concatenate([tensors[f"layers.{layer}.{name}"] for name in names]).T)

        self._embed = tensors["embed"]
        self._norm = tensors["norm"]
        self._head = np.ascontiguousarray(tensors["head"].T)
        self._layers = [
            _Layer(
                attention_norm=tensors[f"layers.{i}.attention_norm"],
                qkv=beside(i, "q", "k", "v"),
                o=beside(i, "o"),
                mlp_norm=tensors[f"layers.{i}.mlp_norm"],
                gate_up=beside(i, "gate", "up"),
                down=beside(i, "down"),
            )
            for i in range(config.layers)
        ]
        half = config.head_dim // 2
        angles = np.outer(np.arange(config.context), config.rope_base ** -(np.arange(half) / half))
        self._cos, self._sin = (wave.astype(np.float32) for wave in (np.cos(angles), np.sin(angles)))

    def __call__(self, ids: NDArray[np.uint8], first: int, attend: Attend) -> Floats:
        """Take in new tokens.

        Parameters
        ----------
        ids : numpy.ndarray
            Bytes, uint8 [B, n].
        first : int
            Position of the first of them: as many tokens came before.
        attend : callable
            An `Attend`, called once for each layer; it knows the tokens that came before.

        Returns
        -------
        numpy.ndarray
            Logits of the byte after each, float32 [B, n, 256].

        Raises
        ------
        ValueError
            If they reach beyond the model's context.
        """
        config = self.config
        batch, count = ids.shape
        if first + count > config.context:
            raise ValueError(f"tokens {first} to {first + count}, but the model's context is {config.context}")
        cos, sin = (wave[first : first + count] for wave in (self._cos, self._sin))
        hidden = self._embed[ids]
        for index, layer in enumerate(self._layers):
            mixed = (self._rms_norm(hidden, layer.attention_norm) @ layer.qkv).reshape(
                batch, count, -1, config.head_dim
            )
            # [B, heads, n, D]: first those of q, then of k, then of v
            heads = mixed.transpose(0, 2, 1, 3)
            turned = _rotated(heads[:, : -config.kv_heads], cos, sin)
            q, k = turned[:, : config.heads], turned[:, config.heads :]
            context = attend(index, q, k, np.ascontiguousarray(heads[:, -config.kv_heads :]))
            hidden = hidden + context.transpose(0, 2, 1, 3).reshape(batch, count, -1) @ layer.o
            gate, up = np.split(self._rms_norm(hidden, layer.mlp_norm) @ layer.gate_up, 2, axis=-1)
            hidden = hidden + (_silu(gate) * up) @ layer.down
        logits: Floats = self._rms_norm(hidden, self._norm) @ self._head
        return logits

    def _rms_norm(self, x: Floats, weight: Floats) -> Floats:
        square = np.einsum("...i,...i->...", x, x)[..., None] / np.float32(x.shape[-1])
        out: Floats = x * (weight / np.sqrt(square + np.float32(self.config.eps)))
        return out


def _silu(x: Floats) -> Floats:
    """Multiply by the sigmoid, which as a tanh cannot overflow."""
    out: Floats = x * (np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x))
    return out


def _rotated(x: Floats, cos: Floats, sin: Floats) -> Floats:
    """Turn the pairs (i, i + D / 2) of each head by the angle of their position."""
    out = np.empty_like(x, order="C")
    a, b = np.split(x, 2, axis=-1)
    left, right = np.split(out, 2, axis=-1)
    np.subtract(a * cos, b * sin, out=left)
    np.add(b * cos, a * sin, out=right)
    return out
