"""Recycled device memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyfa._buffer import Buffer, typed_shape
from pyfa._device import Device, default_device
from pyfa._errors import invalid
from pyfa._ffi import CData, check, ffi, lib, result
from pyfa._handle import Handle, live

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


class BufferPool(Handle):
    """Recycles allocations, in power-of-two sizes.

    Parameters
    ----------
    device : Device, optional
        Where the memory is; `default_device` by default.

    Examples
    --------
    >>> pool = pyfa.BufferPool()
    >>> pool.recycle(pool.alloc(1000, np.float32))
    >>> pool.free_count, pool.free_bytes
    (1, 4096)
    """

    def __init__(self, device: Device | None = None) -> None:
        handle = live(device or default_device(), "BufferPool")
        super().__init__(result("fa_pool *", lib.fa_pool_create, handle), lib.fa_pool_release)

    def alloc(self, shape: int | Sequence[int], dtype: npt.DTypeLike, *, zeroed: bool = True) -> Buffer:
        """Take a buffer from the pool.

        Parameters
        ----------
        shape : int or sequence of int
            Extents, each at least 1.
        dtype : dtype
            As for `Buffer.zeros`.
        zeroed : bool
            Fill it with zeros; else a recycled block keeps its old bytes.

        Returns
        -------
        Buffer
            Give it back with `recycle`.
        """
        operation = "BufferPool.alloc"
        arguments = typed_shape(operation, dtype, shape)
        return Buffer(result("fa_buffer *", lib.fa_pool_alloc, live(self, operation), *arguments, bool(zeroed)))

    def recycle(self, buffer: Buffer) -> None:
        """Give a buffer's memory back; it and its views are unusable from here on.

        Parameters
        ----------
        buffer : Buffer
            One that `alloc` of this pool gave, and that no submitted work uses.
        """
        operation = "BufferPool.recycle"
        if not isinstance(buffer, Buffer):
            raise invalid(operation, "buffer", "a Buffer", type(buffer).__name__)
        check(lib.fa_pool_recycle(live(self, operation), live(buffer, operation)))

    def reset(self) -> None:
        """Take every buffer back; all of them are unusable from here on."""
        check(lib.fa_pool_reset(live(self, "BufferPool.reset")))

    def clear(self) -> None:
        """Free the memory that is not in use."""
        check(lib.fa_pool_clear(live(self, "BufferPool.clear")))

    def _info(self) -> CData:
        info = ffi.new("fa_pool_info *")
        check(lib.fa_pool_get_info(live(self, "BufferPool.info"), info))
        return info

    @property
    def in_use_count(self) -> int:
        """Buffers given out and not given back."""
        return int(self._info().in_use_count)

    @property
    def free_count(self) -> int:
        """Blocks waiting for use."""
        return int(self._info().free_count)

    @property
    def free_bytes(self) -> int:
        """Bytes of the blocks waiting for use."""
        return int(self._info().free_bytes)
