"""Write the README's table of kernels from the library's manifest; with ``--check``, only compare."""

from __future__ import annotations

import argparse
import pathlib
import sys

import pyfa

BEGIN = "<!-- kernels: begin (written by scripts/kernel_table.py) -->\n"
END = "<!-- kernels: end -->"


def table() -> str:
    """Return one line per room: head dims, dtypes and masks of its kernels."""
    lines = ["| kernel | head dimensions | dtypes | masks |", "| --- | --- | --- | --- |"]
    for room in pyfa.manifest()["rooms"]:
        # What the kernels of a room do not differ by is left out.
        columns = (
            dict.fromkeys(variant[key] for variant in room["variants"] if variant[key] is not None)
            for key in ("head_dim", "dtype", "mask")
        )
        cells = (", ".join(map(str, column)) or "any" for column in columns)
        lines.append(f"| `{room['name']}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Rewrite or check the README; return 1 if a check finds it out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    readme = pathlib.Path(__file__).resolve().parent.parent / "README.md"
    check = parser.parse_args().check
    before = readme.read_text(encoding="utf-8")
    head, rest = before.split(BEGIN)
    after = head + BEGIN + table() + END + rest.split(END)[1]
    if check:
        if after != before:
            sys.stderr.write("README.md: the table of kernels is out of date; run scripts/kernel_table.py\n")
        return int(after != before)
    readme.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
