"""Element types: the header's ``fa_dtype`` beside NumPy's and DLPack's.

NumPy has no bfloat16 of its own. ``ml_dtypes.bfloat16`` arrays are bf16; so are ``uint16`` arrays wherever an operation
wants floating-point operands: they are taken for the bits of bf16 values, and results come back as such bits.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from pyfa._errors import UnsupportedError, unsupported
from pyfa._ffi import lib

BFLOAT16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
UINT16: np.dtype[Any] = np.dtype(np.uint16)

# One row per element type: the header's code, NumPy's dtype, DLPack's type code (its width is NumPy's).
_DL_INT, _DL_UINT, _DL_FLOAT, _DL_BFLOAT, _DL_BOOL = 0, 1, 2, 4, 6
_TABLE: tuple[tuple[int, np.dtype[Any], int], ...] = (
    (lib.FA_F32, np.dtype(np.float32), _DL_FLOAT),
    (lib.FA_F16, np.dtype(np.float16), _DL_FLOAT),
    (lib.FA_BF16, BFLOAT16, _DL_BFLOAT),
    (lib.FA_U8, np.dtype(np.uint8), _DL_UINT),
    (lib.FA_U16, UINT16, _DL_UINT),
    (lib.FA_U32, np.dtype(np.uint32), _DL_UINT),
    (lib.FA_I32, np.dtype(np.int32), _DL_INT),
    (lib.FA_BOOL, np.dtype(np.bool_), _DL_BOOL),
)
NUMPY: dict[int, np.dtype[Any]] = {code: dtype for code, dtype, _ in _TABLE}
CODE: dict[np.dtype[Any], int] = {dtype: code for code, dtype, _ in _TABLE}
DLPACK: dict[int, tuple[int, int]] = {code: (kind, dtype.itemsize * 8) for code, dtype, kind in _TABLE}
FROM_DLPACK: dict[tuple[int, int], int] = {pair: code for code, pair in DLPACK.items()}

# Floating-point operands: uint16 holds the bits of bf16.
OPERAND: dict[np.dtype[Any], int] = CODE | {UINT16: lib.FA_BF16}


def dtype_code(operation: str, argument: str, dtype: npt.DTypeLike) -> int:
    """Return the header's code of anything NumPy takes for a dtype, ``"bfloat16"`` included."""
    try:
        code = CODE.get(np.dtype(dtype))
    except TypeError:
        code = None
    if code is None:
        names = ", ".join(known.name for known in CODE)
        raise unsupported(operation, argument, f"a dtype of {names}", str(dtype))
    return code


def unsupported_operand(operation: str, argument: str, dtype: object) -> UnsupportedError:
    """Build the error for an operand of a dtype that has no code."""
    expected = "float32, float16, bfloat16 (or its bits as uint16), or bool for a mask; cast it yourself"
    return unsupported(operation, argument, expected, str(dtype))
