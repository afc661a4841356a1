"""Device memory."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyfa import _dtypes
from pyfa._device import Device, default_device
from pyfa._errors import invalid
from pyfa._ffi import CData, check, ffi, integer, integers, lib, result, text
from pyfa._handle import Handle, live

if TYPE_CHECKING:
    from collections.abc import Sequence


class Buffer(Handle):
    """A contiguous array in device memory, or a window into one.

    Made by `zeros`, `from_array`, `wrap`, `map_file`, `view` or `BufferPool.alloc`. Arrays, dtypes and shapes are
    NumPy's; a uint16 array is just that unless ``dtype="bfloat16"`` says that it holds the bits of bf16 values.

    Notes
    -----
    Host access and submitted work are not ordered with each other: wait for the encoder first.

    Examples
    --------
    >>> with pyfa.Buffer.zeros((2, 3), np.float32) as buffer:
    ...     buffer.numpy()[1] = 7
    ...     float(buffer.read().sum())
    21.0
    """

    def __init__(self, cdata: CData, owner: object = None) -> None:
        super().__init__(cdata, lib.fa_buffer_release)
        info = ffi.new("fa_buffer_info *")
        check(lib.fa_buffer_get_info(cdata, info))
        # Memory that is not the device's own lives as long as its owner.
        self._owner = owner
        self._dtype = _dtypes.NUMPY[info.dtype]
        self._shape: tuple[int, ...] = tuple(info.shape[0 : info.rank])
        self._nbytes = int(info.byte_count)
        self._byte_offset = int(info.byte_offset)
        self._read_only = bool(info.read_only)

    @classmethod
    def zeros(cls, shape: int | Sequence[int], dtype: npt.DTypeLike, *, device: Device | None = None) -> Buffer:
        """Make a new buffer, filled with zeros.

        Parameters
        ----------
        shape : int or sequence of int
            Extents, each at least 1.
        dtype : dtype
            Anything NumPy takes for one of the library's element types, ``"bfloat16"`` included.
        device : Device, optional
            Where the memory is; `default_device` by default.

        Raises
        ------
        InvalidArgumentError
            A shape that cannot be.
        UnsupportedError
            A dtype that the library does not know.
        DeviceError
            The device has not that much memory.
        """
        operation = "Buffer.zeros"
        arguments = typed_shape(operation, dtype, shape)
        handle = live(device or default_device(), operation)
        return cls(result("fa_buffer *", lib.fa_buffer_create, handle, *arguments))

    @classmethod
    def from_array(
        cls, array: npt.NDArray[Any], *, dtype: npt.DTypeLike | None = None, device: Device | None = None
    ) -> Buffer:
        """Make a new buffer with a copy of an array.

        Parameters
        ----------
        array : numpy.ndarray
            Any strides; the copy is contiguous.
        dtype : dtype, optional
            Another dtype of the same width, to take the bits as; no values are converted.
        device : Device, optional
            Where the memory is; `default_device` by default.
        """
        operation = "Buffer.from_array"
        source = np.ascontiguousarray(_array(operation, array)).reshape(array.shape)
        arguments = typed_shape(operation, _bits_as(operation, source.dtype, dtype), source.shape)
        handle = live(device or default_device(), operation)
        buffer = cls(result("fa_buffer *", lib.fa_buffer_create, handle, *arguments))
        check(lib.fa_buffer_write(live(buffer, operation), 0, _pointer(source), source.nbytes))
        return buffer

    @classmethod
    def wrap(
        cls, array: npt.NDArray[Any], *, dtype: npt.DTypeLike | None = None, device: Device | None = None
    ) -> Buffer:
        """Make a buffer of an array's own memory, without a copy.

        Parameters
        ----------
        array : numpy.ndarray
            C-contiguous; kept alive by the buffer. On a Mac its memory must start and end on page boundaries. If it
            is not writeable the buffer is read-only.
        dtype : dtype, optional
            Another dtype of the same width, to take the bits as.
        device : Device, optional
            What is to use the memory; `default_device` by default.
        """
        operation = "Buffer.wrap"
        _array(operation, array)
        if not array.flags.c_contiguous:
            raise invalid(
                operation,
                "array",
                "a C-contiguous array (numpy.ascontiguousarray makes a copy)",
                f"strides {list(array.strides)} for shape {list(array.shape)}",
            )
        arguments = typed_shape(operation, _bits_as(operation, array.dtype, dtype), array.shape)
        handle = live(device or default_device(), operation)
        read_only = not array.flags.writeable
        pointer = _pointer(array)
        wrapped = result("fa_buffer *", lib.fa_buffer_wrap, handle, pointer, array.nbytes, *arguments, read_only)
        return cls(wrapped, array)

    @classmethod
    def map_file(
        cls,
        path: str | os.PathLike[str],
        shape: int | Sequence[int],
        dtype: npt.DTypeLike,
        *,
        offset: int = 0,
        device: Device | None = None,
    ) -> Buffer:
        """Map part of a file, read-only.

        Parameters
        ----------
        path : str or path-like
            The file.
        shape : int or sequence of int
            Extents, each at least 1.
        dtype : dtype
            What the file holds.
        offset : int
            Where the data starts, in bytes; a multiple of the dtype's size.
        device : Device, optional
            What is to use the memory; `default_device` by default.

        Raises
        ------
        FileError
            The file cannot be opened or mapped.
        InvalidArgumentError
            It is too short, or the offset is no multiple of the dtype's size.
        """
        operation = "Buffer.map_file"
        name = text(operation, "path", os.fspath(path))
        start = _unsigned(operation, "offset", offset)
        arguments = typed_shape(operation, dtype, shape)
        handle = live(device or default_device(), operation)
        return cls(result("fa_buffer *", lib.fa_buffer_map_file, handle, name, start, *arguments))

    def view(self, shape: int | Sequence[int], dtype: npt.DTypeLike | None = None, *, byte_offset: int = 0) -> Buffer:
        """Make a window that shares this one's memory.

        Parameters
        ----------
        shape : int or sequence of int
            Extents of the window.
        dtype : dtype, optional
            What to take its bytes as; the buffer's own by default.
        byte_offset : int
            Where it starts, counted from the start of this one; a multiple of the dtype's size.

        Returns
        -------
        Buffer
            It keeps the memory alive by itself.
        """
        operation = "Buffer.view"
        start = _unsigned(operation, "byte_offset", byte_offset)
        arguments = typed_shape(operation, self._dtype if dtype is None else dtype, shape)
        window = result("fa_buffer *", lib.fa_buffer_view, live(self, operation), start, *arguments)
        return Buffer(window, self._owner)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents, in elements."""
        return self._shape

    @property
    def nbytes(self) -> int:
        """Bytes of this window."""
        return self._nbytes

    @property
    def byte_offset(self) -> int:
        """Where this window starts in its allocation."""
        return self._byte_offset

    @property
    def read_only(self) -> bool:
        """Whether neither the host nor a kernel may write to it."""
        return self._read_only

    def numpy(self) -> npt.NDArray[Any]:
        """Return an array over the buffer's memory, without a copy.

        Returns
        -------
        numpy.ndarray
            It keeps the memory alive, also after `release`, and is read-only if the buffer is.
        """
        handle = live(self, "Buffer.numpy")
        contents = result("void *", lib.fa_buffer_get_contents, handle)
        check(lib.fa_buffer_retain(handle))
        reference = _Reference(ffi.cast("fa_buffer *", handle), self._owner)
        memory = ffi.buffer(ffi.gc(contents, reference.give_back), self._nbytes)
        array = np.frombuffer(memory, self._dtype).reshape(self._shape)
        array.flags.writeable = not self._read_only
        return array

    def read(self, out: npt.NDArray[Any] | None = None, *, byte_offset: int = 0) -> npt.NDArray[Any]:
        """Copy bytes to the host.

        Parameters
        ----------
        out : numpy.ndarray, optional
            C-contiguous and of the buffer's dtype; as many bytes as it has are copied into it. By default a new array
            of the buffer's shape.
        byte_offset : int
            Where to start in the buffer.

        Returns
        -------
        numpy.ndarray
            `out`, or the new array.
        """
        operation = "Buffer.read"
        handle = live(self, operation)
        target = np.empty(self._shape, self._dtype) if out is None else self._checked(operation, "out", out)
        if not target.flags.writeable:
            raise invalid(operation, "out", "a writeable array", "a read-only one")
        start = _unsigned(operation, "byte_offset", byte_offset)
        check(lib.fa_buffer_read(handle, start, _pointer(target), target.nbytes))
        return target

    def write(self, data: npt.NDArray[Any] | bytes, *, byte_offset: int = 0) -> None:
        """Copy bytes from the host.

        Parameters
        ----------
        data : numpy.ndarray or bytes
            A C-contiguous array of the buffer's dtype, or plain bytes.
        byte_offset : int
            Where to start in the buffer.
        """
        operation = "Buffer.write"
        source = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else self._checked(operation, "data", data)
        start = _unsigned(operation, "byte_offset", byte_offset)
        check(lib.fa_buffer_write(live(self, operation), start, _pointer(source), source.nbytes))

    def fill(self, value: int) -> None:
        """Set every byte.

        Parameters
        ----------
        value : int
            0 ... 255.
        """
        operation = "Buffer.fill"
        byte = integer(operation, "value", value)
        if not 0 <= byte < 256:
            raise invalid(operation, "value", "a byte, 0 ... 255", str(byte))
        check(lib.fa_buffer_fill(live(self, operation), byte))

    def _checked(self, operation: str, argument: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if _array(operation, array, argument).dtype not in (self._dtype, _bits(self._dtype)):
            raise invalid(operation, argument, f"dtype {self._dtype}", str(array.dtype))
        if not array.flags.c_contiguous:
            raise invalid(operation, argument, "a C-contiguous array", f"strides {list(array.strides)}")
        return array

    def __repr__(self) -> str:
        state = " released" if self.released else " read-only" if self._read_only else ""
        return f"<pyfa.Buffer {list(self._shape)} {self._dtype.name}{state}>"


@dataclass(frozen=True)
class _Reference:
    """Keeps a buffer's memory for an array over it."""

    cdata: CData
    owner: object

    def give_back(self, _: CData) -> None:
        lib.fa_buffer_release(self.cdata)


def _array(operation: str, array: object, argument: str = "array") -> npt.NDArray[Any]:
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise invalid(operation, argument, "a NumPy array", type(array).__name__)
    return array


def typed_shape(operation: str, dtype: npt.DTypeLike, shape: int | Sequence[int]) -> tuple[int, list[int], int]:
    """Return the arguments ``dtype, shape, rank`` of the C functions."""
    extents = integers(operation, "shape", shape)
    return _dtypes.dtype_code(operation, "dtype", dtype), extents, len(extents)


def _unsigned(operation: str, argument: str, value: int) -> int:
    number = integer(operation, argument, value)
    if number < 0:
        raise invalid(operation, argument, "0 or more", str(number))
    return number


def _bits(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype whose arrays may carry the bits of `dtype`."""
    return _dtypes.UINT16 if dtype == _dtypes.BFLOAT16 else dtype


def _bits_as(operation: str, found: np.dtype[Any], wanted: npt.DTypeLike | None) -> npt.DTypeLike:
    """Check that an array's elements can be taken for those of another dtype, bit by bit."""
    if wanted is None:
        return found
    dtype = _dtypes.NUMPY[_dtypes.dtype_code(operation, "dtype", wanted)]
    if dtype.itemsize != found.itemsize:
        raise invalid(operation, "dtype", f"{found.itemsize} bytes an element, as {found} has", str(dtype))
    return dtype


def _pointer(array: npt.NDArray[Any]) -> CData:
    """Return the first byte of a contiguous array."""
    return ffi.cast("void *", array.ctypes.data) if math.prod(array.shape) else ffi.NULL
