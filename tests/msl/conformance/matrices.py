"""simdgroup_matrix: loads, stores, products, elements, in every type."""

from __future__ import annotations

import numpy as np

from tests.msl.program import BFLOAT, Area, ulps

area = Area("matrices")
A = ((np.arange(64) * 7) % 13 - 6).astype(np.float32)
B = ((np.arange(64) * 5) % 11 - 5).astype(np.float32)
C = ((np.arange(64) * 3) % 17 - 8).astype(np.float32)
WIDE = np.arange(24 * 20, dtype=np.float32)
LANE = np.arange(32)
QUAD = LANE // 4
ROW, COLUMN = (QUAD & 4) + LANE // 2 % 4, (QUAD & 2) * 2 + LANE % 2 * 2
TYPES = {"float": np.dtype(np.float32), "half": np.dtype(np.float16), "bfloat": BFLOAT}


def square(x):
    return np.asarray(x).reshape(8, 8).astype(np.float32)


for name, dtype in TYPES.items():

    @area.kernel(
        f"""
kernel void product_of_{name}(device {name} *out [[buffer(0)]], device const {name} *a [[buffer(1)]],
                              device const {name} *b [[buffer(2)]]) {{
  simdgroup_{name}8x8 x, y, z;
  simdgroup_load(x, a);
  simdgroup_load(y, b);
  simdgroup_multiply(z, x, y);
  simdgroup_store(z, out);
}}""",
        (name, 64),
        inputs={"a": A.astype(dtype), "b": B.astype(dtype)},
        host_name=f"product_of_{name}",
    )
    def product(a, b, dtype=dtype):
        return (square(a) @ square(b)).ravel().astype(dtype)

    @area.kernel(
        f"""
kernel void sum_of_products_of_{name}(device {name} *out [[buffer(0)]], device const {name} *a [[buffer(1)]],
                                      device const {name} *b [[buffer(2)]], device const {name} *c [[buffer(3)]]) {{
  simdgroup_matrix<{name}, 8, 8> x, y, z;
  simdgroup_load(x, a, 8);
  simdgroup_load(y, b, 8, ulong2(0, 0), true);
  simdgroup_load(z, c, 8, 0, false);
  simdgroup_multiply_accumulate(z, x, y, z);
  simdgroup_store(z, out, 8);
}}""",
        (name, 64),
        inputs={"a": A.astype(dtype), "b": B.astype(dtype), "c": C.astype(dtype)},
        host_name=f"sum_of_products_of_{name}",
    )
    def sum_of_products(a, b, c, dtype=dtype):
        return (square(a) @ square(b).T + square(c)).ravel().astype(dtype)

    @area.kernel(
        f"""
kernel void elements_of_{name}(device {name} *out [[buffer(0)]], device const {name} *a [[buffer(1)]],
                               ushort lane [[thread_index_in_simdgroup]]) {{
  simdgroup_{name}8x8 x;
  simdgroup_load(x, a);
  out[2 * lane] = x.thread_elements()[0];
  out[2 * lane + 1] = x.thread_elements()[1];
}}""",
        (name, 64),
        inputs={"a": np.arange(64).astype(dtype)},
        host_name=f"elements_of_{name}",
    )
    def elements(a):
        return np.stack([square(a)[ROW, COLUMN], square(a)[ROW, COLUMN + 1]], 1).ravel().astype(a.dtype)


@area.kernel(
    """
kernel void filled_and_diagonal(device float *out [[buffer(0)]]) {
  simdgroup_float8x8 d = simdgroup_float8x8(3.0f);
  simdgroup_float8x8 f = make_filled_simdgroup_matrix<float, 8, 8>(0.5f);
  simdgroup_store(d, out);
  simdgroup_store(f, out + 64);
  auto g = make_filled_simdgroup_matrix<float, 8, 8>(2.0f);
  simdgroup_multiply(g, d, f);
  simdgroup_store(g, out + 128);
}""",
    ("float", 192),
)
def filled_and_diagonal():
    return np.concatenate([3 * np.eye(8).ravel(), np.full(64, 0.5), np.full(64, 1.5)]).astype(np.float32)


@area.kernel(
    """
kernel void origin_and_stride(device float *out [[buffer(0)]], device const float *a [[buffer(1)]]) {
  simdgroup_float8x8 x;
  simdgroup_load(x, a, 20, ulong2(3, 5));
  simdgroup_store(x, out, 20, ulong2(10, 2));
}""",
    np.zeros(24 * 20, np.float32),
    inputs={"a": WIDE},
)
def origin_and_stride(a):
    out = np.zeros((24, 20), np.float32)
    out[2:10, 10:18] = a.reshape(24, 20)[5:13, 3:11]
    return out.ravel()


