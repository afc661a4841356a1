"""The headers of the C interface: ``flash_attn.h`` and what it includes, which is the one list of them.

Read by `pyfa._ffi`, the build of the wheel, the documentation and the tests, so it imports nothing of the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

INTERFACE = "flash_attn.h"
_INCLUDE = re.compile(r'#include "(.+)"')


def interface_headers(directory: Path) -> list[Path]:
    """Return the headers in a directory, the main one first.

    Raises
    ------
    FileNotFoundError
        One of them is not there.
    """
    found: dict[Path, None] = {}
    for _ in _lines(directory / INTERFACE, found):
        pass
    return list(found)


def interface_text(directory: Path) -> str:
    """Return what ``#include "flash_attn.h"`` stands for, each header once and in its place.

    Raises
    ------
    FileNotFoundError
        One of them is not there.
    """
    return "\n".join(_lines(directory / INTERFACE, {}))


def _lines(header: Path, seen: dict[Path, None]) -> Iterator[str]:
    seen[header] = None
    for line in header.read_text(encoding="utf-8").splitlines():
        include = _INCLUDE.match(line)
        if include is None:
            yield line
        elif (other := header.with_name(include[1])) not in seen:
            yield from _lines(other, seen)
