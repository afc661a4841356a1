"""Command line of the demo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyfa
from pyfa._lm._errors import LanguageModelError
from pyfa.demo._errors import DemoError
from pyfa.demo.inputs import DEFAULT_SENTENCES, MIN_COSINE, MODEL_PACKAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTRAS = {"safetensors", "tokenizers", "rich", "matplotlib"}


def parser() -> argparse.ArgumentParser:
    """Return the demo's argument parser."""
    root = argparse.ArgumentParser(
        prog="python -m pyfa demo",
        description="Search sentences by meaning. A MiniLM sentence encoder turns each sentence into a vector, every "
        "attention of it going through pyfa.attention; then a query finds the sentences nearest to it. The same run "
        "repeats the work with attention written in plain NumPy and compares times and answers. At the end a small "
        "language model writes on from a prompt, with keys and values as f16 and quantised to 8 bits.",
        epilog=f"Exit code: 0 if both agree, 1 if an answer or an embedding differs (cosine below {MIN_COSINE}), 2 for "
        "input that cannot be used.",
    )
    add = root.add_argument
    add("--query", action="append", metavar="TEXT", help="what to search for; may be repeated (default: five queries)")
    add("--sentences", type=Path, default=DEFAULT_SENTENCES, metavar="FILE", help="UTF-8 text, one sentence per line")
    add("--top", type=_positive, default=3, metavar="N", help="answers per query (default: %(default)s)")
    add("--dtype", choices=("f32", "f16", "bf16"), default="f32", help="of pyfa's attention (default: %(default)s)")
    add("--batch-size", type=_positive, default=32, metavar="N", help="sentences at once (default: %(default)s)")
    add("--plot", type=Path, metavar="FILE", help="write a similarity plot of the sentences, e.g. similarity.png")
    add("--model", metavar="DIR", help=f"BERT sentence encoder (default: the installed {MODEL_PACKAGE})")
    add("--no-compare", dest="compare", action="store_false", help="do not run plain NumPy attention beside it")
    add("--weights", type=Path, metavar="FILE", help="language model of bytes, as examples/train_lm.py writes it")
    add("--no-generate", dest="generate", action="store_false", help="do not let the language model write")
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after ``python -m pyfa demo``; the process's own by default.

    Returns
    -------
    int
        Exit code: 0 success, 1 pyfa and NumPy disagree, 2 unusable input.
    """
    arguments = parser().parse_args(argv)
    try:
        # Only here, so that --help and the message below need none of the extra packages.
        from pyfa.demo.run import run  # noqa: PLC0415

        return run(arguments)
    except (DemoError, LanguageModelError, pyfa.PyfaError) as error:
        message = str(error)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        message = f"needs the package {error.name}: pip install 'pyfa[demo]'"
    print(f"pyfa demo: error: {message}", file=sys.stderr)
    return 2


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value
