"""The bench's table, JSON file and plot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from rich.table import Table
from rich.text import Text

from . import shader, threads, variants
from .prefill import TARGET, beyond_peak, goal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from . import decode
    from .prefill import Result

NAMES = {"op": "pyfa, prepared buffers", "attention": "pyfa.attention", "torch": "torch SDPA"}
COLOURS = {"op": "#123a5a", "attention": "#4d9db8", "torch": "#e07a3f"}


@dataclass(frozen=True)
class Overhead:
    """One figure of per-call overhead, in microseconds."""

    name: str
    found: float | None
    """None if it could not be measured."""
    target: float | None

    @property
    def met(self) -> bool | None:
        """Whether it is within its target, if it has one and was measured."""
        return None if self.found is None or self.target is None else self.found <= self.target

    def record(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        return {"name": self.name, "us": self.found, "target_us": self.target, "met": self.met}


def mark(met: bool | None) -> Text:
    """Show whether a target is met."""
    if met is None:
        return Text("-", style="dim")
    return Text("PASS", style="bold green") if met else Text("miss", style="bold yellow")


def _goals(results: Sequence[Result]) -> str:
    found = {result.dtype: goal(result.dtype, result.isa).of_peak for result in results}
    return ", ".join(f"{dtype} {share:.0%}" for dtype, share in found.items())


def prefill_table(results: Sequence[Result]) -> Table:
    """Return times, speeds and ratios."""
    table = Table(
        title=f"Prefill against torch (pass: {TARGET:g} x as fast; large problems, of the peak: {_goals(results)})",
        title_justify="left",
    )
    table.add_column("problem")
    table.add_column("dtype")
    for name in NAMES.values():
        table.add_column(f"{name}\nms (GF/s)", justify="right")
    table.add_column("op x", justify="right")
    table.add_column("attention x", justify="right")
    table.add_column("op of peak", justify="right")
    table.add_column("peak / torch", justify="right")
    table.add_column("difference", justify="right")
    table.add_column("")
    for index, result in enumerate(results):
        times = [f"{1e3 * result.times[name].median:.2f} ({result.gflops(name):.0f})" for name in NAMES]
        ratios = [f"{result.ratio(name):.2f}" for name in ("op", "attention")]
        share = "-" if result.of_peak is None else f"{result.of_peak:.0%} of {result.peak:.0f}"
        last = index + 1 == len(results) or results[index + 1].shape != result.shape
        verdict = mark(result.met) if result.right else Text("WRONG", style="bold red")
        most = "-" if result.peak_over_torch is None else f"{result.peak_over_torch:.1f}"
        row = [str(result.shape), result.dtype, *times, *ratios, share, most, f"{result.difference:.1e}", verdict]
        table.add_row(*row, end_section=last)
    table.caption = "\n".join(beyond_peak(results))
    return table


def variants_table(results: Sequence[variants.Result]) -> Table:
    """Return what options cost."""
    table = Table(title="Prefill with options, against plain causal attention in the same run", title_justify="left")
    for name in ("option", "problem", "dtype"):
        table.add_column(name)
    for name in ("plain\nms", "with it\nms", "x plain", "pairs\nx plain", "at most", "difference"):
        table.add_column(name, justify="right")
    table.add_column("")
    for result in results:
        variant = result.variant
        times = [f"{1e3 * result.times[name].median:.2f}" for name in ("plain", "variant")]
        limit = "" if variant.limit is None else f"{variant.limit:g}"
        figures = [
            f"{result.ratio:.3f}",
            f"{variant.work:.3f}",
            limit,
            f"{result.difference:.1e}" if variant.same else "",
        ]
        verdict = mark(result.met) if result.right else Text("WRONG", style="bold red")
        table.add_row(variant.name, str(variant.shape), result.dtype, *times, *figures, verdict)
    return table


def threads_table(results: Sequence[threads.Result]) -> Table:
    """Return what a second thread brings."""
    table = Table(title=f"Prefill on two threads (at least {threads.SPEEDUP:g} x one)", title_justify="left")
    for name in ("problem", "dtype"):
        table.add_column(name)
    for name in (*(f"{name}\nms" for name in threads.NAMES), "x on two", "", "machine"):
        table.add_column(name, justify="right")
    for result in results:
        times = [f"{1e3 * result.times[name].median:.2f}" for name in threads.NAMES]
        verdict = mark(result.speedup >= threads.SPEEDUP)
        table.add_row(
            str(result.shape), result.dtype, *times, f"{result.speedup:.2f}", verdict, f"{result.ceiling:.2f}"
        )
    table.caption = "machine: what two runs at once gain, in a process and on a thread each"
    return table


# What decoding is to reach: dense caches so many times as fast as torch and as its own grouping, and this share of a
# read of memory, by heads of a group; ...
DECODE_TORCH = {"f32": 1.5, "f16": 9.0, "bf16": 3.0}
DECODE_GROUPED = {"f32": 0.0, "f16": 15.0, "bf16": 15.0}
DECODE_OF_READ = {2: 0.8, 4: 0.8, 8: 0.75}
# ... caches of codes so many times as fast as bf16, by heads of a group. Short caches gain less: there, no loss.
DECODE_TO_BF16 = {
    "tq8": {2: 1.8, 4: 1.3, 8: 1.0},
    "tq6": {2: 1.6, 4: 1.3, 8: 1.0},
    "tq5": {2: 1.6, 4: 1.3, 8: 1.0},
    "tq4": {2: 3.3, 4: 2.2, 8: 1.2},
    "tq_hb8": {2: 1.8, 4: 1.3, 8: 1.0},
}
SHORT = 4096
# Where memory is as fast as this, bf16 has less to lose: for groups of 2 then ...
FAST_STREAM = 50e9
DECODE_TO_BF16_FAST = {"tq8": 1.4, "tq6": 1.3, "tq5": 1.3, "tq4": 2.2, "tq_hb8": 1.4}


def decode_met(result: decode.Result, kind: str) -> bool | None:
    """Tell whether a cache of the format is as fast as it is to be, if there is a goal."""
    group = result.shape.heads // result.shape.kv_heads
    if kind in DECODE_TORCH:
        return (
            result.ratio(kind, "torch") >= DECODE_TORCH[kind]
            and result.ratio(kind, "torch grouped") >= DECODE_GROUPED[kind]
            and result.of_stream(kind) >= DECODE_OF_READ[group]
        )
    if kind == "q8":
        return result.ratio(kind, "tq8") >= 1 and (group < 8 or result.ratio(kind, "bf16") >= 1)
    if kind not in DECODE_TO_BF16:
        return None
    goal = DECODE_TO_BF16[kind][group]
    if group == 2 and result.stream(kind) > FAST_STREAM:
        goal = DECODE_TO_BF16_FAST[kind]
    return result.ratio(kind, "bf16") >= (goal if result.shape.length >= SHORT else 1)


def decode_table(results: Sequence[decode.Result]) -> Table:
    """Return times, speeds and ratios."""
    table = Table(title="Decode: one token, caches out of reach of the processor's own memory", title_justify="left")
    table.caption = "queries: of the cache's type, or bf16"
    for name in ("heads x keys x D", "cache"):
        table.add_column(name)
    for name in ("us", "GB/s", "of a read", "x bf16", "x tq8", "x torch", "x torch grouped", "difference"):
        table.add_column(name, justify="right")
    table.add_column("")
    for result in results:
        for index, kind in enumerate(result.difference):
            others = ("bf16", "tq8", "torch", "torch grouped")
            row = [
                result.shape.name if index == 0 else "",
                kind,
                f"{1e6 * result.times[kind][kind].median:.0f}",
                f"{result.speed(kind) / 1e9:.1f}",
                f"{100 * result.of_stream(kind):.0f} % of {result.stream(kind) / 1e9:.0f}",
                *(
                    f"{result.ratio(kind, name):.2f}" if name != kind and name in result.times[kind] else ""
                    for name in others
                ),
                f"{result.difference[kind]:.1e}",
            ]
            verdict = Text("WRONG", style="bold red") if kind in result.wrong else mark(decode_met(result, kind))
            table.add_row(*row, verdict, end_section=index + 1 == len(result.difference))
    return table


def overhead_table(overheads: Sequence[Overhead]) -> Table:
    """Return per-call overheads and their targets."""
    table = Table(title="Overhead of one call", title_justify="left")
    table.add_column("what")
    table.add_column("microseconds", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for entry in overheads:
        found = "not available" if entry.found is None else f"{entry.found:.2f}"
        target = "" if entry.target is None else f"{entry.target:g}"
        table.add_row(entry.name, found, target, mark(entry.met))
    return table


def shader_table(results: Sequence[shader.Result]) -> Table:
    """Return the executor's times beside those of plain loops."""
    target = f"at most {shader.SLOWDOWN:g} x the loop's time, {shader.SPEEDUP:g} x as fast on two threads"
    table = Table(title=f"Shaders in lockstep against C++ loops ({target})", title_justify="left")
    table.add_column("kernel")
    for name in shader.NAMES:
        table.add_column(f"{name}\nms", justify="right")
    for name in ("x loop", "", "x on two", "", "machine"):
        table.add_column(name, justify="right")
    table.add_column("difference", justify="right")
    for result in results:
        times = [f"{1e3 * result.times[name].median:.2f}" for name in shader.NAMES]
        slowdown = [f"{result.slowdown:.2f}", mark(result.slowdown <= shader.SLOWDOWN)]
        speedup = [f"{result.speedup:.2f}", mark(result.speedup >= shader.SPEEDUP)]
        difference = f"{result.difference:.1e}"
        if not result.right:
            difference = f"[bold red]WRONG[/] {difference}"
        table.add_row(result.name, *times, *slowdown, *speedup, f"{result.ceiling:.2f}", difference)
    table.caption = f"loops: {' '.join(shader.LOOP_FLAGS)}; machine: what two runs at once gain, on a thread each"
    return table


