"""Overhead of one submission through the C interface: builds and runs overhead.c against the loaded library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyfa
from pyfa import _declarations

HERE = Path(__file__).resolve().parent
INCLUDE = HERE.parents[1] / "Sources" / "CFlashAttn" / "include"


def measure(directory: Path) -> dict[str, float]:
    """Return microseconds by case.

    "empty" encodes nothing, "prefill" the smallest attention there is, "noop" a kernel that does nothing; the last is
    missing where the device runs no shader text.

    Raises
    ------
    RuntimeError
        There is no C compiler, or the program fails.
    """
    found: dict[str, float] = json.loads(run([str(build(directory, "overhead"))]))
    return found


def importing(rounds: int) -> float:
    """Return the least microseconds of processor time of `import pyfa` as a wheel has it, where NumPy is imported."""
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "pyfa"
        shutil.copytree(Path(pyfa.__file__).parent, package, ignore=shutil.ignore_patterns("_native"))
        (package / "_native").mkdir()
        shutil.copytree(INCLUDE, package / "_native" / "include")
        text = _declarations.interface_text(INCLUDE)
        (package / "_native" / _declarations.PARSED).write_text(_declarations.parsed(text), encoding="utf-8")
        # Installers write bytecode, whatever is usual here.
        usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = {**usual, "PYTHONPATH": scratch, "PYFA_LIBRARY": str(Path(pyfa.library_path).resolve())}
        script = "import time, numpy; start = time.process_time(); import pyfa; print(time.process_time() - start)"
        # In there, or a checkout that is the working directory would be found first.
        times = [float(run([sys.executable, "-c", script], environment, scratch)) for _ in range(rounds + 1)]
    return 1e6 * min(times[1:])  # the first writes the bytecode


def build(directory: Path, name: str) -> Path:
    """Compile one of the C programs here against the loaded library."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError(f"{name}.c needs a C compiler: set CC")
    library = Path(pyfa.library_path).resolve()
    program = directory.resolve() / f"bench-{name}"
    flags = ["-std=gnu17", "-O2", "-Wall", "-Wextra", f"-I{INCLUDE}", f"-Wl,-rpath,{library.parent}"]
    run([compiler, *flags, str(HERE / f"{name}.c"), str(library), "-o", str(program)])
    return program


def run(command: list[str], environment: dict[str, str] | None = None, directory: str | None = None) -> str:
    """Return what a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=directory)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
