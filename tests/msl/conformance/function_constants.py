"""Function constants: every scalar type, optional ones, guarded arguments, derived constants."""

# ruff: noqa: ARG001 -- what is expected is told every input, needed or not

from __future__ import annotations

import numpy as np

from tests.msl.program import BFLOAT, Area

PRELUDE = """
constant bool c_bool [[function_constant(0)]];
constant char c_char [[function_constant(1)]];
constant uchar c_uchar [[function_constant(2)]];
constant short c_short [[function_constant(3)]];
constant ushort c_ushort [[function_constant(4)]];
constant int c_int [[function_constant(5)]];
constant uint c_uint [[function_constant(6)]];
constant long c_long [[function_constant(7)]];
constant ulong c_ulong [[function_constant(8)]];
constant half c_half [[function_constant(9)]];
constant float c_float [[function_constant(10)]];
constant bfloat c_bfloat [[function_constant(11)]];

constant int width [[function_constant(100)]];
constant int height [[function_constant(101)]];
constant int area_of = width * height;
constant bool is_wide = width > height && area_of > 10;
constant float2 extents = float2(width, height);

constant bool has_bias [[function_constant(200)]];
constant bool wants_bias = is_function_constant_defined(has_bias) ? has_bias : false;
constant bool has_scale [[function_constant(0201)]];
constant int maybe [[function_constant(202)]];
constant int maybe_or_9 = is_function_constant_defined(maybe) ? maybe : 9;
#define SECOND(base) (base + 1)
constant int by_expression [[function_constant(SECOND(300))]];
constant bool never_used [[function_constant(65535)]];
"""
area = Area("function_constants", PRELUDE)
guarded = Area("guarded_arguments", PRELUDE)
absent = Area("absent_arguments", PRELUDE)
defined = Area("defined_constants", PRELUDE)
X = np.float32([1, 2, 3, 4])

INTEGERS = {0: True, 1: np.int8(-5), 2: np.uint8(250), 3: np.int16(-300), 4: np.uint16(60000), 5: -70000}
INTEGERS |= {6: np.uint32(4000000000), 7: np.int64(-5000000000), 8: np.uint64(2**64 - 2)}


@area.kernel(
    """
kernel void integer_constants(device long *out [[buffer(0)]]) {
  out[0] = c_bool;
  out[1] = c_char;
  out[2] = c_uchar;
  out[3] = c_short;
  out[4] = c_ushort;
  out[5] = c_int;
  out[6] = c_uint;
  out[7] = c_long;
  out[8] = c_ulong;
}""",
    ("long", 9),
    constants=INTEGERS,
    threads=1,
)
def integer_constants():
    return np.int64([1, -5, 250, -300, 60000, -70000, 4000000000, -5000000000, -2])


@area.kernel(
    """
kernel void floating_constants(device float *out [[buffer(0)]]) {
  out[0] = c_half;
  out[1] = c_float;
  out[2] = float(c_bfloat);
  out[3] = c_half * 2.0h;
  out[4] = sizeof(c_half);
}""",
    ("float", 5),
    constants={9: np.float16(0.1), 10: 0.1, 11: BFLOAT.type(0.1)},
    threads=1,
)
def floating_constants():
    h, b = np.float16(0.1), BFLOAT.type(0.1)
    return np.float32([h, 0.1, float(b), h * 2, 2])


@area.kernel(
    """
kernel void special_values(device float *out [[buffer(0)]]) {
  out[0] = c_float;
  out[1] = c_half;
}""",
    ("float", 2),
    constants={10: float("inf"), 9: np.float16("nan")},
    threads=1,
)
def special_values():
    return np.float32([np.inf, np.nan])


@area.kernel(
    """
kernel void derived_constants(device float *out [[buffer(0)]]) {
  out[0] = area_of;
  out[1] = is_wide ? 1 : 2;
  out[2] = extents.x - extents.y;
  if (is_wide) out[3] = 7;
  else out[3] = 8;
}""",
    ("float", 4),
    constants={100: 5, 101: 3},
    threads=1,
)
def derived_constants():
    return np.float32([15, 1, 2, 7])


