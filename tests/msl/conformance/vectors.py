"""Vectors: construction, components, swizzles, operators, packed vectors; matrices."""

# ruff: noqa: ARG001 -- what is expected is told every input, needed or not

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area("vectors")
V = np.float32([[1, 2, 3, 4], [-5, 6.5, -7.25, 8], [0, 0.5, -0.5, 100]])
W = np.float32([[2, 2, 3, 5], [1, -6.5, 0, 8], [3, 0.25, -0.5, -1]])
M = np.int32([[1, -2, 3, 4], [7, 0, -9, 100]])
N = np.int32([[1, 2, -3, 3], [7, 1, 2, -8]])


@area.each("float4", "r = float4(v.xy, v.z, 9); r = r + float4(1, v.yz, float(2)) + float4(float2(v.w), v.xy);", v=V)
def construction_from_parts(v):
    x, y, z, w = v.T
    one = np.ones_like(x)
    return np.stack([x + 1 + w, y + y + w, z + z + x, 9 * one + 2 + y], 1)


@area.each(
    "float4",
    "float3 a = float3(v.x, v.yz); float3 b(v.xyz); float3 c = {v.w, v.z, v.y}; r = float4(a + b * c, a.z);",
    v=V,
)
def construction_of_threes(v):
    return np.column_stack([v[:, :3] + v[:, :3] * v[:, [3, 2, 1]], v[:, 2]])


@area.each("float4", "r = v.wzyx + v.xxyy * v.zzzz;", v=V)
def swizzles_read(v):
    return v[:, [3, 2, 1, 0]] + v[:, [0, 0, 1, 1]] * v[:, [2, 2, 2, 2]]


@area.each("float4", "r = float4(v.rgb.bg, v.ar) + v.abgr;", v=V)
def swizzles_by_colour(v):
    return v[:, [2, 1, 3, 0]] + v[:, [3, 2, 1, 0]]


@area.each("float4", "r = v; r.xz = v.wy; r.w = 7; r.yx = r.xy;", v=V)
def swizzles_written(v):
    one = np.full(len(v), 7, np.float32)
    return np.stack([v[:, 1], v[:, 3], v[:, 1], one], 1)


@area.each("float4", "r = v; r.yw *= 2; r.xyz += float3(1, 2, 3); r.zx -= w.xy; r.gb = -r.gb;", v=V, w=W)
def swizzles_in_compound_assignment(v, w):
    r = v * np.float32([1, 2, 1, 2]) + np.float32([1, 2, 3, 0])
    r[:, 2] -= w[:, 0]
    r[:, 0] -= w[:, 1]
    return r * np.float32([1, -1, -1, 1])


@area.each("float4", "r = float4(0); for (int c = 0; c < 4; c++) r[3 - c] = v[c] + w[(c + 1) % 4];", v=V, w=W)
def components_by_index(v, w):
    return (v + np.roll(w, -1, 1))[:, ::-1]


@area.each(
    "float4",
    "float4 a[2] = {v, w}; thread float *p = (thread float *)&a[1]; r = float4(a[0].y, p[0], p[2], a[1][3]);",
    v=V,
    w=W,
)
def arrays_of_vectors(v, w):
    return np.stack([v[:, 1], w[:, 0], w[:, 2], w[:, 3]], 1)


@area.each("float4", "r = (v + w) * v - w / 2 + -v;", v=V, w=W)
def float_operators(v, w):
    return (v + w) * v - w / 2 + -v


@area.each("float4", "r = v; r += w; r *= 3; r -= 0.5f; r /= float4(2, 4, 8, 16); r = 1 - r;", v=V, w=W)
def float_assignments(v, w):
    return 1 - ((v + w) * np.float32(3) - np.float32(0.5)) / np.float32([2, 4, 8, 16])


@area.each("int4", "r = (k + n) * 3 - (k & n) + (k | 1) - (k ^ n) + ~k;", k=M, n=N)
def integer_operators(k, n):
    return (k + n) * 3 - (k & n) + (k | 1) - (k ^ n) + ~k


@area.each("int4", "r = (k << 2) + (k >> 1) + (k << (n & 3)) - (-k >> int4(1, 2, 3, 4));", k=M, n=N)
def vector_shifts(k, n):
    return (k << 2) + (k >> 1) + (k << (n & 3)) - (-k >> np.int32([1, 2, 3, 4]))


