"""What commands print: tables of rich on a terminal where that is installed, aligned plain text anywhere else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def is_rich() -> bool:
    """Tell whether a person reads along, and rich can draw for them."""
    return sys.stdout.isatty() and importlib.util.find_spec("rich") is not None


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> None:
    """Print a table; columns of numbers are aligned to the right."""
    right = set(numbers)
    if is_rich():
        from rich.console import Console  # noqa: PLC0415  # optional
        from rich.table import Table  # noqa: PLC0415  # optional
        from rich.text import Text  # noqa: PLC0415  # optional

        drawn = Table(title=title or None, title_justify="left")
        for index, column in enumerate(columns):
            drawn.add_column(column, justify="right" if index in right else "left")
        for row in rows:
            drawn.add_row(*map(Text, row))
        Console(highlight=False).print(drawn)
        return
    if title:
        print(title)
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = (
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


def facts(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and what they stand for."""
    if is_rich():
        from rich.console import Console  # noqa: PLC0415  # optional
        from rich.table import Table  # noqa: PLC0415  # optional
        from rich.text import Text  # noqa: PLC0415  # optional

        drawn = Table.grid(padding=(0, 2))
        for name, value in rows:
            drawn.add_row(Text(name, style="bold"), Text(value))
        Console(highlight=False).print(drawn)
        return
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}".rstrip())


def track(items: Sequence[T], what: str) -> Iterable[T]:
    """Go through items, with a bar of progress for whoever reads along."""
    if not is_rich():
        return items
    from rich.console import Console  # noqa: PLC0415  # optional
    from rich.progress import track as bar  # noqa: PLC0415  # optional

    return bar(items, what, console=Console(stderr=True), transient=True)
