"""Functions across a simdgroup: full and short ones, and where only some of the lanes take part."""

# ruff: noqa: ARG001, ARG005 -- what is expected is told every input, needed or not

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.msl.program import Area, metal_type, storage

area = Area("simdgroups")
THREADS = 52  # a full simdgroup and one of 20 lanes
LANE = np.arange(THREADS) % 32
GROUPS = [np.arange(32), np.arange(32, THREADS)]
MIX = (np.arange(THREADS) * 37 + 11) % 23 - 11


def parts(taking_part: np.ndarray) -> list[np.ndarray]:
    """The threads that meet: of each simdgroup those that take part and, apart from them, the others."""
    return [part for group in GROUPS for part in (group[taking_part[group]], group[~taking_part[group]]) if len(part)]


def both_branches(
    expression: str, out: str, x: np.ndarray, function: Callable[[np.ndarray, np.ndarray], np.ndarray], name: str
):
    """A program that calls with every lane, then with two lanes of three in one branch and the rest in the other."""
    of = metal_type(x)
    text = f"""
kernel void {name}(device {out} *out [[buffer(0)]], device const {of} *xs [[buffer(1)]],
    uint i [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {{
  const {of} x = xs[i];
  out[2 * i] = {expression};
  if (lane % 3 != 1) {{
    out[2 * i + 1] = {expression};
  }} else {{
    out[2 * i + 1] = {expression};
  }}
}}"""

    def expected(x):
        result = storage(out, 2 * THREADS)
        for column, taking_part in enumerate((np.ones(THREADS, bool), LANE % 3 != 1)):
            for part in parts(taking_part):
                result[2 * part + column] = function(x[part], LANE[part])
        return result

    area.kernel(text, (out, 2 * THREADS), inputs={"x": x}, host_name=name, threads=THREADS)(expected)


def reduction(function):
    return lambda x, lane: function(x, axis=0).astype(x.dtype)


def scan(function, first=None):
    """An inclusive scan, or an exclusive one that begins with `first`."""

    def run(x, lane):
        inclusive = function(x, axis=0, dtype=x.dtype)
        if first is None:
            return inclusive
        return np.concatenate([np.full_like(x[:1], first), inclusive[:-1]])

    return run


INTS, UINTS = MIX.astype(np.int32), (MIX * 0x1234567).astype(np.uint32)
FLOATS, HALVES = MIX.astype(np.float32), MIX.astype(np.float16)
PAIRS = np.stack([MIX, MIX[::-1]], 1)
FOURS = np.stack([MIX, MIX[::-1], MIX * 2, -MIX], 1).astype(np.float32)
ODD = (MIX | 1).astype(np.int32)
SIGNS = np.where(MIX % 5 == 0, 2, np.where(MIX % 2, 1, -1)).astype(np.float32)

for function, numpy_function, values in (
    (
        "sum",
        np.sum,
        {"int": INTS, "float": FLOATS, "half": HALVES, "float4": FOURS, "ushort2": PAIRS.astype(np.uint16)},
    ),
    ("product", np.prod, {"int": ODD, "float": SIGNS}),
    ("min", np.min, {"int": INTS, "float": FLOATS, "uchar": MIX.astype(np.uint8), "half2": PAIRS.astype(np.float16)}),
    ("max", np.max, {"int": INTS, "float": FLOATS, "short": MIX.astype(np.int16), "float4": FOURS}),
    ("and", np.bitwise_and.reduce, {"uint": UINTS | 0xF0F}),
    ("or", np.bitwise_or.reduce, {"uint": UINTS & 0xF0F00, "uchar": MIX.astype(np.uint8) & 0x3C}),
    ("xor", np.bitwise_xor.reduce, {"uint": UINTS, "int2": PAIRS.astype(np.int32)}),
):
    for kind, x in values.items():
        both_branches(f"simd_{function}(x)", kind, x, reduction(numpy_function), f"{function}_of_{kind}")

