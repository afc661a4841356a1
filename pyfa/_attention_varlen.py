"""Attention over packed batches in host memory: sequences of different lengths, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np

from pyfa import _dlpack, _dtypes, _tensor
from pyfa._device import Device, default_device
from pyfa._errors import invalid
from pyfa._explain import Explanation
from pyfa._ffi import CData, check, ffi, lib, result, string
from pyfa._handle import live
from pyfa._sequences import Integers, point, point_to_table
from pyfa._window import Window, set_window
from pyfa.attention import empty
from pyfa.ops._operands import number

if TYPE_CHECKING:
    from collections.abc import Callable

Tensor = TypeVar("Tensor")

_ARGS = ffi.typeof("fa_attention_varlen_args *")
_F32 = np.dtype(np.float32)


class _Call:
    """One call's argument struct, what it points into and what becomes of the results."""

    def __init__(
        self,
        operation: str,
        q: Any,
        k: Any,
        v: Any,
        cu_seqlens_q: Integers,
        cu_seqlens_k: Integers | None,
        options: dict[str, Any],
    ) -> None:
        self.args: CData = ffi.new(_ARGS)
        args, fill = self.args, _tensor.fill
        self._set_sequences(operation, cu_seqlens_q, cu_seqlens_k, options)
        self._set_options(operation, options)
        source = fill(operation, args, "q", q)
        # DLPack exports live as long as this does.
        self.imported = [source, fill(operation, args, "k", k), fill(operation, args, "v", v)]
        for name in ("sinks", "alibi"):
            if options[name] is not None:
                self.imported.append(fill(operation, args, name, options[name], any_strides=True))
        self.convert: Callable[[Any], Any] | None = None
        if source is None:
            shape, dtype = q.shape, q.dtype
        else:
            shape, dtype = source.shape, _dtypes.NUMPY[source.code]
            self.convert = _dlpack.importer(operation, "q", q)
        self.is_new = options["out"] is None
        self.out: Any = empty(operation, "o", shape, dtype) if self.is_new else options["out"]
        self.imported.append(fill(operation, args, "o", self.out, written=True))
        self.lse: Any = None
        if options["return_lse"]:
            # A slice, because the library is yet to judge the rank.
            self.lse = empty(operation, "lse", shape[1:2] + shape[:1], _F32)
            fill(operation, args, "lse", self.lse, written=True)

    def _set_sequences(
        self, operation: str, cu_seqlens_q: Integers, cu_seqlens_k: Integers | None, options: dict[str, Any]
    ) -> None:
        args = self.args
        if cu_seqlens_q is None:
            raise invalid(operation, "q_starts", "integers in 1 dimension", "None")
        batch = len(point(operation, args, "q_starts", cu_seqlens_q)) - 1  # type: ignore[arg-type]
        args.batch = batch
        for name, values, count in (("k_starts", cu_seqlens_k, batch + 1), ("kv_lens", options["kv_lens"], batch)):
            numbers = point(operation, args, name, values)
            if numbers is not None and len(numbers) != count:
                raise invalid(operation, name, f"{count}, for {batch} sequences", str(len(numbers)))
        table = point_to_table(operation, args, options["block_table"])
        if table is not None and table[0] != batch:
            raise invalid(operation, "block_table", f"[{batch}, pages of a sequence]", str(list(table)))

    def _set_options(self, operation: str, options: dict[str, Any]) -> None:
        args, causal = self.args, options["causal"]
        if not isinstance(causal, (bool, np.bool_)):
            raise invalid(operation, "causal", "a bool", repr(causal))
        args.causal = bool(causal)
        set_window(operation, args, options["window"])
        if options["softcap"] is not None:
            number(operation, args, "softcap", options["softcap"])
        if options["scale"] is not None:
            number(operation, args, "scale", options["scale"])
            args.has_scale = 1


@overload
def attention_varlen(
    q: Tensor,
    k: Any,
    v: Any,
    cu_seqlens_q: Integers,
    cu_seqlens_k: Integers | None = ...,
    *,
    block_table: Integers | None = ...,
    kv_lens: Integers | None = ...,
    causal: bool = ...,
    window: Window = ...,
    softcap: float | None = ...,
    sinks: Any = ...,
    alibi: Any = ...,
    scale: float | None = ...,
    return_lse: Literal[False] = ...,
    out: Tensor | None = ...,
    device: Device | None = ...,
) -> Tensor: ...


@overload
def attention_varlen(
    q: Tensor,
    k: Any,
    v: Any,
    cu_seqlens_q: Integers,
    cu_seqlens_k: Integers | None = ...,
    *,
    block_table: Integers | None = ...,
    kv_lens: Integers | None = ...,
    causal: bool = ...,
    window: Window = ...,
    softcap: float | None = ...,
    sinks: Any = ...,
    alibi: Any = ...,
    scale: float | None = ...,
    return_lse: Literal[True],
    out: Tensor | None = ...,
    device: Device | None = ...,
) -> tuple[Tensor, Any]: ...


