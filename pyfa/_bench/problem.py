"""An attention problem to explain or measure: shapes, dtype and options, read from words or from a file."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
}
MASKS = ("none", "bool", "additive")
_EXTENTS = re.compile(r"[1-9]\d{0,8}(x[1-9]\d{0,8}){3}")


@dataclass(frozen=True)
class Problem:
    """One call of `pyfa.attention`.

    Raises
    ------
    ValueError
        Shapes or options that cannot be.
    """

    q: tuple[int, int, int, int]
    """``[B, H, qL, D]``"""
    k: tuple[int, int, int, int]
    """``[B, Hkv, kL, D]``; the shape of the values too."""
    dtype: str = "f32"
    causal: bool = False
    window: tuple[int, int] | None = None
    """Keys before and after a row's position; -1: all."""
    softcap: float | None = None
    mask: str = "none"
    """``"none"``, ``"bool"`` or ``"additive"``: one mask ``[qL, kL]``, of which a tenth is excluded."""
    sinks: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        (batch, heads, _, dim), (k_batch, kv_heads, _, k_dim) = self.q, self.k
        if (batch, dim) != (k_batch, k_dim) or heads % kv_heads:
            raise ValueError(
                f"expected k of batch {batch}, head dimension {dim} and heads that divide {heads}, got {words(self.k)}"
            )
        if self.dtype not in DTYPES:
            raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.mask not in MASKS:
            raise ValueError(f"expected a mask of {', '.join(MASKS)}, got {self.mask!r}")

    def __str__(self) -> str:
        parts = [self.name] if self.name else []
        parts += [words(self.q) if self.q == self.k else f"{words(self.q)},{words(self.k)}", self.dtype]
        parts += [word for word in ("causal", "sinks") if getattr(self, word)]
        parts += [] if self.window is None else [f"window {self.window[0]},{self.window[1]}"]
        parts += [f"softcap {self.softcap:g}"] if self.softcap else []
        parts += [] if self.mask == "none" else [f"{self.mask} mask"]
        return " ".join(parts)

    @property
    def key(self) -> str:
        """What tells a problem from others in a file of results."""
        return json.dumps(self.record(), sort_keys=True)

    def record(self) -> dict[str, Any]:
        """Return what `from_mapping` reads."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Problem:
        """Read a problem as a file holds it.

        Raises
        ------
        ValueError
            An entry that is unknown, missing, or of another kind.
        """
        unknown = set(given) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"expected {', '.join(f.name for f in fields(cls))}, got {', '.join(sorted(unknown))}")
        if "q" not in given:
            raise ValueError("expected a shape q, got none")
        values = dict(given)
        values["q"] = _shape("q", values["q"])
        values["k"] = _shape("k", values.get("k", values["q"]))
        if values.get("window") is not None:
            values["window"] = _numbers("window", values["window"], 2)
        if values.get("softcap") is not None and not isinstance(values["softcap"], (int, float)):
            raise ValueError(f"softcap: expected a number, got {values['softcap']!r}")
        for name, kind in {"causal": bool, "sinks": bool, "name": str, "dtype": str, "mask": str}.items():
            if name in values and not isinstance(values[name], kind):
                raise ValueError(f"{name}: expected a {kind.__name__}, got {values[name]!r}")
        return cls(**values)

    def attended(self) -> npt.NDArray[np.bool_] | None:
        """Return which keys each row may attend by position, ``[qL, kL]``; None: all."""
        if not self.causal and self.window is None:
            return None
        q_len, kv_len = self.q[2], self.k[2]
        distance = np.arange(kv_len) - (np.arange(q_len)[:, None] + (kv_len - q_len))
        left, right = (-1, -1) if self.window is None else self.window
        right = min(right, 0) if self.causal and right >= 0 else 0 if self.causal else right
        allowed = np.ones((q_len, kv_len), np.bool_)
        if left >= 0:
            allowed &= distance >= -left
        if right >= 0:
            allowed &= distance <= right
        return allowed

    @property
    def flops(self) -> float:
        """Two multiply-adds for each head, attended pair and element; what a mask excludes counts."""
        batch, heads, q_len, dim = self.q
        allowed = self.attended()
        return 4.0 * batch * heads * dim * (q_len * self.k[2] if allowed is None else int(allowed.sum()))

    @property
    def bytes(self) -> int:
        """Least memory traffic: each operand read once and the result written once."""
        elements = 2 * int(np.prod(self.q)) + 2 * int(np.prod(self.k))
        pairs = self.q[2] * self.k[2]
        size = DTYPES[self.dtype].itemsize
        return elements * size + {"none": 0, "bool": pairs, "additive": pairs * size}[self.mask]

    def arrays(self, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
        """Return q, k and v, and a mask and sinks where there are any."""
        rng, dtype = np.random.default_rng(seed), DTYPES[self.dtype]
        found = {
            name: rng.standard_normal(shape, dtype=np.float32).astype(dtype)
            for name, shape in (("q", self.q), ("k", self.k), ("v", self.k))
        }
        if self.mask != "none":
            kept = rng.random((self.q[2], self.k[2])) > 0.1
            found["mask"] = kept if self.mask == "bool" else np.where(kept, 0, -np.inf).astype(dtype)
        if self.sinks:
            found["sinks"] = rng.standard_normal(self.q[1], dtype=np.float32)
        return found

    def options(self) -> dict[str, Any]:
        """Return the options of `pyfa.attention` that are no arrays."""
        return {"causal": self.causal, "window": self.window, "softcap": self.softcap}


def words(shape: tuple[int, ...]) -> str:
    """Return a shape as the command line has it."""
    return "x".join(map(str, shape))


def shape_of(word: str) -> tuple[int, int, int, int]:
    """Read ``BxHxLxD``.

    Raises
    ------
    ValueError
        It is none.
    """
    if not _EXTENTS.fullmatch(word):
        raise ValueError(f"expected four extents BxHxLxD such as 1x8x128x64, got {word!r}")
    batch, heads, length, dim = map(int, word.split("x"))
    return batch, heads, length, dim


def read_problems(path: Path) -> list[Problem]:
    """Read a JSON or TOML file: a list of problems, or a table with a list named ``problem``.

    Raises
    ------
    ValueError
        It holds something else; the message names the file and the entry.
    OSError
        It cannot be read.
    """
    return [_problem(f"{path}: problem {number}", entry) for number, entry in enumerate(_entries(path), 1)]


def _problem(where: str, entry: object) -> Problem:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: expected a table, got {entry!r}")  # noqa: TRY004 (one kind for all of a file)
    try:
        return Problem.from_mapping(entry)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _entries(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".toml":
            data: Any = _toml().loads(text)
        else:
            data = json.loads(text)
    except ValueError as error:  # what both parsers raise
        raise ValueError(f"{path}: {error}") from None
    entries = data.get("problem") if isinstance(data, dict) else data
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: expected a list of problems, or one named problem")
    return entries


def _toml() -> Any:
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ValueError(f"reading TOML needs Python 3.11 or the package {name}") from None


def _shape(name: str, given: object) -> tuple[int, int, int, int]:
    if isinstance(given, str):
        return shape_of(given)
    batch, heads, length, dim = _numbers(name, given, 4)
    if min(batch, heads, length, dim) < 1:
        raise ValueError(f"{name}: expected positive extents, got {given!r}")
    return batch, heads, length, dim


def _numbers(name: str, given: object, count: int) -> tuple[int, ...]:
    if not isinstance(given, (list, tuple)) or len(given) != count or not all(type(x) is int for x in given):
        raise ValueError(f"{name}: expected {count} integers, got {given!r}")
    return tuple(given)
