"""The machine's peak rate of multiplications and additions: builds and loads peak.c."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).resolve().with_name("peak.c")
# The instruction that limits each instruction set's kernels, by its number in peak.c; bf16 where it has its own.
LOOPS = {"avx512bf16": 1, "avx512": 1, "x86-64-v3": 2}
BF16_LOOP = 0
ROUNDS = 200_000  # about a millisecond


class Peak:
    """Loops that do nothing but multiply and add, for one instruction set and a number of threads."""

    def __init__(self, build: Path, isa: str, threads: int) -> None:
        """Compile; the instruction set may be one there is no loop for."""
        self._isa, self._threads = isa, threads
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

    def call(self, dtype: str) -> Callable[[], float] | None:
        """Return a call that runs a dtype's arithmetic and returns its operations; none if there is no loop."""
        if not hasattr(self, "_run"):
            return None
        loop = BF16_LOOP if (dtype, self._isa) == ("bf16", "avx512bf16") else LOOPS[self._isa]
        return lambda: float(self._run(loop, ROUNDS, self._threads))