def attention_varlen(
    q: Any,
    k: Any,
    v: Any,
    cu_seqlens_q: Integers,
    cu_seqlens_k: Integers | None = None,
    *,
    block_table: Integers | None = None,
    kv_lens: Integers | None = None,
    causal: bool = False,
    window: Window = None,
    softcap: float | None = None,
    sinks: Any = None,
    alibi: Any = None,
    scale: float | None = None,
    return_lse: bool = False,
    out: Any = None,
    device: Device | None = None,
) -> Any:
    """Compute attention of each sequence of a packed batch with its own keys, in one call and without padding.

    Parameters
    ----------
    q : array
        Queries of all sequences ``[rows, H, D]``, one sequence after the other. A NumPy array or DLPack tensor as for
        `attention`.
    k, v : array
        Keys and values ``[keys, Hkv, D]`` of the dtype of `q`; with a `block_table` pages
        ``[pages, page_size, Hkv, D]``. ``Hkv`` divides ``H``.
    cu_seqlens_q : sequence of int
        ``[B + 1]``: sequence ``b`` has the rows ``cu_seqlens_q[b] ... cu_seqlens_q[b + 1] - 1`` of `q`; from 0 to
        ``rows``. A sequence may have none.
    cu_seqlens_k : sequence of int, optional
        ``[B + 1]``: likewise its keys, from 0 to ``keys`` at most. None with a `block_table`.
    block_table : array, optional
        Integers ``[B, pages of a sequence]``: key ``j`` of sequence ``b`` is row ``j % page_size`` of page
        ``block_table[b, j // page_size]``. Entries behind a sequence's length are not looked at, pages may be shared.
    kv_lens : sequence of int, optional
        ``[B]``: keys of each sequence, of those it has room for; all by default, but needed with a `block_table`.
    causal : bool
        A row attends no key after its position; the last row of a sequence stands at its last key.
    window, softcap, scale
        As for `attention`, for each sequence.
    sinks : array, optional
        float32 ``[H]``: a score of each head that joins the sum of every row and has no value.
    alibi : array, optional
        float32 ``[H]`` or ``[B, H]``: slopes, as for `attention`.
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
        With `return_lse`: natural logarithm, float32 ``[H, rows]``; sinks are in it.

    Raises
    ------
    InvalidArgumentError
        Shapes, dtypes, starts, lengths or pages that do not fit together; nothing was written.
    UnsupportedError
        A dtype or head dimension that no kernel serves; the message names those that are.
    DeviceError
        The device has no memory left or aborted the work.

    Notes
    -----
    Each sequence's result is, bit for bit, that of `attention` on the sequence alone.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> q = rng.standard_normal((7, 8, 64), dtype=np.float32)  # sequences of 3, 0 and 4 rows
    >>> k, v = rng.standard_normal((2, 12, 2, 64), dtype=np.float32)
    >>> pyfa.attention_varlen(q, k, v, [0, 3, 3, 7], [0, 5, 5, 12], causal=True).shape
    (7, 8, 64)
    """
    options = {
        "block_table": block_table, "kv_lens": kv_lens, "causal": causal, "window": window, "softcap": softcap,
        "sinks": sinks, "alibi": alibi, "scale": scale, "return_lse": return_lse, "out": out,
    }  # fmt: skip
    call = _Call("attention_varlen", q, k, v, cu_seqlens_q, cu_seqlens_k, options)
    check(lib.fa_attention_varlen(live(device or default_device(), "attention_varlen"), call.args))
    if call.convert is not None:
        if call.is_new:
            call.out = call.convert(call.out)
        if return_lse:
            call.lse = call.convert(call.lse)
    return (call.out, call.lse) if return_lse else call.out


def explain_varlen(
    q: Any,
    k: Any,
    v: Any,
    cu_seqlens_q: Integers,
    cu_seqlens_k: Integers | None = None,
    *,
    block_table: Integers | None = None,
    kv_lens: Integers | None = None,
    causal: bool = False,
    window: Window = None,
    softcap: float | None = None,
    sinks: Any = None,
    alibi: Any = None,
    scale: float | None = None,
    return_lse: bool = False,
    out: Any = None,
    device: Device | None = None,
) -> Explanation:
    """Tell what `attention_varlen` would do with the same arguments, without doing it.

    Parameters
    ----------
    q, k, v, cu_seqlens_q, cu_seqlens_k, block_table, kv_lens, causal, window, softcap, sinks, alibi, scale, return_lse
    out, device
        As for `attention_varlen`.

    Returns
    -------
    Explanation
        As of `explain`.

    Raises
    ------
    PyfaError
        What `attention_varlen` would raise.

    Examples
    --------
    >>> q = np.zeros((7, 8, 64), np.float32)
    >>> pyfa.explain_varlen(q, q, q, [0, 3, 7], [0, 3, 7]).problem.q_lens
    (3, 4)
    """
    options = {
        "block_table": block_table, "kv_lens": kv_lens, "causal": causal, "window": window, "softcap": softcap,
        "sinks": sinks, "alibi": alibi, "scale": scale, "return_lse": return_lse, "out": out,
    }  # fmt: skip
    call = _Call("explain_varlen", q, k, v, cu_seqlens_q, cu_seqlens_k, options)
    handle = live(device or default_device(), "explain_varlen")
    return Explanation.from_json(string(result("const char *", lib.fa_attention_varlen_explain, handle, call.args)))
