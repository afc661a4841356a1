"""What a registry's kernels are: their function constants and their arguments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from pyfa._constants import Constants, encode_constants
from pyfa._device import KernelRegistry
from pyfa._ffi import lib, result, string, text
from pyfa._handle import live


@dataclass(frozen=True)
class FunctionConstant:
    """A function constant that a kernel uses."""

    index: int
    name: str
    type: str
    """Metal's name, such as ``"uint"``."""
    required: bool
    """Whether the kernel cannot do without a value."""


@dataclass(frozen=True)
class KernelArgument:
    """A buffer or a piece of threadgroup memory that a kernel takes."""

    name: str
    """Empty where the platform does not tell."""
    kind: Literal["buffer", "threadgroup"]
    slot: int
    access: Literal["read", "write", "read_write"]


def functions(registry: KernelRegistry, source: str) -> dict[str, tuple[FunctionConstant, ...]]:
    """Return the kernels of a source by name, with their constants by rising index; compiles the source."""
    operation = "KernelRegistry.functions"
    rows = result("char *", lib.fa_registry_functions, live(registry, operation), text(operation, "source", source))
    return {
        row["name"]: tuple(FunctionConstant(**constant) for constant in row["constants"])
        for row in json.loads(string(rows))
    }


def arguments(registry: KernelRegistry, kernel: str, constants: Constants | None) -> tuple[KernelArgument, ...]:
    """Return what a kernel takes under its constants: buffers, then threadgroup memory, each by slot."""
    operation = "KernelRegistry.arguments"
    name, values = text(operation, "kernel", kernel), encode_constants(operation, constants)
    rows = result("char *", lib.fa_registry_arguments, live(registry, operation), name, values, len(values))
    return tuple(KernelArgument(**row) for row in json.loads(string(rows)))
