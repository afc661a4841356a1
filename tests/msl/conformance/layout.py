"""Types: sizes, alignment, layout in memory, literals, limits."""

# ruff: noqa: ARG001 -- what is expected is told every input, needed or not

from __future__ import annotations

import numpy as np

from tests.msl.program import BFLOAT, Area

area = Area(
    "layout",
    """
struct mixed { char a; float3 b; half c; packed_float3 d; bool e; ushort2 f; };
struct nested { uchar tag; mixed inner; packed_half3 tail; };
enum class fruit : ushort { apple = 3, pear, fig = 40000 };
enum plain { zero, one, ten = 10 };
union bits { float f; uint u; uchar4 c; };
""",
)

SCALARS = [
    "bool",
    "char",
    "uchar",
    "short",
    "ushort",
    "int",
    "uint",
    "long",
    "ulong",
    "half",
    "bfloat",
    "float",
    "size_t",
    "ptrdiff_t",
]


@area.kernel(
    "kernel void scalar_sizes(device uint *out [[buffer(0)]]) {\n  const uint s[] = {"
    + ", ".join(f"sizeof({name})" for name in SCALARS)
    + "};\n  for (uint i = 0; i < sizeof(s) / sizeof(s[0]); i++) out[i] = s[i];\n}\n",
    ("uint", len(SCALARS)),
    threads=1,
)
def scalar_sizes():
    return np.uint32([1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 8])


VECTORS = [f"{name}{width}" for name in SCALARS[:12] for width in (2, 3, 4)]


@area.kernel(
    "kernel void vector_sizes(device uint *out [[buffer(0)]]) {\n  const uint s[] = {"
    + ", ".join(f"sizeof({name}), alignof({name})" for name in VECTORS)
    + "};\n  for (uint i = 0; i < sizeof(s) / sizeof(s[0]); i++) out[i] = s[i];\n}\n",
    ("uint", 2 * len(VECTORS)),
    threads=1,
)
def vector_sizes():
    sizes = np.repeat([1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4], 3) * np.tile([2, 4, 4], 12)
    return np.repeat(sizes, 2).astype(np.uint32)  # aligned to their size, of 3 as of 4


PACKED = [
    f"packed_{name}{width}"
    for name in ["char", "uchar", "short", "ushort", "int", "uint", "half", "float"]
    for width in (2, 3, 4)
]


@area.kernel(
    "kernel void packed_sizes(device uint *out [[buffer(0)]]) {\n  const uint s[] = {"
    + ", ".join(f"sizeof({name}), alignof({name})" for name in PACKED)
    + "};\n  for (uint i = 0; i < sizeof(s) / sizeof(s[0]); i++) out[i] = s[i];\n}\n",
    ("uint", 2 * len(PACKED)),
    threads=1,
)
def packed_sizes():
    element = np.repeat([1, 1, 2, 2, 4, 4, 2, 4], 3)
    return np.stack([element * np.tile([2, 3, 4], 8), element], 1).ravel().astype(np.uint32)


@area.kernel(
    """
kernel void matrix_sizes(device uint *out [[buffer(0)]]) {
  const uint s[] = {sizeof(float2x2), sizeof(float2x3), sizeof(float2x4), sizeof(float3x2), sizeof(float3x3),
                    sizeof(float3x4), sizeof(float4x2), sizeof(float4x3), sizeof(float4x4), sizeof(half2x2),
                    sizeof(half3x3), sizeof(half4x4), alignof(float3x3), alignof(half4x4), alignof(float2x2)};
  for (uint i = 0; i < 15; i++) out[i] = s[i];
}""",
    ("uint", 15),
    threads=1,
)
def matrix_sizes():
    return np.uint32([16, 32, 32, 24, 48, 48, 32, 64, 64, 8, 24, 32, 16, 8, 8])


MIXED = np.dtype(
    {
        "names": ["a", "b", "c", "d", "e", "f"],
        "formats": [np.int8, (np.float32, 3), np.float16, (np.float32, 3), np.bool_, (np.uint16, 2)],
        "offsets": [0, 16, 32, 36, 48, 52],
        "itemsize": 64,
    }
)


@area.kernel(
    """
kernel void struct_members(device float *out [[buffer(0)]], device const mixed *m [[buffer(1)]]) {
  out[0] = sizeof(mixed);
  out[1] = sizeof(nested);
  out[2] = m[1].a;
  out[3] = m[1].b.z;
  out[4] = m[1].c;
  out[5] = m[1].d.y;
  out[6] = m[1].e;
  out[7] = m[1].f.y;
}""",
    ("float", 8),
    inputs={
        "m": np.array([(0, [0] * 3, 0, [0] * 3, False, [0] * 2), (-7, [1, 2, 3], 0.5, [4, 5, 6], True, [8, 9])], MIXED)
    },
    threads=1,
)
def struct_members(m):
    return np.float32([64, 96, -7, 3, 0.5, 5, 1, 9])


