"""Every barrier of the prefill kernel matters, and checks notice when one is missing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import pyfa
from tests.python import reference
from tests.python.shader_devices import CHECKED, STRICT, shader_device

SOURCE = (Path(__file__).parents[2] / "shaders" / "flash_attn_prefill.metal").read_text(encoding="utf-8")
BARRIERS = list(re.finditer(r"^\s*(?:threadgroup|simdgroup)_barrier\(.*\);$", SOURCE, re.MULTILINE))

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="a GPU does not check what a kernel does")


def run(source, device):
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, 2, 70, 64), dtype=np.float32)
    registry = pyfa.KernelRegistry(device)
    registry.register("flash_attn_prefill", source)
    q, k, v = (pyfa.Buffer.from_array(x, device=device) for x in (q, k, v))
    with pyfa.CommandEncoder(device) as encoder:
        out = pyfa.ops.flash_attn_prefill(q, k, v, causal=True, encoder=encoder, registry=registry)
    return out.read(), reference.attention(*(x.read() for x in (q, k, v)), causal=True)[0]


@pytest.mark.parametrize("mode", [{}, STRICT], ids=["lockstep", "strict"])
def test_the_kernel_passes_all_checks(mode):
    found, expected = run(SOURCE, shader_device(**mode, **CHECKED))
    reference.assert_close(found, expected)


@pytest.mark.parametrize("barrier", BARRIERS, ids=lambda match: f"line-{SOURCE.count(chr(10), 0, match.end()) + 1}")
def test_a_missing_barrier_is_a_race(barrier):
    mutant = SOURCE[: barrier.start()] + SOURCE[barrier.end() :]
    with pytest.raises(pyfa.ShaderCheckError, match="race"):
        run(mutant, shader_device(**CHECKED))


def test_there_are_barriers():
    assert len(BARRIERS) >= 2
