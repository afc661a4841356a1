"""The package: what it exports, its exceptions, and how it finds and checks the library."""

from __future__ import annotations

import inspect
import os
import pickle
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyfa
from pyfa import _declarations, _errors, _ffi

PACKAGE = Path(pyfa.__file__).parent


def test_all_is_what_can_be_imported():
    shared = {"attention", "attention_varlen", "metal", "ops"}  # names of things too
    modules = {module.name for module in pkgutil.iter_modules([str(PACKAGE)])} - shared
    public = {name for name in vars(pyfa) if not name.startswith("_")} - modules
    assert public == set(pyfa.__all__) - {"__version__"}
    assert sorted(pyfa.__all__) == sorted(set(pyfa.__all__))


def test_all_of_ops():
    names = {name for name, value in vars(pyfa.ops).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert names == set(pyfa.ops.__all__)


NOT_THINGS = ("__version__", "library_path", "metal", "ops")


@pytest.mark.parametrize("name", [name for name in pyfa.__all__ if name not in NOT_THINGS])
def test_public_things_are_documented_and_named(name):
    thing = getattr(pyfa, name)
    assert thing.__doc__
    assert thing.__module__ == "pyfa"
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                assert value.__doc__, f"{name}.{member}"


def test_version():
    assert pyfa.__version__.count(".") == 2


def test_exception_tree_in_its_docstring():
    for name in _errors.__all__:
        kind = getattr(pyfa, name)
        assert issubclass(kind, pyfa.PyfaError)
        bases = [base.__name__ for base in kind.__bases__ if base is not pyfa.PyfaError]
        assert (
            f"{name} ({bases[0]})" in _errors.__doc__ if bases != ["Exception"] and bases else name in _errors.__doc__
        )


@pytest.mark.parametrize("name", _errors.__all__)
def test_exceptions_survive_pickling(name):
    error = getattr(pyfa, name)("a: b: expected c, got d", operation="a", argument="b", log="e")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.operation, copy.argument, copy.log) == ("a: b: expected c, got d", "a", "b", "e")


def test_every_status_has_its_exception():
    statuses = {name: value for value, name in _ffi.ffi.typeof("fa_status").elements.items()}
    assert set(_ffi._EXCEPTIONS) == set(statuses.values()) - {statuses["FA_OK"], statuses["FA_INTERNAL"]}


def test_declarations_drop_what_cffi_cannot_read():
    header = '#ifndef A\n#ifdef __cplusplus\nextern "C" {\n#endif\nint a;\n#ifdef __cplusplus\n}\n#endif\n#endif'
    assert _declarations.declarations(header).split() == ["int", "a;"]


def load(package=None, **environment):
    """Import pyfa in a new process; return what it says."""
    path = PACKAGE.parent if package is None else package
    command = [sys.executable, "-c", "import pyfa; print('imported', pyfa.library_path)"]
    merged = {name: value for name, value in os.environ.items() if name != "PYFA_LIBRARY"} | environment
    merged["PYTHONPATH"] = str(path)
    done = subprocess.run(command, env=merged, cwd=path, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path):
    """A copy of the package with its headers and without its library."""
    shutil.copytree(PACKAGE, tmp_path / "pyfa", ignore=shutil.ignore_patterns("_native", "__pycache__", "demo"))
    shutil.copytree(_ffi.header_directory, tmp_path / "pyfa" / "_native" / "include")
    return tmp_path


def test_library_by_environment(copy):
    assert f"imported {pyfa.library_path}" in load(copy, PYFA_LIBRARY=str(pyfa.library_path))


def test_library_in_the_package(copy):
    native = copy / "pyfa" / "_native"
    shutil.copy(pyfa.library_path, native)
    assert f"imported {native / pyfa.library_path.name}" in load(copy)


def test_headers_of_a_checkout(copy):
    shutil.rmtree(copy / "pyfa" / "_native")
    shutil.copytree(_ffi.header_directory, copy / "Sources" / "CFlashAttn" / "include")
    assert "imported" in load(copy, PYFA_LIBRARY=str(pyfa.library_path))