@area.each("int4", "r = k / n + 10 * (k % n);", k=M, n=N)
def vector_division_truncates(k, n):
    q = np.trunc(k / n).astype(np.int32)
    return q + 10 * (k - q * n)


@area.each("uchar4", "r = uchar4(v < w) + 2 * uchar4(v == w) + 4 * uchar4(v >= w) + 8 * uchar4(v != w);", v=V, w=W)
def comparisons_give_bool_vectors(v, w):
    return ((v < w) + 2 * (v == w) + 4 * (v >= w) + 8 * (v != w)).astype(np.uint8)


@area.each(
    "uchar4",
    "bool4 a = v > 0, b = w > 0; r = uchar4(a && b) + 2 * uchar4(a || b) + 4 * uchar4(!a) + 8 * uchar4(a != b);",
    v=V,
    w=W,
)
def logical_operators_of_bool_vectors(v, w):
    a, b = v > 0, w > 0
    return ((a & b) + 2 * (a | b) + 4 * ~a.astype(bool) + 8 * (a ^ b)).astype(np.uint8)


@area.each("uint4", "r = uint4(any(v < w), all(v < w), any(v.xy == w.xy), all(bool3(v.xyz)));", v=V, w=W)
def any_and_all(v, w):
    return np.stack([(v < w).any(1), (v < w).all(1), (v[:, :2] == w[:, :2]).any(1), (v[:, :3] != 0).all(1)], 1).astype(
        np.uint32
    )


@area.each(
    "float4",
    "r = select(v, w, v < w); r.x = select(1.0f, 2.0f, v.x > 0); r.zw = select(r.zw, float2(9), bool2(true, false));",
    v=V,
    w=W,
)
def select_takes_the_second_where_true(v, w):
    r = np.where(v < w, w, v)
    r[:, 0] = np.where(v[:, 0] > 0, 2, 1)
    r[:, 2] = 9
    return r


@area.each(
    "float4",
    "vec<float, 4> a = v; vec<short, 2> b = vec<short, 2>(a.xy); "
    "r = float4(a.w, float2(b), is_same<vec<float, 4>, float4>::value);",
    v=V,
)
def vec_template(v):
    return np.column_stack([v[:, 3], np.trunc(v[:, :2]), np.ones(len(v))]).astype(np.float32)


@area.each("half4", "half3 a = half3(v.xyz); r = half4(a.zxy * 2.0h, a.x); r.yw += half2(1, 2);", v=V)
def half_vectors(v):
    h = v.astype(np.float16)
    two = np.float16(2)
    return np.stack([h[:, 2] * two, h[:, 0] * two + np.float16(1), h[:, 1] * two, h[:, 0] + two], 1)


@area.each("ulong2", "r = ulong2(ulong(k.x) << 33, 1ul << (k.yw.x & 63)) | ulong2(3);", k=M)
def long_vectors(k):
    wide = k.astype(np.int64).astype(np.uint64)
    return np.stack([wide[:, 0] << np.uint64(33), np.uint64(1) << (wide[:, 1] & np.uint64(63))], 1) | np.uint64(3)


@area.each("packed_float3", "float3 a = v; r = a.zyx * 2 + float3(1, 0, -1);", v=np.ascontiguousarray(V[:, :3]))
def packed_threes_in_memory(v):
    return v[:, ::-1] * 2 + np.float32([1, 0, -1])


@area.kernel(
    """
kernel void packed_components(device packed_float3 *out [[buffer(0)]], device packed_half4 *h [[buffer(1)]],
                              constant packed_uchar4 *u [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  packed_float3 p = packed_float3(h[i].x, h[i][1], u[i].w);
  p.y += 1;
  p[2] = p[2] * 2;
  out[i] = p;
  out[i].x = p.x + h[i].w;
  out[i] *= 2;
}""",
    ("packed_float3", 2),
    inputs={"h": np.float16([[1, 2, 3, 4], [5, 6, 7, 8]]), "u": np.uint8([[1, 2, 3, 200], [5, 6, 7, 255]])},
    threads=2,
)
def packed_components(h, u):
    h = h.astype(np.float32)
    return 2 * np.stack([h[:, 0] + h[:, 3], h[:, 1] + 1, 2 * u[:, 3].astype(np.float32)], 1)


