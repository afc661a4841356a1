"""``python -m pyfa``: the commands, a module each."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from pyfa._cli._errors import CommandError, UsageError
from pyfa._errors import PyfaError
from pyfa._shader_file import ShaderFileError

# A command's module has `add_parser(commands)`, which adds a parser of the command's name to argparse's sub-parsers,
# and `run(options)`, which returns the exit status; what is slow to import it imports in `run`. A parser that sets
# `takes_rest` gets what no parser knows as `options.rest`.
MODULES = {
    "info": "pyfa._cli.info",
    "explain": "pyfa._cli.explain",
    "bench": "pyfa._cli.bench",
    "eval": "pyfa._eval.cli",
    "demo": "pyfa._cli.demo",
    "metal": "pyfa._cli.metal",
}

_EXAMPLES = """examples:
  python -m pyfa info
  python -m pyfa explain 1x8x128x64 1x2x300x64 --causal
  python -m pyfa bench 1x12x512x64 --dtypes f32,bf16 --peers torch --plot roofline.png
  python -m pyfa eval --codecs f16,tq8,tq4
  python -m pyfa demo
  python -m pyfa COMMAND --help

Exit status: 0 if all is well, 1 if something failed, 2 if the command line is wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; the process's own by default.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pyfa",
        description="Fast, exact flash attention: what is installed, what a call would do, and how fast it is.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {command: importlib.import_module(name) for command, name in MODULES.items()}
    for module in modules.values():
        module.add_parser(commands)
    options, rest = parser.parse_known_args(argv)
    # A command with actions, such as `metal check`, sets the parser whose usage is to be shown.
    shown: argparse.ArgumentParser = getattr(options, "parser", None) or commands.choices[options.command]
    if rest and not getattr(options, "takes_rest", False):
        shown.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    return _run(modules[options.command], options, shown)


def _run(module: ModuleType, options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be in no encoding
    try:
        status = int(module.run(options))
        sys.stdout.flush()
    except UsageError as error:
        parser.error(str(error))
    except (CommandError, ShaderFileError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader has gone; Python must not find out again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except PyfaError as error:
        print(f"pyfa: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status
