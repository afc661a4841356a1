"""Shader texts with their includes in place, as the library has them built in, and the structs they take."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "shaders", ROOT / "shaders" / "include", ROOT / "Sources" / "CFlashAttn" / "include")
INCLUDE = re.compile(r'^#include "([\w.]+)"$', re.MULTILINE)
NUMBERS = {"uint32_t": np.uint32, "int32_t": np.int32, "int64_t": np.int64, "float": np.float32}


def read(name):
    return next(folder / name for folder in FOLDERS if (folder / name).exists()).read_text(encoding="utf-8")


def source(room):
    """Return the whole text of a room; every header comes in once."""
    included = set()

    def flatten(text):
        return INCLUDE.sub(lambda match: header(match[1]), text)

    def header(name):
        if name in included:
            return ""
        included.add(name)
        return flatten(read(name))

    return flatten(read(f"{room}.metal"))


def struct(name, **values):
    """Return a parameter struct as bytes; what is not given is 0."""
    body = re.search(rf"typedef struct {name} {{(.*?)}} {name};", read("flash_attn_params.h"), re.DOTALL)[1]
    fields = re.findall(r"^\s*(\w+) (\w+)(?:\[(\d+)\])?;", body, re.MULTILINE)
    layout = np.dtype([(field, NUMBERS[kind], int(length) if length else ()) for kind, field, length in fields])
    assert set(values) <= set(layout.names), set(values) - set(layout.names)
    record = np.zeros((), layout)
    for field, value in values.items():
        record[field] = value
    return record.tobytes()


def table(name):
    """Return a table of numbers that a header defines, such as ``fa_tq_hb8_centroids``."""
    for header in ("codebook.h", "fwht.h"):
        found = re.search(rf" {name}\[\d+\] = {{(.*?)}};", read(header), re.DOTALL)
        if found:
            return np.array([float(int(x, 16)) if x.startswith("0x") else float(x.rstrip("f"))
                             for x in re.findall(r"[-\w.+]+", found[1])])  # fmt: skip
    raise LookupError(name)
