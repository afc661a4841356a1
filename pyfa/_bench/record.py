"""Results of a bench: measured, kept in a JSON file, read again and compared."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfa._bench import contenders
from pyfa._bench.machine import Roof
from pyfa._bench.problem import Problem
from pyfa._bench.timing import Time, interleaved
from pyfa._device import Device
from pyfa._info import info

FORMAT = 1
# Largest error over the largest value that rounding explains: inputs, weights and result are of the dtype.
TOLERANCE = {"f32": 1e-5, "f16": 4e-3, "bf16": 3e-2}


@dataclass
class Result:
    """One problem with all its contenders."""

    problem: Problem
    times: dict[str, Time] = field(default_factory=dict)
    difference: dict[str, float] = field(default_factory=dict)
    """From the definition in float32, over its largest value."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Contenders that cannot compute it, and why."""

    @property
    def wrong(self) -> list[str]:
        """Contenders whose result rounding does not explain; NaN is wrong."""
        limit = TOLERANCE[self.problem.dtype]
        return [name for name, difference in self.difference.items() if not difference <= limit]

    def gflops(self, contender: str) -> float:
        """Billions of operations in a second."""
        return self.problem.flops / self.times[contender].median / 1e9

    def record(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        times = {
            name: {
                "ms": 1e3 * time.median,
                "ms_quartiles": [1e3 * time.lower, 1e3 * time.upper],
                "gflops": self.gflops(name),
            }
            for name, time in self.times.items()
        }
        return {
            "problem": self.problem.record(),
            "flops": self.problem.flops,
            "bytes": self.problem.bytes,
            "times": times,
            "difference": self.difference,
            "skipped": self.skipped,
        }


def measure(problem: Problem, devices: Mapping[str, Device], peers: Sequence[str], rounds: int, block: float) -> Result:
    """Time a problem with every contender side by side, and compare their results with the definition."""
    arrays = problem.arrays()
    expected = contenders.definition(problem, arrays)
    result = Result(problem)
    calls = {f"pyfa {name}": contenders.ours(problem, arrays, device) for name, device in devices.items()}
    for name in peers:
        with contenders.skipping(name, result.skipped):
            calls[name] = contenders.peer(name, problem, arrays)
    for name, call in calls.items():
        result.difference[name] = _difference(contenders.as_float32(call()), expected)
    result.times = interleaved(calls, rounds, block)
    return result


def _difference(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    return float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-30))


def write(path: Path, results: Sequence[Result], roof: Roof, peers: Sequence[str], rounds: int) -> None:
    """Write a file that `read` reads."""
    found = info()
    versions = found["versions"] | {name: metadata.version(name) for name in peers}
    machine = {"platform": found["platform"], "device": found["device"], "cores": contenders.cores()}
    if hasattr(os, "getloadavg"):
        machine["load"] = os.getloadavg()[0]
    data = {
        "format": FORMAT,
        "machine": machine | {"processor": platform.processor()},
        "versions": versions,
        "rounds": rounds,
        "roof": asdict(roof),
        "results": [result.record() for result in results],
    }
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> dict[tuple[str, str], float]:
    """Return milliseconds by problem and contender.

    Raises
    ------
    ValueError
        It is no such file.
    OSError
        It cannot be read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {data['format']!r}")
        return {
            (str(Problem.from_mapping(entry["problem"])), name): float(time["ms"])
            for entry in data["results"]
            for name, time in entry["times"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected a file that `bench --json` wrote ({error!r})") from None
    except ValueError as error:
        raise ValueError(f"{path}: expected a file that `bench --json` wrote: {error}") from None
