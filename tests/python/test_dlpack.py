"""Tensors of other libraries, in and out through DLPack."""

from __future__ import annotations

import gc
import sys
import types
import weakref

import numpy as np
import pytest

import pyfa
from tests.python import dlpack_library, reference
from tests.python.dlpack_library import Tensor


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("dtype", reference.DTYPES)
def test_round_trip(qkv, dtype, versioned, device):
    arrays = [array.astype(reference.DTYPES[dtype]) for array in qkv]
    plain, plain_lse = pyfa.attention(*arrays, causal=True, return_lse=True, device=device)
    tensors = [Tensor(array, versioned=versioned) for array in arrays]
    out, lse = pyfa.attention(*tensors, causal=True, return_lse=True, device=device)
    assert type(out) is type(lse) is Tensor
    assert out._array.dtype == plain.dtype
    np.testing.assert_array_equal(out._array, plain)
    np.testing.assert_array_equal(lse._array, plain_lse)


def test_bits_stay_bits(qkv, device):
    arrays = [array.astype(reference.DTYPES["bf16"]) for array in qkv]
    out = pyfa.attention(*(Tensor(array.view(np.uint16)) for array in arrays), device=device)
    assert out._array.dtype == np.uint16
    np.testing.assert_array_equal(out._array, pyfa.attention(*arrays, device=device).view(np.uint16))


def test_masks(qkv, rng, device):
    mask = rng.random((5, 9)) < 0.5
    knows_bool = np.lib.NumpyVersion(np.__version__) >= "1.25.0"
    for dtype in (*[np.bool_] * knows_bool, np.uint8, np.float32):
        plain = pyfa.attention(*qkv, mask=mask.astype(dtype), device=device)
        mixed = pyfa.attention(*qkv, mask=Tensor(mask.astype(dtype)), device=device)
        np.testing.assert_array_equal(mixed, plain)


def test_strided(rng, device):
    packed = rng.standard_normal((2, 30, 3, 4, 64), dtype=np.float32)
    q, k, v = (packed[:, :, index] for index in range(3))
    out = pyfa.attention(Tensor(q), Tensor(k), Tensor(v), layout="blhd", device=device)
    np.testing.assert_array_equal(out._array, pyfa.attention(q, k, v, layout="blhd", device=device))


def test_no_copy_is_made_of_operands(qkv, device):
    report = pyfa.explain(*(Tensor(array) for array in qkv), device=device)
    assert {copy.operand for copy in report.copies} <= ({"q", "k", "v", "o"} if sys.platform == "darwin" else set())


def test_mixed_with_numpy(qkv, device):
    q, k, v = qkv
    plain = pyfa.attention(q, k, v, device=device)
    assert type(pyfa.attention(q, Tensor(k), Tensor(v), device=device)) is np.ndarray
    np.testing.assert_array_equal(pyfa.attention(Tensor(q), k, v, device=device)._array, plain)


def test_out(qkv, device):
    out = np.zeros(qkv[0].shape, np.float32)
    tensor = Tensor(out)
    assert pyfa.attention(*qkv, out=tensor, device=device) is tensor
    np.testing.assert_array_equal(out, pyfa.attention(*qkv, device=device))


def test_read_only_out(qkv, device):
    out = np.full(qkv[0].shape, 7, np.float32)
    out.flags.writeable = False
    try:
        out.__dlpack__(max_version=(1, 0))
    except (BufferError, TypeError):
        pytest.skip("this NumPy exports no read-only arrays")
    with pytest.raises(pyfa.InvalidArgumentError, match="^attention: o: .*read-only"):
        pyfa.attention(*qkv, out=Tensor(out), device=device)
    assert (out == 7).all()


def test_exports_are_given_back(qkv, device):
    array = qkv[0].copy()
    tensor = Tensor(array)
    gone = weakref.ref(array)
    pyfa.attention(tensor, *qkv[1:], device=device)
    assert tensor.exports == 1
    del array, tensor
    gc.collect()
    assert gone() is None


