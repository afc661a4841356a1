"""Shaders on SoftMetal: run beside plain C++ loops of the same mathematics, launched, and compiled."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

import pyfa
from pyfa._bench.timing import Time, interleaved

from .overhead import build, run

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
# Kernels and loops are compiled for the same machine.
LOOP_FLAGS = ["-O3", *(["-march=x86-64-v3"] if platform.machine() in ("x86_64", "AMD64") else [])]
TOLERANCE = {"decode": 1e-3, "prefill f32": 5e-6, "prefill f16": 2e-3}  # the decode kernel rounds its query to half
SLOWDOWN = 2.0  # times the loop's time, on one thread each
SPEEDUP = 1.8  # on two threads
LAUNCH = 1.0  # microseconds of a threadgroup of 32 threads
COLD, WARM = 1500.0, 5.0  # milliseconds
LAUNCHES = 100_000
# The kernels that took longest to compile, every option on: names and constants, as compile.c has them.
LONGEST = (
    (
        "flash_attn_prefill_f16_d128",
        *(f"{index}={int(index >= 300)}" for index in (200, 201, 300, 301, 303, 304, 306, 307, 308)),
    ),
    (
        "flash_attn_decode_f16_d512",
        "70:18",
        "71:15",
        *(f"{index}=1" for index in (55, 60, 61, 62, 72, 73, 74, 75, 76, 77)),
    ),
)
NAMES = ("loop", "one thread", "two threads", "twice at once")


@dataclass(frozen=True)
class Result:
    """One kernel beside its loop."""

    name: str
    times: dict[str, Time]
    """By `NAMES`."""
    difference: float
    """Largest difference from the loop's result, relative to the largest element."""

    @property
    def slowdown(self) -> float:
        """The executor's time on one thread, in times of the loop's."""
        return self.times["one thread"].median / self.times["loop"].median

    @property
    def speedup(self) -> float:
        """What a second thread brings."""
        return self.times["one thread"].median / self.times["two threads"].median

    @property
    def ceiling(self) -> float:
        """What two cores of this machine bring to two runs at once that share nothing."""
        return 2 * self.times["one thread"].median / self.times["twice at once"].median

    @property
    def right(self) -> bool:
        """Whether both computed the same; false for NaN."""
        return self.difference <= TOLERANCE[self.name]

    def record(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        return {
            "name": self.name,
            "ms": {name: 1e3 * time.median for name, time in self.times.items()},
            "slowdown": self.slowdown,
            "ceiling": self.ceiling,
            "slowdown_target": SLOWDOWN,
            "speedup": self.speedup,
            "speedup_target": SPEEDUP,
            "difference": self.difference,
        }


@dataclass(frozen=True)
class Figure:
    """One number and its target."""

    name: str
    unit: str
    found: float
    target: float

    @property
    def met(self) -> bool:
        """Whether it is within its target."""
        return self.found <= self.target

    def record(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        return {"name": self.name, "unit": self.unit, "found": self.found, "target": self.target, "met": self.met}


def measure(directory: Path, rounds: int, block: float) -> list[Result]:
    """Run every kernel in lockstep mode, on one thread and on two, beside its loop."""
    loops = _loops(directory)
    devices = {"one thread": _device(1), "two threads": _device(2), "twice at once": _device(1)}
    problems = [_decode(loops, devices), _prefill("f32", loops, devices), _prefill("f16", loops, devices)]
    results = []
    with ThreadPoolExecutor(1) as other_thread:
        for name, calls, output, expected in problems:
            calls["twice at once"] = _at_once(calls["one thread"], calls["twice at once"], other_thread)
            for call in calls.values():
                call()
            difference = float(np.abs(output() - expected).max() / np.abs(expected).max())
            results.append(Result(name, interleaved(calls, rounds, block), difference))
    return results


def figures(directory: Path, rounds: int, block: float) -> list[Figure]:
    """Time a threadgroup that does nothing, and the compilation of the longest kernel."""
    kernel = _library(_device(1)).kernel("bench_launch")
    out = np.zeros(1, np.uint32)
    launch = interleaved({"launch": lambda: kernel({0: out}, threadgroups=LAUNCHES, threads=32)}, rounds, block)
    cold, warm = _compilation(directory, rounds)
    return [
        Figure("launch of a threadgroup of 32 threads", "us", 1e6 * launch["launch"].median / LAUNCHES, LAUNCH),
        Figure("the slowest kernel: text to pipeline, no cache", "ms", cold, COLD),
        Figure("the same in a new process, from the cache", "ms", warm, WARM),
    ]


def _at_once(first: Callable[[], object], second: Callable[[], object], pool: ThreadPoolExecutor) -> Callable[[], None]:
    def run() -> None:
        other = pool.submit(second)
        first()
        other.result()

    return run


_Problem = tuple[str, dict[str, "Callable[[], object]"], "Callable[[], np.ndarray[Any, Any]]", np.ndarray[Any, Any]]


def _decode(loops: ctypes.CDLL, devices: dict[str, pyfa.Device]) -> _Problem:
    heads, kv_heads, keys, dim = 16, 8, 2048, 256
    rng = np.random.default_rng(0)
    q, table = (rng.standard_normal(n, np.float32) for n in ((heads, dim), 256))
    k, v = (rng.integers(0, 256, (kv_heads, keys, dim), np.uint8) for _ in range(2))
    k_factors, v_factors = (rng.uniform(0.5, 1.5, (kv_heads, keys)).astype(np.float32) for _ in range(2))
    expected = np.zeros_like(q)
    outputs = []
    kind = [("keys", np.uint32), ("heads_per_kv", np.uint32), ("scale", np.float32)]
    params = np.array((keys, heads // kv_heads, dim**-0.5), kind)[()]
    memory = {0: 2 * dim + 4 * 32 + 4 * dim}

    def run_on(device: pyfa.Device) -> Callable[[], object]:
        kernel = _library(device).kernel("bench_decode")
        outputs.append(np.zeros_like(q))
        operands = (q, k, k_factors, v, v_factors, outputs[-1], table, params)
        return lambda: kernel(dict(enumerate(operands)), threadgroups=heads, threads=32, threadgroup_memory=memory)

    def loop() -> None:
        pointers = [_pointer(x) for x in (q, k, k_factors, v, v_factors, expected, table)]
        loops.decode(*pointers, heads, kv_heads, keys, dim, ctypes.c_float(dim**-0.5))

    calls = {"loop": loop, **{name: run_on(device) for name, device in devices.items()}}
    return "decode", calls, lambda: outputs[0], expected


def _prefill(dtype: str, loops: ctypes.CDLL, devices: dict[str, pyfa.Device]) -> _Problem:
    heads, length, dim = 4, 512, 64
    rng = np.random.default_rng(0)
    shape = (1, heads, length, dim)
    q, k, v = (rng.standard_normal(shape).astype({"f32": np.float32, "f16": np.float16}[dtype]) for _ in range(3))
    expected = np.zeros_like(q)
    outputs: list[pyfa.Buffer] = []

    def run_on(device: pyfa.Device) -> Callable[[], object]:
        buffers = [pyfa.Buffer.from_array(x, device=device) for x in (q, k, v)]
        out = pyfa.Buffer.zeros(q.shape, q.dtype, device=device)
        outputs.append(out)
        return lambda: pyfa.ops.flash_attn_prefill(*buffers, out, device=device)

    def loop() -> None:
        pointers = [_pointer(x) for x in (q, k, v, expected)]
        getattr(loops, f"prefill_{dtype}")(*pointers, heads, length, length, dim, ctypes.c_float(dim**-0.5))

    calls = {"loop": loop, **{name: run_on(device) for name, device in devices.items()}}
    return f"prefill {dtype}", calls, lambda: outputs[0].read().astype(np.float32), expected


def _pointer(array: np.ndarray[Any, Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _library(device: pyfa.Device) -> pyfa.metal.Library:
    return pyfa.metal.Library((HERE / "decode.metal").read_text(encoding="utf-8"), device=device)


def _device(workers: int) -> pyfa.Device:
    """Return a device that runs shaders on so many threads."""
    name = "SOFTMETAL_WORKERS"
    saved = os.environ.get(name)
    os.environ[name] = str(workers)
    try:
        return pyfa.Device("shader")
    finally:
        if saved is None:
            del os.environ[name]
        else:
            os.environ[name] = saved


def _loops(directory: Path) -> ctypes.CDLL:
    compiler = os.environ.get("CXX") or shutil.which("clang++") or shutil.which("c++")
    if compiler is None:
        raise RuntimeError("loops.cpp needs a C++ compiler: set CXX")
    library = directory / "bench-loops.so"
    flags = ["-std=c++17", *LOOP_FLAGS, "-shared", "-fPIC"]
    run([compiler, *flags, str(HERE / "loops.cpp"), "-o", str(library)])
    return ctypes.CDLL(str(library.resolve()))


def _compilation(directory: Path, rounds: int) -> tuple[float, float]:
    """Return milliseconds without and with a cache, each the first of a process, of the kernel that takes longest."""
    program = str(build(directory, "compile"))
    times = []
    with tempfile.TemporaryDirectory() as scratch:
        for kernel in LONGEST:
            cold, warm = [], []
            for turn in range(min(rounds, 3)):
                environment = {**os.environ, "SOFTMETAL_CACHE": f"{scratch}/{kernel[0]}{turn}"}
                cold.append(float(run([program, *kernel], environment)))
                warm += [float(run([program, *kernel], environment)) for _ in range(rounds)]
            times.append((median(cold), median(warm)))
    return max(cold for cold, _ in times), max(warm for _, warm in times)
