"""Devices for the tests: everything that runs a kernel runs on every provider there is."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa

PROVIDERS = ("native", "shader")


@pytest.fixture(scope="session", params=PROVIDERS)
def device(request):
    with pyfa.Device(request.param) as device:
        yield device


def pytest_collection_modifyitems(config, items):
    """Of every cross of options the shaders run a ninth: nearly each problem compiles a kernel of its own."""
    crossed = [item for item in items if "case" in (given := parameters(item)) and given.get("device") == "shader"]
    left_out = {item for number, item in enumerate(crossed) if number % 9}
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def parameters(item):
    return item.callspec.params if hasattr(item, "callspec") else {}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def qkv(rng):
    """A plain problem: B 1, H 4, Hkv 2, qL 5, kL 9, D 64, float32."""
    q = rng.standard_normal((1, 4, 5, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 1, 2, 9, 64), dtype=np.float32)
    return q, k, v
