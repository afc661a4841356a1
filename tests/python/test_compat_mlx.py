"""`pyfa.compat.mlx`: MLX's conventions, against float64 and against MLX itself where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa.compat.mlx import scaled_dot_product_attention as attend
from tests.python import compat_reference, reference
from tests.python.dlpack_library import Tensor

SCALE = 0.2


@pytest.fixture
def problem(rng):
    """B 2, H 4, Hkv 2, qL 5, kL 9, D 64."""
    q = compat_reference.random(rng, 2, 4, 5, 64)
    k, v = compat_reference.random(rng, 2, 2, 2, 9, 64)
    return q, k, v


def expect(q, k, v, **options):
    """Return the float64 result; options may have a batch dimension."""
    return np.stack(
        [
            compat_reference.attend(*arrays, scale=SCALE, **{name: value[b] for name, value in options.items()})[0]
            for b, arrays in enumerate(zip(q, k, v, strict=True))
        ]
    )


@pytest.mark.parametrize("lengths", [(5, 9), (9, 9), (1, 9)])
def test_causal_is_aligned_to_the_bottom_right(rng, lengths):
    q_len, kv_len = lengths
    q = compat_reference.random(rng, 2, 4, q_len, 64)
    k, v = compat_reference.random(rng, 2, 2, 2, kv_len, 64)
    keep = np.arange(kv_len) <= np.arange(q_len)[:, None] + kv_len - q_len
    out = attend(q, k, v, scale=SCALE, mask="causal")
    reference.assert_close(out, expect(q, k, v, keep=[keep, keep]))


def test_causal_rows_before_the_first_key_are_zero(rng):
    q = compat_reference.random(rng, 1, 2, 5, 64)
    k, v = compat_reference.random(rng, 2, 1, 2, 3, 64)
    out = attend(q, k, v, scale=SCALE, mask="causal")
    assert (out[:, :, :2] == 0).all()
    reference.assert_close(out[:, :, 2:], attend(q[:, :, 2:], k, v, scale=SCALE, mask="causal").astype(np.float64))


@pytest.mark.parametrize("shape", [(), (9,), (5, 9), (4, 5, 9), (1, 1, 9), (2, 1, 5, 9), (1, 4, 5, 1), (2, 4, 5, 9)])
def test_masks_broadcast_with_heads_third_from_last(problem, rng, shape):
    full = (2, 4, 5, 9)
    mask = np.asarray(rng.random(shape) < 0.7)
    out = attend(*problem, scale=SCALE, mask=mask)
    reference.assert_close(out, expect(*problem, keep=np.broadcast_to(mask, full)))
    added = np.asarray(rng.standard_normal(shape), np.float32)
    out = attend(*problem, scale=SCALE, mask=added)
    reference.assert_close(out, expect(*problem, bias=np.broadcast_to(added, full)))


def test_rows_without_keys_are_zero(problem):
    assert (attend(*problem, scale=SCALE, mask=np.zeros((5, 9), bool)) == 0).all()


@pytest.mark.parametrize("dtype", reference.DTYPES)
def test_sinks_of_each_dtype(problem, rng, dtype):
    problem = [array.astype(reference.DTYPES[dtype]) for array in problem]
    sinks = compat_reference.random(rng, 4, dtype=dtype)
    out = attend(*problem, scale=SCALE, sinks=sinks, mask="causal")
    keep = np.arange(9) <= np.arange(5)[:, None] + 4
    expected = expect(*problem, keep=[keep] * 2, sinks=[sinks] * 2)
    assert out.dtype == reference.DTYPES[dtype]
    reference.assert_close(out, expected)


def test_half_precision_mask_of_float32_is_exact(problem, rng):
    for dtype in ("f16", "bf16"):
        mask = compat_reference.random(rng, 5, 9, dtype=dtype)
        expected = attend(*problem, scale=SCALE, mask=mask.astype(np.float32))
        np.testing.assert_array_equal(attend(*problem, scale=SCALE, mask=mask), expected)
    half = [array.astype(np.float16) for array in problem]
    with pytest.raises(pyfa.InvalidArgumentError, match="^scaled_dot_product_attention: mask: "):
        attend(*half, scale=SCALE, mask=np.zeros((5, 9), np.float32))


def test_tensors_of_any_library(problem):
    plain = attend(*problem, scale=SCALE, mask="causal")
    out = attend(*map(Tensor, problem), scale=SCALE, mask="causal")
    assert type(out) is Tensor
    np.testing.assert_array_equal(out._array, plain)


def test_any_strides(problem):
    q, k, v = (np.asfortranarray(array) for array in problem)
    np.testing.assert_array_equal(attend(q, k, v, scale=SCALE), attend(*problem, scale=SCALE))


def test_bad_input_is_named(problem):
    q, k, v = problem
    prefix = "^scaled_dot_product_attention: "
    with pytest.raises(TypeError, match="scale"):
        attend(q, k, v)
    with pytest.raises(
        pyfa.InvalidArgumentError, match=prefix + "mask: expected None, 'causal' or an array, got 'full'"
    ):
        attend(q, k, v, scale=SCALE, mask="full")
    with pytest.raises(pyfa.InvalidArgumentError, match=prefix + "mask: "):
        attend(q, k, v, scale=SCALE, mask=np.ones((4, 9), bool))
    with pytest.raises(pyfa.InvalidArgumentError, match=prefix + "mask: "):
        attend(q, k, v, scale=SCALE, mask=np.ones((1, 2, 4, 5, 9), bool))
    with pytest.raises(pyfa.InvalidArgumentError, match=prefix + "sinks: "):
        attend(q, k, v, scale=SCALE, sinks=np.ones(3, np.float32))
    with pytest.raises(pyfa.InvalidArgumentError, match=prefix + "q: expected a NumPy array or a DLPack tensor, got"):
        attend([1.0], k, v, scale=SCALE)
    with pytest.raises(pyfa.UnsupportedError, match=prefix + "stream: "):
        attend(q, k, v, scale=SCALE, stream="gpu")


class TestMLX:
    @pytest.fixture
    def mx(self):
        return pytest.importorskip("mlx.core")

    @pytest.fixture
    def arrays(self, mx, problem):
        return [mx.array(array) for array in problem]

    @staticmethod
    def same(mx, out, expected, dtype):
        assert out.dtype == dtype
        kind = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}[str(dtype).rsplit(".", 1)[-1]]
        wide = (np.asarray(array.astype(mx.float32)).astype(np.float64) for array in (out, expected))
        reference.assert_close(*wide, reference.DTYPES[kind])

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    @pytest.mark.parametrize("option", ["none", "causal", "bool", "additive", "heads", "sinks"])
    def test_equals_mlx(self, mx, arrays, rng, dtype, option):
        dtype = getattr(mx, dtype)
        arrays = [array.astype(dtype) for array in arrays]
        options = {
            "none": {},
            "causal": {"mask": "causal"},
            "bool": {"mask": mx.array(rng.random((2, 1, 5, 9)) < 0.7)},
            "additive": {"mask": mx.array(compat_reference.random(rng, 5, 9)).astype(dtype)},
            "heads": {"mask": mx.array(rng.random((4, 5, 9)) < 0.7)},
            "sinks": {"sinks": mx.array(compat_reference.random(rng, 4)).astype(dtype)},
        }[option]
        wide = {name: value.astype(mx.float32) if name == "sinks" else value for name, value in options.items()}
        expected = mx.fast.scaled_dot_product_attention(
            *(array.astype(mx.float32) for array in arrays),
            scale=SCALE,
            **{name: value.astype(mx.float32) if option == "additive" else value for name, value in wide.items()},
        )
        self.same(mx, attend(*arrays, scale=SCALE, **options), expected, dtype)

    def test_transposed(self, mx, arrays):
        q = mx.swapaxes(arrays[0], 1, 2)
        k, v = (mx.swapaxes(array, 1, 2)[:, :, :1] for array in arrays[1:])
        expected = mx.fast.scaled_dot_product_attention(q, k[:, :5], v[:, :5], scale=SCALE)
        self.same(mx, attend(q, k[:, :5], v[:, :5], scale=SCALE), expected, mx.float32)
