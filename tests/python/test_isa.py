"""Every instruction set the machine has gives the oracle's answers: each is chosen at start, so each gets a process."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import pyfa
from tests.python import reference

# From the least to the best.
ISAS = ("portable", "x86-64-v3", "avx512", "avx512bf16")


def available() -> tuple[str, ...]:
    best = pyfa.Device(provider="native").info().isa
    return ISAS[: ISAS.index(best) + 1] if best in ISAS else (best,)


def run_with(isa: str, code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYFA_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def check_shapes() -> None:
    """Compare with the oracle; run in a process that has its instruction set already."""
    rng = np.random.default_rng(11)
    lengths = ((1, 1), (31, 33), (64, 300), (65, 65))
    for dtype, head_dim, (q_len, kv_len), kind in itertools.product(
        reference.DTYPES.values(), (32, 64), lengths, ("none", "causal", "bool", "additive")
    ):
        q = rng.standard_normal((2, 4, q_len, head_dim)).astype(dtype)
        k, v = rng.standard_normal((2, 2, 2, kv_len, head_dim)).astype(dtype)
        attended = rng.random((2, 1, q_len, kv_len)) > 0.3
        options = {
            "none": {},
            "causal": {"causal": True},
            "bool": {"mask": attended},
            "additive": {"mask": np.where(attended, 0.5, -np.inf).astype(dtype)},
        }[kind]
        out, lse = pyfa.attention(q, k, v, return_lse=True, **options)
        expected, expected_lse = reference.attention(q, k, v, **options)
        reference.assert_close(out, expected)
        reference.assert_lse_close(lse, expected_lse, dtype)


@pytest.mark.skipif(pyfa.default_device().info().backend != "SoftMetal", reason="instruction sets are the CPU's")
class TestIsa:
    @pytest.mark.parametrize("isa", available())
    def test_answers_are_the_oracles(self, isa: str) -> None:
        code = "import pyfa; from tests.python import test_isa as t; print(pyfa.Device().info().isa); t.check_shapes()"
        ran = run_with(isa, code)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip() == isa

    def test_unknown_name_is_an_error_not_another_choice(self) -> None:
        code = "import numpy, pyfa; x = numpy.ones((1, 1, 4, 64), numpy.float32); pyfa.attention(x, x, x)"
        ran = run_with("sse9", code)
        assert ran.returncode != 0
        assert "DeviceError" in ran.stderr
        assert "sse9" in ran.stderr
        assert "portable" in ran.stderr
