"""``python -m pyfa metal check``: compile files and say what is in them."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pyfa import metal
from pyfa._cli._errors import UsageError
from pyfa._device import Device
from pyfa._errors import CompileError
from pyfa._metal_session import DIAGNOSTIC, compiled, constant_values, error_lines
from pyfa._shader_file import ShaderFile, ShaderFileError


@dataclass
class _Kernel:
    name: str
    constants: tuple[metal.FunctionConstant, ...]
    arguments: tuple[metal.KernelArgument, ...] | None  # None if they are not known
    missing: list[str]  # required constants without a value


@dataclass
class _Findings:
    """What a file has in it."""

    file: str
    errors: list[str] = field(default_factory=list)
    kernels: list[_Kernel] = field(default_factory=list)

    def rows(self) -> dict[str, Any]:
        kernels = [asdict(kernel) for kernel in self.kernels]
        errors = [_diagnostic(error) for error in dict.fromkeys(self.errors)]
        return {"file": self.file, "ok": not self.errors, "errors": errors, "kernels": kernels}


def check(options: argparse.Namespace) -> int:
    used: set[int | str] = set()
    with Device("shader") as device:
        found = [_examine(file, options, device, used) for file in options.files]
    unknown = [str(key) for key, _ in options.constant if key not in used]
    if unknown and not any(findings.errors for findings in found):
        raise UsageError(f"argument --constant: expected a function constant of a kernel, got {', '.join(unknown)}")
    if options.json:
        print(json.dumps({"files": [findings.rows() for findings in found]}, indent=2))
    else:
        _print_findings(found)
    return int(any(findings.errors for findings in found))


def _examine(file: str, options: argparse.Namespace, device: Device, used: set[int | str]) -> _Findings:
    findings = _Findings(file)
    try:
        source = ShaderFile(file, options.I)
    except ShaderFileError as error:
        findings.errors.append(str(error))
        return findings
    try:
        library = compiled(source, options, device)
    except CompileError as error:
        findings.errors += error_lines(source, error)
        return findings
    for name, function in library.functions.items():
        constants = function.constants
        values = constant_values(constants, options.constant, used)
        missing = [constant.name for constant in constants if constant.required and constant.index not in values]
        arguments = None
        if not missing:
            try:
                arguments = library.kernel(name, values).arguments
            except CompileError as error:
                findings.errors += error_lines(source, error)
        findings.kernels.append(_Kernel(name, constants, arguments, missing))
    return findings


def _print_findings(found: Sequence[_Findings]) -> None:
    """Print a table of the kernels to a terminal, and lines to anything else; errors are lines always."""
    kernels = [(findings.file, kernel) for findings in found for kernel in findings.kernels]
    if kernels and sys.stdout.isatty() and importlib.util.find_spec("rich"):
        from rich.console import Console  # noqa: PLC0415  # optional
        from rich.table import Table  # noqa: PLC0415  # optional
        from rich.text import Text  # noqa: PLC0415  # optional

        table = Table("file", "kernel", "function constants", "arguments")
        for file, kernel in kernels:
            texts = (file, kernel.name, "\n".join(_constant_lines(kernel)), "\n".join(_argument_lines(kernel)))
            table.add_row(*map(Text, texts))
        Console(highlight=False).print(table)
    else:
        for file, kernel in kernels:
            print(f"{file}: kernel {kernel.name}")
            for line in _constant_lines(kernel):
                print(f"  constant {line}")
            for line in _argument_lines(kernel):
                print(f"  {line}")
    for findings in found:
        for error in dict.fromkeys(findings.errors):  # kernels share mistakes
            print(error)


def _constant_lines(kernel: _Kernel) -> list[str]:
    return [
        f"{constant.index} {constant.name}: {constant.type}{', required' if constant.required else ''}"
        for constant in kernel.constants
    ]


def _argument_lines(kernel: _Kernel) -> list[str]:
    if kernel.arguments is None:
        return [f"arguments are unknown without {', '.join(kernel.missing)}"] if kernel.missing else []
    return [" ".join(filter(None, (a.kind, str(a.slot), a.name, f"({a.access})"))) for a in kernel.arguments]


def _diagnostic(line: str) -> dict[str, Any]:
    match = DIAGNOSTIC.fullmatch(line)
    if match is None:
        return {"file": None, "line": None, "column": None, "text": line}
    numbers = {name: int(match[name]) if match[name] else None for name in ("line", "column")}
    return {"file": match["file"], **numbers, "text": match["text"]}
