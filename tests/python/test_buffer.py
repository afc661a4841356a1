"""Buffers, views and pools."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

import pyfa
from tests.python.reference import DTYPES

INVALID = pyfa.InvalidArgumentError
ALL_DTYPES = [*DTYPES.values(), *map(np.dtype, (np.uint8, np.uint16, np.uint32, np.int32, np.bool_))]

needs_any_alignment = pytest.mark.skipif(sys.platform == "darwin", reason="Metal wraps whole pages only")


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_zeros(dtype, device):
    buffer = pyfa.Buffer.zeros((2, 3, 5), dtype, device=device)
    assert (buffer.dtype, buffer.shape, buffer.nbytes) == (dtype, (2, 3, 5), 30 * dtype.itemsize)
    assert (buffer.byte_offset, buffer.read_only) == (0, False)
    array = buffer.numpy()
    assert (array.dtype, array.shape) == (dtype, (2, 3, 5))
    assert not array.view(np.uint8).any()


def test_dtype_by_name(device):
    assert pyfa.Buffer.zeros(3, "bfloat16", device=device).dtype == DTYPES["bf16"]


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_from_array_copies(dtype, rng, device):
    array = rng.integers(0, 2, (4, 6)).astype(dtype)
    buffer = pyfa.Buffer.from_array(array, device=device)
    assert buffer.dtype == dtype
    array_before = array.copy()
    array[...] = 1 - array
    np.testing.assert_array_equal(buffer.read(), array_before)


def test_from_array_of_any_strides(rng, device):
    array = rng.standard_normal((5, 6, 7), dtype=np.float32)
    for view in (array.T, array[::-1], array[:, ::2, 1:3], np.broadcast_to(array[:1], (3, 6, 7))):
        np.testing.assert_array_equal(pyfa.Buffer.from_array(view, device=device).read(), view)


def test_from_array_as_bf16_bits(rng, device):
    array = rng.standard_normal(8).astype(DTYPES["bf16"])
    buffer = pyfa.Buffer.from_array(array.view(np.uint16), dtype="bfloat16", device=device)
    np.testing.assert_array_equal(buffer.read(), array)
    with pytest.raises(INVALID, match=r"^Buffer.from_array: dtype: expected 4 bytes an element.*bfloat16"):
        pyfa.Buffer.from_array(np.zeros(3, np.float32), dtype="bfloat16", device=device)


def test_numpy_is_a_view(device):
    buffer = pyfa.Buffer.zeros((2, 2), np.int32, device=device)
    buffer.numpy()[1, 0] = 42
    np.testing.assert_array_equal(buffer.numpy(), [[0, 0], [42, 0]])
    np.testing.assert_array_equal(buffer.read(), [[0, 0], [42, 0]])


def test_numpy_outlives_release(device):
    buffer = pyfa.Buffer.zeros(1 << 20, np.uint8, device=device)
    array = buffer.numpy()
    array[...] = 3
    buffer.release()
    del buffer
    gc.collect()
    other = pyfa.Buffer.zeros(1 << 20, np.uint8, device=device)
    other.fill(9)
    assert (array == 3).all()


def test_read_and_write_parts(device):
    buffer = pyfa.Buffer.from_array(np.arange(10, dtype=np.int32), device=device)
    part = np.zeros(3, np.int32)
    assert buffer.read(part, byte_offset=8) is part
    np.testing.assert_array_equal(part, [2, 3, 4])
    buffer.write(np.array([-1, -2], np.int32), byte_offset=32)
    buffer.write(b"\x07\0\0\0", byte_offset=0)
    np.testing.assert_array_equal(buffer.read(), [7, 1, 2, 3, 4, 5, 6, 7, -1, -2])


def test_fill(device):
    buffer = pyfa.Buffer.zeros(5, np.uint16, device=device)
    buffer.fill(0xAB)
    assert (buffer.read() == 0xABAB).all()


@needs_any_alignment
def test_wrap_shares_memory(device):
    array = np.zeros((3, 4), np.float32)
    buffer = pyfa.Buffer.wrap(array, device=device)
    array[1, 2] = 5
    assert buffer.read()[1, 2] == 5
    buffer.numpy()[0, 0] = 6
    assert array[0, 0] == 6


@needs_any_alignment
def test_wrap_keeps_the_array(device):
    array = np.full(1000, 4, np.float32)
    gone = weakref.ref(array)
    view = pyfa.Buffer.wrap(array, device=device).view(10)
    del array
    gc.collect()
    assert gone() is not None
    assert (view.read() == 4).all()
    over = view.numpy()
    view.release()
    del view
    gc.collect()
    assert (over == 4).all()
    del over
    gc.collect()
    assert gone() is None


@needs_any_alignment
def test_wrap_of_read_only_memory(device):
    array = np.arange(4, dtype=np.float32)
    array.flags.writeable = False
    buffer = pyfa.Buffer.wrap(array, device=device)
    assert buffer.read_only
    assert not buffer.numpy().flags.writeable
    for change in (lambda: buffer.fill(1), lambda: buffer.write(np.ones(4, np.float32))):
        with pytest.raises(INVALID, match="read-only"):
            change()
    np.testing.assert_array_equal(array, [0, 1, 2, 3])


@needs_any_alignment
def test_wrap_of_misaligned_memory(device):
    with pytest.raises(INVALID, match="aligned"):
        pyfa.Buffer.wrap(np.zeros(17, np.uint8)[1:].view(np.float32), device=device)


def test_wrap_of_strided_memory(device):
    with pytest.raises(INVALID, match=r"^Buffer.wrap: array: .*C-contiguous.*ascontiguousarray"):
        pyfa.Buffer.wrap(np.zeros((4, 4), np.float32).T, device=device)


def test_views_nest(device):
    buffer = pyfa.Buffer.from_array(np.arange(24, dtype=np.int32), device=device)
    outer = buffer.view((3, 4), byte_offset=16)
    inner = outer.view(2, byte_offset=20)
    assert (inner.byte_offset, inner.shape) == (36, (2,))
    np.testing.assert_array_equal(inner.read(), [9, 10])
    inner.numpy()[0] = -1
    assert buffer.read()[9] == -1
    as_bytes = outer.view(4, np.uint8)
    np.testing.assert_array_equal(as_bytes.read(), [4, 0, 0, 0])


def test_views_outlive_their_buffer(device):
    buffer = pyfa.Buffer.from_array(np.arange(8, dtype=np.int32), device=device)
    view = buffer.view(4, byte_offset=16)
    buffer.release()
    np.testing.assert_array_equal(view.read(), [4, 5, 6, 7])


@pytest.mark.parametrize(
    ("shape", "byte_offset", "words"),
    [
        (9, 0, "within 32 bytes, got [9] i32, 36 bytes"),
        (2, 28, "within 32 bytes, got [2] i32, 8 bytes, at byte 28"),
        (8, 4, "within 32 bytes, got [8] i32, 32 bytes, at byte 4"),
        (1, 36, "within 32 bytes"),
        (2**62, 0, "shape"),
        (1, 2**62, "within 32 bytes"),
        (1, 2, "byte_offset: expected an address aligned to 4 bytes, got 2"),
        (0, 0, "positive"),
    ],
)
def test_views_stay_inside(shape, byte_offset, words, device):
    buffer = pyfa.Buffer.zeros(8, np.int32, device=device)
    with pytest.raises(INVALID) as caught:
        buffer.view(shape, byte_offset=byte_offset)
    assert words in str(caught.value)


def test_map_file(tmp_path, device):
    path = tmp_path / "values.bin"
    array = np.arange(5000, dtype=np.float32)
    array.tofile(path)
    buffer = pyfa.Buffer.map_file(path, (10, 20), np.float32, offset=4 * 4000, device=device)
    assert buffer.read_only
    np.testing.assert_array_equal(buffer.read(), array[4000:4200].reshape(10, 20))
    with pytest.raises(INVALID, match="read-only"):
        buffer.fill(0)
    path.unlink()
    np.testing.assert_array_equal(buffer.numpy(), array[4000:4200].reshape(10, 20))


def test_map_file_errors(tmp_path, device):
    path = tmp_path / "values.bin"
    path.write_bytes(bytes(100))
    with pytest.raises(pyfa.FileError, match=r"no-such-file"):
        pyfa.Buffer.map_file(tmp_path / "no-such-file", 1, np.float32, device=device)
    with pytest.raises(INVALID, match=r"^buffer_map_file: shape: .*\[26\] f32.*100 bytes.*got 104"):
        pyfa.Buffer.map_file(path, 26, np.float32, device=device)
    with pytest.raises(INVALID, match="offset"):
        pyfa.Buffer.map_file(path, 1, np.float32, offset=2, device=device)
    with pytest.raises(INVALID, match=r"^Buffer.map_file: offset: expected 0 or more, got -4"):
        pyfa.Buffer.map_file(path, 1, np.float32, offset=-4, device=device)
    with pytest.raises(INVALID, match=r"^Buffer.map_file: path: expected a str without NUL"):
        pyfa.Buffer.map_file("a\0b", 1, np.float32, device=device)


@pytest.mark.parametrize("shape", [0, (2, 0), -1, (3, -4), (), (1,) * 9, 2**62, (2**32, 2**32), (2**31, 2**31, 2**31)])
def test_sizes_that_cannot_be(shape, device):
    with pytest.raises(INVALID, match="^buffer_create: "):
        pyfa.Buffer.zeros(shape, np.float32, device=device)


@pytest.mark.parametrize("shape", ["3", 1.5, (2, 2.0), None, 2**64])
def test_shapes_that_are_none(shape, device):
    with pytest.raises(INVALID, match=r"^Buffer.zeros: shape: expected an integer"):
        pyfa.Buffer.zeros(shape, np.float32, device=device)


def test_more_memory_than_there_is(device):
    with pytest.raises((pyfa.DeviceError, INVALID), match="buffer_create"):
        pyfa.Buffer.zeros(2**50, np.uint8, device=device)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, "no such dtype", ">f4", object])
def test_dtypes_without_a_code(dtype, device):
    with pytest.raises(pyfa.UnsupportedError, match=r"^Buffer.zeros: dtype: expected a dtype of float32, .*, got "):
        pyfa.Buffer.zeros(3, dtype, device=device)


def test_reads_and_writes_stay_inside(device):
    buffer = pyfa.Buffer.zeros(4, np.float32, device=device)
    with pytest.raises(INVALID, match="16"):
        buffer.read(np.zeros(5, np.float32))
    with pytest.raises(INVALID, match="16"):
        buffer.write(np.ones(2, np.float32), byte_offset=12)
    with pytest.raises(INVALID, match=r"^Buffer.write: byte_offset: expected 0 or more, got -1"):
        buffer.write(b"abc", byte_offset=-1)
    assert not buffer.read().any()


def test_no_values_are_converted(device):
    buffer = pyfa.Buffer.zeros(4, np.float32, device=device)
    with pytest.raises(INVALID, match=r"^Buffer.write: data: expected dtype float32, got float64"):
        buffer.write(np.ones(4))
    with pytest.raises(INVALID, match=r"^Buffer.read: out: expected dtype float32, got int32"):
        buffer.read(np.zeros(4, np.int32))
    with pytest.raises(INVALID, match=r"^Buffer.read: out: expected a C-contiguous"):
        buffer.read(np.zeros(8, np.float32)[::2])
    out = np.zeros(4, np.float32)
    out.flags.writeable = False
    with pytest.raises(INVALID, match=r"^Buffer.read: out: expected a writeable"):
        buffer.read(out)
    with pytest.raises(INVALID, match=r"^Buffer.fill: value: expected a byte"):
        buffer.fill(256)


USES = {
    "view": lambda buffer: buffer.view(1),
    "numpy": lambda buffer: buffer.numpy(),
    "read": lambda buffer: buffer.read(),
    "write": lambda buffer: buffer.write(b"1234"),
    "fill": lambda buffer: buffer.fill(0),
    "__enter__": lambda buffer: buffer.__enter__(),
}


@pytest.mark.parametrize("name", USES)
def test_use_after_release(name, device):
    buffer = pyfa.Buffer.zeros(4, np.float32, device=device)
    buffer.release()
    buffer.release()
    assert buffer.released
    assert repr(buffer) == "<pyfa.Buffer [4] float32 released>"
    with pytest.raises(INVALID, match=rf"^Buffer.{name}: Buffer: .*got a Buffer used after release"):
        USES[name](buffer)


def test_context_manager_releases(device):
    with pyfa.Buffer.zeros(4, np.float32, device=device) as buffer:
        assert not buffer.released
    assert buffer.released


def test_memory_is_given_back(device):
    before = device.info().allocated_bytes
    buffers = [pyfa.Buffer.zeros(1 << 20, np.uint8, device=device) for _ in range(8)]
    assert device.info().allocated_bytes >= before + (8 << 20)
    for buffer in buffers:
        buffer.release()
    assert device.info().allocated_bytes == before


class TestPool:
    @pytest.fixture
    def pool(self, device):
        with pyfa.BufferPool(device) as pool:
            yield pool

    def test_counts(self, pool):
        first, second = pool.alloc((10, 10), np.float32), pool.alloc(100, np.float32)
        assert (pool.in_use_count, pool.free_count, pool.free_bytes) == (2, 0, 0)
        pool.recycle(first)
        assert (pool.in_use_count, pool.free_count, pool.free_bytes) == (1, 1, 512)
        third = pool.alloc(128, np.float32)
        assert (pool.in_use_count, pool.free_count) == (2, 0)
        assert (third.shape, third.nbytes) == ((128,), 512)
        pool.reset()
        assert (pool.in_use_count, pool.free_count) == (0, 2)
        pool.clear()
        assert (pool.free_count, pool.free_bytes) == (0, 0)
        assert not second.released

    def test_zeroed(self, pool):
        for zeroed, expected in ((True, 0), (False, 9)):
            buffer = pool.alloc(64, np.uint8)
            buffer.fill(9)
            pool.recycle(buffer)
            assert (pool.alloc(64, np.uint8, zeroed=zeroed).read() == expected).all()
            pool.reset()

    def test_recycled_buffers_are_refused(self, pool):
        buffer = pool.alloc(64, np.uint8)
        view = buffer.view(4)
        pool.recycle(buffer)
        for use in (buffer.read, view.read, lambda: buffer.fill(1), lambda: view.view(1), lambda: pool.recycle(buffer)):
            with pytest.raises(INVALID):
                use()

    def test_foreign_buffers_are_refused(self, pool, device):
        with pytest.raises(INVALID, match="^pool_recycle: buffer: "):
            pool.recycle(pyfa.Buffer.zeros(4, np.uint8, device=device))
        with pyfa.BufferPool(device) as other, pytest.raises(INVALID, match="^pool_recycle: buffer: "):
            pool.recycle(other.alloc(4, np.uint8))
        with pytest.raises(INVALID, match=r"^BufferPool.recycle: buffer: expected a Buffer, got int"):
            pool.recycle(3)

    def test_sizes_that_cannot_be(self, pool):
        for shape in (0, -1, (2**32, 2**32)):
            with pytest.raises(INVALID):
                pool.alloc(shape, np.float32)
        assert pool.in_use_count == 0

    def test_use_after_release(self, device):
        pool = pyfa.BufferPool(device)
        buffer = pool.alloc(4, np.uint8)
        pool.release()
        for use in (lambda: pool.alloc(4, np.uint8), lambda: pool.recycle(buffer), pool.reset, pool.clear):
            with pytest.raises(INVALID, match="BufferPool used after release"):
                use()
        with pytest.raises(INVALID, match="BufferPool used after release"):
            _ = pool.free_count
