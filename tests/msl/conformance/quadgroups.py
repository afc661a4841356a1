"""Functions across a quadgroup, the four neighbouring threads."""

# ruff: noqa: ARG001 -- what is expected is told every input, needed or not

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area("quadgroups")
X = ((np.arange(40) * 37 + 11) % 23 - 11).astype(np.int32)
Q = X.reshape(-1, 4)
LANE = np.arange(40) % 4


def spread(rows, dtype=np.int32):
    """One value for each quadgroup, given to its threads."""
    return np.repeat(np.asarray(rows), 4, axis=0).astype(dtype)


def taken(lanes):
    """Each thread has the value of a lane of its quadgroup."""
    return np.take_along_axis(Q, np.broadcast_to(lanes, Q.shape), 1).ravel()


@area.each("int4", "r = int4(quad_sum(x), quad_product(x), quad_min(x), quad_max(x));", x=X)
def reductions(x):
    return spread(np.stack([Q.sum(1), Q.prod(1), Q.min(1), Q.max(1)], 1))


@area.each("uint4", "uint u = uint(x); r = uint4(quad_and(u), quad_or(u), quad_xor(u), quad_sum(ushort(x)));", x=X)
def bitwise_reductions(x):
    u = Q.view(np.uint32)
    sums = Q.astype(np.uint16).sum(1, dtype=np.uint16)
    rows = [np.bitwise_and.reduce(u, 1), np.bitwise_or.reduce(u, 1), np.bitwise_xor.reduce(u, 1), sums]
    return spread(np.stack(rows, 1), np.uint32)


@area.each("float4", "float4 v = float4(x, -x, x * 2, 1); r = quad_sum(v) + quad_max(v);", x=X)
def reductions_of_vectors(x):
    v = np.stack([Q, -Q, Q * 2, np.ones_like(Q)], -1)
    return spread(v.sum(1) + v.max(1), np.float32)


@area.each(
    "int4",
    "r = int4(quad_prefix_inclusive_sum(x), quad_prefix_exclusive_sum(x), quad_prefix_inclusive_product(x), "
    "quad_prefix_exclusive_product(x));",
    x=X,
)
def scans(x):
    s, p = np.cumsum(Q, 1), np.cumprod(Q, 1)
    zero, one = np.zeros((len(Q), 1)), np.ones((len(Q), 1))
    rows = [s, np.hstack([zero, s[:, :3]]), p, np.hstack([one, p[:, :3]])]
    return np.stack([row.ravel() for row in rows], 1).astype(np.int32)


@area.each(
    "int4",
    "r = int4(quad_broadcast(x, 2), quad_broadcast_first(x), quad_shuffle(x, ushort(3 - (i & 3))), "
    "quad_shuffle_xor(x, 1));",
    x=X,
)
def broadcasts_and_shuffles(x):
    lane = np.arange(4)
    return np.stack([taken(0 * lane + 2), taken(0 * lane), taken(3 - lane), taken(lane ^ 1)], 1)


@area.each(
    "int4",
    "r = int4(quad_shuffle_up(x, 1), quad_shuffle_down(x, 2), quad_shuffle_rotate_up(x, 1), "
    "quad_shuffle_rotate_down(x, 3));",
    x=X,
)
def shifts(x):
    lane = np.arange(4)
    up, down = np.where(lane < 1, lane, lane - 1), np.where(lane > 1, lane, lane + 2)
    return np.stack([taken(up), taken(down), taken((lane - 1) % 4), taken((lane + 3) % 4)], 1)


@area.each("int2", "r = int2(quad_shuffle_and_fill_up(x, x + 100, 1), quad_shuffle_and_fill_down(x, x + 100, 1));", x=X)
def filled_shifts(x):
    lane = np.arange(4)
    up, down = taken((lane - 1) % 4), taken((lane + 1) % 4)
    return np.stack([up + 100 * (LANE == 0), down + 100 * (LANE == 3)], 1).astype(np.int32)


@area.each(
    "uint4",
    "r = uint4(quad_any(x > 5), quad_all(x > -5), quad_is_first(), uint(quad_vote::vote_t(quad_ballot(x > 0))));",
    x=X,
)
def votes(x):
    ballot = ((Q > 0) << np.arange(4)).sum(1)
    columns = [spread((Q > 5).any(1)), spread((Q > -5).all(1)), LANE == 0, spread(ballot)]
    return np.stack(columns, 1).astype(np.uint32)


@area.each(
    "uint2",
    "r = uint2(0, uint(quad_vote::vote_t(quad_active_threads_mask()))); "
    "if (x > 0) r.x = uint(quad_sum(x)) + 1000 * uint(quad_vote::vote_t(quad_active_threads_mask()));",
    x=X,
)
def where_some_take_part(x):
    positive = Q > 0
    mask = (positive << np.arange(4)).sum(1)
    sums = np.where(positive, Q, 0).sum(1) + 1000 * mask
    return np.stack([np.where(positive.ravel(), spread(sums), 0), np.full(40, 15)], 1).astype(np.uint32)
