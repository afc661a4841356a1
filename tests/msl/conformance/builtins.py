"""Built-in attributes: positions, sizes and indices, in every grid shape and type."""

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area("builtins")


def grid(size, group):
    """Positions of all threads, x fastest; their threadgroup, place in it and its actual size."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in reversed(size)), indexing="ij")
    position = np.stack([x, y, z], -1).reshape(-1, 3)
    group = np.array(group)
    which = position // group
    return position, which, position - which * group, np.minimum(group, np.array(size) - which * group)


@area.kernel(
    """
kernel void one_dimension(device uint4 *out [[buffer(0)]], uint p [[thread_position_in_grid]],
                          uint t [[thread_position_in_threadgroup]], uint g [[threadgroup_position_in_grid]],
                          uint n [[threads_per_threadgroup]]) {
  out[p] = uint4(p, t, g, n);
}""",
    ("uint4", 100),
    grid=100,
    threads=32,
)
def one_dimension():
    position, which, inside, actual = (v[:, 0] for v in grid((100, 1, 1), (32, 1, 1)))
    return np.stack([position, inside, which, actual], 1).astype(np.uint32)


@area.kernel(
    """
kernel void two_dimensions(device ushort4 *out [[buffer(0)]], ushort2 p [[thread_position_in_grid]],
                           ushort2 t [[thread_position_in_threadgroup]], ushort2 n [[threads_per_threadgroup]],
                           ushort2 size [[threads_per_grid]], ushort2 groups [[threadgroups_per_grid]]) {
  out[p.y * size.x + p.x] = ushort4(t, n) + ushort(1000) * ushort4(groups, size);
}""",
    ("ushort4", 7 * 5),
    grid=(7, 5),
    threads=(4, 2),
)
def two_dimensions():
    _, _, inside, actual = grid((7, 5, 1), (4, 2, 1))
    return (np.concatenate([inside[:, :2], actual[:, :2]], 1) + 1000 * np.array([2, 3, 7, 5])).astype(np.uint16)


@area.kernel(
    """
kernel void three_dimensions(device uint4 *out [[buffer(0)]], uint3 p [[thread_position_in_grid]],
                             uint3 t [[thread_position_in_threadgroup]], uint3 g [[threadgroup_position_in_grid]],
                             uint3 size [[threads_per_grid]], uint3 groups [[threadgroups_per_grid]],
                             uint3 n [[threads_per_threadgroup]], uint3 m [[dispatch_threads_per_threadgroup]],
                             uint index [[thread_index_in_threadgroup]]) {
  uint at = (p.z * size.y + p.y) * size.x + p.x;
  out[at] = uint4(g.x + 10 * g.y + 100 * g.z, t.x + 10 * t.y + 100 * t.z, index, n.x * n.y * n.z);
  if (groups.x != 3 || groups.y != 2 || groups.z != 2 || m.x != 2 || m.y != 3 || m.z != 2) out[at] = uint4(9999);
}""",
    ("uint4", 5 * 4 * 3),
    grid=(5, 4, 3),
    threads=(2, 3, 2),
)
def three_dimensions():
    _, which, inside, actual = grid((5, 4, 3), (2, 3, 2))
    decimal = np.array([1, 10, 100])
    index = inside[:, 0] + actual[:, 0] * (inside[:, 1] + actual[:, 1] * inside[:, 2])
    return np.stack([which @ decimal, inside @ decimal, index, actual.prod(1)], 1).astype(np.uint32)


@area.kernel(
    """
kernel void whole_threadgroups(device atomic_uint *out [[buffer(0)]], uint size [[threads_per_grid]],
                               uint groups [[threadgroups_per_grid]], uint n [[threads_per_threadgroup]]) {
  atomic_fetch_add_explicit(&out[0], 1u, memory_order_relaxed);
  atomic_store_explicit(&out[1], size, memory_order_relaxed);
  atomic_store_explicit(&out[2], groups, memory_order_relaxed);
  atomic_store_explicit(&out[3], n, memory_order_relaxed);
}""",
    np.zeros(4, np.uint32),
    threadgroups=5,
    threads=48,
)
def whole_threadgroups():
    return np.uint32([240, 240, 5, 48])


@area.kernel(
    """
