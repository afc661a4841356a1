"""The library exports the header's functions and nothing else, and needs nothing but the system."""

import re
import subprocess
import sys

import pytest

from pyfa._declarations import interface_headers

LINUX_SYSTEM = {"libc.so", "libm.so", "libstdc++.so", "libgcc_s.so", "linux-vdso.so"}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def prototypes(c_headers):
    # At the start of a line, after a return type: a function, not a call nor a type.
    return re.findall(r"^(?:const )?\w+ \*?(fa_\w+)\(", c_headers, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def exported(library_path):
    flags = ["-gUj"] if sys.platform == "darwin" else ["-D", "--extern-only", "--defined-only", "--format=just-symbols"]
    names = run("nm", *flags, str(library_path)).split()
    # Mach-O puts an underscore in front of C names; GNU nm shows symbol versions.
    return sorted(name.split("@")[0].removeprefix("_") if sys.platform == "darwin" else name for name in names)


def test_make_places_the_interface(root):
    database = subprocess.run(["make", "-pn", "help"], cwd=root, capture_output=True, text=True, check=False).stdout
    (names,) = re.findall(r"^HEADERS := (.+)$", database, flags=re.MULTILINE)
    headers = interface_headers(root / "Sources" / "CFlashAttn" / "include")
    assert names.split() == [header.name for header in headers]


def test_prototypes_are_found_once(prototypes, c_headers):
    assert len(prototypes) == len(set(prototypes))
    assert len(prototypes) == len(re.findall(r"\)\s*;", c_headers))


def test_exports_are_the_prototypes(prototypes, exported):
    assert exported == sorted(prototypes)


def test_library_needs_only_the_system(library_path):
    if sys.platform == "darwin":
        needed = re.findall(r"^\t(\S+)", run("otool", "-L", str(library_path)), flags=re.MULTILINE)
        foreign = [n for n in needed if not n.startswith(("/usr/lib/", "/System/", "@rpath/libpyfa"))]
    else:
        lines = run("ldd", str(library_path)).splitlines()
        names = [line.split()[0].rsplit("/", 1)[-1] for line in lines]
        assert len(names) > 2
        foreign = [n for n in names if n.split(".so")[0] + ".so" not in LINUX_SYSTEM and not n.startswith("ld-linux")]
    assert foreign == []


CLOSE_AND_USE = """
from pyfa import _ffi

devices = [_ffi.result("fa_device *", _ffi.lib.fa_device_create, 0) for _ in range(2)]
release = _ffi.lib.fa_device_release
_ffi.ffi.dlclose(_ffi.lib)
assert [release(device) for device in devices] == [0, 0]
"""


def test_closing_the_library_leaves_it_usable(root):
    # An interpreter that ends closes it before the last objects are released, while its threads wait in it.
    done = subprocess.run([sys.executable, "-c", CLOSE_AND_USE], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_enumerator_has_its_value_written(c_headers):
    # cffi, Swift and other bindings may count on values: none of them is left to the order of lines.
    for body in re.findall(r"enum\s*\w*\s*{([^}]*)}", c_headers):
        for enumerator in filter(None, (part.strip() for part in body.split(","))):
            assert re.fullmatch(r"FA_\w+ = \d+", enumerator), enumerator
