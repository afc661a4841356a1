"""Refused: kernels' signatures, their attributes, function constants."""

from __future__ import annotations

from tests.msl.refusals.refusal import signature, text

REFUSALS = (
    signature("pointer without address space", "address space", "  float *x [[buffer(0)]] //!"),
    signature(
        "reference without address space",
        "address space",
        "  constant int &a [[buffer(0)]],\n  const float &x [[buffer(1)]] //!",
    ),
    signature("thread pointer as argument", "thread", "  thread float *x [[buffer(0)]] //!"),
    signature(
        "two arguments at a slot", "buffer", "  device float *x [[buffer(2)]],\n  device float *y [[buffer(2)]] //!"
    ),
    signature("slot out of range", "31", "  device float *x [[buffer(31)]] //!"),
    signature("negative slot", "-1", "  device float *x [[buffer(-1)]] //!"),
    signature(
        "two at a threadgroup slot",
        "threadgroup",
        "  threadgroup float *x [[threadgroup(0)]],\n  threadgroup float *y [[threadgroup(0)]] //!",
    ),
    signature("threadgroup slot of a device pointer", "threadgroup", "  device float *x [[threadgroup(0)]] //!"),
    signature("buffer slot of a threadgroup pointer", "buffer", "  threadgroup float *x [[buffer(0)]] //!"),
    signature("signed position", "int", "  device float *x [[buffer(0)]],\n  int i [[thread_position_in_grid]] //!"),
    signature("signed vector position", "int2", "  int2 i [[thread_position_in_threadgroup]] //!"),
    signature("floating position", "float", "  float i [[thread_position_in_grid]] //!"),
    signature("long position", "ulong", "  ulong i [[thread_position_in_grid]] //!"),
    signature("vector lane", "uint2", "  uint2 lane [[thread_index_in_simdgroup]] //!"),
    signature("signed lane", "int", "  int lane [[thread_index_in_simdgroup]] //!"),
    signature("position of four components", "uint4", "  uint4 i [[thread_position_in_grid]] //!"),
    signature(
        "positions of several widths",
        "thread_position_in_threadgroup",
        "  uint2 p [[thread_position_in_grid]],\n  uint3 t [[thread_position_in_threadgroup]] //!",
    ),
    signature(
        "position and size of several types",
        "threads_per_grid",
        "  uint2 p [[thread_position_in_grid]],\n  ushort2 n [[threads_per_grid]] //!",
    ),
    signature(
        "position and index of several types",
        "thread_index_in_threadgroup",
        "  uint2 p [[thread_position_in_threadgroup]],\n  ushort n [[thread_index_in_threadgroup]] //!",
    ),
    signature(
        "an attribute twice",
        "thread_position_in_grid",
        "  uint p [[thread_position_in_grid]],\n  uint q [[thread_position_in_grid]] //!",
    ),
    signature("unknown attribute", "thread_position_in_gird", "  uint p [[thread_position_in_gird]] //!"),
    signature("value without attribute", "p", "  device float *x [[buffer(0)]],\n  uint p //!"),
    signature("texture", "texture2d", "  device float *x [[buffer(0)]],\n  texture2d<float> image [[texture(0)]] //!"),
    signature("sampler", "sampler", "  sampler s [[sampler(0)]] //!"),
    text("result", "void", "kernel float k(device float *x [[buffer(0)]]) { //!\n  return 1;\n}\n"),
    text("kernel called main", "main", "kernel void main(device float *x [[buffer(0)]]) { //!\n}\n"),
    text("vertex function", "vertex", "vertex float4 v(uint i [[vertex_id]]) { //!\n  return float4(i);\n}\n"),
    text(
        "two kernels of a name",
        "twice",
        "kernel void twice(device float *x [[buffer(0)]]) {}\nkernel void twice(device int *x [[buffer(0)]]) {} //!\n",
    ),
    text(
        "two kernels of a host name",
        "same",
        "template <typename T> kernel void k(device T *x [[buffer(0)]]) { *x = 1; }\n"
        'template [[host_name("same")]] kernel void k<float>(device float *);\n'
        'template [[host_name("same")]] kernel void k<int>(device int *); //!\n',
    ),
    text(
        "function constant with a value",
        "c",
        "constant int c [[function_constant(0)]] = 3; //!\nkernel void k(device int *x [[buffer(0)]]) { *x = c; }\n",
    ),
    text(
        "function constant of a struct",
        "pair",
        "struct pair { int a, b; };\nconstant pair c [[function_constant(0)]]; //!\n"
        "kernel void k(device int *x [[buffer(0)]]) { *x = c.a; }\n",
    ),
    text(
        "function constant of an array",
        "c",
        "constant int c[2] [[function_constant(0)]]; //!\nkernel void k(device int *x [[buffer(0)]]) { *x = c[0]; }\n",
    ),
    text(
        "function constant index out of range",
        "65536",
        "constant int c [[function_constant(65536)]]; //!\nkernel void k(device int *x [[buffer(0)]]) { *x = c; }\n",
    ),
    text(
        "guard that is no function constant",
        "flag",
        "constant bool flag = true;\nkernel void k(\n    device int *x [[buffer(0)]],\n"
        "    device int *y [[buffer(1), function_constant(flag)]]) { //!\n}\n",
    ),
)
