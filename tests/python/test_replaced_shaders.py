"""Shaders of somebody else's in place of the library's, under the library's own dispatchers.

The source of another project is not kept here. ``PYFA_REFERENCE_SHADERS`` names a directory that has it, as
``flash_attn_vec_tq_hb.metal``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

import pyfa
from pyfa import ops
from tests.python import codec_reference as codec
from tests.python import decode_reference as oracle
from tests.python.codec_kernels import flattened

ROOM = "flash_attn_vec_tq_hb"
NAMES = ("tq_hb5", "tq_hb6", "tq_hb8")
CAPACITY = 90
# The reference reads no softcap, and a ring of its is full.
MASKS = {
    "none": {},
    "causal": {"mask": "causal", "scale": 0.03},
    "window": {"mask": "window", "window": 37},
    "ring": {"mask": "window", "window": 60, "ring_starts": 71},
}


@pytest.fixture(scope="module")
def device():
    with pyfa.Device("shader") as device:
        yield device


def replaced(device, source):
    registry = pyfa.KernelRegistry(device)
    registry.register(ROOM, source)
    return registry


def operands(rng, name, head_dim):
    q = rng.standard_normal((1, 4, 1, head_dim)).astype(np.float32)
    k, v = rng.standard_normal((2, 1, 2, CAPACITY, head_dim))
    return [q, *(part for x in (k, v) for part in encoded(x, name))]


def encoded(x, name):
    codes, norms = codec.encode_v1(x, name)
    return codes, norms.astype(np.float32)


@pytest.fixture(scope="module")
def reference(device):
    directory = os.environ.get("PYFA_REFERENCE_SHADERS")
    if not directory:
        pytest.skip("PYFA_REFERENCE_SHADERS names no directory with the reference's shaders")
    return replaced(device, (Path(directory) / f"{ROOM}.metal").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head_dim", [256, 512])
@pytest.mark.parametrize("options", MASKS)
@pytest.mark.parametrize("rotate", [False, True])
def test_the_references_shader_gives_the_same(device, reference, rng, name, head_dim, options, rotate):
    given = operands(rng, name, head_dim)
    kv_len = CAPACITY if options == "ring" else 83
    for nsg, nwg in ((1, 1), (1, 32), (2, 3), (4, 1), (4, 16)):
        asked = {"codec": name, "nsg": nsg, "nwg": nwg, "rotate_query": rotate, "device": device, **MASKS[options]}
        ours = ops.flash_attn_vec_tq(*given, kv_len, **asked)
        theirs = ops.flash_attn_vec_tq(*given, kv_len, registry=reference, **asked)
        assert np.abs(ours).max() > 0.01
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-6 * np.abs(ours).max(), err_msg=f"{nsg=} {nwg=}")


@pytest.mark.parametrize("nwg", [1, 4])
def test_a_replaced_source_is_what_runs(device, rng, nwg):
    """The library's own source with another sign of the scores: so are the dispatcher's keys, values and lengths."""
    text, count = re.subn(r"(?<=params\.)scale(?=\W)", "scale * -1.0f", flattened(f"{ROOM}.metal"))
    assert count
    q, k, k_norms, v, v_norms = operands(rng, "tq_hb6", 64)
    asked = {"codec": "tq_hb6", "nwg": nwg, "device": device}
    registry = replaced(device, text)
    found = ops.flash_attn_vec_tq(q, k, k_norms, v, v_norms, 83, registry=registry, **asked)
    keys, values = (codec.decode_v1(*pair, "tq_hb6", 64) for pair in ((k, k_norms), (v, v_norms)))
    expected, _ = oracle.decode(-q.astype(np.float16), keys, values, [83])
    assert oracle.error(found, expected) < 1e-5
    assert oracle.error(ops.flash_attn_vec_tq(q, k, k_norms, v, v_norms, 83, **asked), expected) > 0.1
