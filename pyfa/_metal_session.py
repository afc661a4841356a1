"""What the commands for Metal shaders share: compiling, devices, constants and errors."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from pyfa import _metal_options as words
from pyfa import metal
from pyfa._device import Device
from pyfa._errors import CompileError
from pyfa._shader_file import ShaderFile

DIAGNOSTIC = re.compile(r"(?P<file>.+?):(?:(?P<line>\d+):(?:(?P<column>\d+):)?)? error: (?P<text>.*)")


class UsageError(Exception):
    """The command line asks for what cannot be."""


class CommandError(Exception):
    """What was asked for failed; the message is what to print."""


def compiled(source: ShaderFile, options: argparse.Namespace, device: Device) -> metal.Library:
    return metal.Library(source.text, device=device, macros=dict(options.D))


@contextmanager
def shader_device(mode: str | None, schedule: tuple[str, int] | None, *, check: bool) -> Iterator[Device]:
    """Make a device that runs shaders in some way; SoftMetal takes that from the environment."""
    order, seed = schedule or (None, 0)
    given = {"SOFTMETAL_MODE": mode, "SOFTMETAL_ORDER": order, "SOFTMETAL_CHECK": "1" if check else None}
    chosen = {name: value for name, value in given.items() if value is not None}
    if order is not None:
        chosen["SOFTMETAL_SEED"] = str(seed)
    saved = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        device = Device("shader")
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    with device:
        if chosen and device.info().backend == "Metal":
            raise CommandError("pyfa: --mode, --schedule and --check: expected SoftMetal, got a GPU")
        yield device


def constant_values(
    known: Sequence[metal.FunctionConstant], given: Sequence[tuple[int | str, str]], used: set[int | str]
) -> dict[int, np.generic]:
    """Return the values of a kernel's constants, and add what they were called to `used`."""
    values: dict[int, np.generic] = {}
    for key, word in given:
        for constant in known:
            if key not in (constant.index, constant.name):
                continue
            used.add(key)
            dtype = words.TYPES.get(constant.type)
            if dtype is None:
                raise UsageError(f"argument --constant: {key}: values of type {constant.type} cannot be given here")
            try:
                values[constant.index] = words.scalar(dtype, word)
            except ValueError as error:
                raise UsageError(f"argument --constant: {key}: {error}") from None
    return values


def error_lines(source: ShaderFile, error: CompileError) -> list[str]:
    """Return a compiler's lines with the names of files in them."""
    lines = source.restore(error.log or str(error)).splitlines()
    if any(DIAGNOSTIC.fullmatch(line) for line in lines):
        return lines
    return [f"{source.path}: error: {line}" for line in lines]
