"""Conversions between scalar types, of vectors, and of bits."""

# ruff: noqa: ARG001 -- what is expected is told every input, needed or not

from __future__ import annotations

import numpy as np

from tests.msl.program import BFLOAT, Area

area = Area("conversions")
FLOATS = np.float32([0, -0.0, 0.5, -0.5, 1.9, -1.9, 2.5, 100.75, -100.75, 1e6, 16777216, 2147483520, -2147483648])
ROUNDING = np.float32([1, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-10, 65504, 65519, 65520, 1e9, -1e9, 2**-25, 2**-24, 1e-7])
INTS = np.int32([0, 1, -1, 127, 128, -129, 255, 256, 65535, 16777217, 16777219, -16777217, 2**31 - 1, -(2**31)])


@area.each("int", "r = int(x);", x=FLOATS)
def float_to_int_truncates(x):
    return np.trunc(x).astype(np.int32)


@area.each("uint", "r = uint(x);", x=np.abs(FLOATS))
def float_to_uint_truncates(x):
    return np.trunc(x).astype(np.uint32)


@area.each("int", "r = int(x);", x=np.float32([np.nan, np.nan, -np.nan]))
def nan_to_int_is_zero(x):
    return np.zeros(3, np.int32)


@area.each("short2", "r = short2(short(x), short(half(x)));", x=np.float32([-3.7, 3.7, 1000.5, -1000.9]))
def float_to_short(x):
    return np.stack([np.trunc(x), np.trunc(x.astype(np.float16))], 1).astype(np.int16)


@area.each("float", "r = x;", x=INTS)
def int_to_float_rounds_to_even(x):
    return x.astype(np.float32)


@area.each("float2", "r = float2(ulong(uint(x)) * 3, long(x) * 5);", x=INTS)
def long_to_float(x):
    return np.stack([(x.view(np.uint32).astype(np.uint64) * 3), (x.astype(np.int64) * 5)], 1).astype(np.float32)


@area.each("half", "r = half(x);", x=np.concatenate([ROUNDING, -ROUNDING]))
def float_to_half_rounds_to_even(x):
    return x.astype(np.float16)


@area.each("half2", "r = half2(half(x), half(uint(x)));", x=np.int32([0, 1, 2047, 2049, 2051, 4098, 65504, 65520]))
def int_to_half(x):
    return np.stack([x, x], 1).astype(np.float16)


@area.each("float", "r = x;", x=np.arange(0, 2**16, 97, dtype=np.uint16).view(np.float16))
def half_to_float_is_exact(x):
    return x.astype(np.float32)


@area.each(
    "bfloat",
    "r = bfloat(x);",
    x=np.float32([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -3.14159, 1e38, 3.4e38, 1e-30]),
)
def float_to_bfloat_rounds_to_even(x):
    return x.astype(BFLOAT)


@area.each("float", "r = x;", x=np.arange(0, 2**16, 101, dtype=np.uint16).view(BFLOAT))
def bfloat_to_float_is_exact(x):
    return x.astype(np.float32)


@area.each("char4", "r = char4(char(x), char(uchar(x)), char(short(x)), char(x >> 8));", x=INTS)
def integers_wrap_when_narrowed(x):
    return np.stack([x, x, x, x >> 8], 1).astype(np.int8)


@area.each("ulong", "r = ulong(x);", x=INTS)
def widening_extends_the_sign(x):
    return x.astype(np.int64).view(np.uint64)


@area.each(
    "uchar4", "r = uchar4(bool(x), bool(int(x)), bool(half(x)), !x);", x=np.float32([0, -0.0, 0.5, 1, -2, 1e-30])
)
def conversion_to_bool(x):
    return np.stack([x != 0, x.astype(np.int32) != 0, x.astype(np.float16) != 0, x == 0], 1).astype(np.uint8)


@area.each("float", "r = (x > 1) + true + (x > 2) * 2.5f;", x=np.float32([0, 1, 2, 3]))
def conversion_from_bool(x):
    return (x > 1) + np.float32(1) + (x > 2) * np.float32(2.5)


@area.each("int4", "r = int4(x);", x=np.float32([[1.5, -1.5, 2.9, -0.9], [100, 1e6, -7.2, 0]]))
def vector_conversion_is_by_component(x):
    return np.trunc(x).astype(np.int32)


