"""A decode kernel that relies on simdgroups running in step: right in lockstep, and found out otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import pyfa
from tests.python.shader_devices import CHECKED, SCHEDULES, STRICT, shader_device

SOURCE = (Path(__file__).parents[1] / "msl" / "hazards.metal").read_text(encoding="utf-8")
HEADS, DIM = 5, 64
LENGTHS = (1, 31, 32, 33, 64, 300)

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="a GPU has no schedules to choose from")


def line_of(mark):
    return next(number for number, line in enumerate(SOURCE.splitlines(), 1) if line.endswith(f"// {mark}"))


def compile_for(complete, **options):
    library = pyfa.metal.Library(SOURCE, device=shader_device(**options))
    return library.kernel("decode", {0: complete})


def operands(keys):
    rng = np.random.default_rng(keys)
    q, k, v = (rng.standard_normal((n, DIM), dtype=np.float32) for n in (HEADS, keys, keys))
    return q, k, v


def decode(kernel, q, k, v, simdgroups):
    o = np.full_like(q, np.nan)
    params = np.array((len(k), DIM**-0.5), [("keys", np.int32), ("scale", np.float32)])[()]
    kernel(
        {0: q, 1: k, 2: v, 3: o, 4: params},
        threadgroups=HEADS,
        threads=32 * simdgroups,
        threadgroup_memory={0: simdgroups * (32 + DIM) * 4},
    )
    return o


def reference(q, k, v):
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    scores = q @ k.T * DIM**-0.5
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True) @ v


def error(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("simdgroups", [1, 4])
@pytest.mark.parametrize("keys", LENGTHS)
def test_lockstep_gives_the_same_bits_under_every_schedule(keys, simdgroups):
    q, k, v = operands(keys)
    found = [decode(compile_for(False, **schedule), q, k, v, simdgroups) for schedule in SCHEDULES.values()]
    assert error(found[0], reference(q, k, v)) < 1e-6
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("simdgroups", [1, 4])
@pytest.mark.parametrize("keys", LENGTHS)
def test_with_its_barriers_it_needs_no_lockstep(keys, simdgroups):
    q, k, v = operands(keys)
    lockstep = decode(compile_for(True), q, k, v, simdgroups)
    assert error(lockstep, reference(q, k, v)) < 1e-6
    for schedule in SCHEDULES.values():
        np.testing.assert_array_equal(decode(compile_for(True, **STRICT, **schedule), q, k, v, simdgroups), lockstep)


@pytest.mark.parametrize("simdgroups", [1, 4])
def test_strict_mode_shows_that_barriers_are_missing(simdgroups):
    q, k, v = operands(300)
    assert not error(decode(compile_for(False, **STRICT), q, k, v, simdgroups), reference(q, k, v)) < 1e-3


@pytest.mark.parametrize("simdgroups", [1, 4])
def test_checks_name_all_three_races(simdgroups):
    q, k, v = operands(300)
    with pytest.raises(pyfa.ShaderCheckError) as caught:
        decode(compile_for(False, **STRICT, **CHECKED), q, k, v, simdgroups)
    report = str(caught.value)
    for hazard in (1, 2, 3):
        assert f"program_source:{line_of(f'hazard {hazard}')}" in report


@pytest.mark.parametrize("simdgroups", [1, 4])
def test_in_lockstep_they_are_no_races(simdgroups):
    q, k, v = operands(300)
    assert error(decode(compile_for(False, **CHECKED), q, k, v, simdgroups), reference(q, k, v)) < 1e-6


@pytest.mark.parametrize("mode", [{}, STRICT], ids=["lockstep", "strict"])
@pytest.mark.parametrize("simdgroups", [1, 4])
@pytest.mark.parametrize("keys", LENGTHS)
def test_checks_find_nothing_with_its_barriers(keys, simdgroups, mode):
    q, k, v = operands(keys)
    assert error(decode(compile_for(True, **mode, **CHECKED), q, k, v, simdgroups), reference(q, k, v)) < 1e-6
