"""``python -m pyfa``: what is installed, Metal shaders, and a demonstration."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

from pyfa import _metal_cli
from pyfa._errors import PyfaError
from pyfa._info import info, manifest

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pyfa", description="Fast, exact flash attention.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("info", help="show versions, device and kernels")
    show.add_argument("--json", action="store_true", help="as JSON")
    _metal_cli.add_commands(commands)
    commands.add_parser("demo", help="run the demonstration; its own options follow", add_help=False)
    options, rest = parser.parse_known_args(argv)
    if options.command == "demo":
        return _demo(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.command == "metal":
        return _metal_cli.run(options)
    try:
        facts = info() | {"manifest": manifest()}
    except PyfaError as error:
        print(f"pyfa: {error}", file=sys.stderr)
        return 1
    print(json.dumps(facts, indent=2) if options.json else _report(facts))
    return 0


def _demo(argv: Sequence[str]) -> int:
    try:
        module = importlib.import_module("pyfa.demo")
    except ModuleNotFoundError as error:
        print(f"pyfa demo: needs {error.name}; install it with `pip install 'pyfa[demo]'`", file=sys.stderr)
        return 1
    return int(module.main(argv) or 0)


def _report(facts: dict[str, Any]) -> str:
    """Lay the facts out for reading."""
    rows = [("pyfa", facts["versions"]["pyfa"]), ("library", facts["library"])]
    others = (f"{name} {version}" for name, version in facts["versions"].items() if name != "pyfa")
    rows.append(("versions", ", ".join(others)))
    rows.append(("platform", facts["platform"]))
    rows += [(name.replace("_", " "), _value(name, value)) for name, value in facts["device"].items()]
    lines = [f"{name:28} {value}" for name, value in rows]
    lines.append("kernels")
    for room in facts["manifest"]["rooms"]:
        lines += [f"  {variant['kernel']}" for variant in room["variants"]]
    return "\n".join(lines)


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int) and value >= 1 << 20:
        return f"{value / (1 << 20):.1f} MiB"
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
