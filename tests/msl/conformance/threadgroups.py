"""Threadgroup memory and barriers."""

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area(
    "threadgroups",
    """
struct cell { float value; uint owner; };
void store_reversed(threadgroup float *to, float x, uint i, uint n) { to[n - 1 - i] = x; }
template <typename T> T sum_tree(threadgroup T *scratch, uint i, uint n) {
  for (uint half_of = n / 2; half_of > 0; half_of /= 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (i < half_of) scratch[i] += scratch[i + half_of];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return scratch[0];
}
""",
)
X = (np.arange(128, dtype=np.float32) * 7) % 31


@area.kernel(
    """
kernel void reversal(device float *out [[buffer(0)]], device const float *x [[buffer(1)]],
                     uint i [[thread_position_in_threadgroup]], uint g [[threadgroup_position_in_grid]]) {
  threadgroup float shared[64];
  shared[63 - i] = x[g * 64 + i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[g * 64 + i] = shared[i];
}""",
    ("float", 128),
    inputs={"x": X},
    threadgroups=2,
    threads=64,
)
def reversal(x):
    return x.reshape(2, 64)[:, ::-1].ravel()


@area.kernel(
    """
kernel void dynamic_memory(device float *out [[buffer(0)]], device const float *x [[buffer(1)]],
                           threadgroup float *a [[threadgroup(0)]], threadgroup half *b [[threadgroup(1)]],
                           uint i [[thread_position_in_threadgroup]], uint n [[threads_per_threadgroup]]) {
  store_reversed(a, x[i], i, n);
  b[i] = half(x[i] + 1);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[i] = a[i] * 100 + b[n - 1 - i];
}""",
    ("float", 64),
    inputs={"x": X[:64]},
    threads=64,
    memory={0: 256, 1: 128},
)
def dynamic_memory(x):
    return x[::-1] * 100 + x[::-1] + 1


@area.kernel(
    """
kernel void tree_reduction(device float *out [[buffer(0)]], device const float *x [[buffer(1)]],
                           uint i [[thread_position_in_threadgroup]]) {
  threadgroup float shared[128];
  shared[i] = x[i];
  float all = sum_tree(shared, i, 128);
  out[i] = all - x[i];
}""",
    ("float", 128),
    inputs={"x": X},
    threads=128,
)
def tree_reduction(x):
    return x.sum() - x


@area.kernel(
    """
kernel void several_variables(device float *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup cell cells[2][32];
  threadgroup int counter;
  threadgroup float4 row;
  cells[i / 32][i % 32] = {float(i) * 2, i};
  if (i == 5) counter = 50;
  if (i == 40) row = float4(1, 2, 3, 4);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup const cell &other = cells[1 - i / 32][31 - i % 32];
  out[i] = other.value + other.owner + counter + row.z;
}""",
    ("float", 64),
    threads=64,
)
def several_variables():
    other = 63 - np.arange(64)
    return (3 * other + 53).astype(np.float32)


@area.kernel(
    """
kernel void barriers_in_a_loop(device int *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                               uint n [[threads_per_threadgroup]]) {
  threadgroup int ring[96];
  ring[i] = i;
  for (int k = 0; k < 10; k++) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    int next = ring[(i + 1) % n];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    ring[i] = next + 1;
  }
  out[i] = ring[i];
}""",
    ("int", 96),
    threads=96,
)
def barriers_in_a_loop():
    return ((np.arange(96) + 10) % 96 + 10).astype(np.int32)


@area.kernel(
    """
kernel void through_device_memory(device int *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  out[i] = i * i;
  threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);
  int neighbour = out[(i + 33) % 64];
  threadgroup_barrier(mem_flags::mem_device);
  out[i] = neighbour;
}""",
    ("int", 64),
    threads=64,
)
def through_device_memory():
    return (((np.arange(64) + 33) % 64) ** 2).astype(np.int32)


@area.kernel(
    """
kernel void barrier_of_a_simdgroup(device int *out [[buffer(0)]], ushort lane [[thread_index_in_simdgroup]],
                                   ushort simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup int slots[2][32];
  slots[simd][lane] = simd * 100 + lane;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  out[simd * 32 + lane] = slots[simd][lane ^ 5];
}""",
    ("int", 64),
    threads=64,
)
def barrier_of_a_simdgroup():
    i = np.arange(64)
    return (i // 32 * 100 + (i % 32 ^ 5)).astype(np.int32)


@area.kernel(
    """
kernel void finished_threads_do_not_matter(device int *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup int shared[64];
  shared[i] = i;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (i >= 20) return;
  int s = 0;
  for (int k = 0; k < 64; k += 4) s += shared[k + i % 4];
  out[i] = s;
}""",
    ("int", 20),
    threads=64,
)
def finished_threads_do_not_matter():
    return (np.arange(0, 64, 4).sum() + 16 * (np.arange(20) % 4)).astype(np.int32)


@area.kernel(
    """
kernel void memory_taken_as_another_type(device uint *out [[buffer(0)]], threadgroup uchar *raw [[threadgroup(0)]],
                                         uint i [[thread_index_in_threadgroup]]) {
  raw[i] = uchar(i * 3);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup const uint *words = reinterpret_cast<threadgroup const uint *>(raw);
  threadgroup const ushort4 *rows = (threadgroup const ushort4 *)raw;
  out[i] = words[i / 4] + rows[i / 8].y;
}""",
    ("uint", 64),
    threads=64,
    memory={0: 64},
)
def memory_taken_as_another_type():
    raw, i = (np.arange(64) * 3).astype(np.uint8), np.arange(64)
    return raw.view(np.uint32)[i // 4] + raw.view(np.uint16)[i // 8 * 4 + 1]


@area.kernel(
    """
kernel void the_whole_threadgroup(device uint *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup uint shared[1024];
  shared[i] = i;
  uint all = sum_tree(shared, i, 1024);
  if (i == 1000) out[0] = all;
}""",
    ("uint", 1),
    threads=1024,
)
def the_whole_threadgroup():
    return np.uint32([1024 * 1023 // 2])


@area.kernel(
    """
kernel void transposition(device float *out [[buffer(0)]], device const float *x [[buffer(1)]],
                          ushort2 t [[thread_position_in_threadgroup]], ushort2 g [[threadgroup_position_in_grid]]) {
  threadgroup float tile[8][9];
  tile[t.y][t.x] = x[(g.y * 8 + t.y) * 16 + g.x * 8 + t.x];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[(g.x * 8 + t.y) * 8 + g.y * 8 + t.x] = tile[t.x][t.y];
}""",
    ("float", 128),
    inputs={"x": X},
    threadgroups=(2, 1),
    threads=(8, 8),
)
def transposition(x):
    return np.ascontiguousarray(x.reshape(8, 16).T).ravel()
