"""What the machine could do at best: arithmetic and reading memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from pyfa._bench.peak import Peak

_READ_BYTES = 256 << 20  # more than any processor's own memory
_TURNS = 5
_SECONDS = 0.5


@dataclass(frozen=True)
class Roof:
    """Limits of a roofline: billions of operations by dtype, where known, and of bytes, a second."""

    gflops: dict[str, float]
    gb_s: float


def measure(dtypes: list[str], isa: str, threads: int) -> Roof:
    """Measure; operations where there is a C compiler and a loop for the instruction set."""
    rates: dict[str, float] = {}
    if os.environ.get("CC") or shutil.which("clang") or shutil.which("cc"):
        with tempfile.TemporaryDirectory() as directory:
            peak = Peak(Path(directory), isa, threads)
            for dtype in dtypes:
                call = peak.call(dtype)
                end = perf_counter() + _SECONDS  # the first calls find cores asleep
                while call is not None and perf_counter() < end:
                    call()
            rates = {dtype: rate for dtype in dtypes if (rate := peak.best(dtype))}
    return Roof(rates, _reading(threads))


def _reading(threads: int) -> float:
    parts = np.array_split(np.ones(_READ_BYTES // 4, np.float32), threads)
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_TURNS):
            start = perf_counter()
            list(pool.map(np.max, parts))
            best = min(best, perf_counter() - start)
    return _READ_BYTES / best / 1e9
