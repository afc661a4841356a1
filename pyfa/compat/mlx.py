"""`mlx.core.fast.scaled_dot_product_attention`, computed by pyfa.

Examples
--------
>>> from pyfa.compat.mlx import scaled_dot_product_attention
>>> q = np.zeros((1, 8, 5, 64), np.float32)
>>> k = v = np.ones((1, 2, 9, 64), np.float32)
>>> scaled_dot_product_attention(q, k, v, scale=64**-0.5, mask="causal").shape
(1, 8, 5, 64)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyfa._errors import invalid
from pyfa.attention import attention
from pyfa.compat._arrays import Array, like, rows, view
from pyfa.compat._calls import call, refuse

__all__ = ["scaled_dot_product_attention"]

_NAME = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float,
    mask: Any = None,
    sinks: Any = None,
    force_fused: bool = False,  # noqa: ARG001 - every kernel is a fused one
    stream: Any = None,
) -> Any:
    """Compute attention as MLX defines it.

    Parameters
    ----------
    q : array
        Queries ``[B, H, qL, D]``: an MLX array, a NumPy array or a DLPack tensor in CPU memory, of float32, float16 or
        bfloat16.
    k, v : array
        Keys and values ``[B, Hkv, kL, D]``, of the dtype of `q`; ``Hkv`` divides ``H``.
    scale : float
        Multiplies the scores.
    mask : {"causal"} or array, optional
        ``"causal"``: the last query stands at the last key. An array broadcasts to ``[B, H, qL, kL]``: of bool, True
        attends; of the dtype of `q` (or one that float32 holds, where that is the dtype of `q`), it is added to the
        scaled scores.
    sinks : array, optional
        ``[H]``: a score of each head that joins the sum of every row and has no value.
    force_fused : bool
        Without effect: there are only fused kernels, and what has none is refused.
    stream : None
        The result is there when the call returns.

    Returns
    -------
    array
        As `q`, and of the same library. A row that may attend no key is zero.

    Raises
    ------
    InvalidArgumentError
        Arrays that do not fit together.
    UnsupportedError
        A stream, another dtype, or a head dimension without a kernel.
    """
    refuse(_NAME, "stream", stream, None, why="work is done at once")
    queries = view(_NAME, "q", q)
    causal = isinstance(mask, str)
    if causal and mask != "causal":
        raise invalid(_NAME, "mask", "None, 'causal' or an array", repr(mask))
    added = None if mask is None or causal else _as_float32(_four(view(_NAME, "mask", mask)), queries.dtype)
    out = call(
        _NAME,
        {},
        attention,
        rows(queries),
        rows(view(_NAME, "k", k)),
        rows(view(_NAME, "v", v)),
        causal=causal,
        mask=added,
        sinks=None if sinks is None else _as_float32(view(_NAME, "sinks", sinks), np.dtype(np.float32)),
        scale=scale,
    )
    return like(_NAME, "q", q)(out)


def _four(mask: Array) -> Array:
    """Return a mask with the dimensions it lacks: three are heads, rows and keys here."""
    return mask[(None,) * (4 - mask.ndim)]


def _as_float32(array: Array, wanted: np.dtype[Any]) -> Array:
    """Return half precision as float32 where that is wanted: it keeps every value."""
    halves = array.dtype.itemsize == 2 and array.dtype.kind not in "iu"
    return array.astype(wanted) if halves and wanted == np.float32 else array
