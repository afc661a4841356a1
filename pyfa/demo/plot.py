"""The similarity plot: sentences against sentences, gathered into groups."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from pyfa.demo._errors import DemoError
from pyfa.demo.cluster import centre, groups

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyfa.demo.layers import Floats

MAX_ROWS = 400
"""More rows than this are thinned out evenly: a cell would be smaller than a pixel."""
LABELLED_ROWS = 48
"""Up to so many sentences, each has its label; beyond, each group has one."""
INK, PAPER, FAINT, BLANK = "#1d2733", "#ffffff", "#8a97a6", "#dfe5ea"


def save_similarity(path: Path, sentences: Sequence[str], embeddings: Floats) -> None:
    """Write a heat map of the cosines between all sentences.

    Parameters
    ----------
    path : Path
        Image file; its suffix (``.png``, ``.svg``, ``.pdf``) names the format.
    sentences : sequence of str
        N texts.
    embeddings : numpy.ndarray
        Their unit vectors, float32 [N, W].

    Raises
    ------
    DemoError
        If the file cannot be written.
    """
    shown = np.unique(np.linspace(0, len(sentences) - 1, min(len(sentences), MAX_ROWS)).astype(int))
    similarity = embeddings[shown] @ embeddings[shown].T
    clusters = groups(similarity, count=max(1, min(24, round(len(shown) / 6))))
    order = np.concatenate([np.array(cluster) for cluster in clusters])
    texts = [sentences[row] for row in shown]

    ramp = LinearSegmentedColormap.from_list("ramp", ["#ffffff", "#e9f2f5", "#8cc3d3", "#22708f", "#0e2f4d"])
    # Rectangles in inches: the map is square, labels stand left of it.
    width, height, left, bottom, side = 13.2, 9.0, 4.75, 0.4, 7.6
    figure = Figure(figsize=(width, height), facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height), facecolor=BLANK)
    # A sentence is exactly like itself, which says nothing: the diagonal is left blank, and the scale ends at the most
    # similar pair.
    cells = similarity[np.ix_(order, order)].astype(np.float64)
    np.fill_diagonal(cells, np.nan)
    top = float(np.nanmax(cells)) if len(order) > 1 else 1.0
    image = axes.imshow(cells, cmap=ramp, vmin=0.0, vmax=max(top, 0.1), interpolation="nearest")

    starts = np.cumsum([0] + [len(cluster) for cluster in clusters])
    for start, end in pairwise(starts):
        frame = np.array([start, end]) - 0.5
        axes.plot(frame[[0, 1, 1, 0, 0]], frame[[0, 0, 1, 1, 0]], color="#e07a3f", linewidth=1.2)
    if len(order) <= LABELLED_ROWS:
        axes.set_yticks(range(len(order)), [_shortened(texts[row]) for row in order])
    else:
        named = [(start, cluster) for start, cluster in zip(starts, clusters, strict=False) if len(cluster) > 1]
        axes.set_yticks(
            [start + (len(cluster) - 1) / 2 for start, cluster in named],
            [f"{_shortened(texts[centre(cluster, similarity)])}  ({len(cluster)})" for _, cluster in named],
        )
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK, pad=8)
    axes.spines[:].set_visible(False)
    note = "one line per sentence" if len(order) <= LABELLED_ROWS else "a group is named by its most central sentence"
    top_line = (bottom + side) / height
    figure.text(left / width, top_line + 0.05, f"Similarity of {len(order)} sentences", fontsize=17, color=INK)
    figure.text(left / width, top_line + 0.02, f"Cosine of their embeddings; {note}", fontsize=10.5, color=FAINT)
    bar = figure.colorbar(
        image, cax=figure.add_axes(((left + side + 0.2) / width, bottom / height, 0.13 / width, 2.4 / height))
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=9, labelcolor=INK)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise DemoError(f"--plot {path}: cannot be written: {error}") from error


def _shortened(text: str, width: int = 56) -> str:
    """Cut a text at a word so that it fits, with an ellipsis; $ would start a formula in a plot."""
    if len(text) > width:
        text = text[: width - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"
    return text.replace("$", r"\$")
