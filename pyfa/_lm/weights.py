"""The weights' file: where it is, and what must be in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfa._lm._errors import LanguageModelError
from pyfa._lm.config import Config

KIND = "pyfa byte language model"
SHIPPED = Path(__file__).resolve().parents[2] / "examples" / "data" / "byte_lm.safetensors"
"""In a checkout; an installed package does not carry it."""


@dataclass(frozen=True)
class Weights:
    """What a file has in it."""

    config: Config
    tensors: dict[str, NDArray[np.float32]]
    metadata: dict[str, str]
    """How they were made: steps, bytes of text, seed, loss, version of Python, licence."""


def find(choice: Path | None) -> Path:
    """Return the file that was chosen, or the one of this checkout.

    Raises
    ------
    LanguageModelError
        If there is none.
    """
    if choice is not None:
        return choice
    if not SHIPPED.is_file():
        raise LanguageModelError(
            "no weights: the installed package has none; name a file with --weights, such as "
            "examples/data/byte_lm.safetensors of pyfa's sources, or one that examples/train_lm.py wrote"
        )
    return SHIPPED


def load(path: Path) -> Weights:
    """Read and check a file that ``examples/train_lm.py`` wrote.

    Parameters
    ----------
    path : Path
        The file: safetensors, f16 or f32.

    Returns
    -------
    Weights
        Tensors as float32.

    Raises
    ------
    LanguageModelError
        If it cannot be read, or holds something else.
    """
    # An optional package, which the command line asks for if it is missing.
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("kind") != KIND:
                raise LanguageModelError(
                    f"{path}: expected weights of kind {KIND!r}, as examples/train_lm.py writes them, "
                    f"got {metadata.get('kind')!r}"
                )
            raw: dict[str, NDArray[Any]] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: a dtype that NumPy does not have
        raise LanguageModelError(f"{path}: cannot be read: {error}") from error
    try:
        config = Config.from_metadata(metadata)
    except ValueError as error:
        raise LanguageModelError(f"{path}: sizes that cannot be: {error}") from error
    return Weights(config, _checked(path, config, raw), metadata)


def _checked(path: Path, config: Config, raw: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    wanted = config.shapes()
    for name in sorted(wanted.keys() | raw.keys()):
        expected = wanted.get(name)
        got = raw[name].shape if name in raw else None
        if got != expected:
            raise LanguageModelError(f"{path}: {name}: expected shape {expected}, got {got}")
        if raw[name].dtype not in (np.float16, np.float32):
            raise LanguageModelError(f"{path}: {name}: expected float16 or float32, got {raw[name].dtype}")
    tensors = {name: array.astype(np.float32) for name, array in raw.items()}
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise LanguageModelError(f"{path}: {name}: expected finite numbers, got NaN or infinity")
    return tensors
