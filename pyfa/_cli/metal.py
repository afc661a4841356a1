"""``python -m pyfa metal``: compile Metal source and say what is in it, and run a kernel of it."""

from __future__ import annotations

import argparse
from typing import Any

from pyfa import _metal_check, _metal_run
from pyfa import _metal_options as words

_CHECK_EXAMPLES = """examples:
  python -m pyfa metal check scale.metal
  python -m pyfa metal check shaders/*.metal -I shaders/include -D TILE=32
  python -m pyfa metal check scale.metal --constant factor=2.5 --json

Exit status: 0 if all is well, 1 if a file has errors, 2 if the command line has."""
_RUN_EXAMPLES = """examples:
  python -m pyfa metal run scale.metal scale --grid 64 --threads 32 --constant factor=2 \\
      --buffer 0=arange:float:64 --buffer 1=value:uint:64
  python -m pyfa metal run scale.metal scale --threadgroups 2 --threads 32 --buffer 0=x.npy --output 0=y.npy --repeat 10
  python -m pyfa metal run sum.metal sum --threadgroups 4 --threads 64 --buffer 0=zeros:float:4,8 \\
      --threadgroup-memory 0=256 --mode strict --schedule random:7 --check

Types are Metal's: bool, char, uchar, short, ushort, int, uint, long, ulong, half, bfloat, float. A .npy file holds
a bfloat as two bytes (V2). Each repetition begins with the buffers as they were given.

Exit status: 0 if the kernel ran and nothing was found, 1 otherwise, 2 if the command line is wrong."""


def add_parser(commands: Any) -> None:  # argparse names the type of its sub-parsers privately
    """Add ``metal`` and its actions."""
    group = commands.add_parser("metal", help="compile and run Metal shaders", description=__doc__)
    actions = group.add_subparsers(dest="action", required=True)
    shared: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}

    check = actions.add_parser("check", help="compile files, list their kernels", epilog=_CHECK_EXAMPLES, **shared)
    check.add_argument("files", nargs="+", metavar="FILE", help="Metal source")
    check.add_argument("--json", action="store_true", help="as JSON")
    check.set_defaults(run=_metal_check.check, parser=check)

    run = actions.add_parser("run", help="run a kernel", epilog=_RUN_EXAMPLES, **shared)
    run.add_argument("file", metavar="FILE", help="Metal source")
    run.add_argument("kernel", metavar="KERNEL", help="host name")
    size = run.add_mutually_exclusive_group(required=True)
    size.add_argument("--threadgroups", type=words.extents, metavar="X[,Y,Z]", help="how many threadgroups")
    size.add_argument("--grid", type=words.extents, metavar="X[,Y,Z]", help="how many threads in all")
    run.add_argument("--threads", type=words.extents, metavar="X[,Y,Z]", required=True, help="of a threadgroup")
    _many(
        run, "--buffer", words.buffer, "SLOT=WHAT", "FILE.npy, zeros:TYPE:SHAPE, arange:TYPE:SHAPE, value:TYPE:NUMBER"
    )
    _many(run, "--output", words.slot_file, "SLOT=FILE", "save a buffer as a .npy file")
    _many(
        run, "--threadgroup-memory", words.slot_bytes, "SLOT=BYTES", "memory for a threadgroup slot, 16 or a multiple"
    )
    run.add_argument("--mode", choices=("lockstep", "strict"), help="how simdgroups run; lockstep by default")
    run.add_argument("--schedule", type=words.schedule, metavar="ORDER", help="forward, reverse or random[:SEED]")
    run.add_argument("--check", action="store_true", help="look for races, bounds and unset memory")
    run.add_argument("--repeat", type=words.count, default=1, metavar="N", help="how often, for the time")
    run.set_defaults(run=_metal_run.run, parser=run)

    for parser in (check, run):
        _many(parser, "-D", words.definition, "NAME[=VALUE]", "define a macro")
        _many(parser, "-I", str, "DIR", "where included files are, after the including file's own directory")
        _many(parser, "--constant", words.constant, "KEY=VALUE", "a function constant by index or name")


def run(options: argparse.Namespace) -> int:
    """Run the chosen action; return the exit status."""
    status: int = options.run(options)
    return status


def _many(parser: argparse.ArgumentParser, flag: str, kind: Any, metavar: str, text: str) -> None:
    parser.add_argument(flag, action="append", default=[], type=kind, metavar=metavar, help=text)
