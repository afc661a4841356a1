"""``python -m pyfa bench``: how fast attention is here, beside other libraries and the machine's limits."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyfa._bench import contenders, machine, record
from pyfa._bench.problem import DTYPES, Problem, read_problems
from pyfa._cli import _output, _words
from pyfa._cli._errors import CommandError, UsageError
from pyfa._device import Device

_DEFAULT = (
    Problem((1, 12, 512, 64), (1, 12, 512, 64)),
    Problem((1, 16, 512, 128), (1, 8, 512, 128), causal=True),
    Problem((1, 16, 1, 128), (1, 8, 4096, 128)),
)
_BUSY = 0.5  # load average for each core

_EXAMPLES = """examples:
  python -m pyfa bench
  python -m pyfa bench 1x12x512x64 1x16x1x128,1x8x4096x128 --dtypes f32,f16,bf16 --peers numpy,torch
  python -m pyfa bench --file problems.toml --json after.json --plot roofline.png
  python -m pyfa bench --compare before.json after.json

A file is a list of problems as JSON, or TOML such as
  [[problem]]
  name = "prompt"
  q = [1, 16, 1024, 128]       # [B, H, L, D]
  k = [1, 8, 1024, 128]        # as q by default
  dtype = "bf16"               # f32 by default; causal, window, softcap, mask and sinks as the options

Contenders alternate in one run, and medians are shown; a time never fails the run.
Exit status: 0 if all results are right, 1 if one is not or a file or a peer is missing, 2 if the command line is
wrong."""


def add_parser(commands: Any) -> None:
    """Add ``bench``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure attention, compare with other libraries and earlier runs",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("shapes", type=_words.shapes, nargs="*", metavar="Q[,K]", help="shapes BxHxLxD; a few by default")
    add("--file", type=Path, help="problems to measure, JSON or TOML")
    add("--dtypes", type=_words.listed(tuple(DTYPES)), metavar="LIST", help=f"of {', '.join(DTYPES)}; f32 by default")
    _words.add_options(parser)
    add(
        "--providers",
        type=_words.listed(("default", "native", "shader")),
        default=["default"],
        metavar="LIST",
        help="of default, native, shader",
    )
    add(
        "--peers",
        type=_words.listed(tuple(contenders.PEERS)),
        default=[],
        metavar="LIST",
        help=f"of {', '.join(contenders.PEERS)}",
    )
    add("--rounds", type=_words.positive(int), default=5, metavar="N", help="interleaved repeats (%(default)s)")
    add("--block", type=_words.positive(float), default=0.05, metavar="S", help="seconds of each (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the results")
    add("--plot", type=Path, metavar="FILE", help="write a roofline plot, PNG")
    add(
        "--compare",
        type=Path,
        nargs=2,
        metavar=("BEFORE", "AFTER"),
        help="compare two files of --json, measure nothing",
    )


def run(options: argparse.Namespace) -> int:
    """Measure, or compare two runs."""
    if options.compare:
        if options.shapes or options.file or options.json or options.plot:
            raise UsageError("argument --compare: measures nothing, so it takes no shapes, --file, --json or --plot")
        return _compare(*options.compare)
    problems = _problems(options)
    for name in options.peers:
        absent = contenders.missing(name)
        if absent:
            raise CommandError(f"pyfa bench: peer {name} needs {' and '.join(absent)}: pip install {' '.join(absent)}")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        raise CommandError("pyfa bench: --plot needs matplotlib: pip install matplotlib")
    for path in filter(None, (options.json, options.plot)):
        if not path.absolute().parent.is_dir():
            raise CommandError(f"pyfa bench: {path}: there is no directory {path.absolute().parent}")
    with ExitStack() as stack:
        devices = _devices(options.providers, stack)
        described = next(iter(devices.values())).info()
        providers = ", ".join(devices)
        print(" ".join(f"{described.name}, {providers} {described.isa}, {contenders.cores()} cores".split()))
        if hasattr(os, "getloadavg") and os.getloadavg()[0] > _BUSY * contenders.cores():
            print(f"load {os.getloadavg()[0]:.1f}: other programs are running, so read times with care")
        results = [
            record.measure(problem, devices, options.peers, options.rounds, options.block)
            for problem in _output.track(problems, "measuring")
        ]
        dtypes = list(dict.fromkeys(problem.dtype for problem in problems))
        roof = machine.measure(dtypes, described.isa, contenders.cores())
    _show(results, roof)
    try:
        _write(options, results, roof)
    except OSError as error:
        raise CommandError(f"pyfa bench: {error}") from None
    wrong = [(result, name) for result in results for name in result.wrong]
    for result, name in wrong:
        print(f"wrong result: {name} differs by {result.difference[name]:.1e}: {result.problem}")
    return int(bool(wrong))


