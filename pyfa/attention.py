"""Attention over arrays in host memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from pyfa import _dlpack, _dtypes, _tensor
from pyfa._device import Device, default_device
from pyfa._errors import DeviceError, invalid
from pyfa._explain import Explanation
from pyfa._ffi import CData, check, choices, choose, ffi, integer, lib, result, string
from pyfa._handle import live
from pyfa._window import Window, set_window
from pyfa.ops._operands import number

if TYPE_CHECKING:
    from collections.abc import Callable

Layout = Literal["bhld", "blhd"]
Tensor = TypeVar("Tensor")

_ARGS = ffi.typeof("fa_attention_args *")
_LAYOUTS = {name: code for name, code in choices("fa_layout", "FA_LAYOUT_").items() if name != "strided"}
_BLHD: int = lib.FA_LAYOUT_BLHD
_F32 = np.dtype(np.float32)


class _Call:
    """One call's argument struct, what it points into and what becomes of the results."""

    __slots__ = ("args", "convert", "imported", "lse", "out")

    def __init__(
        self,
        operation: str,
        q: Any,
        k: Any,
        v: Any,
        causal: bool,
        mask: Any,
        window: Window,
        softcap: float | None,
        sinks: Any,
        alibi: Any,
        scale: float | None,
        layout: str,
        q_offset: int | None,
        return_lse: bool,
        out: Any,
    ) -> None:
        self.args: CData = ffi.new(_ARGS)
        self.args.layout = order = choose(operation, "layout", _LAYOUTS, layout)
        self._set_options(operation, causal, window, softcap, scale, q_offset)
        fill, args = _tensor.fill, self.args
        source = fill(operation, args, "q", q)
        # DLPack exports live as long as this does.
        self.imported = [source, fill(operation, args, "k", k), fill(operation, args, "v", v)]
        if mask is not None:
            self.imported.append(fill(operation, args, "mask", mask, any_strides=True))
        if sinks is not None:
            self.imported.append(fill(operation, args, "sinks", sinks, any_strides=True))
        if alibi is not None:
            self.imported.append(fill(operation, args, "alibi", alibi, any_strides=True))
        self.convert: Callable[[Any], Any] | None = None
        if source is None:
            shape, dtype = q.shape, q.dtype
        else:
            shape, dtype = source.shape, _dtypes.NUMPY[source.code]
            self.convert = _dlpack.importer(operation, "q", q)
        self.out: Any = empty(operation, "o", shape, dtype) if out is None else out
        self.imported.append(fill(operation, args, "o", self.out, written=True))
        self.lse: Any = None
        if return_lse:
            # Slices, because the library is yet to judge the rank.
            rows = shape[:1] + shape[2:3] + shape[1:2] if order == _BLHD else shape[:3]
            self.lse = empty(operation, "lse", rows, _F32)
            fill(operation, args, "lse", self.lse, written=True)

    def _set_options(
        self,
        operation: str,
        causal: bool,
        window: Window,
        softcap: float | None,
        scale: float | None,
        q_offset: int | None,
    ) -> None:
        args = self.args
        if causal is not False:
            if not isinstance(causal, (bool, np.bool_)):
                raise invalid(operation, "causal", "a bool", repr(causal))
            args.causal = bool(causal)
        if window is not None:
            set_window(operation, args, window)
        if softcap is not None:
            number(operation, args, "softcap", softcap)
        if scale is not None:
            number(operation, args, "scale", scale)
            args.has_scale = 1
        if q_offset is not None:
            args.has_q_offset, args.q_offset = 1, integer(operation, "q_offset", q_offset)