def test_parsed_headers_of_a_wheel(copy):
    """They are used where they are of these headers, and only there."""
    text = _declarations.interface_text(_ffi.header_directory)
    file = copy / "pyfa" / "_native" / _declarations.PARSED
    file.write_text(_declarations.parsed(text) + "\nprint('parsed before')\n")
    again = load(copy, PYFA_LIBRARY=str(pyfa.library_path))
    assert again.startswith("parsed before\nimported")
    header = copy / "pyfa" / "_native" / "include" / "flash_attn_decode.h"
    header.write_text(header.read_text() + "// another\n")
    assert load(copy, PYFA_LIBRARY=str(pyfa.library_path)).startswith("imported")


def test_parsed_headers_spare_the_parser(copy):
    text = _declarations.interface_text(_ffi.header_directory)
    (copy / "pyfa" / "_native" / _declarations.PARSED).write_text(_declarations.parsed(text))
    slow = {"cffi", "pycparser", "email", "rich", "torch", "matplotlib"}
    script = f"import sys, pyfa; print('slow:', *({slow} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(copy), "PYFA_LIBRARY": str(pyfa.library_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, cwd=copy, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "slow:\n"


def test_missing_library(copy):
    text = load(copy)
    assert "ImportError: pyfa: no libpyfa." in text
    assert "run `make lib`" in text
    assert "PYFA_LIBRARY" in text


def test_missing_headers(copy):
    shutil.rmtree(copy / "pyfa" / "_native")
    assert "ImportError: pyfa: no flash_attn.h in " in load(copy)


def test_missing_header_among_others(copy):
    missing = copy / "pyfa" / "_native" / "include" / "flash_attn_decode.h"
    missing.unlink()
    assert f"ImportError: pyfa: no {missing}, which flash_attn.h includes" in load(copy)


def test_headers_of_the_interface(tmp_path):
    (tmp_path / "flash_attn.h").write_text('#include <stdint.h>\n#include "b.h"\nint a;\n#include "c.h"\n')
    (tmp_path / "b.h").write_text("int b;\n")
    (tmp_path / "c.h").write_text('#include "flash_attn.h"\n#include "b.h"\nint c;\n')
    (tmp_path / "private.h").write_text("int d;\n")
    assert [header.name for header in _declarations.interface_headers(tmp_path)] == ["flash_attn.h", "b.h", "c.h"]
    assert _declarations.interface_text(tmp_path).splitlines() == ["#include <stdint.h>", "int b;", "int a;", "int c;"]


def test_a_library_that_is_none(copy, tmp_path):
    path = tmp_path / "libpyfa.so"
    path.write_text("not a library")
    for wrong in (path, tmp_path / "absent.so"):
        text = load(copy, PYFA_LIBRARY=str(wrong))
        assert f"ImportError: pyfa: {wrong} is not a usable libpyfa" in text


def test_another_library():
    other = next(Path(sys.base_prefix).rglob("_json*.so"))
    assert f"{other} is not a usable libpyfa" in load(PYFA_LIBRARY=str(other))


def test_abi_version_is_compared(copy):
    header = copy / "pyfa" / "_native" / "include" / "flash_attn.h"
    header.write_text(header.read_text().replace("FA_ABI_VERSION = 1 ", "FA_ABI_VERSION = 999 "))
    text = load(copy, PYFA_LIBRARY=str(pyfa.library_path))
    assert "ImportError" in text
    assert "has ABI version 1, the header has 999" in text


def test_struct_sizes_are_compared(copy):
    header = copy / "pyfa" / "_native" / "include" / "flash_attn_params.h"
    header.write_text(header.read_text().replace("  int32_t reserved;", "  int32_t reserved, one_more, and_another;"))
    text = load(copy, PYFA_LIBRARY=str(pyfa.library_path))
    assert "ImportError" in text
    assert "bytes of fa_attn_params" in text
