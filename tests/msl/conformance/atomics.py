"""Atomic functions in device and threadgroup memory."""

# ruff: noqa: ARG001 -- what is expected is told every input, needed or not

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area("atomics")
N = 4 * 96
INDEX = np.arange(N)


@area.kernel(
    """
kernel void sums_and_differences(device atomic_int *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  atomic_fetch_add_explicit(&out[0], int(i), memory_order_relaxed);
  atomic_fetch_sub_explicit(&out[1], int(i) * 2, memory_order_relaxed);
  atomic_fetch_add_explicit(out + 2, -1, memory_order_relaxed);
}""",
    np.int32([5, 5, 0]),
    threadgroups=4,
    threads=96,
)
def sums_and_differences():
    return np.int32([5 + INDEX.sum(), 5 - 2 * INDEX.sum(), -N])


@area.kernel(
    """
kernel void least_and_greatest(device atomic_uint *out [[buffer(0)]], device atomic_int *s [[buffer(1)]],
                               device int *copy [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  atomic_fetch_min_explicit(&out[0], 1000 - i, memory_order_relaxed);
  atomic_fetch_max_explicit(&out[1], i ^ 0x55, memory_order_relaxed);
  atomic_fetch_max_explicit(&out[2], uint(-int(i)), memory_order_relaxed);
  atomic_fetch_min_explicit(&s[0], 7 - int(i), memory_order_relaxed);
}""",
    np.uint32([2**31, 0, 1]),
    inputs={"s": np.int32([0]), "copy": np.int32([0])},
    threadgroups=4,
    threads=96,
)
def least_and_greatest(s, copy):
    return np.uint32([1000 - (N - 1), (INDEX ^ 0x55).max(), 2**32 - 1])


@area.kernel(
    """
kernel void bits(device atomic_uint *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  atomic_fetch_or_explicit(&out[0], 1u << (i % 32), memory_order_relaxed);
  atomic_fetch_and_explicit(&out[1], ~(1u << (i % 20)), memory_order_relaxed);
  atomic_fetch_xor_explicit(&out[2], i, memory_order_relaxed);
}""",
    np.uint32([0, 2**32 - 1, 7]),
    threadgroups=4,
    threads=96,
)
def bits():
    return np.uint32([2**32 - 1, 0xFFF00000, np.bitwise_xor.reduce(INDEX) ^ 7])


@area.kernel(
    """
kernel void tickets(device uint *out [[buffer(0)]], device atomic_uint *next [[buffer(1)]]) {
  uint ticket = atomic_fetch_add_explicit(next, 1u, memory_order_relaxed);
  out[ticket] += ticket * 3 + 1;
}""",
    np.zeros(N, np.uint32),
    inputs={"next": np.zeros(1, np.uint32)},
    threadgroups=4,
    threads=96,
)
def tickets(next):  # noqa: A002 -- what the kernel calls it
    return (INDEX * 3 + 1).astype(np.uint32)


