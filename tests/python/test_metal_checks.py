"""What checks find in a shader: each mistake by its kind and line, and nothing where there is none."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import pyfa
from tests.python.shader_devices import CHECKED, shader_device

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="a GPU does not check what a kernel does")

TOP = """#include <metal_stdlib>
using namespace metal;
kernel void k(device int *out [[buffer(0)]], device const int *x [[buffer(1)]], constant int &n [[buffer(2)]],
              threadgroup int *shared [[threadgroup(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup int row[64];
"""

# Name, what the finding says, statements; the line at fault ends in "//!".
MISTAKES = (
    ("read behind a buffer", "bound", "  out[i] = x[i + n]; //!"),
    ("read before a buffer", "bound", "  out[i] = x[int(i) - n]; //!"),
    ("write behind a buffer", "bound", "  out[i + n] = x[i]; //!"),
    ("read far away", "bound", "  out[i] = x[i * 100000000l]; //!"),
    ("read behind threadgroup memory", "bound", "  shared[i] = 1;\n  row[i] = 2;\n  out[i] = shared[i + 100000]; //!"),
    ("read of memory nobody wrote", "uninitialised", "  out[i] = row[i]; //!"),
    ("read of dynamic memory nobody wrote", "uninitialised", "  if (i != 7) shared[i] = 1;\n  out[i] = shared[i]; //!"),
    ("race between simdgroups", "race", "  row[i] = i;\n  out[i] = row[63 - i]; //!"),
    ("read of what a lane in step stores", "race", "  row[i] = i;\n  out[i] = row[i ^ 1]; //!"),
    (
        "read and store in one statement",
        "race",
        "  row[i] = x[i];\n  threadgroup_barrier(mem_flags::mem_threadgroup);\n  row[i] = row[i ^ 1]; //!",
    ),
    ("race of writes", "race", "  row[0] = i; //!\n  out[i] = 1;"),
    ("race in device memory", "race", "  out[i] = i;\n  out[63 - i] = x[i]; //!"),
    ("misaligned read", "misaligned", "  out[i] = *(device const int *)((device const char *)x + i * 4 + 1); //!"),
)
CLEAN = (
    (
        "barrier between write and read",
        "  row[i] = x[i];\n  threadgroup_barrier(mem_flags::mem_threadgroup);\n  out[i] = row[63 - i];",
    ),
    ("atomics", "  atomic_fetch_add_explicit((device atomic_int *)out, 1, memory_order_relaxed);"),
    (
        "stores in step",
        "  if (i >= 32) return;\n  row[i] = 0;\n  int mine = row[i];\n  row[i ^ 1] = mine + 1;\n  row[i] = 2;",
    ),
    ("values of one's own", "  row[i] = 1;\n  shared[i] = row[i] + 1;\n  out[i] = shared[i] + x[i];"),
    (
        "the same value from one thread",
        "  if (i == 0) row[0] = 5;\n  threadgroup_barrier(mem_flags::mem_threadgroup);\n  out[i] = row[0];",
    ),
)


@pytest.fixture(scope="module")
def device():
    with shader_device(**CHECKED) as device:
        yield device


def run(statements, device):
    library = pyfa.metal.Library(f"{TOP}{statements}\n}}\n", device=device)
    out, x = pyfa.Buffer.zeros(64, np.int32, device=device), pyfa.Buffer.zeros(64, np.int32, device=device)
    library.kernel("k")({0: out, 1: x, 2: 64}, threadgroups=1, threads=64, threadgroup_memory={0: 256})


@pytest.mark.parametrize(("kind", "statements"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_mistake(kind, statements, device):
    with pytest.raises(pyfa.ShaderCheckError) as caught:
        run(statements, device)
    (line,) = [n for n, text in enumerate((TOP + statements).split("\n"), 1) if text.endswith("//!")]
    assert kind in str(caught.value)
    assert f"program_source:{line}" in str(caught.value)


@pytest.mark.parametrize("statements", [row[1] for row in CLEAN], ids=[row[0] for row in CLEAN])
def test_no_mistake(statements, device):
    run(statements, device)


def test_the_device_goes_on_after_a_finding(device):
    with pytest.raises(pyfa.ShaderCheckError):
        run(MISTAKES[0][2], device)
    run(CLEAN[0][1], device)


@pytest.mark.parametrize("wrong", [1, -17])
def test_arrays_have_their_own_bounds(wrong, device):
    """And not those of the pages they lie in."""
    memory = np.zeros(4096, np.int32)
    x = memory[32:48]  # as aligned as its memory, which goes on at both ends
    library = pyfa.metal.Library(f"{TOP}  out[i] = x[int(i) + n]; //!\n}}\n", device=device)
    arguments = {0: np.zeros(16, np.int32), 1: x}
    room = {"threadgroups": 1, "threads": 16, "threadgroup_memory": {0: 256}}
    library.kernel("k")(arguments | {2: 0}, **room)
    with pytest.raises(pyfa.ShaderCheckError, match="of buffer 1, which has 64 bytes"):
        library.kernel("k")(arguments | {2: wrong}, **room)


TWO = """#include <metal_stdlib>
using namespace metal;
kernel void write(device int *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  out[i] = i; //!
}
kernel void read(device int *out [[buffer(0)]], device int *from [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  out[i] = from[i]; //!
}
"""


@pytest.mark.parametrize("order", ["none", "barrier", "tracked"])
def test_dispatches_of_an_encoder_race_without_a_barrier(order, device):
    registry = pyfa.metal.Library(TWO, device=device).registry
    x, y = (pyfa.Buffer.zeros(64, np.int32, device=device) for _ in range(2))
    options = {"grid": 2, "threads": 32, "registry": registry, "tracked": order == "tracked"}

    def work():
        with pyfa.CommandEncoder(device) as encoder:
            encoder.dispatch("write", {0: x}, writes=[0], **options)
            if order == "barrier":
                encoder.barrier()
            encoder.dispatch("read", {0: y, 1: x}, writes=[0], **options)

    if order != "none":
        work()
        assert y.read().tolist() == list(range(64))
        return
    with pytest.raises(pyfa.ShaderCheckError, match="data race on device memory") as caught:
        work()
    lines = [n for n, text in enumerate(TWO.split("\n"), 1) if text.endswith("//!")]
    assert [f"program_source:{line} " in str(caught.value) for line in lines] == [True, True]
    assert '"write"' in str(caught.value)
    assert '"read"' in str(caught.value)


def test_failures_have_their_exceptions(device):
    """Told apart by what they are, whatever words are in them."""
    library = pyfa.metal.Library("kernel void k(device int *x [[buffer(0)]]) { *x = 1; }", device=device)
    with pytest.raises(pyfa.DeviceError, match="shader check: "), pyfa.CommandEncoder(device) as encoder:
        encoder.dispatch("k", {}, grid=1, threads=1, registry=library.registry, label="shader check: ")
    with shader_device(SOFTMETAL_CXX="/no/compiler/here") as lame, pytest.raises(pyfa.UnsupportedError):
        pyfa.metal.Library("kernel void k() {}", device=lame)
    with pytest.raises(pyfa.CompileError):
        pyfa.metal.Library("kernel void k() { nothing; }", device=device)


def test_without_checks_nothing_is_reported():
    with shader_device() as device:
        run("  row[i] = i;\n  out[i] = row[63 - i];", device)
