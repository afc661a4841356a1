"""``python -m pyfa info``: versions, library, device, shader cache, environment and kernels."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pyfa._cli import _output
from pyfa._info import info, manifest

_EXAMPLES = """examples:
  python -m pyfa info
  python -m pyfa info --json > report.json     # for a bug report"""


def add_parser(commands: Any) -> None:
    """Add ``info``."""
    parser = commands.add_parser(
        "info",
        help="show versions, device, library, cache, environment and kernels",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    """Print what is known."""
    found = info() | {"manifest": manifest()}
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    others = (f"{name} {version}" for name, version in found["versions"].items() if name != "pyfa")
    rows = [
        ("pyfa", found["versions"]["pyfa"]),
        ("library", f"{found['library']} ({_bytes(found['library_bytes'])})"),
        ("versions", ", ".join(others)),
        ("platform", found["platform"]),
    ]
    rows += [(name.replace("_", " "), _value(name, value)) for name, value in found["device"].items()]
    cache = found["shader_cache"]
    if cache is not None:
        rows.append(("shader cache", f"{cache['directory']} ({cache['files']} files, {_bytes(cache['bytes'])})"))
    rows += [("environment", f"{name}={value}") for name, value in found["environment"].items()] or [
        ("environment", "nothing set")
    ]
    _output.facts(rows)
    kernels = [(variant["kernel"], room["name"]) for room in found["manifest"]["rooms"] for variant in room["variants"]]
    print()
    _output.table(f"{len(kernels)} kernels", ("kernel", "family"), kernels)
    return 0


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int):
        return _bytes(value)
    return str(value)


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
