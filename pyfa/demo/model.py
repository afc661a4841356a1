"""A BERT sentence encoder in NumPy whose attention is a function the caller chooses.

The arithmetic is float32 throughout, as the weights are. Activations are [B, L, W]: batch, tokens, width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pyfa.demo._errors import DemoError
from pyfa.demo.layers import Bools, Floats, Linear, Norm, gelu, mean_pool

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAX_TOKENS = 256
"""Unless the model directory says otherwise."""

Attention = Callable[[int, Floats, Floats, Floats, Bools], Floats]
"""``(layer, q, k, v, mask) -> out``: q, k, v and out are [B, L, H, D], the mask is bool [B, 1, 1, L], true attends."""


@dataclass(frozen=True)
class Config:
    """The facts of ``config.json`` that the encoder needs."""

    layers: int
    heads: int
    width: int
    inner_width: int
    eps: float
    vocabulary: int
    positions: int
    segments: int
    max_tokens: int
    """Longer texts are cut."""

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.width // self.heads

    @classmethod
    def read(cls, directory: Path) -> Config:
        """Read and check a model directory's configuration.

        Raises
        ------
        DemoError
            If a file cannot be read, or describes another architecture.
        """
        raw = _read_json(directory / "config.json")
        kind = (raw.get("model_type"), raw.get("hidden_act"), raw.get("position_embedding_type", "absolute"))
        if kind != ("bert", "gelu", "absolute"):
            raise DemoError(f"{directory}: expected a BERT model with gelu and absolute positions, got {kind}")
        limits = directory / "sentence_bert_config.json"
        max_tokens = _read_json(limits).get("max_seq_length") if limits.exists() else None
        try:
            config = cls(
                layers=int(raw["num_hidden_layers"]),
                heads=int(raw["num_attention_heads"]),
                width=int(raw["hidden_size"]),
                inner_width=int(raw["intermediate_size"]),
                eps=float(raw["layer_norm_eps"]),
                vocabulary=int(raw["vocab_size"]),
                positions=int(raw["max_position_embeddings"]),
                segments=int(raw["type_vocab_size"]),
                max_tokens=min(int(max_tokens or MAX_TOKENS), int(raw["max_position_embeddings"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DemoError(f"{directory / 'config.json'}: missing or malformed entry {error}") from error
        if min(config.heads, config.segments, config.max_tokens) < 1 or config.width % config.heads:
            raise DemoError(f"{directory / 'config.json'}: sizes that do not fit together: {config}")
        return config


@dataclass(frozen=True)
class Layer:
    """One transformer layer; `qkv` yields q, k and v side by side."""

    qkv: Linear
    project: Linear
    attention_norm: Norm
    expand: Linear
    contract: Linear
    output_norm: Norm


class Encoder:
    """A BERT encoder with mean pooling.

    Parameters
    ----------
    config : Config
        Sizes of the network.
    weights : mapping of str to numpy.ndarray
        Tensors under the names of the published checkpoint.

    Raises
    ------
    DemoError
        If a tensor is missing or has another shape than `config` says.
    """

    def __init__(self, config: Config, weights: Mapping[str, NDArray[Any]]) -> None:
        self.config = config
        width = config.width

        def tensor(name: str, *shape: int) -> Floats:
            if name not in weights:
                raise DemoError(f"model weights: {name} is missing")
            if weights[name].shape != shape:
                raise DemoError(f"model weights: {name}: expected shape {shape}, got {weights[name].shape}")
            return np.ascontiguousarray(weights[name], dtype=np.float32)

        def linear(*names: str, shape: tuple[int, int] = (width, width)) -> Linear:
            matrices = [tensor(f"{name}.weight", *shape).T for name in names]
            biases = [tensor(f"{name}.bias", shape[0]) for name in names]
            return Linear(np.ascontiguousarray(np.concatenate(matrices, axis=1)), np.concatenate(biases))

        def norm(name: str) -> Norm:
            return Norm(tensor(f"{name}.weight", width), tensor(f"{name}.bias", width), config.eps)

        self._words = tensor("embeddings.word_embeddings.weight", config.vocabulary, width)
        # Every token is of segment 0, so its embedding is part of the position's.
        self._positions = tensor("embeddings.position_embeddings.weight", config.positions, width)
        self._positions = self._positions + tensor("embeddings.token_type_embeddings.weight", config.segments, width)[0]
        self._norm = norm("embeddings.LayerNorm")
        self._layers: list[Layer] = []
        for prefix in (f"encoder.layer.{i}." for i in range(config.layers)):
            projections = [f"{prefix}attention.self.{name}" for name in ("query", "key", "value")]
            self._layers.append(
                Layer(
                    qkv=linear(*projections),
                    project=linear(f"{prefix}attention.output.dense"),
                    attention_norm=norm(f"{prefix}attention.output.LayerNorm"),
                    expand=linear(f"{prefix}intermediate.dense", shape=(config.inner_width, width)),
                    contract=linear(f"{prefix}output.dense", shape=(width, config.inner_width)),
                    output_norm=norm(f"{prefix}output.LayerNorm"),
                )
            )

    @classmethod
    def load(cls, directory: Path) -> Encoder:
        """Read ``config.json`` and ``model.safetensors`` of a model directory."""
        config = Config.read(directory)
        try:
            weights = load_file(directory / "model.safetensors")
        except (OSError, SafetensorError) as error:
            raise DemoError(f"{directory / 'model.safetensors'}: cannot be read: {error}") from error
        return cls(config, weights)

    def __call__(self, ids: NDArray[np.int64], mask: Bools, attention: Attention) -> Floats:
        """Embed one padded batch.

        Parameters
        ----------
        ids : numpy.ndarray
            Token ids, int64 [B, L].
        mask : numpy.ndarray
            bool [B, L], true where there is a token.
        attention : callable
            An `Attention`, called once per layer.

        Returns
        -------
        numpy.ndarray
            Unit vectors, float32 [B, W].

        Raises
        ------
        DemoError
            If a token is not one of the model's.
        """
        if ids.max(initial=0) >= self.config.vocabulary:
            raise DemoError(f"tokenizer: token {ids.max()}, but the model knows {self.config.vocabulary} of them")
        batch, length = ids.shape
        heads = (batch, length, self.config.heads, self.config.head_dim)
        attend = mask[:, None, None, :]
        hidden = self._norm(self._words[ids] + self._positions[:length])
        for index, layer in enumerate(self._layers):
            q, k, v = (part.reshape(heads) for part in np.split(layer.qkv(hidden), 3, axis=-1))
            context = attention(index, q, k, v, attend).reshape(hidden.shape)
            hidden = layer.attention_norm(layer.project(context) + hidden)
            hidden = layer.output_norm(layer.contract(gelu(layer.expand(hidden))) + hidden)
        return mean_pool(hidden, mask)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DemoError(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DemoError(f"{path}: expected a JSON object")
    return value
