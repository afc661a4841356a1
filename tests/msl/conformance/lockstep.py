"""What shaders count on when a simdgroup runs in step: no barrier between its lanes. Strict mode promises none."""

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area("lockstep")
A = ((np.arange(64) * 7) % 13 - 6).astype(np.float32)
LANE = np.arange(32)


@area.kernel(
    """
kernel void values_move_along(device float *out [[buffer(0)]], threadgroup float *shared [[threadgroup(0)]],
                              ushort lane [[thread_index_in_simdgroup]]) {
  shared[lane] = float(lane);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  for (int step = 0; step < 5; step++) {
    const float next = shared[(lane + 1) % 32];
    shared[lane] = next;
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
  out[lane] = shared[lane];
}""",
    ("float", 32),
    memory={0: 128},
)
def values_move_along():
    return ((LANE + 5) % 32).astype(np.float32)


@area.kernel(
    """
kernel void a_stored_matrix_is_there(device float *out [[buffer(0)]], device const float *a [[buffer(1)]],
                                     threadgroup float *shared [[threadgroup(0)]],
                                     ushort lane [[thread_index_in_simdgroup]]) {
  simdgroup_float8x8 m;
  simdgroup_load(m, a);
  simdgroup_store(m, shared, 8);
  // A column and a row, which other lanes have stored.
  out[lane] = shared[lane % 8 * 8 + lane / 8] + 100 * shared[63 - lane];
}""",
    ("float", 32),
    inputs={"a": A},
    memory={0: 256},
)
def a_stored_matrix_is_there(a):
    return a[LANE % 8 * 8 + LANE // 8] + 100 * a[63 - LANE]


@area.kernel(
    """
kernel void a_matrix_has_what_lanes_stored(device float *out [[buffer(0)]], device const float *a [[buffer(1)]],
                                           threadgroup float *shared [[threadgroup(0)]],
                                           ushort lane [[thread_index_in_simdgroup]]) {
  simdgroup_float8x8 m, twice, sum = make_filled_simdgroup_matrix<float, 8>(0);
  for (int step = 0; step < 3; step++) {
    for (int j = 0; j < 8; j++) {
      if (lane == j) shared[j * 9] = 1 + step;
      if (lane < 8 && lane != j) shared[j * 8 + lane] = 0;
    }
    simdgroup_load(twice, shared);
    simdgroup_load(m, a);
    simdgroup_multiply_accumulate(sum, twice, m, sum);
  }
  simdgroup_store(sum, out);
}""",
    ("float", 64),
    inputs={"a": A},
    memory={0: 256},
)
def a_matrix_has_what_lanes_stored(a):
    return 6 * a
