"""One version number."""

import re
import sys

import pytest

import pyfa
from pyfa._ffi import lib, string

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def version(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_library(version):
    assert string(lib.fa_version()) == version


def test_manifest(version, manifest):
    assert manifest["version"] == version


def test_python(version):
    assert pyfa.__version__ == version


def test_changelog(root, version):
    newest = re.search(r"^## \[([^\]]+)\]", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest.group(1) == version
