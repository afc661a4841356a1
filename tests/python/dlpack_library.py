"""A tensor library that knows DLPack and nothing else of Python's array protocols."""

from __future__ import annotations

import functools
import math

import numpy as np

from pyfa import _dlpack, _dtypes
from pyfa._ffi import ffi


class Tensor:
    """Memory of a NumPy array; `device_type` as DLPack numbers it."""

    def __init__(self, array, device_type=1, versioned=True):
        self._array = array
        self._device_type = device_type
        self._versioned = versioned
        self.exports = 0

    def __dlpack__(self, *, stream=None, max_version=None, **_):
        if max_version is not None and not self._versioned:
            raise TypeError("max_version is not known here")
        array = self._array
        source = _dlpack._Bfloat16(array) if array.dtype.name == "bfloat16" else array
        capsule = source.__dlpack__(max_version=max_version) if max_version else source.__dlpack__()
        self.exports += 1
        return capsule

    def __dlpack_device__(self):
        return (self._device_type, 0)


class Unexportable(Tensor):
    def __dlpack__(self, **_):
        raise BufferError("requires grad")


def _forget(*_):
    """Let go of what a partial application of this was holding."""


def from_dlpack(exporter):
    """Make a tensor over the memory of another library's, bfloat16 included."""
    found = _dlpack.import_tensor("from_dlpack", "exporter", exporter)
    dtype = _dtypes.NUMPY[found.code]
    # The array holds the pointer, and the pointer the export.
    data = ffi.gc(found.data, functools.partial(_forget, found.capsule))
    memory = ffi.buffer(data, math.prod(found.shape) * dtype.itemsize)
    return Tensor(np.frombuffer(memory, dtype).reshape(found.shape))
