"""Arithmetic of half and bfloat: every operation rounds to the type, to nearest, ties to even."""

from __future__ import annotations

import numpy as np

from tests.msl.program import BFLOAT, Area, ulps

area = Area(
    "small_floats",
    """
namespace magnitude {
METAL_FUNC bfloat of(bfloat x) { return static_cast<bfloat>(__metal_fabs(static_cast<float>(x), true)); }
}
namespace metal {
METAL_FUNC bfloat exp(bfloat x) { return static_cast<bfloat>(__metal_exp(static_cast<float>(x), false)); }
}
template <typename T> T blended(T x, float y) { return static_cast<T>(exp(x) * 0 + x + y); }
""",
)
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


@area.each("float2", "r = float2(precise::exp(x), fast::exp(x));", x=np.float16([0.1, -3, 7, 11.5]), compare=ulps(180))
def precise_and_fast_functions_of_half_give_float(x):
    e = np.exp(x.astype(np.float64))
    return np.stack([e, e], 1)


@area.each("float2", "r = float2(precise::sqrt(x), fast::fabs(x));", x=np.array([2, 100, 0.1], BFLOAT), compare=ulps(4))
def precise_and_fast_functions_take_bfloat(x):
    x = x.astype(np.float64)
    return np.stack([np.sqrt(x), np.abs(x)], 1)


@area.each("bfloat2", "r = bfloat2(magnitude::of(x), blended(x, 0.5f));", x=np.array([-2, 3, 0.1], BFLOAT))
def bfloat_overloads_of_a_shader_are_preferred(x):
    x = x.astype(np.float32)
    return np.stack([np.abs(x), (x + np.float32(0.5)).astype(BFLOAT)], 1).astype(BFLOAT)


@area.each(
    "uchar4",
    "r = uchar4(is_convertible_v<bfloat, float>, is_convertible_v<float, bfloat>, is_convertible_v<half, bfloat>,\n"
    "    is_convertible_v<float, half>);",
    x=np.zeros(2, np.int32),
)
def what_converts_to_bfloat(x):
    return np.repeat(np.uint8([[1, 0, 0, 1]]), len(x), 0)
