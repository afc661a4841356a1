"""A shader's own functions with names of the library's, under `using namespace metal`."""

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area(
    "own_names",
    """
template <typename T, typename U> T pow(T base, U exponent) { return base * T(exponent) + T(1); }
template <typename T, typename U> T max(T a, U b) { return a + T(b); }
template <typename T> T rotate(T a, T b) { return a - b; }
template <typename T> T exp2(T a) { return a + T(100); }
template <typename T> bool isnan(T a) { return a < T(0); }
struct pair { float a, b; };
pair abs(pair p) { return {metal::abs(p.a), metal::abs(p.b)}; }
pair min(pair p, pair q) { return {metal::min(p.a, q.a), metal::min(p.b, q.b)}; }
""",
)
X = np.float32([-2, 0.5, 3])
N = np.int32([1, 2, 3])


@area.each("float4", "r = float4(pow(x, n), pow(n, n), pow(x * x, 2.0f), pow(short(n), 2u));", x=X, n=N)
def a_template_takes_what_the_library_has_no_function_for(x, n):
    # Of two floats the library's is the better match.
    return np.stack([x * n + 1, n * n + 1, (x * x) ** 2, n * 2 + 1], 1).astype(np.float32)


@area.each("float4", "r = float4(max(x, n), max(n, x), rotate(n, 5), exp2(n));", x=X, n=N)
def templates_of_mixed_arguments(x, n):
    return np.stack([x + n, n + x.astype(np.int32), n - 5, n + 100], 1).astype(np.float32)


@area.each("float2", "const pair p = min(abs(pair{x, -x}), pair{1, 2}); r = float2(p.a, p.b);", x=X)
def overloads_for_own_types(x):
    return np.stack([np.minimum(np.abs(x), 1), np.minimum(np.abs(x), 2)], 1).astype(np.float32)


@area.each("float4", "r = float4(metal::max(x, 1.0f), metal::exp2(x), metal::rotate(n, 1), isnan(n - 2));", x=X, n=N)
def the_library_by_its_full_name(x, n):
    return np.stack([np.maximum(x, 1), np.exp2(x), n * 2, n < 2], 1).astype(np.float32)
