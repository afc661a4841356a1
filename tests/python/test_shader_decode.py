"""The decode shaders of the vec family against the oracle: every kernel, head dimension and option."""

from __future__ import annotations

import numpy as np
import pytest

from tests.python import decode_reference as reference
from tests.python.decode_reference import CAUSAL, WINDOW
from tests.python.decode_shaders import (
    BATCH,
    CODED,
    DENSE,
    FAMILIES,
    HEAD_DIMS,
    LSE,
    SINKS,
    Problem,
    check,
    compile_in_parallel,
    expected,
    operands,
    run,
)

LENGTHS = (1, 31, 32, 33, 511, 512, 513, 1025)
# 5 and 6 bits differ from 8 in the table alone: they need not have every head dimension.
KERNELS = [(f, d) for f in FAMILIES for d in {"hb5": (64, 512), "hb6": (128, 256)}.get(f, HEAD_DIMS)]
BOTH = pytest.mark.parametrize(("family", "dim"), KERNELS)
EACH = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module", autouse=True)
def _compiled(request):
    calls = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    given = [call.params for call in calls if call]
    kernels = {(params["family"], params["dim"]) for params in given if {"family", "dim"} <= set(params)}
    compile_in_parallel(
        Problem(family, dim, kv_lens=(1,), capacity=1, nwg=nwg) for family, dim in sorted(kernels) for nwg in (1, 32)
    )


def splits(family, some):
    """Work-groups to try; the peer port has two kernels, for 1 and for 32."""
    return (1, 32) if family == "peer" else some


# ------------------------------------------------------------------------------- every kernel with every option


@BOTH
def test_lengths(family, dim):
    for nwg in splits(family, (1, 3, 16, 32)):
        check(Problem(family, dim, kv_lens=(0, *LENGTHS), capacity=1030, nwg=nwg))


@BOTH
def test_simdgroups(family, dim):
    for nsg in (2, 4):
        for nwg in splits(family, (1, 5)):
            check(Problem(family, dim, kv_lens=(0, 1, 33, 65, 300), capacity=301, nwg=nwg, nsg=nsg))


@BOTH
def test_queries(family, dim):
    for q_len in range(1, 9):
        nwg = 1 if q_len % 2 else 32
        check(Problem(family, dim, q_len=q_len, kv_lens=(1, 7, 8, 40), capacity=40, mask_type=CAUSAL, nwg=nwg))
    check(Problem(family, dim, q_len=3, kv_lens=(1, 7, 40), capacity=40))


@BOTH
def test_windows(family, dim):
    for window in (0, 1, 5, 32, 33, 100):
        nwg = 1 if window % 2 else 32
        problem = Problem(family, dim, kv_lens=(1, 32, 33, 70, 129), capacity=130, mask_type=WINDOW, window=window)
        check(problem.but(nwg=nwg))
        check(problem.but(q_len=3))


@BOTH
def test_rings(family, dim):
    for capacity, valid in ((1, 1), (7, 7), (7, 5), (40, 40), (40, 33)):
        problem = Problem(
            family, dim, kv_lens=(valid,) * capacity, ring_starts=tuple(range(capacity)), capacity=capacity
        )
        check(problem)
        check(problem.but(mask_type=WINDOW, window=4, q_len=2, nwg=32))


@BOTH
def test_softcap_and_sinks(family, dim):
    problem = Problem(family, dim, (4, 4), kv_lens=(0, 1, 50), capacity=50)
    for nwg in (1, 32):
        check(problem.but(sinks=True, nwg=nwg))
        check(problem.but(softcap=1.5, nwg=nwg))
        check(problem.but(softcap=20.0, sinks=True, nwg=nwg))
    check(problem.but(sinks=True, nsg=4))


# --------------------------------------------------------------------------------------- and with none of them


@pytest.mark.parametrize(("family", "dim"), [*((f, 64) for f in FAMILIES), ("hb8", 512)])
def test_one_query_of_one_sequence(family, dim):
    plain = Problem(family, dim, (8, 2), capacity=300)
    for nwg in (1, 32):
        for kv_len in (1, 33, 300):
            check(plain.but(kv_len=kv_len, nwg=nwg))
        check(plain.but(kv_len=200, mask_type=CAUSAL, nwg=nwg))
        check(plain.but(kv_len=200, mask_type=WINDOW, window=77, nwg=nwg))
        check(plain.but(kv_len=200, softcap=3.0, nwg=nwg))
    if family in CODED or family == "peer":
        check(plain.but(kv_len=300, ring_start=123, nwg=32))
        check(plain.but(kv_len=300, ring_start=299, mask_type=WINDOW, window=40))


@pytest.mark.parametrize("optional", [(BATCH,), (SINKS,), (LSE,)], ids=["batch", "sinks", "lse"])
@pytest.mark.parametrize("nwg", [1, 4])
def test_options_one_at_a_time(optional, nwg):
    many = BATCH in optional
    problem = Problem("f32", 64, capacity=80, nwg=nwg, sinks=SINKS in optional)
    problem = problem.but(kv_lens=(70, 80), q_len=2) if many else problem.but(kv_len=70)
    x = operands(problem)
    out, lse = run(problem, x, optional=optional)
    exact, exact_lse = expected(problem, x, rounded=False)
    assert reference.error(out, exact) <= 1e-5
    if LSE in optional:
        np.testing.assert_allclose(lse, exact_lse, rtol=0, atol=1e-5)
    else:
        assert np.isnan(lse).all()