def _problems(options: argparse.Namespace) -> list[Problem]:
    given = {name: getattr(options, name) for name in ("causal", "window", "softcap", "mask", "sinks")}
    try:
        problems = [Problem(q, k, **given) for q, k in options.shapes]
        read = read_problems(options.file) if options.file else []
        if not problems and not read:
            chosen = {name: value for name, value in given.items() if value not in (None, False, "none")}
            problems = [replace(problem, **chosen) for problem in _DEFAULT]
    except ValueError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise CommandError(f"pyfa bench: {error}") from None
    dtypes = options.dtypes or ["f32"]
    found = [replace(problem, dtype=dtype) for problem in problems for dtype in dtypes]
    # A file has dtypes of its own, unless the command line says otherwise.
    found += [replace(problem, dtype=dtype) for problem in read for dtype in options.dtypes or [problem.dtype]]
    return found


def _devices(providers: Sequence[str], stack: ExitStack) -> dict[str, Device]:
    devices = {}
    for name in providers:
        device = stack.enter_context(Device(name))  # type: ignore[arg-type]
        devices[device.info().provider] = device
    return devices


def _show(results: Sequence[record.Result], roof: machine.Roof) -> None:
    rows = []
    for result in results:
        first = next(iter(result.times))
        for name, time in result.times.items():
            limit = roof.gflops.get(result.problem.dtype)
            bound = roof.gb_s * result.problem.flops / result.problem.bytes
            share = result.gflops(name) / (bound if limit is None else min(bound, limit))
            rows.append(
                (
                    str(result.problem) if name == first else "",
                    name,
                    f"{1e3 * time.median:.3f}",
                    f"{1e3 * time.lower:.3f} … {1e3 * time.upper:.3f}",
                    f"{result.gflops(name):.1f}",
                    f"{result.problem.bytes / time.median / 1e9:.1f}",
                    f"{100 * share:.0f} %",
                    f"{result.times[name].median / result.times[first].median:.2f}",
                    f"{result.difference[name]:.1e}" + (" WRONG" if name in result.wrong else ""),
                )
            )
        rows += [("", name, reason, "", "", "", "", "", "") for name, reason in result.skipped.items()]
    columns = ("problem", "contender", "ms", "quartiles", "GF/s", "GB/s", "of roof", "x first", "difference")
    _output.table("", columns, rows, numbers=range(3, 9))
    rates = ", ".join(f"{dtype} {rate:.0f} GF/s" for dtype, rate in roof.gflops.items())
    unknown = "arithmetic unknown: no C compiler, or no loop for this machine"
    print(f"roof: memory {roof.gb_s:.1f} GB/s, {rates or unknown}")


def _write(options: argparse.Namespace, results: Sequence[record.Result], roof: machine.Roof) -> None:
    if options.json:
        record.write(options.json, results, roof, options.peers, options.rounds)
        print(f"written: {options.json}")
    if options.plot:
        from pyfa._bench.plot import roofline  # noqa: PLC0415  # slow to import

        roofline(options.plot, results, roof)
        print(f"written: {options.plot}")


def _compare(before: Path, after: Path) -> int:
    try:
        old, new = record.read(before), record.read(after)
    except (OSError, ValueError) as error:
        raise CommandError(f"pyfa bench: {error}") from None
    shared = [key for key in old if key in new]
    if not shared:
        raise CommandError(f"pyfa bench: {before} and {after} have no problem in common")
    times = {key: (old[key], new[key]) for key in shared}
    rows = [(*key, f"{then:.3f}", f"{now:.3f}", f"{then / now:.2f}") for key, (then, now) in times.items()]
    _output.table("", ("problem", "contender", "before ms", "after ms", "times as fast"), rows, numbers=(2, 3, 4))
    alone = [(str(path), len(set(one) - set(other))) for path, one, other in ((before, old, new), (after, new, old))]
    for path, count in alone:
        if count:
            print(f"only in {path}: {count}")
    return 0
