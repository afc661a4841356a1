"""The machine's peak rate of multiplications and additions: builds and loads peak.c."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).resolve().with_name("peak.c")
# The instruction that limits each instruction set's kernels, by its number in peak.c; bf16 where it has its own.
LOOPS = {"avx512bf16": 1, "avx512": 1, "x86-64-v3": 2}
BF16_LOOP = 0
ROUNDS = 500_000  # milliseconds: starting the threads is no part worth mentioning


class Peak:
    """Loops that do nothing but multiply and add, for one instruction set and a number of threads."""

    def __init__(self, build: Path, isa: str, threads: int) -> None:
        """Compile; the instruction set may be one there is no loop for."""
        self._isa, self._threads = isa, threads
        self._best: dict[int, float] = {}
        if isa not in LOOPS or platform.machine() != "x86_64":
            return
        compiler = os.environ.get("CC") or shutil.which("clang") or shutil.which("cc")
        if compiler is None:
            raise RuntimeError("peak.c needs a C compiler: set CC")
        library = build / "bench-peak.so"
        flags = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-pthread"]
        subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library)], check=True)  # noqa: S603 (the compiler)
        self._run = ctypes.CDLL(str(library.resolve())).peak_run
        self._run.argtypes = (ctypes.c_int, ctypes.c_uint64, ctypes.c_int)
        self._run.restype = ctypes.c_double

    def call(self, dtype: str) -> Callable[[], None] | None:
        """Return a call that runs a dtype's arithmetic, to be mixed with other work; none if there is no loop."""
        if not hasattr(self, "_run"):
            return None
        loop = self._loop(dtype)

        def run() -> None:
            start = time.perf_counter()
            operations = self._run(loop, ROUNDS, self._threads)
            rate = operations / (time.perf_counter() - start) / 1e9
            self._best[loop] = max(rate, self._best.get(loop, 0.0))

        return run

    def best(self, dtype: str) -> float | None:
        """Return the most billions of operations in a second that any call for this arithmetic reached."""
        return self._best.get(self._loop(dtype))

    def _loop(self, dtype: str) -> int:
        return BF16_LOOP if (dtype, self._isa) == ("bf16", "avx512bf16") else LOOPS.get(self._isa, -1)
