"""Timing that is fair on a busy machine: contenders alternate, and medians are compared."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Worker threads of another library may spin for some milliseconds after their last call.
SETTLE = 0.02


@dataclass(frozen=True)
class Time:
    """Seconds of one call: over the rounds, the median and the quartiles of each round's median."""

    median: float
    lower: float
    upper: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, rounds: list[float]) -> Time:
        """Summarise one figure a round."""
        lower, _, upper = quantiles(rounds, n=4, method="inclusive") if len(rounds) > 1 else rounds * 3
        return cls(median(rounds), lower, upper, tuple(rounds))

    def over(self, other: Time) -> float:
        """How many times as long as another of the same rounds: the median of each round's ratio.

        Of use where the machine's speed changes between rounds.
        """
        return median(own / others for own, others in zip(self.rounds, other.rounds, strict=True))


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int, block: float) -> dict[str, Time]:
    """Time calls side by side.

    Each round runs every contender for `block` seconds at least, in an order that turns from round to round, after a
    pause and untimed warm-up calls.
    """
    counts: dict[str, int] = {}
    for name, call in calls.items():
        call()  # compiles and allocates
        counts[name] = max(3, int(block / min(_sampled(call, 3))))
    found: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(SETTLE)
            _sampled(calls[name], min(3, counts[name]))
            found[name].append(median(_sampled(calls[name], counts[name])))
    return {name: Time.of(rounds_of) for name, rounds_of in found.items()}


def _sampled(call: Callable[[], object], count: int) -> list[float]:
    clock = time.perf_counter
    samples = []
    for _ in range(count):
        start = clock()
        call()
        samples.append(clock() - start)
    return samples
