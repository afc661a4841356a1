"""flash_attn_decode against the oracle: every format, head dimension and option."""

from __future__ import annotations

import numpy as np
import pytest

from tests.python import codec_reference as codec
from tests.python import decode_reference as reference
from tests.python.flash_attn_decode_shader import (
    DTYPES,
    LSE,
    OPTIONS,
    RING,
    SINKS,
    SOFTCAP,
    TOLERANCE,
    WINDOW,
    Problem,
    check,
    compile_in_parallel,
    expected,
    operands,
    run,
)

HEAD_DIMS = (64, 128, 256, 512)
LENGTHS = (0, 1, 7, 8, 9, 31, 32, 33, 513, 1025)
FORMATS = tuple(codec.FORMATS)
# Simdgroups of a threadgroup: with head dimension 512 they work in pairs.
SIMDGROUPS = {64: (1, 2, 3, 8), 128: (1, 2, 5, 8), 256: (1, 2, 3, 4), 512: (2, 4)}


def pairs(dim):
    """Return formats of K and V, each format once for K and once for V; 256 and 512 have the same pieces of rows."""
    shift = {64: 4, 128: 7, 256: 2, 512: 2}[dim]
    every = [(name, FORMATS[(i + shift) % len(FORMATS)]) for i, name in enumerate(FORMATS)]
    return {256: every[1::2], 512: every[::2]}.get(dim, every)


EACH_PAIR = [(dim, pair) for dim in HEAD_DIMS for pair in pairs(dim)]
MIXED = Problem(
    heads=(4, 2), q_len=2, kv_lens=(0, 1, 33, 71), capacity=75, ring_starts=(5, 74, 60, 33), causal=True, window=50,
    softcap=4.0, sinks=True,
)  # fmt: skip
EACH_DIM = pytest.mark.parametrize("dim", HEAD_DIMS)


def plain(dim):
    """Return a problem whose kernel the pairs have, too."""
    return Problem(dim=dim, formats=pairs(dim)[3])


@pytest.fixture(scope="module", autouse=True)
def _compiled(request):
    chosen = [item for item in request.session.items if item.path == request.path]
    given = [getattr(item, "callspec", None) for item in chosen]
    named = {(c.params["dim"], c.params["pair"]) for c in given if c and {"dim", "pair"} <= set(c.params)}
    compile_in_parallel(Problem(dim=dim, formats=pair) for dim, pair in sorted(named))


# ------------------------------------------------------------------------------------------------- formats, types


@pytest.mark.parametrize(("dim", "pair"), EACH_PAIR, ids=lambda x: x if isinstance(x, int) else "-".join(x))
def test_formats(dim, pair):
    problem = MIXED.but(dim=dim, formats=pair, nsg=2)
    check(problem)
    check(problem.but(splits=3, nsg=4, window=0, causal=False))


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@EACH_DIM
def test_types(dim, dtype):
    problem = MIXED.but(dim=dim, formats=(dtype, dtype), dtype=dtype)
    check(problem)
    check(problem.but(splits=3))


@pytest.mark.parametrize(
    ("dtype", "formats"), [("f16", ("bf16", "f16")), ("f16", ("f16", "tq4")), ("bf16", ("tq8", "f32"))], ids=str
)
def test_types_and_formats(dtype, formats):
    check(MIXED.but(formats=formats, dtype=dtype, splits=2))


def test_half_norms():
    for formats in (("tq5", "q8"), ("tq_hb8", "tq3")):
        check(MIXED.but(formats=formats, half_norms=True))


# ---------------------------------------------------------------------------------------------- lengths, sharing


@EACH_DIM
def test_lengths(dim):
    for splits, nsg in ((1, 2), (3, 4), (32, 2)):
        check(plain(dim).but(kv_lens=LENGTHS, capacity=1025, splits=splits, nsg=nsg))


@EACH_DIM
def test_any_number_of_simdgroups_and_splits(dim):
    for nsg in SIMDGROUPS[dim]:
        for splits in (1, 2, 5, 31, 32) if dim > 64 else range(1, 33):
            check(plain(dim).but(kv_lens=(41, 300), capacity=300, splits=splits, nsg=nsg))


@pytest.mark.parametrize("group", [1, 2, 3, 5, 8, 9])
def test_queries_share_the_keys(group):
    for q_len in (1, 2, 3, 8):
        problem = plain(64).but(heads=(2 * group, 2), q_len=q_len, kv_lens=(3, 70), capacity=75, splits=2)
        check(problem)
        check(problem.but(causal=True))
        check(problem.but(causal=True, window=9, splits=1))


