"""Math functions against float64, within the specification's limits."""

from __future__ import annotations

import numpy as np

from tests.msl.program import Area, columns, ulps

area = Area("math")

WIDE = np.concatenate([np.linspace(-20, 20, 161), [0.0, -0.0, 1e-5, -1e-5, 87.5, -87.0]]).astype(np.float32)
UNIT = np.concatenate([np.linspace(-1, 1, 101), [1e-6, -1e-6]]).astype(np.float32)
POSITIVE = np.concatenate([np.logspace(-30, 30, 101), [1, 2, 10, 0.5, 1.0001]]).astype(np.float32)
TURNS = np.linspace(-3.14159, 3.14159, 129).astype(np.float32)
SPECIAL = np.float32([0, -0.0, np.inf, -np.inf, np.nan])
HALVES = np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -0.4, 0.4, 1e9, -3.7, 3.7])

# Name, true value, arguments, and the limits in units in the last place, precise and fast; what fast may be off in all.
TABLE = (
    ("acos", np.arccos, UNIT, 4, 5, 2**-20),
    ("acosh", np.arccosh, POSITIVE[POSITIVE >= 1], 4, 16, 2**-18),
    ("asin", np.arcsin, UNIT, 4, 5, 2**-20),
    ("asinh", np.arcsinh, WIDE, 4, 64, 2**-18),
    ("atan", np.arctan, WIDE, 5, 5, 0),
    ("atanh", np.arctanh, UNIT[np.abs(UNIT) < 1], 5, 64, 2**-18),
    ("cos", np.cos, TURNS, 4, 4, 2**-13),
    ("cosh", np.cosh, WIDE, 4, 256, 0),
    ("exp", np.exp, WIDE, 4, 180, 0),
    ("exp2", np.exp2, WIDE, 4, 180, 0),
    ("exp10", lambda x: 10.0**x, WIDE[np.abs(WIDE) < 30], 4, 256, 0),
    ("log", np.log, POSITIVE, 4, 4, 2**-21),
    ("log2", np.log2, POSITIVE, 4, 4, 2**-22),
    ("log10", np.log10, POSITIVE, 4, 8, 2**-22),
    ("rsqrt", lambda x: 1 / np.sqrt(x), POSITIVE, 0.5, 2, 0),
    ("sin", np.sin, TURNS, 4, 4, 2**-13),
    ("sinh", np.sinh, WIDE, 4, 256, 2**-18),
    ("sqrt", np.sqrt, POSITIVE, 0.5, 4, 0),
    ("tan", np.tan, np.linspace(-1.4, 1.4, 99).astype(np.float32), 6, 64, 2**-11),
    ("tanh", np.tanh, WIDE[np.abs(WIDE) < 30], 5, 64, 2**-18),
)


FAST = ("cos", "exp", "exp2", "log", "log2", "rsqrt", "sin", "sqrt", "tanh")

for name, function, arguments, precise_limit, fast_limit, fast_slack in TABLE:
    # Which of the two an unqualified name means is up to how the source is compiled.
    quick, strict = ulps(fast_limit, fast_slack), ulps(precise_limit)
    third = f"fast::{name}(x)" if name in FAST else f"{name}(float2(x)).y"
    area.each(
        "packed_float3",
        f"r = float3({name}(x), precise::{name}(x), {third});",
        x=arguments,
        compare=columns(quick, strict, quick),
        name=f"{name}_of_float",
    )(lambda x, function=function: np.repeat(function(x.astype(np.float64)), 3).reshape(-1, 3))

# ------------------------------------------------------------------------------------------- of several arguments


@area.each(
    "float",
    "r = precise::atan2(y, x);",
    y=np.float32([1, 1, -1, -1, 0, 2]),
    x=np.float32([1, -1, 1, -1, 1, 0]),
    compare=ulps(6),
)
def atan2_precise(y, x):
    return np.arctan2(y.astype(np.float64), x)


@area.each(
    "float2",
    "r = float2(precise::pow(x, y), precise::powr(x, y));",
    x=np.float32([2, 0.5, 10, 1.5, 3]),
    y=np.float32([10, -3, 2.5, 20.25, 0]),
    compare=ulps(16),
)
def powers(x, y):
    return (x.astype(np.float64) ** y).repeat(2).reshape(-1, 2)


@area.each(
    "float2",
    "r = float2(precise::divide(x, y), precise::sqrt(y));",
    x=np.float32([1, 2, -7, 1e10]),
    y=np.float32([3, 7, 9, 3e-10]),
    compare=ulps(0.5),
)
def quotients_are_correctly_rounded(x, y):
    return np.stack([x.astype(np.float64) / y, np.sqrt(y.astype(np.float64))], 1)


@area.each("float", "r = x / y;", x=WIDE[:64], y=POSITIVE[:64], compare=ulps(2.5))
def quotients(x, y):
    return x.astype(np.float64) / y


@area.each("float", "float c; float s = precise::sincos(x, c); r = s * 2 + c;", x=TURNS, compare=ulps(16, 2**-20))
def sine_and_cosine(x):
    x = x.astype(np.float64)
    return 2 * np.sin(x) + np.cos(x)


@area.each(
    "float",
    "r = fma(x, y, -z);",
    x=np.float32([1 + 2**-12, 3, 1e20]),
    y=np.float32([1 + 2**-12, 5, 1e-20]),
    z=np.float32([1 + 2**-11, 15, 1]),
)
def fused_multiply_add_rounds_once(x, y, z):
    x, y, z = (v.astype(np.float64) for v in (x, y, z))
    return (x * y - z).astype(np.float32)


