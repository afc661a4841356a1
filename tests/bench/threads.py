"""What a second thread brings to prefill: the library reads its number of threads once, so each number has a process.

``python -m tests.bench.threads SHAPE DTYPE`` is such a process: a line of input makes it run the operation once, and it
answers with a line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from pyfa._bench.timing import Time, interleaved

from .shapes import SHAPES, Shape, prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHAPE = next(shape for shape in SHAPES if shape.name == "d256-long")
SPEEDUP = 1.9
NAMES = ("one thread", "two threads", "twice at once")


@dataclass(frozen=True)
class Result:
    """One dtype."""

    shape: Shape
    dtype: str
    times: dict[str, Time]
    """By `NAMES`."""

    @property
    def speedup(self) -> float:
        """What a second thread brings."""
        return self.times["one thread"].median / self.times["two threads"].median

    @property
    def ceiling(self) -> float:
        """What two cores of this machine bring to two runs at once that share nothing."""
        return 2 * self.times["one thread"].median / self.times["twice at once"].median

    def record(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        return {
            "shape": str(self.shape),
            "dtype": self.dtype,
            "ms": {name: 1e3 * time.median for name, time in self.times.items()},
            "speedup": self.speedup,
            "speedup_target": SPEEDUP,
            "ceiling": self.ceiling,
        }


def measure(dtype: str, rounds: int, block: float) -> Result:
    """Run a large problem on one thread, on two, and twice at once on a thread each."""
    with ExitStack() as stack:
        alone, other, pair = (stack.enter_context(closing(_Process(dtype, threads))) for threads in (1, 1, 2))

        def twice() -> None:
            other.start()
            alone.start()
            other.finish()
            alone.finish()

        calls: dict[str, Callable[[], object]] = dict(zip(NAMES, (alone.run, pair.run, twice), strict=True))
        return Result(SHAPE, dtype, interleaved(calls, rounds, block))


class _Process:
    """A process that computes when told to, on so many threads."""

    def __init__(self, dtype: str, threads: int) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.threads", SHAPE.name, dtype],
            env={**os.environ, "SOFTMETAL_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def close(self) -> None:
        """End it."""
        self._child.communicate()

    def start(self) -> None:
        """Begin a run."""
        _pipe(self._child.stdin).write(b"\n")

    def finish(self) -> None:
        """Wait for the run's end."""
        if not _pipe(self._child.stdout).readline():
            raise RuntimeError(f"the process ended with status {self._child.wait()}")

    def run(self) -> None:
        """Run once."""
        self.start()
        self.finish()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def serve(name: str, dtype: str, orders: Iterator[str]) -> None:
    """Compute once for each order."""
    shape = next(shape for shape in SHAPES if shape.name == name)
    call, _ = prepared(shape.operands(dtype), causal=shape.causal)
    for _ in orders:
        call()
        print(flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:3], sys.stdin)