# -------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("causal", [False, True])
def test_windows(causal):
    for window in (1, 7, 8, 33, 100, 1000):
        check(plain(64).but(kv_lens=(0, 5, 100, 101), capacity=110, window=window, causal=causal, q_len=3, splits=3))


@pytest.mark.parametrize("options", [(), *((option,) for option in OPTIONS)], ids=str)
def test_options_one_at_a_time(options):
    problem = Problem(kv_lens=(33, 40), q_len=2, causal=True, splits=2)
    problem = problem.but(
        sinks=SINKS in options,
        softcap=2.0 if SOFTCAP in options else 0.0,
        window=20 if WINDOW in options else 0,
        ring_starts=(3, 39) if RING in options else (),
    )
    check(problem, options=options)
    _, lse = run(problem, options=options)
    assert np.isnan(lse).all() == (LSE not in options)


def test_constants_without_their_parameters_change_nothing():
    problem = Problem(kv_lens=(33, 40))
    np.testing.assert_array_equal(run(problem)[0], run(problem, options=())[0])


def test_a_sink_counts_once():
    for splits in (1, 2, 32):
        check(plain(64).but(kv_lens=(0, 1, 40), sinks=True, splits=splits, nsg=8))


# ------------------------------------------------------------------------------------------------ pages, distance


@pytest.mark.parametrize("page_size", [1, 8, 16, 33, 256])
@pytest.mark.parametrize("page_layout", ["nhd", "hnd"])
def test_pages(page_size, page_layout):
    problem = (
        plain(64)
        .but(heads=(6, 2), q_len=3, kv_lens=(0, 1, 33, 300), capacity=300, causal=True, splits=3, nsg=4)
        .in_pages(page_size, page_layout)
    )
    check(problem)
    check(problem.but(window=40, sinks=True, softcap=3.0, splits=1))


@EACH_DIM
def test_pages_of_any_dimension(dim):
    check(MIXED.but(dim=dim, formats=("f32", "f32")).in_pages(16, "nhd"))


@pytest.mark.parametrize("name", FORMATS)
def test_pages_of_any_format(name):
    check(MIXED.but(formats=(name, name), alibi="heads", splits=2).in_pages(16, "nhd"))


def test_pages_are_a_cache_to_the_bit():
    problem = plain(64).but(heads=(4, 2), q_len=2, kv_lens=(0, 5, 41, 75), capacity=75, causal=True, splits=2)
    out, lse = run(problem, operands(problem))
    for page_size in (1, 7, 75, 100):
        found, found_lse = run(problem.in_pages(page_size, "hnd"))
        np.testing.assert_array_equal(found, out)
        np.testing.assert_array_equal(found_lse, lse)


@pytest.mark.parametrize("alibi", ["heads", "sequences"])
@pytest.mark.parametrize("causal", [False, True])
def test_distance(alibi, causal):
    problem = MIXED.but(formats=plain(64).formats, causal=causal, window=0, alibi=alibi)
    check(problem)
    check(problem.but(heads=(7, 1), q_len=4, splits=5, window=30))


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_distance_of_types(dtype):
    check(MIXED.but(formats=(dtype, dtype), dtype=dtype, alibi="sequences").in_pages(8, "hnd"))


# ---------------------------------------------------------------------------------------------------- the rotation


@EACH_DIM
def test_the_kernel_rotates_queries_and_outputs(dim):
    problem = MIXED.but(dim=dim, formats=("tq8", "tq4"), rotate=True, undo=True)
    check(problem)
    check(problem.but(splits=3))


def test_signs_of_ones_own():
    for splits in (1, 2):
        check(Problem(formats=("tq8", "q8"), rotate=True, undo=True, signs=7, splits=splits))


# ------------------------------------------------------------------------------------------------------ invariants


@pytest.mark.parametrize("window", [0, 30])
def test_a_ring_is_its_keys_in_order(window):
    """Rotating the slots of a ring changes nothing, to the bit."""
    problem = plain(64).but(kv_lens=(45,), capacity=45, window=window, splits=2, nsg=4, poison=False)
    out, lse = run(problem, operands(problem))
    for start in range(1, 45):
        x = operands(problem)
        x.caches = [
            np.ascontiguousarray(np.roll(cache, start, axis=2)) if cache.ndim > 2 else cache for cache in x.caches
        ]
        found, found_lse = run(problem.but(ring_starts=(start,)), x)
        np.testing.assert_array_equal(found, out)
        np.testing.assert_array_equal(found_lse, lse)