def empty(operation: str, argument: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Make the array for a result."""
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        needed = math.prod(shape) * dtype.itemsize
        text = f"{operation}: {argument}: expected {needed} bytes of memory for {list(shape)} {dtype}, got none"
        raise DeviceError(text, operation=operation, argument=argument) from None


@overload
def attention(
    q: Tensor,
    k: Any,
    v: Any,
    *,
    causal: bool = ...,
    mask: Any = ...,
    window: Window = ...,
    softcap: float | None = ...,
    sinks: Any = ...,
    alibi: Any = ...,
    scale: float | None = ...,
    layout: Layout = ...,
    q_offset: int | None = ...,
    return_lse: Literal[False] = ...,
    out: Tensor | None = ...,
    device: Device | None = ...,
) -> Tensor: ...


@overload
def attention(
    q: Tensor,
    k: Any,
    v: Any,
    *,
    causal: bool = ...,
    mask: Any = ...,
    window: Window = ...,
    softcap: float | None = ...,
    sinks: Any = ...,
    alibi: Any = ...,
    scale: float | None = ...,
    layout: Layout = ...,
    q_offset: int | None = ...,
    return_lse: Literal[True],
    out: Tensor | None = ...,
    device: Device | None = ...,
) -> tuple[Tensor, Any]: ...


def attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    mask: Any = None,
    window: Window = None,
    softcap: float | None = None,
    sinks: Any = None,
    alibi: Any = None,
    scale: float | None = None,
    layout: Layout = "bhld",
    q_offset: int | None = None,
    return_lse: bool = False,
    out: Any = None,
    device: Device | None = None,
) -> Any:
    """Compute ``softmax(scale * q @ k.T + mask) @ v`` for every head, exactly and without the score matrix.

    Parameters
    ----------
    q : array
        Queries ``[B, H, qL, D]``, or ``[B, qL, H, D]`` with ``layout="blhd"``. A NumPy array of float32, float16,
        ``ml_dtypes.bfloat16`` or uint16 (the bits of bfloat16), or a DLPack tensor in CPU memory. The last dimension
        is contiguous; the others may have any strides that are not negative.
    k, v : array
        Keys and values ``[B, Hkv, kL, D]``, or ``[B, kL, Hkv, D]``, of the dtype of `q`. ``Hkv`` divides ``H``: query
        heads share kv heads in consecutive groups.
    causal : bool
        A row attends no key after its position: row ``i`` keys ``0 ... i + q_offset`` only.
    mask : array, optional
        ``[qL, kL]``, ``[B, qL, kL]`` or ``[B, H, qL, kL]``; extents of 1 broadcast. Of bool, True attends. Of the
        dtype of `q`, it is added to the scaled scores; -inf excludes, and nothing finite does. Strides may be any;
        where the keys of a row do not lie side by side it is copied. Joins with `causal` and `window`.
    window : tuple of int, optional
        ``(left, right)``: row ``i`` attends keys ``i + q_offset - left ... i + q_offset + right`` only; None or -1 is
        no bound. ``(n - 1, 0)`` is a sliding window of n keys.
    softcap : float, optional
        Scores become ``softcap * tanh(score / softcap)`` before any mask; None or 0: as they are.
    sinks : array, optional
        float32 ``[H]``: a score of each head that joins the sum of every row and has no value.
    alibi : array, optional
        float32 ``[H]`` or ``[B, H]``: slopes; ``slope * |i + q_offset - j|`` is taken from the score of row ``i`` and
        key ``j``, after `softcap` and before any mask.
    scale : float, optional
        Multiplies the scores, as float32; ``1 / sqrt(D)`` by default.
    layout : {"bhld", "blhd"}
        Order of the dimensions of `q`, `k`, `v` and the result.
    q_offset : int, optional
        Position of the first query row among the keys; ``kL - qL`` by default, so that the last row stands at the
        last key. At most that, or 0. It moves the limits of `causal` and `window` only.
    return_lse : bool
        Return the log-sum-exp of the scores too.
    out : array, optional
        Where the result is written: of the shape and dtype of `q`, and not overlapping any operand.
    device : Device, optional
        What computes; `default_device` by default.

    Returns
    -------
    out : array
        As `q`, and of the same library; `out` itself where it was given.
    lse : array
        With `return_lse`: natural logarithm, float32 ``[B, H, qL]`` in either layout; sinks are in it.

    Raises
    ------
    InvalidArgumentError
        Shapes, dtypes, strides or memory that do not fit together; nothing was written.
    UnsupportedError
        A dtype or head dimension that no kernel serves; the message names those that are.
    DeviceError
        The device has no memory left or aborted the work.

    Notes
    -----
    Scores and sums are float32 whatever the dtype. A row that may attend no key gives zeros, and -inf (or its sink) as
    its LSE; so does every row where there are no keys. What a key that is not attended holds does not matter, NaN
    included.

    The call returns when the result is there; other Python threads run meanwhile.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> q = rng.standard_normal((1, 8, 5, 64), dtype=np.float32)
    >>> k, v = rng.standard_normal((2, 1, 2, 9, 64), dtype=np.float32)
    >>> out, lse = pyfa.attention(q, k, v, causal=True, return_lse=True)
    >>> out.shape, lse.shape
    ((1, 8, 5, 64), (1, 8, 5))
    """
    call = _Call(
        "attention", q, k, v, causal, mask, window, softcap, sinks, alibi, scale, layout, q_offset, return_lse, out
    )
    check(lib.fa_attention(live(device or default_device(), "attention"), call.args))
    if call.convert is not None:
        if out is None:
            call.out = call.convert(call.out)
        if return_lse:
            call.lse = call.convert(call.lse)
    return (call.out, call.lse) if return_lse else call.out


def explain(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    mask: Any = None,
    window: Window = None,
    softcap: float | None = None,
    sinks: Any = None,
    alibi: Any = None,
    scale: float | None = None,
    layout: Layout = "bhld",
    q_offset: int | None = None,
    return_lse: bool = False,
    out: Any = None,
    device: Device | None = None,
) -> Explanation:
    """Tell what `attention` would do with the same arguments, without doing it.

    Parameters
    ----------
    q, k, v, causal, mask, window, softcap, sinks, alibi, scale, layout, q_offset, return_lse, out,
    device
        As for `attention`.

    Returns
    -------
    Explanation
        Kernels, constants, grids, provider and copies; its ``str`` is a report.

    Raises
    ------
    PyfaError
        What `attention` would raise.

    Examples
    --------
    >>> q = np.zeros((1, 8, 5, 64), np.float32)
    >>> pyfa.explain(q, q, q).problem.head_dim
    64
    """
    call = _Call(
        "explain", q, k, v, causal, mask, window, softcap, sinks, alibi, scale, layout, q_offset, return_lse, out
    )
    handle = live(device or default_device(), "explain")
    return Explanation.from_json(string(result("const char *", lib.fa_attention_explain, handle, call.args)))