@area.kernel(
    """
kernel void struct_by_value(device float *out [[buffer(0)]], constant mixed &m [[buffer(1)]]) {
  mixed copy = m;
  copy.b.y += 10;
  nested n = {7, copy, packed_half3(half3(1, 2, 3))};
  out[0] = n.inner.b.y;
  out[1] = m.b.y;
  out[2] = n.tail[2];
  out[3] = n.tag;
}""",
    ("float", 4),
    inputs={"m": np.array((1, [2, 3, 4], 5, [6, 7, 8], True, [9, 10]), MIXED)[()]},
    threads=1,
)
def struct_by_value(m):
    return np.float32([13, 3, 3, 7])


@area.kernel(
    """
kernel void enums(device int *out [[buffer(0)]]) {
  fruit f = fruit::pear;
  out[0] = int(f);
  out[1] = sizeof(fruit);
  out[2] = int(fruit::fig);
  out[3] = ten + one;
  switch (f) { case fruit::apple: out[4] = 1; break; case fruit::pear: out[4] = 2; break; default: out[4] = 3; }
}""",
    ("int", 5),
    threads=1,
)
def enums():
    return np.int32([4, 2, 40000, 11, 2])


@area.each("uint", "bits b; b.f = x; r = b.u;", x=np.float32([0, 1, -2, 0.1]))
def unions(x):
    return x.view(np.uint32)


@area.kernel(
    """
kernel void literals(device float *out [[buffer(0)]]) {
  const float l[] = {0x1F, 017, 0b1011, 1'000, 'A', 0x1.8p1, 1e3, .5, 2.f, 3.5h, 1.5bf, 7u, 9L, true};
  for (uint i = 0; i < 14; i++) out[i] = l[i];
  out[14] = sizeof(1.0);
  out[15] = sizeof(1.0h);
  out[16] = sizeof(1.0bf);
  out[17] = sizeof(1);
  out[18] = sizeof(1u);
  out[19] = sizeof(1L);
  out[20] = sizeof('A');
  out[21] = sizeof(1.0 + 1.0h);
}""",
    ("float", 22),
    threads=1,
)
def literals():
    return np.float32([31, 15, 11, 1000, 65, 3, 1000, 0.5, 2, 3.5, 1.5, 7, 9, 1, 4, 2, 2, 4, 4, 8, 1, 4])


@area.kernel(
    """
kernel void unsuffixed_literals_are_float(device float *out [[buffer(0)]], constant float &x [[buffer(1)]]) {
  out[0] = x * 0.1;
  auto third = 1.0 / 3.0;
  out[1] = sizeof(third);
  out[2] = (x + 16777216.0) - 16777216.0;
  out[3] = 1e-3 * x;
}""",
    ("float", 4),
    inputs={"x": np.float32(3)},
    threads=1,
)
def unsuffixed_literals_are_float(x):
    return np.float32([x * np.float32(0.1), 4, (x + np.float32(2**24)) - np.float32(2**24), np.float32(1e-3) * x])


@area.kernel(
    """
kernel void integer_limits(device long *out [[buffer(0)]]) {
  out[0] = CHAR_BIT;
  out[1] = SCHAR_MIN;
  out[2] = CHAR_MAX;
  out[3] = UCHAR_MAX;
  out[4] = SHRT_MIN;
  out[5] = USHRT_MAX;
  out[6] = INT_MIN;
  out[7] = UINT_MAX;
  out[8] = numeric_limits<int>::max();
  out[9] = numeric_limits<ushort>::max();
  out[10] = numeric_limits<char>::min();
  out[11] = numeric_limits<uint>::lowest();
  out[12] = LONG_MAX;
  out[13] = numeric_limits<short>::digits;
}""",
    ("long", 14),
    threads=1,
)
def integer_limits():
    return np.int64(
        [8, -128, 127, 255, -(2**15), 2**16 - 1, -(2**31), 2**32 - 1, 2**31 - 1, 2**16 - 1, -128, 0, 2**63 - 1, 15]
    )