for function, numpy_function, first, values in (
    ("inclusive_sum", np.cumsum, None, {"int": INTS, "float": FLOATS, "half2": PAIRS.astype(np.float16)}),
    ("exclusive_sum", np.cumsum, 0, {"int": INTS, "float4": FOURS}),
    ("inclusive_product", np.cumprod, None, {"int": ODD, "float": SIGNS}),
    ("exclusive_product", np.cumprod, 1, {"uint": UINTS | 1, "float": SIGNS}),
):
    for kind, x in values.items():
        both_branches(f"simd_prefix_{function}(x)", kind, x, scan(numpy_function, first), f"{function}_of_{kind}")

both_branches("simd_broadcast_first(x)", "int", INTS, lambda x, lane: np.full_like(x, x[0]), "broadcast_first")
both_branches("simd_any(x > 10)", "uchar", INTS, lambda x, lane: np.uint8((x > 10).any()), "any_of_the_lanes")
both_branches("simd_all(x > -10)", "uchar", INTS, lambda x, lane: np.uint8((x > -10).all()), "all_of_the_lanes")
both_branches("simd_is_first()", "uchar", INTS, lambda x, lane: np.uint8(lane == lane[0]), "is_first")
both_branches(
    "ulong(simd_vote::vote_t(simd_ballot(x > 0)))",
    "ulong",
    INTS,
    lambda x, lane: np.sum(np.uint64(1) << lane[x > 0].astype(np.uint64), dtype=np.uint64),
    "ballot",
)
both_branches(
    "ulong(simd_vote::vote_t(simd_active_threads_mask()))",
    "ulong",
    INTS,
    lambda x, lane: np.sum(np.uint64(1) << lane.astype(np.uint64), dtype=np.uint64),
    "active_threads_mask",
)


@area.each(
    "uint4",
    "r = uint4(simd_ballot(x > 0).any(), simd_ballot(x > 100).any(), simd_ballot(x > 0).all(), simd_ballot(x > "
    "-100).all());",
    x=INTS[:32],
)
def votes(x):
    return np.tile(np.uint32([1, 0, 0, 1]), (32, 1))


# ------------------------------------------------------------------------------------------------------ permutations


