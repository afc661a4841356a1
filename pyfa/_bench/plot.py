"""The roofline plot of a bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyfa._bench.machine import Roof
from pyfa._bench.record import Result

_COLOURS = ("#123a5a", "#4d9db8", "#e07a3f", "#8a6bb1", "#5c8a3a")
_MARKERS = {"f32": "o", "f16": "s", "bf16": "^"}


def roofline(path: Path, results: Sequence[Result], roof: Roof) -> None:
    """Write a PNG: speed over operations for each byte, below what memory and arithmetic allow.

    Raises
    ------
    ModuleNotFoundError
        There is no Matplotlib.
    OSError
        The file cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415  # optional

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  # optional

    figure, axes = plt.subplots(figsize=(9, 5.6), layout="constrained")
    names = list(dict.fromkeys(name for result in results for name in result.times))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    labelled = set()
    for result in results:
        intensity = result.problem.flops / result.problem.bytes
        for name in result.times:
            dtype = result.problem.dtype
            label = None if (name, dtype) in labelled else f"{name}, {dtype}"
            labelled.add((name, dtype))
            axes.plot(
                intensity,
                result.gflops(name),
                marker=_MARKERS[dtype],
                linestyle="",
                markersize=7,
                color=colours[name],
                label=label,
            )
    intensities = [result.problem.flops / result.problem.bytes for result in results]
    low, high = min(intensities) / 3, max(intensities) * 3
    dtypes: dict[int, list[str]] = {}  # those of one arithmetic have one roof
    for dtype, rate in roof.gflops.items():
        dtypes.setdefault(round(rate), []).append(dtype)
    for limit, names in sorted(dtypes.items()):
        ridge = limit / roof.gb_s
        xs = sorted({low, min(max(ridge, low), high), high})
        axes.plot(xs, [min(limit, x * roof.gb_s) for x in xs], color="#8b95a1", linewidth=1.2, zorder=0)
        text = f"{', '.join(names)}: {limit} GF/s"
        axes.annotate(
            text, (high, min(limit, high * roof.gb_s)), (-4, 4), textcoords="offset points", ha="right", fontsize=8,
            color="#5c6670",
        )  # fmt: skip
    if not roof.gflops:
        axes.plot([low, high], [low * roof.gb_s, high * roof.gb_s], color="#8b95a1", linewidth=1.2, zorder=0)
    axes.annotate(
        f"memory: {roof.gb_s:.0f} GB/s", (low, low * roof.gb_s), (6, -2), textcoords="offset points", fontsize=8,
        color="#5c6670", va="top",
    )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("operations for each byte of operands and result", fontsize=9)
    axes.set_ylabel("GF/s", fontsize=9)
    axes.set_title("Attention below the machine's roof, medians", loc="left", fontsize=13)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, which="major", color="#e4e7ea", linewidth=0.6)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    figure.savefig(path, dpi=130)
    plt.close(figure)
