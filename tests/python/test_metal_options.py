"""How shaders are executed for a while, and kernels encoded with others."""

import sys

import numpy as np
import pytest

import pyfa
from pyfa import metal

RACE = """
kernel void race(device uint *out [[buffer(0)]], uint i [[thread_position_in_threadgroup]]) {
  threadgroup uint shared[32];
  shared[i] = i;
  out[i] = shared[31 - i];
}
"""
ORDER = """
kernel void order(device atomic_uint *next [[buffer(0)]], device uint *place [[buffer(1)]],
                  uint i [[thread_position_in_threadgroup]]) {
  place[i] = metal::atomic_fetch_add_explicit(next, 1, metal::memory_order_relaxed);
}
"""

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="a GPU executes shaders in its own way")


@pytest.fixture(scope="module")
def race():
    return metal.Library("#include <metal_stdlib>" + RACE).kernel("race")


@pytest.fixture(scope="module")
def order():
    return metal.Library("#include <metal_stdlib>" + ORDER).kernel("order")


def places(order):
    place = np.zeros(32, np.uint32)
    order({0: np.zeros(4, np.uint32), 1: place}, threadgroups=1, threads=32)
    return place.tolist()


def test_checks_for_a_while(race):
    out = np.zeros(32, np.uint32)
    race({0: out}, threadgroups=1, threads=32)
    with metal.options(check=True, mode="strict"), pytest.raises(pyfa.ShaderCheckError, match="data race"):
        race({0: out}, threadgroups=1, threads=32)
    race({0: out}, threadgroups=1, threads=32)


def test_checks_of_one_call(race):
    out = np.zeros(32, np.uint32)
    with metal.options(mode="strict"):
        with pytest.raises(pyfa.ShaderCheckError, match="data race"):
            race({0: out}, threadgroups=1, threads=32, check=True)
        race({0: out}, threadgroups=1, threads=32)
    with metal.options(check=True, mode="strict"):
        race({0: out}, threadgroups=1, threads=32, check=False)


def test_schedules(order):
    rising = list(range(32))
    assert places(order) == rising
    with metal.options(schedule="reverse"):
        assert places(order) == rising[::-1]
        with metal.options(schedule="random", seed=3):
            shuffled = places(order)
            assert places(order) == shuffled
        assert places(order) == rising[::-1]
    assert sorted(shuffled) == rising
    assert shuffled != rising
    assert places(order) == rising


def test_options_end_with_an_error(order):
    with pytest.raises(ZeroDivisionError), metal.options(schedule="reverse"):
        _ = 1 / 0
    assert places(order) == list(range(32))


def test_time_limit():
    endless = metal.Library("kernel void endless(device volatile int *x [[buffer(0)]]) { while (*x == 0) {} }")
    with metal.options(time_limit=0.2), pytest.raises(pyfa.DeviceError, match="time limit"):
        endless.kernel("endless")({0: np.zeros(4, np.int32)}, threadgroups=1, threads=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "loose"}, "mode: expected"),
        ({"schedule": "sideways"}, "schedule: expected"),
        ({"seed": -1}, r"seed: expected 0 \.\.\. 18446744073709551615, got -1"),
        ({"time_limit": float("nan")}, "time_limit"),
        ({"time_limit": "long"}, "time_limit: expected seconds"),
        ({"workers": -2}, "workers"),
    ],
)
def test_bad_options(order, options, words):
    with pytest.raises(pyfa.InvalidArgumentError, match=words), metal.options(**options):
        pass
    assert places(order) == list(range(32))


def test_encoded_with_others(order):
    place, following = np.zeros((2, 32), np.uint32)
    place, following = (pyfa.Buffer.from_array(x) for x in (place, following))
    count = pyfa.Buffer.zeros((4,), np.uint32)
    with pyfa.CommandEncoder() as encoder:
        order({0: count, 1: place}, threadgroups=1, threads=32, encoder=encoder)
        encoder.barrier()
        order({0: count, 1: following}, threadgroups=1, threads=32, encoder=encoder)
    assert place.read().tolist() == list(range(32))
    assert following.read().tolist() == list(range(32, 64))


def test_an_array_to_copy_is_not_encoded(order):
    unaligned = np.zeros(33 * 4 + 16, np.uint8)
    offset = -unaligned.ctypes.data % 16 + 4
    array = unaligned[offset : offset + 128].view(np.uint32)
    with pyfa.CommandEncoder() as encoder:
        with pytest.raises(pyfa.InvalidArgumentError, match="buffers: expected with an encoder"):
            order({0: np.zeros(4, np.uint32), 1: array}, threadgroups=1, threads=32, encoder=encoder)
        order({0: np.zeros(4, np.uint32), 1: np.zeros(32, np.uint32)}, threadgroups=1, threads=32, encoder=encoder)


def test_names_of_sources():
    with pytest.raises(pyfa.CompileError) as error:
        metal.Library("\nkernel void broken( {}", name="shaders/broken.metal", defines={"A": 1})
    assert "shaders/broken.metal:2:" in error.value.log
    for name in ("", 'a"b', "a\\b", "a\nb"):
        with pytest.raises(pyfa.InvalidArgumentError, match="name: expected printable text"):
            metal.Library("", name=name)
    with pytest.raises(pyfa.InvalidArgumentError, match="name: expected a str, got int"):
        metal.Library("", name=5)