@area.kernel(
    """
kernel void transposed(device float *out [[buffer(0)]], device const float *a [[buffer(1)]]) {
  simdgroup_float8x8 x;
  simdgroup_load(x, a + 2, 20, ulong2(0), true);
  simdgroup_store(x, out, 8);
  simdgroup_store(x, out + 64, 8, ulong2(0), true);
}""",
    ("float", 128),
    inputs={"a": WIDE},
)
def transposed(a):
    x = a.reshape(24, 20)[:8, 2:10]
    return np.concatenate([x.T.ravel(), x.ravel()])


@area.kernel(
    """
kernel void through_threadgroup_memory(device float *out [[buffer(0)]], device const float *a [[buffer(1)]],
                                       ushort lane [[thread_index_in_simdgroup]]) {
  threadgroup float tile[8 * 10];
  for (ushort k = lane; k < 64; k += 32) tile[k / 8 * 10 + k % 8] = a[k] * 2;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_float8x8 x, y;
  simdgroup_load(x, tile, 10);
  simdgroup_multiply(y, x, x);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_store(y, tile, 10, ulong2(0), true);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  for (ushort k = lane; k < 64; k += 32) out[k] = tile[k / 8 * 10 + k % 8];
}""",
    ("float", 64),
    inputs={"a": A},
)
def through_threadgroup_memory(a):
    x = 2 * square(a)
    return np.ascontiguousarray((x @ x).T).ravel()


@area.kernel(
    """
kernel void written_by_element(device float *out [[buffer(0)]], ushort lane [[thread_index_in_simdgroup]]) {
  simdgroup_float8x8 x;
  x.thread_elements()[0] = lane;
  x.thread_elements()[1] = lane + 100;
  thread auto &e = x.thread_elements();
  e[0] *= 2;
  simdgroup_store(x, out);
}""",
    ("float", 64),
)
def written_by_element():
    out = np.zeros((8, 8), np.float32)
    out[ROW, COLUMN], out[ROW, COLUMN + 1] = 2 * LANE, LANE + 100
    return out.ravel()


@area.kernel(
    """
kernel void chain_of_blocks(device float *out [[buffer(0)]], device const float *a [[buffer(1)]],
                            device const float *b [[buffer(2)]], ushort simd [[simdgroup_index_in_threadgroup]]) {
  simdgroup_float8x8 s = make_filled_simdgroup_matrix<float, 8, 8>(0);
  for (int k = 0; k < 3; k++) {
    simdgroup_float8x8 x, y;
    simdgroup_load(x, a, 24, ulong2(8 * k, 8 * simd));
    simdgroup_load(y, b, 8, ulong2(0, 8 * k));
    simdgroup_multiply_accumulate(s, x, y, s);
  }
  simdgroup_store(s, out, 8, ulong2(0, 8 * simd));
}""",
    ("float", 16 * 8),
    inputs={"a": (np.arange(16 * 24) % 19 - 9).astype(np.float32), "b": (np.arange(24 * 8) % 7 - 3).astype(np.float32)},
    threads=64,
)
def chain_of_blocks(a, b):
    return (a.reshape(16, 24) @ b.reshape(24, 8)).ravel()


@area.kernel(
    """
kernel void rounding_of_half_products(device half *out [[buffer(0)]], device const half *a [[buffer(1)]],
                                      device const half *b [[buffer(2)]]) {
  simdgroup_half8x8 x, y, z;
  simdgroup_load(x, a);
  simdgroup_load(y, b);
  simdgroup_multiply(z, x, y);
  simdgroup_store(z, out);
}""",
    ("half", 64),
    inputs={"a": (A / 7).astype(np.float16), "b": (np.abs(B) + 0.1).astype(np.float16)},
    compare=ulps(16, 2**-7),  # how the sums of products are rounded is not said
)
def rounding_of_half_products(a, b):
    return (a.reshape(8, 8).astype(np.float64) @ b.reshape(8, 8).astype(np.float64)).ravel()


@area.kernel(
    """
kernel void half_factors_and_float_sums(device float *out [[buffer(0)]], device const half *a [[buffer(1)]],
                                        device const half *b [[buffer(2)]]) {
  simdgroup_half8x8 x, y;
  simdgroup_float8x8 z = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  simdgroup_load(x, a);
  simdgroup_load(y, b);
  simdgroup_multiply_accumulate(z, x, y, z);
  simdgroup_store(z, out);
}""",
    ("float", 64),
    inputs={"a": A.astype(np.float16), "b": (B * 1000).astype(np.float16)},
)
def half_factors_and_float_sums(a, b):
    return (square(a) @ square(b) + 1).ravel()
