"""pyfa.metal: kernels of one's own, what they take, and what is refused before they run."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import pyfa
from pyfa import metal

INVALID = pyfa.InvalidArgumentError

SOURCE = """
#include <metal_stdlib>
using namespace metal;

constant int amount [[function_constant(0)]];
constant bool negate [[function_constant(1)]];
constant uint repeats [[function_constant(2)]];
constant uint times = is_function_constant_defined(repeats) ? repeats : 1;

struct pair { int a; float b; };

kernel void add(device int *x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  for (uint k = 0; k < times; k++) x[i] += negate ? -amount : amount;
}
kernel void copy(device float *to [[buffer(0)]], device const float *from [[buffer(1)]],
                 uint i [[thread_position_in_grid]]) {
  to[i] = from[i];
}
kernel void values(device float *out [[buffer(0)]], constant int &n [[buffer(1)]], constant float &f [[buffer(2)]],
                   constant bool &b [[buffer(3)]], constant half &h [[buffer(4)]], constant pair &p [[buffer(5)]],
                   constant ulong &u [[buffer(6)]]) {
  out[0] = n;
  out[1] = f;
  out[2] = b;
  out[3] = h;
  out[4] = p.a + p.b;
  out[5] = u / 1000000;
}
kernel void total(device float *out [[buffer(0)]], constant float *many [[buffer(1)]]) {
  float s = 0;
  for (int i = 0; i < 2000; i++) s += many[i];
  out[0] = s;
}
kernel void positions(device uint4 *out [[buffer(0)]], uint3 p [[thread_position_in_grid]],
                      uint3 n [[threads_per_grid]], uint3 groups [[threadgroups_per_grid]]) {
  out[(p.z * n.y + p.y) * n.x + p.x] = uint4(p, groups.x * groups.y * groups.z);
}
kernel void reversed(device float *x [[buffer(0)]], threadgroup float *a [[threadgroup(0)]],
                     threadgroup float *b [[threadgroup(2)]], uint i [[thread_index_in_threadgroup]],
                     uint n [[threads_per_threadgroup]]) {
  a[i] = x[i];
  b[n - 1 - i] = x[i] * 10;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = a[n - 1 - i] + b[i];
}
kernel void bytes(device uchar *x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] += 1;
}
"""


@pytest.fixture(scope="module")
def library():
    return metal.Library(SOURCE)


@pytest.fixture(scope="module")
def copy(library):
    return library.kernel("copy")


def test_arrays_are_written_in_place(library):
    x = np.arange(10, dtype=np.int32)
    kernel = library.kernel("add", {0: 5, 1: False})
    assert kernel({0: x}, threadgroups=10, threads=1) is None
    np.testing.assert_array_equal(x, np.arange(10) + 5)
    kernel({0: x}, threadgroups=2, threads=5)
    np.testing.assert_array_equal(x, np.arange(10) + 10)


def test_constants_make_another_kernel(library):
    x = np.zeros(4, np.int32)
    for constants in ({0: 5, 1: False}, {0: 7, 1: True}, {0: 1, 1: True, 2: metal.uint(100)}):
        library.kernel("add", constants)({0: x}, threadgroups=1, threads=4)
    assert x.tolist() == [5 - 7 - 100] * 4


def test_read_only_arrays_are_read(copy):
    source = np.arange(8, dtype=np.float32)
    source.flags.writeable = False
    out = np.zeros(8, np.float32)
    copy({0: out, 1: source}, threadgroups=1, threads=8)
    np.testing.assert_array_equal(out, source)


def test_read_only_arrays_are_not_written(copy):
    out = np.zeros(8, np.float32)
    out.flags.writeable = False
    with pytest.raises(pyfa.PyfaError):
        copy({0: out, 1: np.ones(8, np.float32)}, threadgroups=1, threads=8)
    assert not out.any()


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_arrays_at_any_place(copy, offset):
    memory = np.zeros(100, np.float32)
    out, source = memory[offset : offset + 40], np.arange(50, dtype=np.float32)[offset : offset + 40]
    copy({0: out, 1: source}, threadgroups=5, threads=8)
    np.testing.assert_array_equal(out, source)
    assert not memory[offset + 40 :].any()
    assert not memory[:offset].any()


def test_arrays_of_any_shape_and_dtype(library):
    for dtype in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "?", metal.bfloat):
        x = np.zeros((2, 3, 4), dtype)
        library.kernel("bytes")({0: x}, grid=x.nbytes, threads=32)
        assert (x.view(np.uint8) == 1).all()
    records = np.zeros(3, [("a", np.int32), ("b", np.float32, 2)])
    library.kernel("bytes")({0: records}, grid=records.nbytes, threads=32)
    assert records["a"].tolist() == [0x01010101] * 3
    scalar = np.zeros((), np.int16)
    library.kernel("bytes")({0: scalar}, grid=2, threads=1)
    assert int(scalar) == 0x0101


def test_one_array_for_two_arguments(copy):
    x = np.arange(8, dtype=np.float32)
    copy({0: x, 1: x}, threadgroups=1, threads=8)
    assert x.tolist() == list(range(8))


def test_buffers(copy):
    source = pyfa.Buffer.from_array(np.arange(8, dtype=np.float32))
    out = pyfa.Buffer.zeros(8, np.float32)
    copy({0: out, 1: source}, threadgroups=1, threads=8)
    np.testing.assert_array_equal(out.read(), np.arange(8))
    array = np.zeros(4, np.float32)
    copy({0: array, 1: source.view(4, byte_offset=16)}, threadgroups=1, threads=4)
    assert array.tolist() == [4, 5, 6, 7]


class Pair(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_float))


PAIRS = {
    "bytes": np.int32(2).tobytes() + np.float32(0.5).tobytes(),
    "bytearray": bytearray(np.int32(2).tobytes() + np.float32(0.5).tobytes()),
    "void": np.array((2, 0.5), [("a", np.int32), ("b", np.float32)])[()],
    "ctypes": Pair(2, 0.5),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_values(library, kind):
    out = np.zeros(6, np.float32)
    arguments = {0: out, 1: -3, 2: 1.25, 3: True, 4: metal.half(0.1), 5: PAIRS[kind], 6: metal.ulong(5 * 10**12)}
    library.kernel("values")(arguments, threadgroups=1, threads=1)
    np.testing.assert_array_equal(out, np.float32([-3, 1.25, 1, np.float16(0.1), 2.5, 5000000]))


def test_values_of_many_bytes(library):
    many = np.arange(2000, dtype=np.float32)
    for value in (many, many.tobytes(), memoryview(many)):
        out = np.zeros(1, np.float32)
        library.kernel("total")({0: out, 1: value}, threadgroups=1, threads=1)
        assert out[0] == many.sum()


def test_grids(library):
    positions = library.kernel("positions")
    out = np.zeros((3, 5, 7, 4), np.uint32)
    positions({0: out}, grid=(7, 5, 3), threads=(4, 4, 1))
    z, y, x = np.meshgrid(range(3), range(5), range(7), indexing="ij")
    np.testing.assert_array_equal(out, np.stack([x, y, z, np.full_like(x, 2 * 2 * 3)], -1))
    out[:] = 0
    positions({0: out[:, :4, :6].copy()}, threadgroups=(2, 2, 3), threads=(3, 2, 1))
    assert not out.any()


def test_threadgroup_memory(library):
    x = np.arange(16, dtype=np.float32)
    library.kernel("reversed")({0: x}, threadgroups=1, threads=16, threadgroup_memory={0: 64, 2: 64})
    np.testing.assert_array_equal(x, np.arange(15, -1, -1) * 11)


def test_macros_and_line_numbers():
    source = "kernel void k(device KIND *x [[buffer(0)]]) {\n  x[0] = VALUE + FLAG;\n  x[1] = WRONG;\n}"
    macros = {"KIND": "float", "VALUE": 1.5, "FLAG": True, "WRONG": 3}
    x = np.zeros(2, np.float32)
    metal.Library(source, defines=macros).kernel("k")({0: x}, threadgroups=1, threads=1)
    assert x.tolist() == [2.5, 3]
    with pytest.raises(pyfa.CompileError) as caught:
        metal.Library(source, defines=macros | {"WRONG": "no_such_name"})
    assert "program_source:3:" in caught.value.log


def test_dispatches_of_one_encoder(library):
    x = pyfa.Buffer.zeros(8, np.int32)
    with pyfa.CommandEncoder() as encoder:
        for _ in range(3):
            encoder.dispatch(
                "add", {0: x}, grid=8, threads=1, constants={0: 2, 1: False}, registry=library.registry, tracked=True
            )
    assert x.read().tolist() == [6] * 8


def test_another_device():
    with pyfa.Device() as device:
        library = metal.Library(SOURCE, device=device)
        assert library.device is device
        x = np.zeros(4, np.int32)
        library.kernel("add", {0: 1, 1: False})({0: x}, threadgroups=1, threads=4)
        assert x.tolist() == [1] * 4


def test_what_they_are(library):
    kernel = library.kernel("add", {0: 1, 1: False})
    assert kernel.name == "add"
    assert repr(kernel) == "<pyfa.metal.Kernel 'add' constants={0: 1, 1: False}>"
    assert "pyfa.metal.Library" in repr(library)
    assert set(metal.__all__) <= set(vars(metal))


# --------------------------------------------------------------------------------------------------------- mistakes


def test_source_that_does_not_compile():
    with pytest.raises(pyfa.CompileError) as caught:
        metal.Library("kernel void k(device float *x [[buffer(0)]]) {\n  x[0] = nothing;\n}")
    assert "program_source:2:" in caught.value.log
    assert "nothing" in str(caught.value)


def test_unknown_kernel(library):
    with pytest.raises(pyfa.KernelNotFoundError, match="no_such_kernel"):
        library.kernel("no_such_kernel")


@pytest.mark.parametrize("constants", [None, {0: 1}, {0: 1.5, 1: True}, {0: metal.uint(1), 1: True}], ids=str)
def test_constants_that_are_missing_or_of_another_type(library, constants):
    with pytest.raises(pyfa.CompileError):
        library.kernel("add", constants)


FLOATS = np.zeros(8, np.float32)

# (what is wrong, the argument that the message names, its words, arguments)
BAD_ARGUMENTS = [
    ("no mapping", "arguments", "a mapping of slots to values", [FLOATS]),
    ("a list", "arguments[1]", "got list", {1: [1.0]}),
    ("nothing", "arguments[1]", "got NoneType", {1: None}),
    ("float64 array", "arguments[1]", "got float64", {1: np.zeros(8)}),
    ("float64 scalar", "arguments[1]", "got float64", {1: np.float64(1)}),
    ("complex array", "arguments[1]", "got complex64", {1: np.zeros(8, np.complex64)}),
    ("objects", "arguments[1]", "got object", {1: np.array([None])}),
    ("text", "arguments[1]", "got str", {1: "text"}),
    ("float64 in a struct", "arguments[1]", "got float64", {1: np.zeros(2, [("a", np.float32), ("b", np.float64, 2)])}),
    ("foreign byte order", "arguments[1]", "got >f4", {1: np.zeros(8, ">f4")}),
    ("strides", "arguments[1]", "C-contiguous", {1: np.zeros((8, 8), np.float32)[:, 0]}),
    ("no elements", "arguments[1]", "not empty", {1: np.zeros((0, 8), np.float32)}),
    ("large int", "arguments[1]", "32 bits", {1: 2**31}),
    ("overlap", "arguments[1]", "memory of its own", {0: FLOATS[:6], 1: FLOATS[2:]}),
    ("slot is text", "arguments[a]", "an integer", {"a": FLOATS}),
]


@pytest.mark.parametrize(
    ("argument", "words", "given"), [row[1:] for row in BAD_ARGUMENTS], ids=[r[0] for r in BAD_ARGUMENTS]
)
def test_bad_arguments(copy, argument, words, given):
    if isinstance(given, dict):
        given = {0: np.zeros(8, np.float32), 1: np.zeros(8, np.float32)} | given
    with pytest.raises(INVALID) as caught:
        copy(given, threadgroups=1, threads=8)
    assert caught.value.argument == argument
    assert words in str(caught.value)


BAD_DISPATCHES = [
    ("no grid", "either threadgroups or grid", {"threads": 1}),
    ("two grids", "either threadgroups or grid", {"threads": 1, "threadgroups": 1, "grid": 1}),
    ("grid of rank 4", "one to three extents", {"threads": 1, "threadgroups": (1, 1, 1, 1)}),
    ("grid of zero", "grid", {"threads": 1, "grid": 0}),
    ("threads are too many", "threads", {"threads": 2048, "threadgroups": 1}),
    ("threads are text", "an integer", {"threads": "8", "threadgroups": 1}),
    ("threadgroup slot", "slots of 0 ... 3", {"threads": 1, "threadgroups": 1, "threadgroup_memory": {4: 16}}),
    ("threadgroup bytes", "16", {"threads": 1, "threadgroups": 1, "threadgroup_memory": {0: 17}}),
    ("too much memory", "threadgroup", {"threads": 1, "threadgroups": 1, "threadgroup_memory": {0: 1 << 20}}),
]


@pytest.mark.parametrize(("words", "options"), [row[1:] for row in BAD_DISPATCHES], ids=[r[0] for r in BAD_DISPATCHES])
def test_bad_dispatches(copy, words, options):
    with pytest.raises(INVALID, match=words):
        copy({0: FLOATS, 1: FLOATS}, **options)


def test_missing_and_short_arguments(library, copy):
    with pytest.raises(pyfa.PyfaError, match="from"):
        copy({0: FLOATS}, threadgroups=1, threads=8)
    with pytest.raises(pyfa.PyfaError):
        library.kernel("values")({0: FLOATS, 1: 1, 2: 1.0, 3: True, 4: metal.half(1), 5: b"1234", 6: metal.ulong(1)},
                                 threadgroups=1, threads=1)  # fmt: skip


def test_bytes_cannot_be_written_to(copy):
    with pytest.raises(pyfa.PyfaError):
        copy({0: bytes(32), 1: FLOATS}, threadgroups=1, threads=8)


@pytest.mark.parametrize(
    ("defines", "words"),
    [({"1x": 1}, "identifiers"), ({"f(x)": "x"}, "identifiers"), ({"A": "1\n2"}, "one line")],
    ids=["number", "function", "two lines"],
)
def test_bad_defines(defines, words):
    with pytest.raises(INVALID, match=words):
        metal.Library("", defines=defines)


def test_source_that_is_no_text():
    with pytest.raises(INVALID, match="source: expected a str, got bytes"):
        metal.Library(b"kernel")


def test_released_device():
    device = pyfa.Device()
    device.release()
    with pytest.raises(INVALID, match="used after release"):
        metal.Library(SOURCE, device=device)


def test_nothing_is_fused_where_a_pragma_says_so():
    library = pyfa.metal.Library("""
        #pragma METAL fp contract(off)
        kernel void f(device float *x [[buffer(0)]]) { const float p = x[0] * x[1]; x[3] = p + x[2]; }""")
    # The product is half a unit above the last number, which is what it is rounded to.
    x = np.array([1 + 2**-12, 1 + 2**-12, -(1 + 2**-11), np.nan], np.float32)
    library.kernel("f")({0: x}, threadgroups=1, threads=1)
    assert x[3] == 0
