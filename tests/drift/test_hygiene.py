"""What must not be in any file: leftovers, paths of somebody's machine, files too long to read."""

import re
import subprocess

import pytest

from tests.drift.conftest import ROOT

TEXT = {".c", ".cpp", ".def", ".h", ".hpp", ".md", ".metal", ".py", ".sh", ".swift", ".toml", ".yml", ""}
BUILT = {".build", ".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".swiftpm", ".venv"}
BUILT |= {"__pycache__", "_native", "build", "dist"}
# Taken apart, so that this file does not find itself.
LEFTOVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|fatal" r"Error\(|\btry" r"!")
MACHINE = re.compile(r"(?<![\w.$])/(?:Users|home|root|work|opt)/\w")
LONGEST = 700
# Damaged on purpose.
CORPUS = ROOT / "tests" / "fuzz" / "corpus"


def files():
    """Every file of the tree that is not built, as version control sees it where there is one."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        paths = [path for path in ROOT.rglob("*") if not BUILT & set(path.relative_to(ROOT).parts)]
    paths = [path for path in paths if CORPUS not in path.parents]
    return sorted(path for path in paths if path.is_file() and path.suffix in TEXT)


FILES = {str(path.relative_to(ROOT)): path for path in files()}


@pytest.mark.parametrize("name", FILES)
def test_file_is_clean(name):
    text = FILES[name].read_text(encoding="utf-8")
    found = [match.group() for match in MACHINE.finditer(text)]
    # The stand-in has no bodies, so it is made of traps; it is never linked.
    if name != "tests/drift/metal_stub/Metal.swift":
        found += [match.group() for match in LEFTOVER.finditer(text)]
    assert found == []
    assert text.endswith("\n") or not text
    assert len(text.splitlines()) <= LONGEST, "longer than anyone reads; split it"


def test_the_tree_was_found():
    assert {"Package.swift", "Makefile", "Sources/CFlashAttn/include/flash_attn.h"} <= set(FILES)