@area.each("half4", "r = half4(short4(uchar4(x)));", x=np.int32([[1, 255, 256, -1], [300, 128, 127, 0]]))
def vector_conversion_chain(x):
    return x.astype(np.uint8).astype(np.float16)


@area.each("float4", "float4 v = x; v += 1; v = v * 2.0f; r = v - float4(0.5f);", x=np.float32([1, 2, -3]))
def scalars_splat(x):
    return np.repeat((x + 1) * 2 - np.float32(0.5), 4).reshape(-1, 4)


@area.each("uint2", "r = uint2(as_type<uint>(x), as_type<uint>(as_type<int>(x)));", x=np.float32([0, 1, -1.5, np.inf]))
def as_type_of_scalars(x):
    return np.stack([x.view(np.uint32)] * 2, 1)


@area.each(
    "ushort2",
    "r = ushort2(as_type<ushort>(h), as_type<ushort>(b));",
    h=np.float16([1, -2.5]),
    b=np.array([1, -2.5], BFLOAT),
)
def as_type_of_small_floats(h, b):
    return np.stack([h.view(np.uint16), b.view(np.uint16)], 1)


@area.each(
    "uint4",
    "r = uint4(as_type<uint>(as_type<half2>(x)), as_type<uchar4>(x).w, as_type<ushort2>(x).x, as_type<short2>(x).y);",
    x=np.uint32([0x3C00BC00, 0x12348765]),
)
def as_type_of_vectors(x):
    halves = x.view(np.uint16).reshape(-1, 2)
    top = halves[:, 1].view(np.int16).astype(np.int32).view(np.uint32)
    return np.stack([x, x >> 24, halves[:, 0], top], 1).astype(np.uint32)


@area.each("ulong", "r = as_type<ulong>(uint2(x.y, x.x)) + as_type<ulong>(x);", x=np.uint32([[1, 2], [0xFFFFFFFF, 7]]))
def as_type_of_long(x):
    x = x.astype(np.uint64)
    return (x[:, 1] | x[:, 0] << 32) + (x[:, 0] | x[:, 1] << 32)


@area.each(
    "int4",
    "r = int4(sizeof(c + c), sizeof(c * 1.0h), sizeof(s + 1u), c + c);",
    c=np.int8([100, -100]),
    s=np.int16([1, 2]),
)
def integer_promotion(c, s):
    return np.stack([[4, 4], [2, 2], [4, 4], 2 * c.astype(np.int32)], 1).astype(np.int32)


@area.each("uint2", "r = uint2(x < 1u, uint(x) / 2u);", x=np.int32([-1, 0, 5]))
def mixed_signs_compare_as_unsigned(x):
    u = x.view(np.uint32)
    return np.stack([u < 1, u // 2], 1).astype(np.uint32)


@area.each("half", "r = h * half(f) + half(1);", h=np.float16([0.1, 3]), f=np.float32([0.3, 1e-3]))
def explicit_narrowing_in_expressions(h, f):
    return h * f.astype(np.float16) + np.float16(1)


@area.each(
    "float2",
    "r = float2(h * f, b * f);",
    h=np.float16([0.1, 3]),
    b=np.array([0.1, 3], BFLOAT),
    f=np.float32([0.3, 1e-3]),
)
def small_floats_widen_to_float(h, b, f):
    return np.stack([h.astype(np.float32) * f, b.astype(np.float32) * f], 1)


@area.each(
    "packed_float3",
    "packed_float3 p = x; float3 v = p; v *= 2; p = packed_float3(v); r = p;",
    x=np.float32([[1, 2, 3], [4, 5, 6]]),
)
def packed_and_plain_vectors_convert(x):
    return x * 2


@area.each(
    "float4",
    "r = float4(static_cast<float>(x), float(static_cast<half>(x)), (float)(int)x, float(bfloat(x)));",
    x=np.float32([1.7, 0.1, -2.3]),
)
def cast_styles(x):
    return np.stack([x, x.astype(np.float16).astype(np.float32), np.trunc(x), x.astype(BFLOAT).astype(np.float32)], 1)


@area.each("half2", "r = half2(half(float(b)), half(1.0f) + half(float(b)));", b=np.array([0.1, 300.0, 1.0], BFLOAT))
def bfloat_to_half_by_way_of_float(b):
    h = b.astype(np.float32).astype(np.float16)
    return np.stack([h, np.float16(1) + h], 1)
