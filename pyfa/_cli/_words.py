"""What the words of `explain` and `bench` mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from pyfa._bench import problem

T = TypeVar("T")


def shape(word: str) -> tuple[int, int, int, int]:
    """Read ``BxHxLxD``."""
    try:
        return problem.shape_of(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def shapes(word: str) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """Read ``BxHxLxD`` of queries and keys, or the two with a comma between."""
    q, comma, k = word.partition(",")
    return shape(q), shape(k if comma else q)


def window(word: str) -> tuple[int, int]:
    """Read ``LEFT,RIGHT``."""
    try:
        left, right = map(int, word.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected LEFT,RIGHT such as 1023,0 (-1: all), got {word!r}") from None
    return left, right


def listed(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return what reads names with commas between."""

    def read(word: str) -> list[str]:
        names = word.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"expected {', '.join(known)}, got {unknown[0]!r}")
        return list(dict.fromkeys(names))

    return read


def positive(kind: Callable[[str], T]) -> Callable[[str], T]:
    """Return what reads a number above 0."""

    def read(word: str) -> T:
        try:
            number = kind(word)
            if number > 0:  # type: ignore[operator]
                return number
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {word!r}")

    return read


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a problem."""
    parser.add_argument("--causal", action="store_true", help="a row attends no key after its position")
    parser.add_argument(
        "--window", type=window, metavar="LEFT,RIGHT", help="keys before and after a row's position; -1: all"
    )
    parser.add_argument("--softcap", type=positive(float), metavar="C", help="cap of the scores")
    parser.add_argument("--mask", choices=problem.MASKS, default="none", help="a mask for all heads")
    parser.add_argument("--sinks", action="store_true", help="a sink for each head")