def test_results_outlive_the_call(qkv, device):
    plain = pyfa.attention(*qkv, device=device)
    kept = [pyfa.attention(*(Tensor(array) for array in qkv), device=device) for _ in range(20)]
    gc.collect()
    for tensor in kept:
        np.testing.assert_array_equal(tensor._array, plain)


def test_other_devices_are_refused(qkv, device):
    with pytest.raises(pyfa.UnsupportedError, match="^attention: k: .*CPU.*device type 2"):
        pyfa.attention(qkv[0], Tensor(qkv[1], device_type=2), qkv[2], device=device)


def test_other_dtypes_are_refused(qkv, device):
    with pytest.raises(pyfa.UnsupportedError, match="^attention: q: .*float32.*64 bits"):
        pyfa.attention(Tensor(qkv[0].astype(np.float64)), *qkv[1:], device=device)


def test_strides_are_refused(qkv, device):
    with pytest.raises(pyfa.InvalidArgumentError, match="^attention: q: .*contiguous"):
        pyfa.attention(Tensor(qkv[0][..., ::2]), *qkv[1:], device=device)


def test_what_its_library_does_not_export_is_refused(qkv, device):
    with pytest.raises(pyfa.InvalidArgumentError, match="^attention: v: .*requires grad"):
        pyfa.attention(*qkv[:2], dlpack_library.Unexportable(qkv[2]), device=device)


def test_a_library_without_from_dlpack_is_refused(qkv, device):
    class Homeless(Tensor):
        pass

    Homeless.__module__ = "no_such_library"
    with pytest.raises(pyfa.InvalidArgumentError, match="^attention: q: .*from_dlpack.*no_such_library"):
        pyfa.attention(Homeless(qkv[0]), *qkv[1:], device=device)


def test_array_api_namespace_comes_first(qkv, device):
    class Namespaced(Tensor):
        def __array_namespace__(self):
            return types.SimpleNamespace(from_dlpack=lambda exporter: ("mine", np.from_dlpack(exporter)))

    kind, out = pyfa.attention(Namespaced(qkv[0]), *qkv[1:], device=device)
    assert kind == "mine"
    np.testing.assert_array_equal(out, pyfa.attention(*qkv, device=device))


class TestTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_round_trip(self, torch, rng, dtype, device):
        q, k, v = (
            torch.from_numpy(rng.standard_normal((2, h, 20, 64), dtype=np.float32)).to(getattr(torch, dtype))
            for h in (4, 2, 2)
        )
        out, lse = pyfa.attention(q, k, v, causal=True, return_lse=True, device=device)
        assert (out.dtype, lse.dtype) == (q.dtype, torch.float32)
        expected = torch.nn.functional.scaled_dot_product_attention(
            q.double(), k.double(), v.double(), is_causal=True, enable_gqa=True
        )
        kind = reference.DTYPES[{"float32": "f32", "float16": "f16", "bfloat16": "bf16"}[dtype]]
        reference.assert_close(out.double().numpy(), expected.numpy(), kind)

    def test_out_and_mask(self, torch, qkv, device):
        q, k, v = (torch.from_numpy(array) for array in qkv)
        mask = torch.rand(5, 9) < 0.5
        out = torch.empty_like(q)
        assert pyfa.attention(q, k, v, mask=mask, out=out, device=device) is out
        np.testing.assert_array_equal(out.numpy(), pyfa.attention(*qkv, mask=mask.numpy(), device=device))

    def test_transposed(self, torch, rng, device):
        q = torch.from_numpy(rng.standard_normal((2, 20, 4, 64), dtype=np.float32)).transpose(1, 2)
        out = pyfa.attention(q, q, q, device=device)
        np.testing.assert_array_equal(out.numpy(), pyfa.attention(*[q.numpy()] * 3, device=device))

    def test_gradients_are_refused(self, torch, qkv, device):
        q = torch.from_numpy(qkv[0]).requires_grad_()
        with pytest.raises(pyfa.InvalidArgumentError, match="^attention: q: .*grad"):
            pyfa.attention(q, *qkv[1:], device=device)