@area.kernel(
    """
kernel void exchange(device atomic_int *out [[buffer(0)]], device atomic_int *sum [[buffer(1)]],
                     uint i [[thread_position_in_grid]]) {
  int before = atomic_exchange_explicit(&out[0], int(i) + 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&out[1], before, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_device);
  if (i == 0) {
    int last = atomic_load_explicit(&out[0], memory_order_relaxed);
    atomic_fetch_add_explicit(&out[1], last, memory_order_relaxed);
    atomic_store_explicit(&out[0], 0, memory_order_relaxed);
  }
}""",
    np.int32([0, 0]),
    inputs={"sum": np.int32([0])},
    threads=96,
)
def exchange(sum):  # noqa: A002 -- what the kernel calls it
    return np.int32([0, 97 * 96 // 2])


@area.kernel(
    """
kernel void compare_exchange(device atomic_uint *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  uint seen = atomic_load_explicit(out, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(out, &seen, seen * 5 + 3, memory_order_relaxed, memory_order_relaxed)) {
  }
  uint expected = 12345;
  if (!atomic_compare_exchange_weak_explicit(out + 1, &expected, 1u, memory_order_relaxed, memory_order_relaxed))
    atomic_fetch_max_explicit(out + 2, expected, memory_order_relaxed);
}""",
    np.uint32([1, 77, 0]),
    threads=64,
)
def compare_exchange():
    value = 1
    for _ in range(64):
        value = (value * 5 + 3) % 2**32
    return np.uint32([value, 77, 77])


@area.kernel(
    """
kernel void floats(device atomic_float *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  atomic_fetch_add_explicit(&out[0], 0.5f, memory_order_relaxed);
  atomic_fetch_sub_explicit(&out[1], float(i), memory_order_relaxed);
  float before = atomic_exchange_explicit(&out[2], 9.0f, memory_order_relaxed);
  if (before != 9) atomic_store_explicit(&out[3], before, memory_order_relaxed);
}""",
    np.float32([1, 0, 4, 0]),
    threadgroups=4,
    threads=96,
)
def floats():
    return np.float32([1 + N / 2, -INDEX.sum(), 9, 4])


@area.kernel(
    """
kernel void in_threadgroup_memory(device uint *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                                  uint g [[threadgroup_position_in_grid]]) {
  threadgroup atomic_uint histogram[8];
  threadgroup atomic_int least;
  if (i < 8) atomic_store_explicit(&histogram[i], 0, memory_order_relaxed);
  if (i == 9) atomic_store_explicit(&least, 1000, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  atomic_fetch_add_explicit(&histogram[(i * i + g) % 8], 1, memory_order_relaxed);
  atomic_fetch_min_explicit(&least, int(i) - 50, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (i < 8)
    out[g * 8 + i] = atomic_load_explicit(&histogram[i], memory_order_relaxed) +
                     uint(atomic_load_explicit(&least, memory_order_relaxed) + 50) * 1000;
}""",
    ("uint", 24),
    threadgroups=3,
    threads=96,
)
def in_threadgroup_memory():
    i = np.arange(96)
    return np.concatenate([np.bincount((i * i + g) % 8, minlength=8) for g in range(3)]).astype(np.uint32)


@area.kernel(
    """
kernel void the_last_threadgroup(device uint *out [[buffer(0)]], device atomic_uint *done [[buffer(1)]],
                                 uint i [[thread_index_in_threadgroup]], uint g [[threadgroup_position_in_grid]],
                                 uint groups [[threadgroups_per_grid]]) {
  threadgroup bool last;
  if (i == 0) last = atomic_fetch_add_explicit(done, 1u, memory_order_relaxed) == groups - 1;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (last && i < 4) out[i] = i + 1;
}""",
    np.zeros(4, np.uint32),
    inputs={"done": np.zeros(1, np.uint32)},
    threadgroups=7,
    threads=64,
)
def the_last_threadgroup(done):
    return np.uint32([1, 2, 3, 4])


@area.kernel(
    """
kernel void long_extremes(device atomic_ulong *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  atomic_max_explicit(&out[0], ulong(i) << 33, memory_order_relaxed);
  atomic_min_explicit(&out[1], (1ul << 40) - i, memory_order_relaxed);
}""",
    np.uint64([0, 2**63]),
    threadgroups=4,
    threads=96,
)
def long_extremes():
    return np.uint64([(N - 1) << 33, 2**40 - (N - 1)])


@area.kernel(
    """
template <typename A> void bump(device A *a, int by) { atomic_fetch_add_explicit(a, by, memory_order_relaxed); }
struct state { atomic_uint count; uint plain; atomic_int total; };
kernel void in_structs(device state *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  bump(&out->count, 2);
  bump(&out->total, -int(i));
  if (i == 3) out->plain = 33;
}""",
    np.uint32([1, 0, 10]),
    threads=32,
)
def in_structs():
    return np.uint32([65, 33, 2**32 + 10 - 31 * 16])


@area.kernel(
    """
kernel void fences(device atomic_uint *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup uint data;
  threadgroup atomic_uint arrived;
  if (i == 0) {
    data = 5;
    atomic_store_explicit(&arrived, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  atomic_fetch_add_explicit(&arrived, data, memory_order_relaxed);
  atomic_thread_fence(mem_flags::mem_threadgroup, memory_order_seq_cst, thread_scope_threadgroup);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (i == 0) atomic_store_explicit(out, atomic_load_explicit(&arrived, memory_order_relaxed), memory_order_relaxed);
}""",
    np.zeros(1, np.uint32),
    threads=64,
)
def fences():
    return np.uint32([320])
