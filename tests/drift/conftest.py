"""What the drift tests read: the tree's texts, and the built library beside them."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pyfa import _ffi
from pyfa._declarations import interface_text

ROOT = Path(__file__).resolve().parents[2]


def pytest_configure():
    if shutil.which("swift") is None:
        raise pytest.UsageError("the drift tests need the Swift toolchain on the PATH: https://www.swift.org/install")


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def c_headers():
    """The text of the C interface's headers, without comments."""
    return without_comments(interface_text(ROOT / "Sources" / "CFlashAttn" / "include"))


@pytest.fixture(scope="session")
def library_path():
    return _ffi.library_path


@pytest.fixture(scope="session")
def manifest():
    return json.loads(_ffi.string(_ffi.lib.fa_manifest_json()))


@pytest.fixture(scope="session")
def clang():
    """The C compiler that comes with Swift."""
    beside_swift = Path(shutil.which("swift")).resolve().with_name("clang")
    return str(beside_swift) if beside_swift.exists() else shutil.which("clang")


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
