"""What the commands for Metal shaders share: compiling, devices, constants and errors."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

import numpy as np

from pyfa import _metal_options as words
from pyfa import metal
from pyfa._cli._errors import UsageError
from pyfa._device import Device
from pyfa._errors import CompileError
from pyfa._shader_file import ShaderFile

DIAGNOSTIC = re.compile(r"(?P<file>.+?):(?:(?P<line>\d+):(?:(?P<column>\d+):)?)? error: (?P<text>.*)")


def compiled(source: ShaderFile, options: argparse.Namespace, device: Device) -> metal.Library:
    return metal.Library(source.text, defines=dict(options.D), device=device)


def constant_values(
    known: Sequence[metal.FunctionConstant], given: Sequence[tuple[int | str, str]], used: set[int | str]
) -> dict[int | str, np.generic]:
    """Return the values of a kernel's constants, and add what they were called to `used`."""
    values: dict[int | str, np.generic] = {}
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