@area.kernel(
    """
kernel void scalars_taken_as_vectors(device float4 *out [[buffer(0)]], device const float *x [[buffer(1)]],
                                     uint i [[thread_position_in_grid]]) {
  device const float4 *rows = (device const float4 *)x;
  device const packed_float2 *pairs = (device const packed_float2 *)(x + 1);
  out[i] = rows[i] + float4(pairs[i], pairs[i + 1]);
}""",
    ("float4", 3),
    inputs={"x": np.arange(16, dtype=np.float32) ** 2},
    threads=3,
)
def scalars_taken_as_vectors(x):
    rows, pairs = x.reshape(-1, 4), x[1:15].reshape(-1, 2)
    return np.stack([rows[i] + np.concatenate([pairs[i], pairs[i + 1]]) for i in range(3)])


@area.kernel(
    """
kernel void matrix_columns(device float *out [[buffer(0)]], constant float2x3 &m [[buffer(1)]]) {
  out[0] = m[0].x;
  out[1] = m[1][2];
  float2x3 t = m;
  t[1] = float3(7, 8, 9);
  out[2] = t[1].y;
  out[3] = m[1].y;
  float2x2 d(2.0f);
  out[4] = d[0][0] + 10 * d[0][1];
  float2x2 e(float2(1, 2), float2(3, 4));
  out[5] = e[1].x;
  float2x2 f(1, 2, 3, 4);
  out[6] = f[0].y + f[1].y;
}""",
    ("float", 7),
    inputs={"m": np.float32([[1, 2, 3, -1], [4, 5, 6, -1]])},
    threads=1,
)
def matrix_columns(m):
    return np.float32([1, 6, 8, 5, 2, 3, 6])


A, B = np.float32([[1, 2], [3, 4]]), np.float32([[5, -6], [7, 8]])  # rows here are Metal's columns


@area.kernel(
    """
kernel void matrix_products(device float2 *out [[buffer(0)]], constant float2x2 &a [[buffer(1)]],
                            constant float2x2 &b [[buffer(2)]]) {
  float2x2 p = a * b;
  out[0] = p[0];
  out[1] = p[1];
  out[2] = a * float2(1, 10);
  out[3] = float2(1, 10) * a;
  float2x2 s = a + 2 * b - a * 0.5f;
  out[4] = s[0];
  out[5] = s[1];
  float2x2 t = transpose(a);
  out[6] = t[0];
  out[7] = float2(determinant(a), determinant(b));
}""",
    ("float2", 8),
    inputs={"a": A, "b": B},
    threads=1,
)
def matrix_products(a, b):
    a, b = A.T, B.T
    s = a + 2 * b - a * np.float32(0.5)
    determinants = [np.linalg.det(a).round(), np.linalg.det(b).round()]
    rows = [*(a @ b).T, a @ [1, 10], [1, 10] @ a, *s.T, a.T[:, 0], determinants]
    return np.float32(rows)


@area.kernel(
    """
kernel void wide_matrices(device float4 *out [[buffer(0)]], constant float4x4 &m [[buffer(1)]],
                          constant float4 &v [[buffer(2)]]) {
  out[0] = m * v;
  out[1] = v * m;
  float3x3 r(m[0].xyz, m[1].xyz, m[2].xyz);
  out[2] = float4(r * v.xyz, determinant(r));
  float4x3 w(m[0].xyz, m[1].xyz, m[2].xyz, m[3].xyz);
  out[3] = float4(w * v, 0);
  out[4] = transpose(w)[1];
  half2x2 h(half2(1, 2), half2(3, 4));
  out[5] = float4(float2(h * half2(1, 2)), float2(half2(1, 2) * h));
}""",
    ("float4", 6),
    inputs={"m": (np.arange(16) ** 2 % 7).astype(np.float32), "v": np.float32([1, 2, -1, 3])},
    threads=1,
)
def wide_matrices(m, v):
    m = m.reshape(4, 4).T.astype(np.float64)
    r, w = m[:3, :3], m[:3]
    rows = [m @ v, v @ m, [*(r @ v[:3]), np.linalg.det(r).round()], [*(w @ v), 0], w[1], [7, 10, 5, 11]]
    return np.float32(rows)
