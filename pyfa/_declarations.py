"""What cffi is told: the headers of the C interface, which are ``flash_attn.h`` and what it includes, and DLPack.

The build of the wheel reads this too, before there is a library: it imports nothing of the package.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

INTERFACE = "flash_attn.h"
# Beside the library in a wheel, written when that is built.
PARSED = "declarations.txt"
# The stable part of DLPack's ABI; see https://dmlc.github.io/dlpack.
_DLPACK = """
typedef struct { void *data; int32_t device_type, device_id; int32_t ndim; uint8_t code, bits; uint16_t lanes;
                 int64_t *shape, *strides; uint64_t byte_offset; } pyfa_dl_tensor;
typedef struct { uint32_t major, minor; void *context, *deleter; uint64_t flags;
                 pyfa_dl_tensor tensor; } pyfa_dl_versioned;
"""
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


def declarations(header: str) -> str:
    """Return what cffi can parse of a header: no preprocessor lines, and nothing meant for C++ alone."""
    kept: list[str] = []
    for_cplusplus = False
    for line in header.splitlines():
        if line.startswith("#"):
            for_cplusplus = line.split() == ["#ifdef", "__cplusplus"]
        elif not for_cplusplus:
            kept.append(line)
    return "\n".join(kept)


def parsed(text: str) -> str:
    """Return a Python module that defines ``ffi`` as cffi reads a header: quick to load, as parsing is not."""
    # Imported only where there is no module yet: they take as long as the parser.
    import contextlib  # noqa: PLC0415
    import io  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    import cffi  # noqa: PLC0415

    builder = cffi.FFI()
    builder.cdef(declarations(text) + _DLPACK)
    builder.set_source("pyfa_declarations", None)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        file = Path(scratch) / "declarations.py"
        builder.emit_python_code(str(file))
        return _mark(text) + file.read_text(encoding="utf-8")


def is_parsed(module: str, text: str) -> bool:
    """Tell whether a module was made from exactly this header."""
    return module.startswith(_mark(text))


def _mark(text: str) -> str:
    # Checksums that are proof against malice take longer to import than all of this.
    return f"# {zlib.crc32((text + _DLPACK).encode()):08x} {len(text)}\n"
