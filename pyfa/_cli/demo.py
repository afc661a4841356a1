"""``python -m pyfa demo``: the demonstration, which has a command line of its own."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from pyfa._cli._errors import CommandError


def add_parser(commands: Any) -> None:
    """Add ``demo``; its options are its own."""
    parser = commands.add_parser("demo", help="run the demonstration; its own options follow", add_help=False)
    parser.set_defaults(takes_rest=True)


def run(options: argparse.Namespace) -> int:
    """Run the demonstration."""
    try:
        module = importlib.import_module("pyfa.demo")
    except ModuleNotFoundError as error:
        raise CommandError(f"pyfa demo: needs {error.name}; install it with `pip install 'pyfa[demo]'`") from None
    return int(module.main(options.rest) or 0)
