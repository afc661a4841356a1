"""What pyfa.metal tells of a library's kernels: names, function constants, arguments."""

from __future__ import annotations

import pytest

import pyfa
from pyfa.metal import FunctionConstant, KernelArgument, Library

SOURCE = """
#include <metal_stdlib>
using namespace metal;
constant uint factor [[function_constant(3)]];
constant bool has_bias [[function_constant(1)]];
constant half2 slope [[function_constant(7)]];
constant half2 given = is_function_constant_defined(slope) ? slope : half2(1);

kernel void scale(device float *x [[buffer(4)]], device const float *bias [[buffer(2), function_constant(has_bias)]],
                  constant uint &n [[buffer(0)]], threadgroup float *room [[threadgroup(1)]],
                  uint i [[thread_position_in_grid]]) {
  room[i] = x[i];
  x[i] = i < n ? room[i] * factor * given.x + (has_bias ? bias[i] : 0) : 0;
}
[[host_name("plain_one")]] kernel void plain(device float *x [[buffer(0)]]) { *x = 1; }
"""


@pytest.fixture(scope="module")
def library():
    return Library(SOURCE)


def test_names(library):
    assert library.function_names == ["plain_one", "scale"]
    assert Library("// nothing").function_names == []


def test_constants(library):
    assert {name: function.constants for name, function in library.functions.items()} == {
        "plain_one": (),
        "scale": (
            FunctionConstant(1, "has_bias", "bool", required=True),
            FunctionConstant(3, "factor", "uint", required=True),
            FunctionConstant(7, "slope", "half2", required=False),
        ),
    }


@pytest.mark.parametrize("has_bias", [False, True])
def test_arguments(library, has_bias):
    kernel = library.kernel("scale", {1: has_bias, 3: pyfa.metal.uint(2)})
    bias = (KernelArgument("bias", "buffer", 2, "read"),) if has_bias else ()
    assert kernel.arguments[:-1] == (
        KernelArgument("n", "buffer", 0, "read"),
        *bias,
        KernelArgument("x", "buffer", 4, "read_write"),
    )
    last = kernel.arguments[-1]
    assert (last.kind, last.slot, last.access) == ("threadgroup", 1, "read_write")


def test_built_in_sources_have_names_too():
    from pyfa._reflection import arguments, functions

    registry = pyfa.KernelRegistry()
    names = functions(registry, "flash_attn_prefill")
    assert names
    assert all(constant.type for constants in names.values() for constant in constants)
    with pytest.raises(pyfa.KernelNotFoundError, match="no_such_source"):
        functions(registry, "no_such_source")
    with pytest.raises(pyfa.KernelNotFoundError, match="no_such_kernel"):
        arguments(registry, "no_such_kernel", None)


def test_function_arguments(library):
    assert library.functions["plain_one"].arguments == (KernelArgument("x", "buffer", 0, "read_write"),)
    with pytest.raises(pyfa.CompileError, match="has_bias"):
        _ = library.functions["scale"].arguments


def test_constants_by_name(library):
    by_name = library.kernel("scale", {"has_bias": False, "factor": 2})
    assert by_name.arguments == library.kernel("scale", {1: False, 3: pyfa.metal.uint(2)}).arguments


@pytest.mark.parametrize(
    ("constants", "words"),
    [
        ({"bias": True, 3: 2}, r"constants: expected an index or one of the function's names .*, got 'bias'"),
        ({"has_bias": True, 1: True}, "each constant once"),
        ({1: True, "factor": -1}, r"constants\['factor'\]: expected a uint, 0 \.\.\. 4294967295, got -1"),
        ([1], "a mapping"),
    ],
)
def test_bad_constants(library, constants, words):
    with pytest.raises(pyfa.InvalidArgumentError, match=words):
        library.kernel("scale", constants)


def test_wrong_kind_of_constant(library):
    with pytest.raises(pyfa.PyfaError, match="factor"):
        library.kernel("scale", {1: False, 3: 2.5})