def test_a_sequence_does_not_know_of_the_others():
    many = plain(64).but(heads=(4, 2), q_len=2, kv_lens=(0, 40, 33), capacity=40, causal=True, splits=2)
    x = operands(many)
    out, _ = run(many, x)
    for b, kv_len in enumerate(many.kv_lens):
        one = operands(many.but(kv_lens=(kv_len,)))
        one.q, one.caches = x.q[b : b + 1], [cache[b : b + 1].copy() if cache.ndim > 2 else cache for cache in x.caches]
        np.testing.assert_array_equal(run(many.but(kv_lens=(kv_len,)), one)[0], out[b : b + 1])


def test_a_query_that_is_not_a_number_gives_none():
    problem = Problem(heads=(4, 1))
    x = operands(problem)
    exact, _ = expected(problem, x)
    x.q[0, 1, 0, 5] = np.nan
    out, lse = run(problem, x)
    assert np.isnan(out[0, 1]).all()
    assert np.isnan(lse[0, 1]).all()
    others = [0, 2, 3]
    assert reference.error(out[:, others], exact[:, others]) <= TOLERANCE["f32"]


@pytest.mark.parametrize("pair", [("f32", "f32"), plain(64).formats], ids="-".join)
def test_a_key_that_is_not_a_number_reaches_those_that_attend_it(pair):
    problem = Problem(formats=pair, q_len=3, causal=True)
    x = operands(problem)
    exact, _ = expected(problem, x)
    x.caches[0 if pair[0] == "f32" else 1][0, 0, 38] = np.nan
    out, _ = run(problem, x)
    assert np.isnan(out[:, :, 1:]).all()
    assert reference.error(out[:, :, :1], exact[:, :, :1]) <= TOLERANCE["f32"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_any_size(dtype):
    """Large scores of both signs neither overflow nor make the sum empty."""
    problem = Problem(formats=(dtype, dtype), dtype=dtype, splits=2)
    for factor in (1e4, -1e4):
        x = operands(problem)
        x.q[:] = factor / 8
        x.caches[0][:] = 1
        x.k = x.caches[0]
        out, _ = run(problem, x)
        assert reference.error(out.astype(np.float64), expected(problem, x)[0]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_many_small_weights_beside_a_large_one(dtype):
    """Weights far below the largest one keep their digits in half, too."""
    problem = Problem(formats=(dtype, dtype), dtype=dtype, heads=(1, 1), kv_lens=(1025,), capacity=1025)
    x = operands(problem)
    x.q[:] = 1
    x.caches[0][:] = 0
    x.caches[0][..., 0, :] = np.float32(13 / 8)
    x.caches[2][:] = 1
    x.caches[2][..., 0, :] = 0
    x.k, x.v = x.caches[0], x.caches[2]
    exact, _ = expected(problem, x)
    assert 1e-4 < exact.max() < 1e-2
    assert reference.error(run(problem, x)[0].astype(np.float64), exact) <= TOLERANCE[dtype]


@pytest.mark.parametrize("pair", [("f16", "f16"), ("tq7", "q8")], ids="-".join)
def test_offsets_beyond_32_bits(pair):
    """The second head of a cache of 8 GiB; the system gives memory only where it is touched."""
    few = Problem(dim=512, formats=pair, heads=(2, 2), kv_lens=(40,), splits=2)
    x = operands(few)
    exact = expected(few, x)[0]
    capacity = (1 << 32) // x.caches[0].shape[-1] // x.caches[0].itemsize + 3
    try:
        caches = [
            np.zeros((*cache.shape[:2], capacity, *cache.shape[3:]), cache.dtype) if cache.ndim > 2 else cache
            for cache in x.caches
        ]
    except MemoryError:
        pytest.skip("not that much address space")
    for large, small in zip(caches, x.caches, strict=True):
        if large is not small:
            large[:, :, -40:] = small
    x.caches = caches
    many = few.but(kv_lens=(capacity,), capacity=capacity, window=40)
    assert reference.error(run(many, x)[0], exact) <= TOLERANCE["f32"]


def test_lengths_beyond_the_capacity_are_the_capacity():
    problem = Problem()
    x = operands(problem)
    np.testing.assert_array_equal(run(problem.but(kv_lens=(1000,)), x)[0], run(problem, x)[0])
