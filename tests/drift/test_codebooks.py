"""The code tables of the KV codec: what the generator computes, what the header has, what the specification says."""

import re
import subprocess

import cffi
import numpy as np
import pytest

from scripts import make_codebooks

OPTIMUM = {2: 0.117482, 3: 0.0345478, 4: 0.00950101, 5: 0.00250467, 6: 6.44240e-4, 7: 1.63478e-4, 8: 4.11850e-5}
LARGEST = {2: 1.51042, 3: 2.15195, 4: 2.73259, 5: 3.26073, 6: 3.74410, 7: 4.18969, 8: 4.60354}


def positive(name):
    table = make_codebooks.tables()[name].astype(np.float64)
    return table[len(table) // 2 :]


def test_the_header_is_what_the_generator_writes(root):
    assert (root / "shaders/include/codebook.h").read_text(encoding="utf-8") == make_codebooks.header()


@pytest.mark.parametrize("bits", OPTIMUM)
def test_every_centroid_is_the_mean_of_its_cell(bits):
    assert make_codebooks.residual(np.array(make_codebooks.solve(bits))) < make_codebooks.TOLERANCE
    # Rounding moves a centroid and its two neighbours by half a unit in the last place.
    assert make_codebooks.residual(positive(f"tq{bits}")) < np.spacing(np.float32(LARGEST[bits]))


@pytest.mark.parametrize("bits", OPTIMUM)
def test_no_digit_depends_on_the_machine(bits):
    """A centroid known to 1e-12 rounds to one float, wherever it is computed."""
    exact = np.array(make_codebooks.solve(bits))
    nearest = exact.astype(np.float32)
    from_midpoint = 0.5 * np.spacing(nearest).astype(np.float64) - np.abs(exact - nearest.astype(np.float64))
    assert from_midpoint.min() > 10 * make_codebooks.TOLERANCE


@pytest.mark.parametrize("bits", OPTIMUM)
def test_the_error_is_the_least_possible(bits):
    table = make_codebooks.tables()[f"tq{bits}"]
    assert make_codebooks.mean_squared_error(table) == pytest.approx(OPTIMUM[bits], rel=5e-6)
    assert table[-1] == pytest.approx(LARGEST[bits], abs=5e-6)


def test_the_error_is_integrated_correctly():
    """Against a sum over a fine grid, for a table that is not the best."""
    table = make_codebooks.tables()["tq_hb6"].astype(np.float64)
    x = (np.arange(-800_000, 800_000) + 0.5) * 1e-5
    nearest = table[np.searchsorted(0.5 * (table[1:] + table[:-1]), x)]
    expected = ((x - nearest) ** 2 * make_codebooks.density(x)).sum() * 1e-5
    assert make_codebooks.mean_squared_error(table) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", make_codebooks.tables())
def test_tables_are_symmetric_and_ascend(name):
    table = make_codebooks.tables()[name]
    np.testing.assert_array_equal(table, -table[::-1])
    assert (np.diff(table) > 0).all()
    middles = make_codebooks.boundaries(table)
    assert middles[len(middles) // 2] == 0
    np.testing.assert_array_equal(middles, np.float32(0.5) * (table[1:] + table[:-1]))


def test_the_specification_names_every_table(root):
    text = (root / "docs/codec.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(tq\w+)` \|.*\| `([0-9a-f]{8})` \|$", text, flags=re.MULTILINE))
    tables = make_codebooks.tables()
    assert rows == {name: f"{make_codebooks.checksum(table):08x}" for name, table in tables.items()}


def test_c_and_cpp_read_the_same_tables(root, clang, tmp_path):
    """Both headers are plain C behind their macros; the compiled values are the generator's."""
    tables = make_codebooks.tables()
    names = [f"fa_{name}_{kind}" for name in tables for kind in ("centroids", "boundaries")]
    lines = ['#include "codebook.h"', '#include "fwht.h"']
    lines += [f"const float *get_{name}(void) {{ return {name}; }}" for name in names]
    lines += [f"unsigned crc_{name}(void) {{ return FA_CRC32_{name.upper()}; }}" for name in tables]
    lines.append("const unsigned char *get_signs(void) { return fa_default_signs; }")
    source, shared = tmp_path / "tables.c", tmp_path / "tables.so"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{root / 'shaders/include'}"]
    subprocess.run([clang, "-std=c17", *flags, "-shared", "-fPIC", "-o", shared, source], check=True)
    subprocess.run([clang, "-x", "c++", "-std=c++17", *flags, "-fsyntax-only", source], check=True)
    ffi = cffi.FFI()
    ffi.cdef("\n".join(f"const float *get_{name}(void);" for name in names))
    ffi.cdef("\n".join(f"unsigned crc_{name}(void);" for name in tables))
    library = ffi.dlopen(str(shared))
    for name, table in tables.items():
        for kind, values in (("centroids", table), ("boundaries", make_codebooks.boundaries(table))):
            pointer = getattr(library, f"get_fa_{name}_{kind}")()
            np.testing.assert_array_equal(np.frombuffer(ffi.buffer(pointer, 4 * len(values)), np.float32), values)
        assert getattr(library, f"crc_{name}")() == make_codebooks.checksum(table)
