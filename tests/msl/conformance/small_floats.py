"""Arithmetic of half and bfloat: every operation rounds to the type, to nearest, ties to even."""

from __future__ import annotations

import numpy as np

from tests.msl.program import BFLOAT, Area

area = Area("small_floats")
H = np.float16([1, 1.001, 0.1, 3, 1000, -2.5, 65000, 6e-5]), np.float16([0.001, 1.001, 0.3, 7, 3.7, 0.3, 2000, 0.5])
B = (
    np.array([1, 1.01, 0.1, 3, 1000, -2.5, 3e38, 1e-20], BFLOAT),
    np.array([0.005, 1.01, 0.3, 7, 3.7, 0.3, 3e38, 1e-10], BFLOAT),
)


@area.each("half4", "r = half4(x + y, x - y, x * y, x / y);", x=H[0], y=H[1])
def half_operations_round(x, y):
    return np.stack([x + y, x - y, x * y, x / y], 1)


@area.each("half2", "half s = x + y; s = s * y; half t = x * y; t = t - x; r = half2(s, t);", x=H[0], y=H[1])
def half_intermediates_round_too(x, y):
    return np.stack([(x + y) * y, x * y - x], 1)


@area.each("half2", "r = half2((x + y) * y, (x * y) / x);", x=H[0], y=H[1])
def half_expressions_are_not_evaluated_in_float(x, y):
    return np.stack([(x + y) * y, (x * y) / x], 1)


@area.each("half", "r = 0; for (int k = 0; k < 100; k++) r += x;", x=np.float16([0.1, 1, 0.007, 30]))
def half_sums_stagnate(x):
    s = np.zeros_like(x)
    for _ in range(100):
        s = s + x
    return s


@area.each("half", "r = fma(x, y, -x);", x=H[0][:6], y=H[1][:6])
def half_fma_rounds_once(x, y):
    return (x.astype(np.float64) * y - x).astype(np.float16)


@area.each("half4", "half4 v = half4(x, y, x * y, 1); v = v * 3.0h + half4(y) / 7.0h; r = v - half(x);", x=H[0], y=H[1])
def half_vectors_round(x, y):
    v = np.stack([x, y, x * y, np.ones_like(x)], 1)
    v = v * np.float16(3) + (y / np.float16(7))[:, None]
    return v - x[:, None]


@area.each("float2", "r = float2(x + 1.0f, x * y + 0.0f);", x=H[0], y=H[1])
def half_in_float_expressions(x, y):
    return np.stack([x.astype(np.float32) + np.float32(1), (x * y).astype(np.float32)], 1)


@area.each("uchar4", "r = uchar4(x < y, x == y, x > 0.25h, isinf(x + x));", x=H[0], y=H[1])
def half_comparisons(x, y):
    return np.stack([x < y, x == y, x > np.float16(0.25), np.isinf(x + x)], 1).astype(np.uint8)


@area.each("bfloat4", "r = bfloat4(x + y, x - y, x * y, x / y);", x=B[0], y=B[1])
def bfloat_operations_round(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    # Correctly rounded by way of float: the sums and products of 8 bits fit, and quotients are never near a tie.
    return np.stack([x + y, x - y, x * y, x / y], 1).astype(np.float32).astype(BFLOAT)


@area.each("bfloat2", "bfloat s = x + y; s = s * y; r = bfloat2(s, (x * y) - x);", x=B[0], y=B[1])
def bfloat_intermediates_round_too(x, y):
    return np.stack([(x + y) * y, (x * y) - x], 1)


@area.each("bfloat", "r = 0.0bf; for (int k = 0; k < 100; k++) r += x;", x=np.array([0.1, 1, 3], BFLOAT))
def bfloat_sums_stagnate(x):
    s = np.zeros_like(x)
    for _ in range(100):
        s = s + x
    return s


@area.each(
    "float2",
    "float s = 0; for (int k = 0; k < 10; k++) s += x * float(x); r = float2(s, float(x) * 0.5f);",
    x=np.array([0.1, 1, 3], BFLOAT),
)
def bfloat_widens_to_accumulate(x):
    f = x.astype(np.float32)
    s = np.zeros_like(f)
    for _ in range(10):
        s = s + f * f
    return np.stack([s, f * np.float32(0.5)], 1)


@area.each(
    "bfloat4", "bfloat4 v = bfloat4(float4(x)); r = v + bfloat4(1.0bf); r.x = -r.y;", x=np.float32([1.5, 0.1, 100])
)
def bfloat_vectors(x):
    v = x.astype(BFLOAT) + BFLOAT.type(1)
    return np.stack([-v, v, v, v], 1)


@area.each("half", "r = as_type<half>(ushort(as_type<ushort>(x) + 1));", x=np.float16([1, 2, 0, -1]))
def neighbouring_halves_by_bits(x):
    return (x.view(np.uint16) + np.uint16(1)).view(np.float16)


@area.each("half2", "r = half2(x * 2.0h > HALF_MAX ? HALF_MAX : x, min(x, 100.0h));", x=np.float16([1, 60000, -60000]))
def half_limits(x):
    return np.stack(
        [np.where(x.astype(np.float32) * 2 > 65504, np.float16(65504), x), np.minimum(x, np.float16(100))], 1
    )
