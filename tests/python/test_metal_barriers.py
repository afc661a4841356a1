"""Every barrier of the prefill shaders matters, and checks notice when one is missing."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

import numpy as np
import pytest

import pyfa
from tests.python import reference
from tests.python.shader_devices import CHECKED, STRICT, shader_device
from tests.python.shader_prefill import SHADERS, Operands, run, source

BARRIER = re.compile(r"^\s*(?:threadgroup|simdgroup)_barrier\(.*\);$", re.MULTILINE)

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="a GPU does not check what a kernel does")


class Shader(NamedTuple):
    """A room with barriers, and an instance to run."""

    dtype: str
    head_dim: int
    nsg: int | None = None


INSTANCES = {
    "flash_attn_prefill": [Shader("f32", 64)],
    "flash_attn_prefill_d512": [Shader("f16", 512, nsg=4), Shader("f16", 512, nsg=8)],
}
MUTANTS = [
    pytest.param(room, shader, barrier, id=f"{room}-{shader.nsg}-line-{text.count(chr(10), 0, barrier.end()) + 1}")
    for room, shaders in INSTANCES.items()
    for text in [source(room)]
    for shader in shaders
    for barrier in BARRIER.finditer(text)
]


def operands(shader):
    rng = np.random.default_rng(0)
    lengths = (40, 140, 140)
    dtype = reference.DTYPES[shader.dtype]
    q, k, v = (rng.standard_normal((1, 2, length, shader.head_dim)).astype(dtype) for length in lengths)
    return Operands(q, k, v, {"causal": True})


@pytest.mark.parametrize("mode", [{}, STRICT], ids=["lockstep", "strict"])
@pytest.mark.parametrize("shader", [each for shaders in INSTANCES.values() for each in shaders], ids=str)
def test_the_kernel_passes_all_checks(shader, mode):
    given = operands(shader)
    out, _ = run(given, shader_device(**mode, **CHECKED), nsg=shader.nsg)
    reference.assert_close(out, reference.attention(*given[:3], causal=True)[0])


@pytest.mark.parametrize(("room", "shader", "barrier"), MUTANTS)
def test_a_missing_barrier_is_a_race(room, shader, barrier):
    text = source(room)
    mutant = text[: barrier.start()] + text[barrier.end() :]
    with pytest.raises(pyfa.ShaderCheckError, match="race"):
        run(operands(shader), shader_device(**CHECKED), nsg=shader.nsg, text=mutant)


def test_every_shader_with_barriers_is_here():
    with_barriers = {path.stem for path in SHADERS.glob("*.metal") if BARRIER.search(path.read_text(encoding="utf-8"))}
    assert {name for name in with_barriers if name.startswith("flash_attn_prefill")} == set(INSTANCES)
    assert all(len(BARRIER.findall(source(room))) >= 2 for room in INSTANCES)