# ------------------------------------------------------------------------------------------------ the rotation


@pytest.mark.parametrize("dim", HEAD_DIMS)
def test_the_kernel_rotates_queries(dim):
    for nsg in (1, 4):
        check(Problem("hb8", dim, (4, 2), kv_lens=(1, 33, 300), q_len=2, capacity=300, fuse=True, nsg=nsg))


@pytest.mark.parametrize("dim", HEAD_DIMS)
def test_merging_takes_the_rotation_out(dim):
    for nwg in (2, 16, 32):
        check(Problem("hb8", dim, (4, 2), kv_lens=(0, 1, 33, 300), q_len=2, capacity=300, undo=True, nwg=nwg))


def test_the_rotation_of_one_query():
    check(Problem("hb8", 64, (4, 2), kv_len=300, capacity=300, undo=True, nwg=32))


def test_signs_of_ones_own():
    check(Problem("hb8", 512, kv_lens=(40,), capacity=40, fuse=True, undo=True, signs=7, nwg=4))


# -------------------------------------------------------------------------------------------------- invariants


@EACH
def test_any_number_of_work_groups(family):
    for nwg in splits(family, range(1, 33)):
        check(Problem(family, 64, (2, 2), kv_lens=(40, 600), capacity=600, nwg=nwg))


@EACH
def test_a_ring_is_its_keys_in_order(family):
    """Rotating the slots of a ring changes nothing, to the bit."""
    plain = Problem(family, 128, kv_lens=(45,), capacity=45, mask_type=WINDOW, window=40, nwg=32, poison=False)
    x = operands(plain)
    out, lse = run(plain, x)
    for start in (1, 17, 44):
        x.caches = [np.ascontiguousarray(np.roll(cache, start, axis=2)) for cache in operands(plain).caches]
        found, found_lse = run(plain.but(ring_starts=(start,)), x)
        np.testing.assert_array_equal(found, out)
        np.testing.assert_array_equal(found_lse, lse)


@EACH
def test_a_sequence_does_not_know_of_the_others(family):
    many = Problem(family, 64, (4, 2), q_len=2, kv_lens=(0, 40, 33), capacity=40, mask_type=CAUSAL, nwg=32)
    x = operands(many)
    out, _ = run(many, x)
    for b, kv_len in enumerate(many.kv_lens):
        one = operands(many.but(kv_lens=(kv_len,)))
        one.q, one.caches = x.q[b : b + 1].copy(), [cache[b : b + 1].copy() for cache in x.caches]
        np.testing.assert_array_equal(run(many.but(kv_lens=(kv_len,)), one)[0], out[b : b + 1])


@EACH
def test_a_query_that_is_not_a_number_gives_none(family):
    problem = Problem(family, 64, kv_lens=(40,), capacity=40)
    x = operands(problem)
    x.q[0, 1, 0, 5] = np.nan
    out, lse = run(problem, x)
    assert np.isnan(out[0, 1]).all()
    assert np.isnan(lse[0, 1]).all()
    assert np.isfinite(out[0, 0]).all()


@pytest.mark.parametrize("family", DENSE)
def test_scores_of_any_size(family):
    """Large scores of both signs neither overflow nor make the sum empty."""
    problem = Problem(family, 64, kv_lens=(40,), capacity=40, nwg=1 if family == "f32" else 32)
    for factor in (1e4, -1e4):
        x = operands(problem)
        x.q[:] = factor / 8
        for cache in x.caches[:1]:
            cache[:] = np.float32(1)
        x.k = x.caches[0]
        out, _ = run(problem, x)
        assert reference.error(out, expected(problem, x, rounded=False)[0]) <= 1e-5


@pytest.mark.parametrize("family", ["f16", "hb8"])
def test_offsets_beyond_32_bits(family):
    """The second head of a cache of 8 GiB; the system gives memory only where it is touched."""
    few = Problem(family, 512, (2, 2), kv_lens=(40,), capacity=40, nwg=32)
    capacity = (1 << 32) // (512 * operands(few).caches[0].itemsize) + 3
    many = few.but(kv_lens=(capacity,), capacity=capacity, mask_type=WINDOW, window=40)
    x = operands(few)
    exact = expected(few, x, rounded=family == "hb8")[0]
    try:
        caches = [np.zeros((*cache.shape[:2], capacity, *cache.shape[3:]), cache.dtype) for cache in x.caches]
    except MemoryError:
        pytest.skip("not that much address space")
    for large, small in zip(caches, x.caches, strict=True):
        large[:, :, -40:] = small
    x.caches = caches
    assert reference.error(run(many, x)[0], exact) <= 1e-5


def test_lengths_beyond_the_capacity_are_the_capacity():
    problem = Problem("f32", 64, kv_lens=(40,), capacity=40)
    x = operands(problem)
    np.testing.assert_array_equal(run(problem.but(kv_lens=(1000,)), x)[0], run(problem, x)[0])
