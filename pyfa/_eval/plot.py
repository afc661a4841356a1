"""The plot: what a byte of text costs against what a byte of it takes in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from pyfa._eval.measure import Result

INK, PAPER, FAINT = "#1d2733", "#ffffff", "#8a97a6"
GROUPS = {
    "dense": ("#1d2733", "s"),
    "tq, q8": ("#22708f", "o"),
    "keys/values": ("#e07a3f", "D"),
    "version 1": ("#8a5a9e", "^"),
}
LEAST_CHANGE = 1e-5
"""Bits per byte below which a change is drawn as this much."""


def save_plot(path: Path, results: Sequence[Result]) -> None:
    """Draw bits per byte, and their change on a logarithmic scale, against bytes of the cache.

    Parameters
    ----------
    path : Path
        Image file; its suffix names the format.
    results : sequence of Result
        One point each.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    figure = Figure(figsize=(11, 5.6), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle("What a codec costs a language model", x=0.015, ha="left", fontsize=15, color=INK)
    title = f"change from f32, either way ({LEAST_CHANGE:g} or less: at the bottom)"
    halves = (
        (left, [result.bits_per_byte for result in results], "linear", "bits per byte"),
        (right, [max(abs(result.change), LEAST_CHANGE) for result in results], "log", title),
    )
    for axes, heights, scale, what in halves:
        _draw(axes, results, heights, scale)
        axes.set_title(what, loc="left", fontsize=11, color=INK)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, labelcolor=INK)
    figure.draw_without_rendering()  # puts everything in its place, which labels depend on
    for (axes, heights, *_), clearance in zip(halves, (12, 0), strict=True):
        _label(axes, results, heights, clearance)
    figure.savefig(path, dpi=130)


def _draw(axes: Axes, results: Sequence[Result], heights: Sequence[float], scale: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale(scale)
    sizes = [result.cache_bytes_per_token for result in results]
    for group, (colour, marker) in GROUPS.items():
        members = [i for i, result in enumerate(results) if _group(result.codec) == group]
        if members:
            places = [sizes[i] for i in members], [heights[i] for i in members]
            axes.plot(*places, marker, color=colour, label=group, markersize=7)
    least, most = 0.85 * min(sizes), 1.35 * max(sizes)
    axes.set_xlim(least, most)
    axes.set_xticks([size for size in (1 << i for i in range(24)) if least <= size <= most])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:.0f}"))
    axes.margins(y=0.1)
    axes.set_xlabel("bytes of the cache per token, all layers", color=INK)
    axes.grid(color="#dfe5ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)


def _label(axes: Axes, results: Sequence[Result], heights: Sequence[float], clearance: float) -> None:
    """Name the points, each beside itself where there is room; one that has none is named in the other half.

    `clearance` is in pixels.
    """
    points = [(result.cache_bytes_per_token, height) for result, height in zip(results, heights, strict=True)]
    taken = [Bbox.from_bounds(x - 2, y - 2, 4, 4) for x, y in axes.transData.transform(points)]
    for i in sorted(range(len(points)), key=lambda i: -heights[i]):
        for right, above in ((True, True), (False, True), (True, False), (False, False)):
            text = axes.annotate(
                results[i].codec, points[i], (6 if right else -6, 3 if above else -3), textcoords="offset points",
                ha="left" if right else "right", va="bottom" if above else "top",
                fontsize=8.5, color=GROUPS[_group(results[i].codec)][0],
            )  # fmt: skip
            box = text.get_window_extent()
            if not any(box.padded(clearance).overlaps(other) for k, other in enumerate(taken) if k != i):
                taken.append(box)
                break
            text.remove()


def _group(codec: str) -> str:
    if "/" in codec:
        return "keys/values"
    if codec in {"f32", "f16", "bf16"}:
        return "dense"
    return "version 1" if codec.endswith("_v1") or codec.startswith("tq_hb") else "tq, q8"
