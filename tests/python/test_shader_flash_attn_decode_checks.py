"""flash_attn_decode needs no lockstep, gives the same bits in any order, and uses every barrier it has."""

from __future__ import annotations

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pyfa
from tests.python import flash_attn_decode_shader
from tests.python.flash_attn_decode_shader import Problem, check, compile_in_parallel, operands, run, source
from tests.python.shader_devices import CHECKED, SCHEDULES, STRICT

# With exactly as much memory as they need: two tables and a rotation, slices that exchange, and no table.
PROBLEMS = {
    "tables": Problem(
        formats=("tq7", "tq_hb5"), heads=(3, 1), q_len=3, kv_lens=(0, 75), capacity=75, ring_starts=(0, 11), window=70,
        causal=True, softcap=3.0, sinks=True, rotate=True, undo=True, splits=2, nsg=4,
    ),
    "slices": Problem(dim=512, formats=("tq4_v1", "tq4_v1"), kv_lens=(35,), capacity=35, ring_starts=(34,), nsg=4),
    "pages": Problem(
        formats=("tq8", "tq8"), heads=(4, 2), q_len=3, kv_lens=(0, 75), capacity=75, window=70, causal=True, splits=2,
        nsg=4, page_size=16, alibi="sequences",
    ),
    "dense": Problem(dim=128, formats=("f16", "f16"), dtype="f16", kv_lens=(75, 9), capacity=75, splits=3, nsg=3),
}  # fmt: skip
EACH = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)

TEXT = source("flash_attn_decode")
BARRIERS = list(re.finditer(r"^\s*(?:threadgroup|simdgroup)_barrier\(.*\);$", TEXT, re.MULTILINE))
# Which problem needs which barrier, in the order of the text.
NEEDED_BY = ("slices", "tables", "tables", "tables", "tables", "tables", "tables", "tables", "tables")

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


def findings(number):
    """Return what checks say about the kernels without a barrier."""
    barrier, problem = BARRIERS[number], PROBLEMS[NEEDED_BY[number]]
    mutant = TEXT[: barrier.start()] + TEXT[barrier.end() :]
    try:
        run(problem, operands(problem), text=mutant, **STRICT, **CHECKED)
    except pyfa.ShaderCheckError as error:
        return str(error)
    return "nothing"


def test_a_missing_barrier_is_a_race():
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, found in enumerate(pool.map(findings, range(len(NEEDED_BY)))):
            assert re.search("race|uninitialised", found), f"without barrier {number}: {found}"


def test_there_are_no_other_barriers():
    assert len(BARRIERS) == len(NEEDED_BY)


@EACH
def test_less_memory_is_too_little(problem, monkeypatch):
    """What the tests say about threadgroup memory is what the kernel needs."""
    less = flash_attn_decode_shader.threadgroup_memory(problem) - 16
    monkeypatch.setattr(flash_attn_decode_shader, "threadgroup_memory", lambda _: less)
    with pytest.raises(pyfa.ShaderCheckError, match="out-of-bounds"):
        run(problem, operands(problem), **STRICT, **CHECKED)