@area.each(
    "float",
    "r = cospi(x) + 4 * sinpi(x) + 16 * tanpi(x / 8);",
    x=np.float32([0, 0.5, 1, 1.5, 2, -0.5, 0.25]),
    compare=ulps(0, 2**-16),
)
def multiples_of_pi(x):
    x = np.pi * x.astype(np.float64)
    return np.cos(x) + 4 * np.sin(x) + 16 * np.tan(x / 8)


# ------------------------------------------------------------------------------------------------ exact functions


@area.each("float4", "r = float4(floor(x), ceil(x), trunc(x), rint(x));", x=np.concatenate([HALVES, SPECIAL]))
def to_integers(x):
    return np.stack([np.floor(x), np.ceil(x), np.trunc(x), np.rint(x)], 1)


@area.each("float", "r = round(x);", x=HALVES)
def halves_round_away_from_zero(x):
    return np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x)


@area.each("float4", "r = float4(fabs(x), abs(x), copysign(x, -1.0f), copysign(2.0f, x));", x=SPECIAL[:4])
def magnitude_and_sign(x):
    return np.stack([np.abs(x), np.abs(x), -np.abs(x), np.copysign(2, x)], 1).astype(np.float32)


@area.each(
    "float2", "r = float2(fdim(x, y), fmod(x, y));", x=np.float32([5.5, -5.5, 1, 7]), y=np.float32([2, 2, 3, -1.5])
)
def difference_and_remainder(x, y):
    return np.stack([np.maximum(x - y, 0), np.fmod(x, y)], 1)


@area.each(
    "float2", "float whole; float part = modf(x, whole); r = float2(part, whole);", x=np.float32([1.25, -1.25, 3, 0.5])
)
def parts_of_a_number(x):
    return np.stack([x - np.trunc(x), np.trunc(x)], 1)


@area.each("float", "r = fract(x);", x=np.float32([1.25, -1.25, 3, -0.75, 0.5]))
def fraction_is_never_negative(x):
    return x - np.floor(x)


@area.each(
    "float4", "int e; float m = frexp(x, e); r = float4(m, e, ldexp(m, e), ilogb(x));", x=np.float32([1, -6, 0.3, 1024])
)
def mantissa_and_exponent(x):
    m, e = np.frexp(x)
    return np.stack([m, e, x, e - 1], 1).astype(np.float32)


@area.each("float2", "r = float2(nextafter(x, 10.0f), nextafter(x, -10.0f));", x=np.float32([1, -1, 0.1, 2]))
def neighbours(x):
    return np.stack([np.nextafter(x, np.float32(10)), np.nextafter(x, np.float32(-10))], 1)


@area.each(
    "float4",
    "r = float4(fmin3(x, y, 1.0f), fmax3(x, y, 1.0f), fmedian3(x, y, 1.0f), fmax(x, y));",
    x=np.float32([0, 2, 5]),
    y=np.float32([3, 1.5, -1]),
)
def of_three(x, y):
    s = np.sort(np.stack([x, y, np.ones_like(x)]), 0)
    return np.stack([s[0], s[2], s[1], np.maximum(x, y)], 1)


@area.each(
    "float4",
    "r = float4(precise::exp(x), precise::log(fabs(x)), precise::sqrt(fabs(x)), precise::tanh(x));",
    x=SPECIAL[:4],
    compare=ulps(0),
)
def at_zero_and_infinity(x):
    x = x.astype(np.float64)
    return np.stack([np.exp(x), np.log(np.abs(x)), np.sqrt(np.abs(x)), np.tanh(x)], 1)


@area.each(
    "float4",
    "float4 v = float4(x, x + 1, x * 2, 1); r = exp(v) + sqrt(fabs(v)) + floor(v) + fma(v, v, v);",
    x=np.linspace(-3, 3, 33).astype(np.float32),
    compare=ulps(64, 2**-16),
)
def on_vectors(x):
    v = np.stack([x, x + np.float32(1), x * np.float32(2), np.ones_like(x)], 1).astype(np.float64)
    return np.exp(v) + np.sqrt(np.abs(v)) + np.floor(v) + v * v + v


# ------------------------------------------------------------------------------------------------------------ half

for name, function, arguments in (
    ("exp", np.exp, np.linspace(-8, 8, 65)),
    ("log", np.log, np.logspace(-3, 4, 65)),
    ("log2", np.log2, np.logspace(-3, 4, 65)),
    ("sin", np.sin, np.linspace(-3, 3, 65)),
    ("tanh", np.tanh, np.linspace(-4, 4, 65)),
):
    area.each(
        "half", f"r = {name}(x);", x=arguments.astype(np.float16), compare=ulps(1.5, 2**-14), name=f"{name}_of_half"
    )(lambda x, function=function: function(x.astype(np.float64)))


@area.each(
    "half4",
    "r = half4(sqrt(x), floor(x), rsqrt(x), fma(x, x, 1.0h));",
    x=np.float16([1, 2, 2.5, 100, 0.3]),
    compare=ulps(1),
)
def exact_functions_of_half(x):
    x = x.astype(np.float64)
    return np.stack([np.sqrt(x), np.floor(x), 1 / np.sqrt(x), x * x + 1], 1)


@area.each("float", "r = sqrt(float(exp2(half(x)))) * half(2);", x=np.float32([2, 4, 6, -2]), compare=ulps(2**14))
def half_and_float_together(x):
    return 2 * np.sqrt(2.0 ** x.astype(np.float64))
