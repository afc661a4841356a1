"""Common, geometric and relational functions."""

from __future__ import annotations

import numpy as np

from tests.msl.program import Area, ulps

area = Area("common")
X = np.float32([-2, -1, -0.5, -0.0, 0, 0.25, 0.5, 1, 1.5, 3])
Y = np.float32([1, -1, 0.5, 0.0, -0.0, 0.75, 0.5, 2, -1.5, 0.1])
V = np.float32([[1, 2, 3], [-4, 0.5, 2], [0.1, -0.2, 0.3], [3, 4, 0]])
W = np.float32([[2, -1, 1], [0.25, 3, -1], [1, 1, 1], [0, 0, 5]])
SPECIAL = np.float32([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-40, 3e38])


# Whether the greater of 0 and -0 is 0 is left open.
@area.each(
    "packed_float3", "r = float3(clamp(x, -1.0f, 0.5f), saturate(x), clamp(x, 0.25f, 2.0f));", x=X, compare=ulps(0)
)
def clamping(x):
    x = x.astype(np.float64)
    return np.stack([np.clip(x, -1, 0.5), np.clip(x, 0, 1), np.clip(x, 0.25, 2)], 1)


@area.each("float4", "r = float4(sign(x), sign(half(x)), step(0.5f, x), step(x, y));", x=X, y=Y)
def signs_and_steps(x, y):
    sign = np.where(x == 0, x, np.sign(x))  # zeros keep theirs
    return np.stack([sign, sign, x >= 0.5, y >= x], 1).astype(np.float32)


@area.each("float", "r = mix(x, y, 0.25f);", x=X, y=Y, compare=ulps(4, 2**-22))
def mixing(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return x + (y - x) * 0.25


@area.each("float", "r = smoothstep(-1.0f, 2.0f, x);", x=X, compare=ulps(8, 2**-22))
def smooth_steps(x):
    t = np.clip((x.astype(np.float64) + 1) / 3, 0, 1)
    return t * t * (3 - 2 * t)


@area.each(
    "float4",
    "r = float4(min(x, y), max(x, y), fmin(x, y), fmax(x, y));",
    x=np.float32([1, 2, -3, 5, np.nan, 1]),
    y=np.float32([2, 1, -4, np.inf, 1, np.nan]),
)
def least_and_greatest_ignore_a_nan(x, y):
    return np.stack([np.fmin(x, y), np.fmax(x, y)] * 2, 1)


@area.each(
    "float4",
    "r = float4(min3(x, y, 0.3f), max3(x, y, 0.3f), median3(x, y, 0.3f), fmedian3(x, y, 0.3f));",
    x=X,
    y=Y + np.float32(0.01),
)
def of_three(x, y):
    s = np.sort(np.stack([x, y, np.full_like(x, 0.3)]), 0)
    return np.stack([s[0], s[2], s[1], s[1]], 1)


@area.each(
    "packed_float3", "r = clamp(v, float3(0), float3(1)) + mix(v, float3(0), 0.0f) + step(w, v) + max(v, w);", v=V, w=W
)
def on_vectors(v, w):
    return np.clip(v, 0, 1) + v + (v >= w) + np.maximum(v, w)


@area.each(
    "half4",
    "half h = half(x); r = half4(clamp(h, -1.0h, 0.5h), saturate(h), max(h, 0.25h), mix(h, h, 0.5h));",
    x=X,
    compare=ulps(0),
)
def on_half(x):
    x = x.astype(np.float64)
    return np.stack([np.clip(x, -1, 0.5), np.clip(x, 0, 1), np.maximum(x, 0.25), x], 1)


@area.each("float", "r = dot(v, w);", v=V, w=W, compare=ulps(4, 2**-20))
def dot_product(v, w):
    return (v.astype(np.float64) * w).sum(1)


@area.each("packed_float3", "r = cross(v, w);", v=V, w=W, compare=ulps(4, 2**-20))
def cross_product(v, w):
    return np.cross(v.astype(np.float64), w)


@area.each("float2", "r = float2(length(v), distance(v, w));", v=V, w=W, compare=ulps(8))
def lengths(v, w):
    v, w = v.astype(np.float64), w.astype(np.float64)
    return np.stack([np.linalg.norm(v, axis=1), np.linalg.norm(v - w, axis=1)], 1)


@area.each("float2", "r = float2(length_squared(v), distance_squared(v, w));", v=V, w=W, compare=ulps(8))
def squared_lengths(v, w):
    v, w = v.astype(np.float64), w.astype(np.float64)
    return np.stack([(v * v).sum(1), ((v - w) ** 2).sum(1)], 1)


@area.each("packed_float3", "r = normalize(v);", v=V, compare=ulps(8))
def unit_vectors(v):
    v = v.astype(np.float64)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@area.each("packed_float3", "float3 n = float3(0, 0.6f, 0.8f); r = reflect(v, n);", v=V, compare=ulps(8, 2**-20))
def reflection(v):
    n = np.float32([0, 0.6, 0.8]).astype(np.float64)
    v = v.astype(np.float64)
    return v - 2 * (v @ n)[:, None] * n


@area.each("packed_float3", "r = refract(normalize(v), float3(0, 0, 1), 0.7f);", v=V, compare=ulps(64, 2**-19))
def refraction(v):
    v = v / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True)
    eta, n = 0.7, np.array([0, 0, 1.0])
    d = v @ n
    k = 1 - eta**2 * (1 - d * d)
    return np.where(k[:, None] < 0, 0, eta * v - (eta * d + np.sqrt(np.maximum(k, 0)))[:, None] * n)


