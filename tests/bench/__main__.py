"""``python -m tests.bench``: speed and overhead in one run, side by side with PyTorch.

A time never fails the run: targets are shown as PASS or miss. A wrong result does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

import pyfa

from . import decode, overhead, prefill, report, shader
from .peak import Peak

BUSY = 0.5  # load average for each core
PARTS = ("prefill", "decode", "overhead", "shader")


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write bench.json and bench.png."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these of: %(choices)s")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved repeats (default: %(default)s)")
    parser.add_argument("--block", type=float, default=0.05, help="seconds of each repeat (default: %(default)s)")
    parser.add_argument(
        "--shapes",
        nargs="+",
        choices=[shape.name for shape in prefill.SHAPES],
        metavar="NAME",
        help="only these of: %(choices)s",
    )
    parser.add_argument("--dtypes", nargs="+", choices=list(prefill.DTYPES), default=list(prefill.DTYPES))
    parser.add_argument("--output", type=Path, default=Path("build"), help="directory (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.rounds < 1 or options.block <= 0:
        parser.error("--rounds and --block need positive numbers")
    options.output.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    torch.set_grad_enabled(False)

    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    device = pyfa.default_device().info()
    console.print(
        f"{device.name}, {device.provider} {device.isa}, {cores} cores; torch {torch.__version__}, {cores} threads"
    )
    # Before the bench makes its own.
    load = os.getloadavg()[0]
    if load > BUSY * cores:
        console.print(f"[yellow]load {load:.1f}: other programs are running, so read ratios with care[/]")
    shapes = [shape for shape in prefill.SHAPES if not options.shapes or shape.name in options.shapes]
    problems = [(shape, dtype) for shape in shapes for dtype in options.dtypes]
    if "prefill" not in options.parts:
        problems = []
    peak = Peak(options.output, device.isa, cores)
    results = [
        prefill.measure(shape, dtype, options.rounds, options.block, peak)
        for shape, dtype in track(problems, "prefill", console=console, transient=True)
    ]
    if results:
        console.print(report.prefill_table(results))
    decoded = [
        decode.measure(shape, options.rounds, options.block)
        for shape in track(decode.SHAPES, "decode", console=console, transient=True)
        if "decode" in options.parts
    ]
    if decoded:
        console.print(report.decode_table(decoded))
    overheads = _overheads(options.output, options.rounds, options.block) if "overhead" in options.parts else []
    if overheads:
        console.print(report.overhead_table(overheads))
    shaders, figures = [], []
    # A GPU is no match for a loop of the processor, and compiles in its own way.
    if "shader" in options.parts and device.backend == "SoftMetal":
        with console.status("shaders"):
            shaders = shader.measure(options.output, options.rounds, options.block)
            figures = shader.figures(options.output, options.rounds, options.block)
        console.print(report.shader_table(shaders))
        console.print(report.figure_table(figures))

    record = {
        "machine": {"platform": platform.platform(), "cores": cores, "load": load, "device": asdict(device)},
        "versions": {"pyfa": pyfa.__version__, "numpy": np.__version__, "torch": torch.__version__},
        "rounds": options.rounds,
        "prefill": [result.record() for result in results],
        "decode": [result.record() for result in decoded],
        "overhead": [entry.record() for entry in overheads],
        "shader": {
            "kernels": [result.record() for result in shaders],
            "figures": [figure.record() for figure in figures],
        },
    }
    (options.output / "bench.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    written = [options.output / "bench.json"]
    if results:
        written.append(options.output / "bench.png")
        report.save_plot(written[-1], results)
    console.print(f"written: {', '.join(map(str, written))}")
    wrong = [(f"{result.shape} {result.dtype}", result.difference) for result in results if not result.right]
    wrong += [(f"shader {result.name}", result.difference) for result in shaders if not result.right]
    wrong += [(f"decode {r.shape.name} {kind}", r.difference[kind]) for r in decoded for kind in r.wrong]
    for name, difference in wrong:
        print(f"wrong result: {name} differs by {difference:.2e}", file=sys.stderr)
    return 1 if wrong else 0


def _overheads(build: Path, rounds: int, block: float) -> list[report.Overhead]:
    python = prefill.decode_step(rounds, block)["pyfa.attention"].median
    cached = {name: 1e6 * time.median for name, time in decode.overheads(rounds, block).items()}
    native = overhead.measure(build)
    return [
        report.Overhead("pyfa.attention, B1 H1 L1 D64 f32", 1e6 * python, 40.0),
        report.Overhead("ops.flash_attn_decode, one key, H16/8 D256 tq8", cached["decode"], 30.0),
        report.Overhead("KVCache.append, one token, H8 D256 f32", cached["append f32"], 15.0),
        report.Overhead("KVCache.append, one token, H8 D256 tq8", cached["append tq8"], 15.0),
        report.Overhead("C: encode, commit, wait; a no-op kernel", native.get("noop"), 10.0),
        report.Overhead("C: encode, commit, wait; the smallest prefill", native["prefill"], 10.0),
        report.Overhead("C: commit, wait; an empty encoder", native["empty"], 10.0),
    ]


if __name__ == "__main__":
    sys.exit(main())
