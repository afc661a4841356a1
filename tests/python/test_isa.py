"""Every instruction set the machine has gives the oracle's answers: each is chosen at start, so each gets a process."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import pyfa
from tests.python import prefill_model, reference

# From the least to the best.
ISAS = ("portable", "x86-64-v3", "avx512", "avx512bf16")


def available() -> tuple[str, ...]:
    best = pyfa.Device(provider="native").info().isa
    return ISAS[: ISAS.index(best) + 1] if best in ISAS else (best,)


def run_with(isa: str, code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYFA_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def check_everything() -> None:
    """Compare with the oracle; run in a process that has its instruction set already."""
    check_answers()
    check_rows_stand_alone()
    check_masks()


def check_answers() -> None:
    """Every head dimension, dtype and option, lengths around the panels of every vector width."""
    rng = np.random.default_rng(11)
    lengths = itertools.cycle(((1, 1), (31, 33), (13, 0), (64, 300), (65, 65), (25, 130), (100, 17)))
    options = itertools.cycle(OPTIONS)
    for dtype, head_dim, _ in itertools.product(reference.DTYPES.values(), HEAD_DIMS, range(len(OPTIONS))):
        (q_len, kv_len), chosen = next(lengths), set(next(options))
        q, k, v = operands(rng, dtype, q_len, kv_len, head_dim)
        given = arguments(rng, chosen, dtype, q_len, kv_len)
        out, lse = pyfa.attention(q, k, v, return_lse=True, **given)
        expected, expected_lse = reference.attention(q, k, v, **given)
        reference.assert_close(out, expected)
        reference.assert_lse_close(lse, expected_lse, dtype)


def check_rows_stand_alone() -> None:
    """A row's bits depend on nothing but the keys it attends: not on its neighbours, nor on NaN elsewhere."""
    rng = np.random.default_rng(12)
    q_len, kv_len = 150, 200
    for dtype, head_dim, chosen in itertools.product(reference.DTYPES.values(), (64, 80, 512), OPTIONS):
        q, k, v = operands(rng, dtype, q_len, kv_len, head_dim)
        given = arguments(rng, {*chosen, "causal"}, dtype, q_len, kv_len)
        offset = kv_len - q_len
        whole, lse = pyfa.attention(q, k, v, return_lse=True, **given)
        for cut in (1, 37, 64, 149):
            part = given | {"q_offset": offset + cut}
            if "mask" in given:
                part["mask"] = given["mask"][:, :, cut:]
            rest, rest_lse = pyfa.attention(q[:, :, cut:], k, v, return_lse=True, **part)
            assert rest.tobytes() == whole[:, :, cut:].tobytes()
            assert rest_lse.tobytes() == lse[:, :, cut:].tobytes()
        # Key 133 is attended by rows from 83 on, if by any; 134 and 190 are infinite in V and NaN in K.
        k[:, :, [134, 190]], v[:, :, [134, 190]] = np.nan, np.inf
        spoilt, spoilt_lse = pyfa.attention(q, k, v, return_lse=True, **given)
        assert spoilt[:, :, :84].tobytes() == whole[:, :, :84].tobytes()
        assert spoilt_lse[:, :, :84].tobytes() == lse[:, :, :84].tobytes()


def check_masks() -> None:
    """Tiles are judged as NumPy judges them, and masks filled as it fills them."""
    rng = np.random.default_rng(13)
    for tile, keys in itertools.product(((32, 16), (8, 64), (5, 7)), (1, 64, 257, 3000)):
        attended = np.repeat(rng.random((2, 1, 70, -(-keys // 32))) > 0.4, 32, axis=-1)[..., :keys]
        for dtype in reference.DTYPES.values():
            for mask in (attended, np.where(attended, 0, -np.inf).astype(dtype)):
                found = pyfa.ops.flash_attn_prefill_blk(mask, tile=tile)
                np.testing.assert_array_equal(found, prefill_model.blk_bytes(mask, tile))
            at = np.arange(70)[:, None] + 9 - np.arange(keys)
            excluded = (at < 0) | (at >= 40)
            filled = pyfa.ops.flash_attn_prefill_mask(70, keys, dtype=dtype, window=40, q_offset=9)
            np.testing.assert_array_equal(filled, np.where(excluded, -np.inf, 0).astype(dtype))
            filled = pyfa.ops.flash_attn_prefill_mask(70, keys, window=40, q_offset=9)
            np.testing.assert_array_equal(filled, ~excluded)


HEAD_DIMS = (32, 64, 80, 96, 128, 192, 256, 512)
OPTIONS = (
    (),
    ("causal",),
    ("bool",),
    ("additive",),
    ("window",),
    ("softcap", "sinks"),
    ("causal", "additive", "window", "softcap", "sinks"),
    ("causal", "bool", "window"),
)


def operands(rng, dtype, q_len, kv_len, head_dim):
    """Return q, k, v with grouped heads."""
    q = rng.standard_normal((2, 4, q_len, head_dim)).astype(dtype)
    k, v = rng.standard_normal((2, 2, 2, kv_len, head_dim)).astype(dtype)
    return q, k, v


def arguments(rng, chosen, dtype, q_len, kv_len):
    """Return keyword arguments of the chosen options."""
    attended = rng.random((2, 1, q_len, kv_len)) > 0.3
    every = {
        "causal": {"causal": True},
        "bool": {"mask": attended},
        "additive": {"mask": np.where(attended, 0.5, -np.inf).astype(dtype)},
        "window": {"window": (70, 3)},
        "softcap": {"softcap": 5.0},
        "sinks": {"sinks": np.array([0.5, -1.0, 2.0, -np.inf], np.float32)},
    }
    return {name: value for option in sorted(chosen) for name, value in every[option].items()}


@pytest.mark.skipif(pyfa.default_device().info().backend != "SoftMetal", reason="instruction sets are the CPU's")
class TestIsa:
    @pytest.mark.parametrize("isa", available())
    def test_answers_are_the_oracles(self, isa: str) -> None:
        code = (
            "import pyfa; from tests.python import test_isa as t; print(pyfa.Device().info().isa); t.check_everything()"
        )
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