def permutation(
    expression: str,
    source: Callable[[np.ndarray], np.ndarray],
    name: str,
    x: np.ndarray = INTS,
    fill: np.ndarray | None = None,
):
    """Each lane takes the value of another; where `source` leaves the simdgroup, that of `fill`, or its own."""
    of = metal_type(x)

    @area.each(of, f"ushort lane = i & 31; {of} filling = x + {of}(100); r = {expression};", x=x, name=name)
    def expected(x):
        wanted = source(LANE[:32])
        result = np.empty_like(x)
        for group in range(len(x) // 32):
            values = x[32 * group : 32 * group + 32]
            outside = (wanted < 0) | (wanted > 31)
            own = values if fill is None else (values + 100)[wanted % 32]
            result[32 * group : 32 * group + 32] = np.where(outside, own, values[wanted % 32])
        return result


LANES = np.arange(64, dtype=np.int32) * 3 - 50
SHORTS = (np.arange(64) * 5).astype(np.int16)
REALS = np.linspace(-1, 1, 64).astype(np.float32)

permutation("simd_broadcast(x, 7)", lambda lane: 0 * lane + 7, "broadcast", LANES)
permutation("simd_broadcast(x, ushort(31))", lambda lane: 0 * lane + 31, "broadcast_of_float", REALS)
permutation("simd_shuffle(x, ushort(31 - lane))", lambda lane: 31 - lane, "shuffle_reverses", LANES)
permutation("simd_shuffle(x, (lane * 5) & 31)", lambda lane: lane * 5 % 32, "shuffle_of_float", REALS)
permutation("simd_shuffle_xor(x, 1)", lambda lane: lane ^ 1, "shuffle_xor_1", LANES)
permutation("simd_shuffle_xor(x, 21)", lambda lane: lane ^ 21, "shuffle_xor_21", SHORTS)
permutation("simd_shuffle_up(x, 3)", lambda lane: lane - 3, "shuffle_up", LANES)
permutation("simd_shuffle_down(x, 5)", lambda lane: lane + 5, "shuffle_down", REALS)
permutation("simd_shuffle_rotate_up(x, 7)", lambda lane: (lane - 7) % 32, "rotate_up", LANES)
permutation("simd_shuffle_rotate_down(x, 9)", lambda lane: (lane + 9) % 32, "rotate_down", SHORTS)
permutation("simd_shuffle_and_fill_up(x, filling, 4)", lambda lane: lane - 4, "fill_up", LANES, LANES)
permutation("simd_shuffle_and_fill_down(x, filling, 6)", lambda lane: lane + 6, "fill_down", SHORTS, SHORTS)


@area.each(
    "int2",
    "r = int2(simd_shuffle_and_fill_up(x, x + 100, 3, 8), simd_shuffle_and_fill_down(x, x + 100, 3, 8));",
    x=LANES,
)
def fill_within_parts(x):
    i = np.arange(64)
    part, place = i // 8 * 8, i % 8
    up = np.where(place < 3, x[part + (place - 3) % 8] + 100, x[i - 3])
    down = np.where(place > 4, x[part + (place + 3) % 8] + 100, x[np.minimum(i + 3, 63)])
    return np.stack([up, down], 1)


@area.each(
    "half4",
    "r = simd_shuffle_xor(x, 2) + simd_broadcast(x, 0) * 2.0h;",
    x=np.arange(128).reshape(32, 4).astype(np.float16),
)
def permutations_of_vectors(x):
    return x[np.arange(32) ^ 2] + x[0] * np.float16(2)


@area.each(
    "float",
    "float s = x; for (ushort d = 16; d > 0; d /= 2) s += simd_shuffle_down(s, d); r = simd_broadcast_first(s);",
    x=np.arange(64, dtype=np.float32),
)
def reduction_by_shuffles(x):
    return np.float32([x[:32].sum(), x[32:].sum()]).repeat(32)


@area.kernel(
    """
kernel void collectives_in_a_loop(device uint *out [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
  uint s = 0;
  for (uint k = 0; k < lane; k++) s += simd_sum(1u);
  out[lane] = s;
}""",
    ("uint", 32),
)
def collectives_in_a_loop():
    # In turn k the lanes above k are still there.
    return np.cumsum([0, *(31 - np.arange(31))]).astype(np.uint32)


@area.kernel(
    """
uint down_from(uint x) { return simd_max(x) - x; }
kernel void collectives_in_functions(device uint2 *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  uint r = i < 40 ? down_from(i) : 1000 + down_from(i * 2);
  out[i] = uint2(r, simd_sum(r));
}""",
    ("uint2", 64),
    threads=64,
)
def collectives_in_functions():
    i = np.arange(64)
    r = np.where(i < 32, 31 - i, np.where(i < 40, 39 - i, 1000 + 2 * (63 - i)))
    return np.stack([r, np.where(i < 32, r[:32].sum(), r[32:].sum())], 1).astype(np.uint32)


@area.kernel(
    """
kernel void after_some_lanes_left(device uint *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  out[i] = 0;
  if (i % 32 < 10) return;
  out[i] = simd_sum(i) + simd_is_first() * 1000000;
}""",
    ("uint", 64),
    threads=64,
)
def after_some_lanes_left():
    i = np.arange(64)
    sums = np.where(i < 32, i[10:32].sum(), i[42:64].sum()) + (i % 32 == 10) * 1000000
    return np.where(i % 32 < 10, 0, sums).astype(np.uint32)


for expression, of in (("__metal_simd_sum(x)", "sum"), ("__metal_simd_max(x)", "max")):
    both_branches(expression, "int", INTS, reduction(getattr(np, of)), f"{of}_by_the_name_of_the_compiler")
both_branches(
    "as_type<uint>(__metal_simd_xor(x))",
    "uint",
    FLOATS,
    lambda x, lane: np.bitwise_xor.reduce(x.view(np.uint32)),
    "xor_of_the_bits_of_floats",
)


@area.kernel(
    """
kernel void lane_and_size_by_the_names_of_the_compiler(device uint2 *out [[buffer(0)]],
    uint i [[thread_index_in_threadgroup]]) {
  out[i] = uint2(__metal_get_thread_index_in_simdgroup(ushort()), __metal_get_simdgroup_size(uint()));
}""",
    ("uint2", THREADS),
    threads=THREADS,
)
def lane_and_size_by_the_names_of_the_compiler():
    return np.stack([LANE, np.full(THREADS, 32)], 1).astype(np.uint32)
