"""pyfa.attention and the caller's memory: strides, layouts, out, broadcasting."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from tests.python import reference


def views(array):
    """The same values in other memory layouts, the last dimension contiguous."""
    batch, heads, length, dim = array.shape
    yield "as is", array
    yield "length before heads", np.ascontiguousarray(array.swapaxes(1, 2)).swapaxes(1, 2)
    yield "heads before batch", np.ascontiguousarray(array.swapaxes(0, 1)).swapaxes(0, 1)
    wide = np.full((batch, heads, length, dim + 3), np.nan, array.dtype)
    wide[..., :dim] = array
    yield "padded rows", wide[..., :dim]
    long = np.full((batch, heads, length * 2 + 1, dim), np.nan, array.dtype)
    long[:, :, 1::2] = array
    yield "every second row", long[:, :, 1::2]
    packed = np.full((batch, length, 3, heads, dim), np.nan, array.dtype)
    packed[:, :, 1] = array.swapaxes(1, 2)
    yield "part of packed qkv", packed[:, :, 1].swapaxes(1, 2)


VIEWS = [name for name, _ in views(np.zeros((1, 1, 1, 1)))]


@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize("name", VIEWS)
def test_strided_operands(rng, dtype, name, device):
    q, k, v = (
        rng.standard_normal((2, heads, length, 64)).astype(reference.DTYPES[dtype])
        for heads, length in ((4, 40), (2, 70), (2, 70))
    )
    plain = pyfa.attention(q, k, v, causal=True, device=device)
    strided = [dict(views(x))[name] for x in (q, k, v)]
    np.testing.assert_array_equal(pyfa.attention(*strided, causal=True, device=device), plain)


@pytest.mark.parametrize("name", VIEWS)
def test_strided_out(rng, name, device):
    q, k, v = (rng.standard_normal((2, 3, 40, 64), dtype=np.float32) for _ in range(3))
    plain = pyfa.attention(q, k, v, device=device)
    out = dict(views(np.full_like(q, 7)))[name]
    assert pyfa.attention(q, k, v, out=out, device=device) is out
    np.testing.assert_array_equal(out, plain)


def test_out_leaves_what_lies_between_its_rows(rng, device):
    q = rng.standard_normal((1, 2, 40, 64), dtype=np.float32)
    wide = np.full((1, 2, 81, 80), 7, np.float32)
    pyfa.attention(q, q, q, out=wide[:, :, 1::2, :64], device=device)
    assert not (wide[:, :, 1::2, :64] == 7).any()
    wide[:, :, 1::2, :64] = 7
    assert (wide == 7).all()


def test_broadcast_operands(rng, device):
    q = rng.standard_normal((3, 4, 20, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 1, 1, 30, 64), dtype=np.float32)
    shared_k, shared_v = (np.broadcast_to(x, (3, 4, 30, 64)) for x in (k, v))
    out = pyfa.attention(q, shared_k, shared_v, device=device)
    reference.assert_close(out, reference.attention(q, shared_k, shared_v)[0])


def test_broadcast_mask_by_strides(rng, device):
    q = rng.standard_normal((2, 3, 20, 64), dtype=np.float32)
    row = rng.random(20) < 0.5
    out = pyfa.attention(q, q, q, mask=np.broadcast_to(row, (2, 3, 20, 20)), device=device)
    np.testing.assert_array_equal(out, pyfa.attention(q, q, q, mask=row[None], device=device))


def test_strided_mask(rng, device):
    q = rng.standard_normal((2, 3, 20, 64), dtype=np.float32)
    mask = rng.random((3, 2, 50, 33)) < 0.5
    view = mask.swapaxes(0, 1)[:, :, 5:45:2, 3:23]
    out = pyfa.attention(q, q, q, mask=view, device=device)
    reference.assert_close(out, reference.attention(q, q, q, mask=view)[0])


def test_read_only_operands(qkv, device):
    plain = pyfa.attention(*qkv, device=device)
    for array in qkv:
        array.flags.writeable = False
    np.testing.assert_array_equal(pyfa.attention(*qkv, device=device), plain)


def test_memory_mapped_operands(qkv, tmp_path, device):
    plain = pyfa.attention(*qkv, device=device)
    mapped = []
    for name, array in zip("qkv", qkv, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    out = pyfa.attention(*mapped, device=device)
    assert type(out) is np.ndarray
    np.testing.assert_array_equal(out, plain)


def test_strides_of_single_elements_do_not_matter(rng, device):
    """NumPy reports any stride for an extent of 1."""
    q = rng.standard_normal((1, 1, 7, 64), dtype=np.float32)
    odd = np.lib.stride_tricks.as_strided(q, q.shape, (-3, 5, *q.strides[2:]))
    np.testing.assert_array_equal(pyfa.attention(odd, odd, odd, device=device), pyfa.attention(q, q, q, device=device))


def test_operands_are_not_changed(qkv, device):
    copies = [array.copy() for array in qkv]
    pyfa.attention(*qkv, causal=True, return_lse=True, device=device)
    for array, copy in zip(qkv, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_out_of_uint16_bits(qkv, device):
    q, k, v = (array.astype(reference.DTYPES["bf16"]) for array in qkv)
    bits = [array.view(np.uint16) for array in (q, k, v)]
    plain = pyfa.attention(q, k, v, device=device)
    from_bits = pyfa.attention(*bits, device=device)
    assert from_bits.dtype == np.uint16
    np.testing.assert_array_equal(from_bits, plain.view(np.uint16))
    out = np.zeros(q.shape, np.uint16)
    assert pyfa.attention(q, k, v, out=out, device=device) is out
    np.testing.assert_array_equal(out, plain.view(np.uint16))


def test_additive_mask_of_uint16_bits(qkv, rng, device):
    q, k, v = (array.astype(reference.DTYPES["bf16"]) for array in qkv)
    mask = rng.standard_normal((5, 9)).astype(q.dtype)
    np.testing.assert_array_equal(
        pyfa.attention(q, k, v, mask=mask.view(np.uint16), device=device),
        pyfa.attention(q, k, v, mask=mask, device=device),
    )


@pytest.mark.parametrize("return_lse", [False, True])
def test_results_with_out(qkv, return_lse, device):
    q, k, v = qkv
    out = np.empty_like(q)
    result = pyfa.attention(q, k, v, out=out, return_lse=return_lse, device=device)
    assert (result[0] if return_lse else result) is out
    reference.assert_close(out, reference.attention(q, k, v)[0])
