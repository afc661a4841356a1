"""Host arrays as ``fa_tensor``: pointer, dtype, shape and element strides, without a copy.

What depends on dtype, shape and strides alone is worked out once and kept; a call copies it and adds the pointer.
Shapes and dtypes are judged by the library; here only what its struct cannot express is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from pyfa import _dlpack, _dtypes
from pyfa._errors import invalid
from pyfa._ffi import CData, ffi, lib

_cast, _from_buffer, _new = ffi.cast, ffi.from_buffer, ffi.new
_VOID = ffi.typeof("void *")
_TENSOR, _PAIR = ffi.typeof("fa_tensor *"), ffi.typeof("fa_tensor[2]")
_RANK = len(ffi.new(_TENSOR).shape)
_BF16: int = lib.FA_BF16


class _RefusedError(Exception):
    """What was expected and got, raised where the argument's name is not known."""


class _UnknownError(Exception):
    """The dtype that the library does not know, raised likewise."""


def _describe(
    code: int, shape: tuple[int, ...], strides: tuple[int, ...], unit: int, read_only: bool, any_strides: bool
) -> tuple[CData, bool, bool]:
    """Fill an ``fa_tensor`` but for its pointer; an element is ``unit`` of what the strides count.

    Return whether it is contiguous, and whether bf16, too.
    """
    if len(shape) > _RANK:
        raise _RefusedError(f"at most {_RANK} dimensions", f"{len(shape)}")
    struct = ffi.new(_TENSOR)
    dense = 1
    is_contiguous = True
    empty = 0 in shape
    for axis in range(len(shape) - 1, -1, -1):
        # Where there is no second element to step to, NumPy may report any stride at all.
        stride, rest = (dense, 0) if empty or shape[axis] == 1 else divmod(strides[axis], unit)
        if rest or (not any_strides and (stride < 0 or (axis == len(shape) - 1 and stride != 1))):
            raise _RefusedError(
                "a contiguous last dimension and no stride that is negative or not a whole number of elements"
                " (numpy.ascontiguousarray makes such a copy)",
                f"shape {list(shape)} with strides {list(strides)}{' bytes' if unit > 1 else ''}",
            )
        struct.shape[axis], struct.strides[axis] = shape[axis], stride
        is_contiguous = is_contiguous and stride == dense
        dense *= shape[axis]
    struct.dtype, struct.rank, struct.read_only = code, len(shape), read_only
    return struct[0], is_contiguous, code == _BF16


@lru_cache(maxsize=1024)
def _describe_array(
    dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...], read_only: bool, any_strides: bool
) -> tuple[CData, bool, bool]:
    code = _dtypes.OPERAND.get(dtype)
    if code is None:
        raise _UnknownError(dtype)
    return _describe(code, shape, strides, dtype.itemsize, read_only, any_strides)


def fill(
    operation: str, args: CData, name: str, tensor: Any, *, written: bool = False, any_strides: bool = False
) -> _dlpack.Imported | None:
    """Set one tensor of ``args`` to a NumPy array or DLPack tensor.

    Parameters
    ----------
    operation : str
        Named by errors.
    args : cffi struct pointer
        Struct with a field ``name`` of type ``fa_tensor``.
    name : str
        Field to set, and what errors call the tensor.
    tensor : numpy.ndarray or SupportsDLPack
        Its memory is used as it is.
    written : bool
        Whether the library writes to it.
    any_strides : bool
        Whether the library packs the elements where they do not lie side by side.

    Returns
    -------
    Imported or None
        What was read of a DLPack tensor; to be kept, like ``tensor`` itself, until the library is done with the memory.

    Raises
    ------
    InvalidArgumentError
        Not a tensor, or strides that the library cannot follow.
    UnsupportedError
        A dtype that the library does not know, or memory that is not the CPU's.
    """
    struct, pointer, imported = _describe_any(operation, name, tensor, written, any_strides)
    setattr(args, name, struct)
    getattr(args, name).data = pointer
    return imported


def fill_pair(operation: str, keys: Any, values: Any, *, written: bool = False) -> tuple[CData, list[object]]:
    """Return an ``fa_tensor[2]`` of keys and values, and what is to be kept with them; see `fill`."""
    k, k_pointer, k_import = _describe_any(operation, "k", keys, written, any_strides=False)
    v, v_pointer, v_import = _describe_any(operation, "v", values, written, any_strides=False)
    both = _new(_PAIR, (k, v))
    both[0].data, both[1].data = k_pointer, v_pointer
    return both, [keys, values, k_import, v_import]


def _describe_any(
    operation: str, name: str, tensor: Any, written: bool, any_strides: bool
) -> tuple[CData, CData, _dlpack.Imported | None]:
    """Return a tensor's struct, its pointer, and what was read of a DLPack tensor."""
    try:
        if type(tensor) is np.ndarray or (isinstance(tensor, np.ndarray) and not isinstance(tensor, np.ma.MaskedArray)):
            read_only = not (written and tensor.flags.writeable)
            struct, is_contiguous, is_bf16 = _describe_array(
                tensor.dtype, tensor.shape, tensor.strides, read_only, any_strides
            )
            if not is_contiguous:
                pointer = _cast(_VOID, tensor.__array_interface__["data"][0])
            else:
                # Much the cheapest way to the address, but the buffer protocol has no bfloat16.
                pointer = _from_buffer(tensor.view(_dtypes.UINT16) if is_bf16 else tensor)
            return struct, pointer, None
        if _dlpack.is_tensor(tensor) and not isinstance(tensor, np.ndarray):
            imported = _dlpack.import_tensor(operation, name, tensor)
            code = _BF16 if imported.code == lib.FA_U16 else imported.code
            read_only = not written or imported.read_only
            struct, _, _ = _describe(code, imported.shape, imported.strides, 1, read_only, any_strides)
            return struct, imported.data, imported
        kind = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
        raise _RefusedError("a NumPy array or a DLPack tensor", kind)
    except _RefusedError as refused:
        raise invalid(operation, name, *refused.args) from None
    except _UnknownError as unknown:
        raise _dtypes.unsupported_operand(operation, name, unknown.args[0]) from None
