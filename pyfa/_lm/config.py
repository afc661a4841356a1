"""Sizes of the model, as the weights' file says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

VOCABULARY = 256
"""A token is a byte."""


@dataclass(frozen=True)
class Config:
    """A decoder with rotary positions, RMS norms, SwiGLU and grouped-query attention."""

    layers: int = 4
    width: int = 192
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 128
    inner_width: int = 512
    context: int = 1024
    """Tokens it was trained to look back on."""
    rope_base: float = 10000.0
    eps: float = 1e-5
    """Of the norms."""

    def to_metadata(self) -> dict[str, str]:
        """Write the sizes as the text that a safetensors header holds."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Config:
        """Read what `to_metadata` wrote.

        Raises
        ------
        ValueError
            If a size is missing, is no number, or cannot be.
        """
        raw: dict[str, int | float] = {}
        for field in fields(cls):
            if field.name not in metadata:
                raise ValueError(f"{field.name} is missing")
            kind = float if field.name in {"rope_base", "eps"} else int
            raw[field.name] = kind(metadata[field.name])
            if not 0 < raw[field.name] < 1 << 24:
                raise ValueError(f"{field.name}: expected a positive number, got {metadata[field.name]}")
        config = cls(**raw)  # type: ignore[arg-type]  # made of the fields' own types just above
        if config.heads % config.kv_heads:
            raise ValueError(f"heads: expected a multiple of {config.kv_heads} kv_heads, got {config.heads}")
        if config.head_dim % 2:
            raise ValueError(f"head_dim: expected an even number, got {config.head_dim}")
        return config

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor by name; matrices are ``[out, in]``."""
        width, inner = self.width, self.inner_width
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        found: dict[str, tuple[int, ...]] = {"embed": (VOCABULARY, width)}
        for layer in range(self.layers):
            found |= {
                f"layers.{layer}.attention_norm": (width,),
                f"layers.{layer}.q": (queries, width),
                f"layers.{layer}.k": (keys, width),
                f"layers.{layer}.v": (keys, width),
                f"layers.{layer}.o": (width, queries),
                f"layers.{layer}.mlp_norm": (width,),
                f"layers.{layer}.gate": (inner, width),
                f"layers.{layer}.up": (inner, width),
                f"layers.{layer}.down": (width, inner),
            }
        return found | {"norm": (width,), "head": (VOCABULARY, width)}
