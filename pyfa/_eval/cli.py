"""``python -m pyfa eval``: what keeping keys and values in a codec costs a language model."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from pyfa._errors import PyfaError
from pyfa._eval.measure import BASELINE, measure, parse_codec, steps
from pyfa._eval.report import facts, print_results, progress
from pyfa._eval.text import Windows
from pyfa._lm._errors import LanguageModelError
from pyfa._lm.model import LanguageModel
from pyfa._lm.weights import find, load
from pyfa.ops._call import FORMATS

DEFAULT_CODECS = (
    "f32", "f16", "q8", "tq8", "tq7", "tq6", "tq5", "tq4", "tq3", "tq2",
    "tq8/tq4", "tq6/tq4", "tq4/tq2", "tq_hb8", "tq_hb6", "tq_hb5", "tq4_v1",
)  # fmt: skip
IMAGES = (".png", ".svg", ".pdf")
EXTRAS = frozenset({"safetensors", "matplotlib"})

_EXAMPLES = f"""Codecs: {", ".join(FORMATS)}; a pair such as tq8/tq4 keeps keys in the first, values in the second.

examples:
  python -m pyfa eval
  python -m pyfa eval --codecs f16,tq8,tq4,tq8/tq4 --bytes 65536
  python -m pyfa eval --json costs.json --plot costs.png

Exit status: 0 if all is well, 1 if something failed, 2 if the command line is wrong."""


def add_parser(commands: Any) -> None:  # argparse names the type of its sub-parsers privately
    """Add ``eval``."""
    parser = commands.add_parser(
        "eval",
        help="what a cache's codec costs a language model",
        description="Read modules of Python's standard library with a small language model of bytes that has never "
        "seen them, keeping keys and values in each codec in turn, and compare with a dense f32 cache.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--codecs", type=_codecs, default=DEFAULT_CODECS, metavar="A,B,…", help="which (default: all, and some pairs)")
    add("--bytes", type=_positive, default=16384, metavar="N", help="of text to read (default: %(default)s)")
    add("--weights", type=Path, metavar="FILE", help="the model, as examples/train_lm.py writes it (default: pyfa's)")
    add("--json", type=Path, metavar="FILE", help="write the results")
    add("--plot", type=Path, metavar="FILE", help=f"draw bits per byte against bytes of the cache: {', '.join(IMAGES)}")
    parser.set_defaults(parser=parser)


def run(options: argparse.Namespace) -> int:
    """Judge codecs as the options say; return the exit status."""
    try:
        _check_outputs(options)
        _run(options)
    except (LanguageModelError, PyfaError) as error:
        message = str(error)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        message = f"needs the package {error.name}: pip install 'pyfa[demo]'"
    else:
        return 0
    print(f"pyfa eval: error: {message}", file=sys.stderr)
    return 1


def _run(options: argparse.Namespace) -> None:
    if options.plot is not None:
        # Slow to load, and better found missing before the work than after it.
        from pyfa._eval.plot import save_plot  # noqa: PLC0415
    weights = load(path := find(options.weights))
    windows = Windows.of_held_out(options.bytes, weights.config.context)
    with progress(steps(windows, options.codecs)) as advance:
        results = measure(LanguageModel(weights), windows, options.codecs, advance)
    known = facts(path, weights, windows)
    print_results(known, results)
    if options.json is not None:
        codecs = [vars(result) | dict(zip(("keys", "values"), _pair(result.codec), strict=True)) for result in results]
        _write(options.json, json.dumps(known | {"baseline": BASELINE, "codecs": codecs}, indent=2) + "\n")
    if options.plot is not None:
        try:
            save_plot(options.plot, results)
        except OSError as error:
            raise LanguageModelError(f"--plot {options.plot}: cannot be written: {error.strerror}") from error
        print(f"plot: {options.plot}")


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse where nothing could be written before minutes are spent."""
    if options.plot is not None and options.plot.suffix not in IMAGES:
        options.parser.error(f"argument --plot: expected a file name ending in {', '.join(IMAGES)}, got {options.plot}")
    for name in ("json", "plot"):
        path: Path | None = getattr(options, name)
        if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
            options.parser.error(f"argument --{name}: expected a file that can be written, got {path}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LanguageModelError(f"--json {path}: cannot be written: {error.strerror}") from error


def _pair(codec: str) -> tuple[str, str]:
    parsed = parse_codec(codec)
    return (parsed, parsed) if isinstance(parsed, str) else parsed


def _codecs(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        for part in _pair(name):
            if part not in FORMATS:
                known = ", ".join(FORMATS)
                raise argparse.ArgumentTypeError(f"expected codecs or pairs such as tq8/tq4 of {known}, got {name!r}")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)
