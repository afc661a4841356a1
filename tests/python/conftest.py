"""Devices for the tests: everything that runs a kernel runs on every provider there is."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa

PROVIDERS = ("native",)


@pytest.fixture(scope="session", params=PROVIDERS)
def device(request):
    with pyfa.Device(request.param) as device:
        yield device


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def qkv(rng):
    """A plain problem: B 1, H 4, Hkv 2, qL 5, kL 9, D 64, float32."""
    q = rng.standard_normal((1, 4, 5, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 1, 2, 9, 64), dtype=np.float32)
    return q, k, v
