"""What the evaluation prints: a table of rich on a terminal where that is installed, plain text elsewhere."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyfa._cli import _output
from pyfa._device import default_device
from pyfa._eval.measure import Advance, Result
from pyfa._eval.text import Windows
from pyfa._info import info
from pyfa._lm.weights import Weights

COLUMNS = (
    "codec", "bits/byte", "change", "arg-max changes", "attention cosine", "bytes/token", "tokens/s",
)  # fmt: skip


def facts(path: Path, weights: Weights, windows: Windows) -> dict[str, Any]:
    """Return all that results depend on besides the codec, as JSON has it."""
    device = default_device().info()
    return {
        "pyfa": info()["versions"]["pyfa"],
        "python": platform.python_version(),
        "device": {"name": device.name, "provider": device.provider, "isa": device.isa},
        "weights": {"file": path.name, "metadata": weights.metadata},
        "text": {
            "windows": windows.ids.shape[0],
            "window_bytes": windows.ids.shape[1],
            "predictions": windows.predictions,
            "modules": windows.modules,
            "sha256": windows.sha256,
        },
    }


def print_results(known: dict[str, Any], results: Sequence[Result]) -> None:
    """Print a table, and what it is about."""
    text, metadata = known["text"], known["weights"]["metadata"]
    print(
        f"{known['weights']['file']}: {metadata['layers']} layers, {metadata['heads']} query heads on "
        f"{metadata['kv_heads']} of keys and values, head dimension {metadata['head_dim']}"
    )
    plural = "s" if text["windows"] > 1 else ""
    print(
        f"{text['windows']} window{plural} of {text['window_bytes']} bytes from {text['modules']} modules "
        f"that Python {known['python']} has and the model has not seen"
    )
    rows = [_cells(result) for result in results]
    _output.table("", COLUMNS, rows, range(1, len(COLUMNS)))


@contextmanager
def progress(total: int) -> Iterator[Advance]:
    """Show a bar to whoever sits at the terminal; the function that is given advances it."""
    if not (sys.stderr.isatty() and importlib.util.find_spec("rich")):
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415  # optional
    from rich.progress import Progress  # noqa: PLC0415  # optional

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("evaluating", total=total)
        yield lambda: bar.advance(task)


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.codec,
        f"{result.bits_per_byte:.4f}",
        f"{result.change:+.5f}",
        f"{result.argmax_changes:.2%}",
        f"{result.attention_cosine:.6f}",
        str(result.cache_bytes_per_token),
        f"{result.tokens_per_second:.0f}",
    )
