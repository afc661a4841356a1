"""``python -m pyfa metal run``: run a kernel, and say how long it took and what it wrote."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfa import _metal_options as words
from pyfa import metal
from pyfa._cli._errors import CommandError, UsageError
from pyfa._device import Device
from pyfa._errors import CompileError, ShaderCheckError
from pyfa._metal_session import compiled, constant_values, error_lines
from pyfa._shader_file import ShaderFile

_FINDING = "shader check: "
_SHOWN = 8  # values of a buffer


def run(options: argparse.Namespace) -> int:
    specs = {spec.slot: spec for spec in options.buffer}
    outputs = dict(options.output)
    for flag, given in (("--buffer", options.buffer), ("--output", options.output)):
        if len(given) != len(specs if flag == "--buffer" else outputs):
            raise UsageError(f"argument {flag}: expected each slot once")
    for slot in outputs:
        if slot not in specs or specs[slot].kind == "value":
            raise UsageError(f"argument --output: expected a slot that --buffer gives memory, got {slot}")
    source = ShaderFile(options.file, options.I)
    with Device("shader") as device, _executed(options, device):
        try:
            kernel = _kernel(source, options, device)
            arguments = {slot: _make(spec) for slot, spec in specs.items()}
            times = _time(kernel, arguments, options)
        except CompileError as error:
            raise CommandError("\n".join(error_lines(source, error))) from None
        except ShaderCheckError as error:
            for line in str(error).split("\n"):
                print(source.restore(line[max(line.find(_FINDING), 0) :]))
            return 1
    print(f"{options.kernel}: {_duration(times)}")
    written = {argument.slot: argument for argument in kernel.arguments if argument.kind == "buffer"}
    for slot, array in arguments.items():
        if not isinstance(array, np.ndarray):
            continue
        if written[slot].access != "read":
            print(f"{' '.join(filter(None, ('buffer', str(slot), written[slot].name)))}: {_summary(array)}")
        if slot in outputs:
            _save(outputs[slot], array)
    return 0


def _executed(options: argparse.Namespace, device: Device) -> AbstractContextManager[None]:
    """Execute shaders as the command line says; what it does not say is left to the environment."""
    if not (options.mode or options.schedule or options.check):
        return nullcontext()
    schedule, seed = options.schedule or (None, None)
    check = options.check or None
    return metal.options(mode=options.mode, schedule=schedule, seed=seed, check=check, device=device)


def _kernel(source: ShaderFile, options: argparse.Namespace, device: Device) -> metal.Kernel:
    library = compiled(source, options, device)
    if options.kernel not in library.function_names:
        have = ", ".join(library.function_names) or "none"
        raise UsageError(f"argument KERNEL: expected a kernel of {options.file} ({have}), got {options.kernel!r}")
    used: set[int | str] = set()
    values = constant_values(library.functions[options.kernel].constants, options.constant, used)
    unknown = [str(key) for key, _ in options.constant if key not in used]
    if unknown:
        raise UsageError(f"argument --constant: expected a constant of {options.kernel}, got {', '.join(unknown)}")
    kernel = library.kernel(options.kernel, values)
    slots = {argument.slot for argument in kernel.arguments if argument.kind == "buffer"}
    given = {spec.slot for spec in options.buffer}
    if slots != given:
        expected = f"expected slots {_list(slots)} of {options.kernel}, got {_list(given)}"
        raise UsageError(f"argument --buffer: {expected}")
    library.registry.prepare(options.kernel, kernel._constants)
    return kernel


def _list(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"


def _make(spec: words.BufferSpec) -> npt.NDArray[Any] | np.generic:
    try:
        return spec.make()
    except (OSError, EOFError, ValueError, MemoryError) as error:
        what = (error.strerror if isinstance(error, OSError) else None) or error
        raise CommandError(f"{spec.path or f'buffer {spec.slot}'}: error: {what}") from None


def _time(kernel: metal.Kernel, arguments: Mapping[int, Any], options: argparse.Namespace) -> list[float]:
    """Run the kernel as often as asked for, each time with the same contents."""
    arrays = [value for value in arguments.values() if isinstance(value, np.ndarray)]
    contents = [array.copy() for array in arrays] if options.repeat > 1 else []
    times: list[float] = []
    for number in range(options.repeat):
        if number:
            for array, content in zip(arrays, contents, strict=True):
                array[...] = content
        start = time.perf_counter()
        kernel(
            arguments,
            threadgroups=options.threadgroups,
            grid=options.grid,
            threads=options.threads,
            threadgroup_memory=dict(options.threadgroup_memory),
        )
        times.append(time.perf_counter() - start)
    return times


def _duration(times: Sequence[float]) -> str:
    first, *more = (f"{1e3 * seconds:.3f} ms" for seconds in (min(times), statistics.median(times)))
    return first if len(times) == 1 else f"{first} at best, {more[0]} in the middle of {len(times)}"


def _summary(array: npt.NDArray[Any]) -> str:
    """Say what an array has in it: its first values and its range."""
    flat = array.reshape(-1)
    shape = ",".join(map(str, array.shape))
    first = " ".join(str(value) for value in flat[:_SHOWN])
    text = f"{array.dtype.name}[{shape}] {first}{' …' if flat.size > _SHOWN else ''}"
    if array.dtype.fields is not None or array.dtype.name.startswith("void"):
        return text
    real = flat[flat == flat]  # noqa: PLR0124  # NaN is not itself, in bfloat too
    if real.size:
        text += f", min {real.min()}, max {real.max()}"
    return text + (f", {flat.size - real.size} NaN" if real.size < flat.size else "")


def _save(path: str, array: npt.NDArray[Any]) -> None:
    try:
        with open(path, "wb") as file:  # noqa: PTH123  # np.save would add a suffix to a bare name
            np.save(file, array, allow_pickle=False)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        what = (error.strerror if isinstance(error, OSError) else None) or error
        raise CommandError(f"{path}: error: {what}") from None
