"""Tensors of any library as NumPy arrays over the same memory, and results back as tensors of that library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfa import _dlpack, _dtypes
from pyfa._errors import invalid, unsupported
from pyfa._ffi import ffi

Array = npt.NDArray[Any]


class _Memory:
    """What NumPy needs to know of memory that an owner keeps alive; strides count elements."""

    def __init__(
        self,
        owner: object,
        pointer: int,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        read_only: bool = False,
    ) -> None:
        self._owner = owner
        self.__array_interface__ = {
            "version": 3,
            # No name of bfloat16 is known to the array interface.
            "typestr": (_dtypes.UINT16 if dtype == _dtypes.BFLOAT16 else dtype).str,
            "shape": shape,
            "strides": tuple([stride * dtype.itemsize for stride in strides]),
            "data": (pointer, read_only),
        }

    @classmethod
    def array(cls, *args: Any) -> Array:
        memory = cls(*args)
        return np.asarray(memory).view(args[2])


def view(operation: str, argument: str, tensor: Any) -> Array:
    """Return the memory of a NumPy array or of any library's tensor as an array, without a copy.

    Parameters
    ----------
    operation, argument : str
        Named by errors.
    tensor : numpy.ndarray or SupportsDLPack
        Of any shape and strides; bfloat16 becomes ``ml_dtypes.bfloat16``.

    Returns
    -------
    numpy.ndarray
        Keeps the memory alive; writing to it writes to `tensor`.

    Raises
    ------
    InvalidArgumentError
        Not a tensor.
    UnsupportedError
        A tensor that gradients are recorded for, that is not in CPU memory, or of a dtype that is not known.
    """
    if isinstance(tensor, np.ndarray):
        return tensor
    tensor = without_gradient(operation, argument, tensor)
    special = _VIEWS.get(type(tensor).__module__.partition(".")[0])
    found = special(operation, argument, tensor) if special else None
    if found is not None:
        return found
    if not _dlpack.is_tensor(tensor):
        kind = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
        raise invalid(operation, argument, "a NumPy array or a DLPack tensor", kind)
    source = _dlpack.import_tensor(operation, argument, tensor)
    pointer = int(ffi.cast("uintptr_t", source.data))
    dtype = _dtypes.NUMPY[source.code]
    return _Memory.array(source.capsule, pointer, dtype, source.shape, source.strides, source.read_only)


def without_gradient(operation: str, argument: str, tensor: Any) -> Any:
    """Refuse a torch tensor whose gradient would be wanted; otherwise return it cut off from the graph."""
    if not getattr(tensor, "requires_grad", False):
        return tensor
    if sys.modules["torch"].is_grad_enabled():
        expected = "no gradient to be wanted, for there is no backward pass (use torch.no_grad() or detach())"
        raise unsupported(operation, argument, expected, "a tensor with requires_grad")
    return tensor.detach()


def _view_torch(operation: str, argument: str, tensor: Any) -> Array | None:
    """Read a tensor of torch's in a fraction of the time that DLPack takes.

    ``Tensor.numpy`` would be as fast, but leaves the tensor unable to be resized.
    """
    torch = sys.modules["torch"]
    # Subclasses need not have the memory they seem to have.
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    dtype = _torch_dtype(tensor.dtype)
    if not plain or tensor.device.type != "cpu" or tensor.layout != torch.strided or dtype is None:
        return None
    if tensor.is_neg():
        raise invalid(operation, argument, "numbers as they are in memory (resolve_neg() makes them)", "negated ones")
    return _Memory.array(tensor, tensor.data_ptr(), dtype, tuple(tensor.shape), tensor.stride())


@lru_cache(maxsize=64)
def _torch_dtype(dtype: Any) -> np.dtype[Any] | None:
    return _TORCH_DTYPES.get(str(dtype).removeprefix("torch."))


_TORCH_DTYPES = {dtype.name: dtype for dtype in _dtypes.CODE}


def _view_mlx(_operation: str, _argument: str, tensor: Any) -> Array | None:
    """Read an MLX array through the buffer protocol: on a Mac its DLPack export is for Metal alone."""
    core = sys.modules["mlx.core"]
    if not isinstance(tensor, core.array):
        return None
    if tensor.dtype == core.bfloat16:
        return np.asarray(tensor.view(core.uint16)).view(_dtypes.BFLOAT16)
    return np.asarray(tensor)


_VIEWS: dict[str, Callable[[str, str, Any], Array | None]] = {"torch": _view_torch, "mlx": _view_mlx}


def like(operation: str, argument: str, tensor: Any) -> Callable[[Array], Any]:
    """Return what turns a fresh array into a tensor of the library of ``tensor``."""
    if isinstance(tensor, np.ndarray):
        return _same
    return _dlpack.importer(operation, argument, tensor)


def _same(array: Array) -> Array:
    return array


def rows(array: Array) -> Array:
    """Return the array itself if the elements of its last dimension lie side by side, otherwise a copy.

    The originals copy such operands too.
    """
    side_by_side = array.ndim == 0 or array.shape[-1] == 1 or array.strides[-1] == array.itemsize
    return array if side_by_side else np.ascontiguousarray(array)


def floats(array: Array) -> Array:
    """Return bits of bfloat16 as numbers; anything else as it is."""
    return array.view(_dtypes.BFLOAT16) if array.dtype == _dtypes.UINT16 else array


def integers(operation: str, argument: str, values: Any, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return integers of the given shape; -1 stands for any extent, and a single number for as many as are wanted."""
    array = np.asarray(values if not hasattr(values, "__dlpack__") else np.from_dlpack(values))
    fits = array.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=True))
    if array.dtype.kind not in "iu" or not (fits or array.ndim == 0):
        expected = f"integers {['any' if extent < 0 else extent for extent in shape]}"
        raise invalid(operation, argument, expected, f"{array.dtype} {list(array.shape)}")
    array = array.astype(np.int64)
    return array if fits else np.full([max(extent, 0) for extent in shape], array)