@area.each("packed_float3", "r = faceforward(v, w, float3(1, 0, 0));", v=V, w=W)
def facing_forward(v, w):
    return np.where(w[:, :1] < 0, v, -v)


@area.each(
    "float2",
    "half4 a = half4(half3(v), 1), b = half4(2); r = float2(dot(a, b), dot(v.xy, w.yz));",
    v=V,
    w=W,
    compare=ulps(2**14, 2**-8),
)
def dot_products_of_other_types(v, w):
    h = v.astype(np.float16).astype(np.float64)
    return np.stack([2 * h.sum(1) + 2, v[:, 0].astype(np.float64) * w[:, 1] + v[:, 1].astype(np.float64) * w[:, 2]], 1)


@area.each("uchar4", "r = uchar4(isnan(x), isinf(x), isfinite(x), signbit(x));", x=SPECIAL)
def classification(x):
    return np.stack([np.isnan(x), np.isinf(x), np.isfinite(x), np.signbit(x)], 1).astype(np.uint8)


@area.each("uchar2", "r = uchar2(isnormal(x), isnormal(half(x)));", x=np.float32([0, 1, -2, np.inf, np.nan, 3e38]))
def normal_numbers(x):
    h = x.astype(np.float16)
    return np.stack([np.isfinite(v) & (v != 0) for v in (x, h)], 1).astype(np.uint8)


@area.each(
    "uchar4",
    "r = uchar4(isordered(x, y), isunordered(x, y), isnan(half(x)), isinf(half(x)));",
    x=np.float32([1, np.nan, np.inf]),
    y=np.float32([np.nan, 1, 0]),
)
def ordering(x, y):
    nan = np.isnan(x) | np.isnan(y)
    return np.stack([~nan, nan, np.isnan(x), np.isinf(x)], 1).astype(np.uint8)


@area.each(
    "uchar4", "bool3 n = isnan(float3(x, 1, x)); r = uchar4(any(n), all(n), n.y, any(isinf(float2(x, x))));", x=SPECIAL
)
def classification_of_vectors(x):
    nan = np.isnan(x)
    return np.stack([nan, 0 * nan, 0 * nan, np.isinf(x)], 1).astype(np.uint8)


@area.each("uchar4", "r = uchar4(x == x, x < 1, x != 1, !(x >= 1));", x=SPECIAL)
def comparisons_with_nan(x):
    return np.stack([x == x, x < 1, x != 1, ~(x >= 1)], 1).astype(np.uint8)  # noqa: PLR0124 -- NaN differs from itself


@area.each(
    "int4",
    "r = int4(select(int2(x, y), int2(7, 8), bool2(x > y, true)), select(3, 4, x < y), select(uint(1), 2u, false));",
    x=np.int32([1, 5]),
    y=np.int32([2, 3]),
)
def select_of_integers(x, y):
    return np.stack([np.where(x > y, 7, x), [8, 8], np.where(x < y, 4, 3), [1, 1]], 1).astype(np.int32)