@area.kernel(
    """
kernel void floating_limits(device float *out [[buffer(0)]]) {
  out[0] = FLT_MAX;
  out[1] = FLT_MIN;
  out[2] = FLT_EPSILON;
  out[3] = HALF_MAX;
  out[4] = HALF_MIN;
  out[5] = HALF_EPSILON;
  out[6] = INFINITY;
  out[7] = NAN;
  out[8] = numeric_limits<float>::max();
  out[9] = numeric_limits<half>::lowest();
  out[10] = numeric_limits<float>::infinity();
  out[11] = numeric_limits<half>::epsilon();
  out[12] = FLT_DIG;
  out[13] = FLT_MANT_DIG;
  out[14] = HALF_MANT_DIG;
  out[15] = numeric_limits<float>::quiet_NaN();
}""",
    ("float", 16),
    threads=1,
)
def floating_limits():
    f, h = np.finfo(np.float32), np.finfo(np.float16)
    return np.float32(
        [f.max, f.tiny, f.eps, h.max, h.tiny, h.eps, np.inf, np.nan, f.max, h.min, np.inf, h.eps, 6, 24, 11, np.nan]
    )


@area.kernel(
    """
kernel void constants_of_math(device float *out [[buffer(0)]]) {
  const float c[] = {M_E_F,    M_LOG2E_F, M_LOG10E_F, M_LN2_F,    M_LN10_F,  M_PI_F, M_PI_2_F,
                     M_PI_4_F, M_1_PI_F,  M_2_PI_F,   M_2_SQRTPI_F, M_SQRT2_F, M_SQRT1_2_F};
  for (uint i = 0; i < 13; i++) out[i] = c[i];
  out[13] = M_PI_H;
  out[14] = M_E_H;
}""",
    ("float", 15),
    threads=1,
)
def constants_of_math():
    e, pi = np.e, np.pi
    values = [e, 1 / np.log(2), 1 / np.log(10), np.log(2), np.log(10), pi, pi / 2, pi / 4, 1 / pi, 2 / pi]
    values += [2 / np.sqrt(pi), np.sqrt(2), np.sqrt(0.5)]
    return np.float32([*values, np.float16(pi), np.float16(e)])


@area.kernel(
    """
kernel void metal_arrays(device float *out [[buffer(0)]]) {
  array<float, 4> a = {1, 2, 3, 4};
  a[1] = 20;
  array<array<short, 2>, 3> b = {};
  b[2][1] = 5;
  float s = 0;
  for (uint i = 0; i < a.size(); i++) s += a[i];
  out[0] = s;
  out[1] = sizeof(a);
  out[2] = b[2][1] + b[0][0];
  out[3] = sizeof(b);
}""",
    ("float", 4),
    threads=1,
)
def metal_arrays():
    return np.float32([28, 16, 5, 12])


@area.kernel(
    """
kernel void multidimensional_arrays(device int *out [[buffer(0)]]) {
  int a[2][3][4] = {{{1, 2, 3, 4}}, {{5}, {6, 7}}};
  a[1][2][3] = 9;
  int s = 0;
  for (auto &plane : a)
    for (auto &row : plane)
      for (int x : row) s += x;
  out[0] = s;
  out[1] = sizeof(a) / sizeof(a[0]);
  out[2] = a[1][1][1];
  out[3] = *(&a[0][0][0] + 12);
}""",
    ("int", 4),
    threads=1,
)
def multidimensional_arrays():
    return np.int32([37, 2, 7, 5])


@area.kernel(
    """
constant float table[2][3] = {{1, 2, 3}, {4, 5, 6}};
constant int primes[] = {2, 3, 5, 7};
constant float2 corners[] = {float2(0, 1), float2(2, 3)};
constant constexpr int answer = 6 * 7;
struct entry { int key; float value; };
constant entry entries[] = {{1, 0.5f}, {2, 0.25f}};
kernel void constant_arrays(device float *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  constant float *flat = &table[0][0];
  out[i] = flat[i % 6] + primes[i & 3] + corners[i % 2].y + entries[i & 1].value + answer;
}""",
    ("float", 32),
)
def constant_arrays():
    i = np.arange(32)
    return (i % 6 + 1 + np.array([2, 3, 5, 7])[i & 3] + 1 + 2 * (i % 2) + np.where(i & 1, 0.25, 0.5) + 42).astype(
        np.float32
    )


@area.kernel(
    """
struct limits { static constexpr constant float scale = 2.5f; static constant constexpr int count = 3; };
kernel void static_constants(device float *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  constexpr int local[] = {10, 20, 30};
  out[i] = limits::scale * local[i % limits::count];
}""",
    ("float", 32),
)
def static_constants():
    return np.float32(2.5 * np.array([10, 20, 30]))[np.arange(32) % 3]


@area.each("bfloat", "r = x;", x=np.arange(-3, 5).astype(BFLOAT))
def bfloat_in_memory(x):
    return x
