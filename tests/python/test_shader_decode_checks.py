"""The decode shaders need no lockstep, give the same bits in any order, and use every barrier they have."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

import pyfa
from tests.python.decode_reference import WINDOW
from tests.python.decode_shaders import Problem, check, compile_in_parallel, names, operands, run, source
from tests.python.shader_devices import CHECKED, SCHEDULES, STRICT

BARRIER = re.compile(r"^\s*(?:threadgroup|simdgroup)_barrier\(.*\);$", re.MULTILINE)

# Every room and both of its passes, with exactly as much memory as they need.
PROBLEMS = {
    "dense": Problem("f32", 64, kv_lens=(0, 75), capacity=75, q_len=2, mask_type=WINDOW, window=70, nsg=2, nwg=2),
    "peer": Problem("peer", 64, kv_lens=(45,), capacity=45, ring_starts=(11,), sinks=True, nwg=32),
    "tq": Problem("tq", 512, (1, 1), kv_lens=(35,), capacity=35, ring_starts=(34,), nsg=2, softcap=5.0),
    "tq_hb": Problem("hb8", 64, kv_lens=(140,), capacity=141, nsg=4, nwg=2, fuse=True, undo=True),
}
EACH = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="a GPU has neither schedules nor checks")


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    for device_options in (STRICT, STRICT | CHECKED):
        compile_in_parallel(PROBLEMS.values(), **device_options)


@EACH
def test_strict_execution_gives_the_same_bits_under_every_schedule(problem):
    lockstep = check(problem)
    for schedule in SCHEDULES.values():
        np.testing.assert_array_equal(run(problem, **STRICT, **schedule)[0], lockstep)


@EACH
def test_checks_find_nothing(problem):
    check(problem, **STRICT, **CHECKED)


# Where the barriers are: a problem, the text, and which one of it. The last barrier of the rooms with codes is the
# dense one's, in the header they share.
BARRIERS = [
    ("dense", "flash_attn_vec", 0),
    ("tq", "flash_attn_vec_tq", 1),
    ("tq_hb", "flash_attn_vec_tq_hb", 1),
    ("tq_hb", "flash_attn_vec_reduce", 0),
]


@pytest.mark.parametrize(("problem", "room", "number"), BARRIERS, ids=str)
def test_a_missing_barrier_is_a_race(problem, room, number):
    problem = PROBLEMS[problem]

    def texts(name):
        text = source(name)
        if name != room:
            return text
        barrier = list(BARRIER.finditer(text))[number]
        return text[: barrier.start()] + text[barrier.end() :]

    with pytest.raises(pyfa.ShaderCheckError, match=r"race|uninitialised"):
        run(problem, operands(problem), texts=texts, **STRICT, **CHECKED)


def test_there_are_no_other_barriers():
    rooms = {room for problem in PROBLEMS.values() for room, _ in names(problem)}
    found = {(room, number) for room in rooms for number in range(len(BARRIER.findall(source(room))))}
    shared = {(room, 0) for room in rooms if room != "flash_attn_vec_reduce"}
    assert found == shared | {(room, number) for _, room, number in BARRIERS}