kernel void simdgroup_indices(device ushort4 *out [[buffer(0)]], ushort i [[thread_index_in_threadgroup]],
                              ushort lane [[thread_index_in_simdgroup]], ushort simd [[simdgroup_index_in_threadgroup]],
                              ushort count [[simdgroups_per_threadgroup]], ushort width [[threads_per_simdgroup]]) {
  out[i] = ushort4(lane, simd, count, width);
}""",
    ("ushort4", 72),
    threads=72,
)
def simdgroup_indices():
    i = np.arange(72)
    return np.stack([i % 32, i // 32, 0 * i + 3, 0 * i + 32], 1).astype(np.uint16)


@area.kernel(
    """
kernel void simdgroups_of_a_block(device uint2 *out [[buffer(0)]], uint3 t [[thread_position_in_threadgroup]],
                                  uint3 n [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                                  uint simd [[simdgroup_index_in_threadgroup]]) {
  out[(t.z * n.y + t.y) * n.x + t.x] = uint2(lane, simd);
}""",
    ("uint2", 5 * 4 * 3),
    threads=(5, 4, 3),
)
def simdgroups_of_a_block():
    i = np.arange(60)
    return np.stack([i % 32, i // 32], 1).astype(np.uint32)


@area.kernel(
    """
kernel void quadgroup_indices(device uint4 *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                              uint lane [[thread_index_in_quadgroup]], uint quad [[quadgroup_index_in_threadgroup]],
                              uint count [[quadgroups_per_threadgroup]]) {
  out[i] = uint4(lane, quad, count, i);
}""",
    ("uint4", 40),
    threads=40,
)
def quadgroup_indices():
    i = np.arange(40)
    return np.stack([i % 4, i // 4, 0 * i + 10, i], 1).astype(np.uint32)


@area.kernel(
    """
kernel void ragged_simdgroups(device ushort4 *out [[buffer(0)]], uint p [[thread_position_in_grid]],
                              ushort simds [[simdgroups_per_threadgroup]], ushort n [[threads_per_threadgroup]],
                              ushort full [[dispatch_threads_per_threadgroup]],
                              ushort lane [[thread_index_in_simdgroup]]) {
  out[p] = ushort4(simds, n, full, lane);
}""",
    ("ushort4", 150),
    grid=150,
    threads=96,
)
def ragged_simdgroups():
    p = np.arange(150)
    tail = p >= 96
    return np.stack([np.where(tail, 2, 3), np.where(tail, 54, 96), 0 * p + 96, p % 96 % 32], 1).astype(np.uint16)


@area.kernel(
    """
kernel void mixed_types_of_attributes(device int *out [[buffer(0)]], ushort3 g [[threadgroup_position_in_grid]],
                                      uint3 n [[threadgroups_per_grid]], ushort i [[thread_index_in_threadgroup]]) {
  out[((g.z * n.y + g.y) * n.x + g.x) * 2 + i] = g.z * 100 + g.y * 10 + g.x;
}""",
    ("int", 2 * 3 * 2 * 2),
    threadgroups=(3, 2, 2),
    threads=2,
)
def mixed_types_of_attributes():
    position = grid((3, 2, 2), (1, 1, 1))[0]
    return (position @ np.array([1, 10, 100])).repeat(2).astype(np.int32)


@area.kernel(
    """
kernel void grid_of_scalars(device uint *out [[buffer(0)]], uint x [[thread_position_in_grid]]) {
  out[x] = x * x;
}""",
    ("uint", 1000),
    grid=1000,
    threads=256,
)
def grid_of_scalars():
    return np.arange(1000, dtype=np.uint32) ** 2


@area.kernel(
    """
[[kernel, max_total_threads_per_threadgroup(64)]] void limited_threads(device uint *out [[buffer(0)]],
                                                                        uint x [[thread_position_in_grid]]) {
  out[x] = 64 - x;
}""",
    ("uint", 64),
    threads=64,
)
def limited_threads():
    return np.arange(64, 0, -1, dtype=np.uint32)