BIASED = """
kernel void biased(device float *out [[buffer(0)]], device const float *x [[buffer(1)]],
                   device const float *bias [[buffer(2), function_constant(wants_bias)]],
                   constant float &scale [[buffer(3), function_constant(has_scale)]],
                   uint i [[thread_position_in_grid]]) {
  float r = x[i];
  if (wants_bias) r += bias[i];
  if (has_scale) r *= scale;
  out[i] = r;
}"""


# 0201 is octal.
@area.kernel(BIASED, ("float", 4), inputs={"x": X}, constants={129: False}, host_name="biased", grid=4)
def biased(x):
    return x


@guarded.kernel(
    BIASED,
    ("float", 4),
    inputs={"x": X, "bias": X * 10},
    constants={129: False, 200: True},
    host_name="biased",
    grid=4,
)
def with_bias(x, bias):
    return x + bias


@absent.kernel(
    BIASED.replace("buffer(2)", "buffer(7)").replace("buffer(3)", "buffer(2)"),
    ("float", 4),
    inputs={"x": X, "scale": np.float32(3)},
    constants={129: True, 200: False},
    host_name="biased",
    grid=4,
)
def with_scale(x, scale):
    return x * scale


@area.kernel(
    """
kernel void optional_constants(device int *out [[buffer(0)]]) {
  out[0] = maybe_or_9;
  out[1] = is_function_constant_defined(maybe);
  out[2] = wants_bias;
}""",
    ("int", 3),
    threads=1,
)
def optional_constants():
    return np.int32([9, 0, 0])


@defined.kernel(
    """
kernel void optional_constants(device int *out [[buffer(0)]]) {
  out[0] = maybe_or_9;
  out[1] = is_function_constant_defined(maybe);
}""",
    ("int", 2),
    constants={202: 5},
    threads=1,
)
def optional_constants():  # noqa: F811 -- the same kernel under other constants
    return np.int32([5, 1])


@area.kernel(
    """
kernel void constants_at_work(device int *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  int r = by_expression;
  switch (width) {
    case 3: r += 100; break;
    default: r += 200;
  }
  for (int k = 0; k < height; k++) r += k;
  out[i] = r + (width > 2 ? int(i) : 0);
}""",
    ("int", 8),
    constants={100: 3, 101: 4, 301: 1000},
    grid=8,
)
def constants_at_work():
    return np.arange(8, dtype=np.int32) + 1000 + 100 + 6


@area.kernel(
    """
kernel void unused_constants_are_ignored(device int *out [[buffer(0)]]) { *out = c_int; }""",
    ("int", 1),
    constants={5: 3, 65535: True, 777: 1.5},
    threads=1,
)
def unused_constants_are_ignored():
    return np.int32([3])


@area.kernel(
    """
int by_function() { return c_int * 2; }
struct by_method { int get() const { return by_function() + 1; } };
template <typename T> T by_template() { return T(c_int) / 2; }
kernel void constants_in_functions(device float *out [[buffer(0)]]) {
  by_method m;
  out[0] = m.get();
  out[1] = by_template<float>();
}""",
    ("float", 2),
    constants={5: 3},
    threads=1,
)
def constants_in_functions():
    return np.float32([7, 1.5])


@area.kernel(
    """
kernel void constants_choose_slots(device int *out [[buffer(0)]],
                                   device const int *first [[buffer(1), function_constant(c_bool)]],
                                   constant int *second [[buffer(1), function_constant(is_wide)]]) {
  if (c_bool) out[0] = first[1];
  if (is_wide) out[0] = second[0];
}""",
    ("int", 1),
    inputs={"second": np.int32([4, 5])},
    constants={0: False, 100: 9, 101: 2},
    threads=1,
)
def constants_choose_slots(second):
    return np.int32([4])