def figure_table(figures: Sequence[shader.Figure]) -> Table:
    """Return what running a shader costs besides its work."""
    table = Table(title="Launching and compiling shaders", title_justify="left")
    table.add_column("what")
    table.add_column("found", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for figure in figures:
        found, target = f"{figure.found:.2f} {figure.unit}", f"{figure.target:g} {figure.unit}"
        table.add_row(figure.name, found, target, mark(figure.met))
    return table


def save_plot(path: Path, results: Sequence[Result]) -> None:
    """Write bars of GF/s, three for each problem and dtype."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = list(reversed(results))
    figure, axes = plt.subplots(figsize=(10.5, 1.6 + 0.52 * len(rows)), layout="constrained")
    for offset, name in zip((0.27, 0.0, -0.27), NAMES, strict=True):
        places = [index + offset for index in range(len(rows))]
        speeds = [row.gflops(name) for row in rows]
        bars = axes.barh(places, speeds, height=0.25, color=COLOURS[name], label=NAMES[name])
        shown = [
            f"{speed:.0f}" if name == "torch" else f"{speed:.0f}  ({row.ratio(name):.1f}x)"
            for speed, row in zip(speeds, rows, strict=True)
        ]
        axes.bar_label(bars, shown, padding=4, fontsize=7.5, color="#1d2733")
    axes.set_yticks(range(len(rows)), [f"{row.shape}  {row.dtype}" for row in rows], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("GF/s, more is better; in brackets: times as fast as torch", fontsize=9)
    axes.set_title("Prefill attention, same run, medians", loc="left", fontsize=13)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.margins(x=0.1, y=0.01)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)
