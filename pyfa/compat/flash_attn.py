"""The forward functions of the package ``flash_attn``, computed by pyfa.

Tensors are ``[batch, length, heads, head_dim]``; causal masks are aligned to the bottom right corner; log-sum-exps are
natural logarithms. A row that may attend no key is zero, and its log-sum-exp is -inf, which is what merges correctly.

Examples
--------
>>> from pyfa.compat.flash_attn import flash_attn_func
>>> q = np.zeros((1, 5, 8, 64), np.float32)
>>> k = v = np.ones((1, 9, 2, 64), np.float32)
>>> flash_attn_func(q, k, v, causal=True, window_size=(3, 0)).shape
(1, 5, 8, 64)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyfa import attention, attention_varlen
from pyfa._errors import invalid
from pyfa._ffi import integer
from pyfa.compat import _kv_append
from pyfa.compat._arrays import integers, like, rows, view
from pyfa.compat._calls import call, no_dropout, refuse

__all__ = ["flash_attn_func", "flash_attn_varlen_func", "flash_attn_with_kvcache"]

_OPTIONS = {"scale": "softmax_scale", "window": "window_size", "alibi": "alibi_slopes"}
_STARTS = _OPTIONS | {"q_starts": "cu_seqlens_q", "k_starts": "cu_seqlens_k", "kv_lens": "cu_seqlens_k"}
_CACHES = _OPTIONS | {"k": "k_cache", "v": "v_cache", "kv_lens": "cache_seqlens"}


def flash_attn_func(
    q: Any,
    k: Any,
    v: Any,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,  # noqa: ARG001 - it always is
    return_attn_probs: bool = False,
) -> Any:
    """Compute attention of a batch of sequences that are equally long.

    Parameters
    ----------
    q : array
        Queries ``[B, qL, H, D]``: a torch tensor, a NumPy array or a DLPack tensor in CPU memory, of float32, float16
        or bfloat16.
    k, v : array
        Keys and values ``[B, kL, Hkv, D]``, of the dtype of `q`; ``Hkv`` divides ``H``.
    dropout_p : float
        0 only.
    softmax_scale : float, optional
        Multiplies the scores; ``1 / sqrt(D)`` by default.
    causal : bool
        A row attends no key after its position; the last row stands at the last key.
    window_size : (int, int)
        Keys before and after a row's position that it attends, its own besides; -1: all.
    softcap : float
        Scores become ``softcap * tanh(score / softcap)``; 0: as they are.
    alibi_slopes : array, optional
        float32 ``[H]`` or ``[B, H]``: ``slope * |i + kL - qL - j|`` is taken from the score of row i and key j.
    deterministic : bool
        Without effect: results never depend on the order of the work.
    return_attn_probs : bool
        Return ``(out, lse, None)``. There are no probabilities to return, as without dropout in the original.

    Returns
    -------
    out : array
        As `q`.
    lse : array
        With `return_attn_probs`: float32 ``[B, H, qL]``.

    Raises
    ------
    InvalidArgumentError
        Arrays or options that do not fit together.
    UnsupportedError
        Gradients, dropout, another dtype, or a head dimension without a kernel.
    """
    name = "flash_attn_func"
    no_dropout(name, dropout_p)
    out, lse = call(
        name,
        _OPTIONS,
        attention,
        *_operands(name, q=q, k=k, v=v),
        layout="blhd",
        return_lse=True,
        **_options(name, softmax_scale, causal, window_size, softcap, alibi_slopes),
    )
    back = like(name, "q", q)
    return (back(out), back(lse), None) if return_attn_probs else back(out)


def flash_attn_varlen_func(
    q: Any,
    k: Any,
    v: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,  # noqa: ARG001 - it always is
    return_attn_probs: bool = False,
    block_table: Any = None,
) -> Any:
    """Compute attention of sequences of different lengths, packed one after the other.

    Parameters
    ----------
    q : array
        Queries ``[rows, H, D]``.
    k, v : array
        Keys and values ``[keys, Hkv, D]``, or pages of them, ``[pages, page_size, Hkv, D]``, with `block_table`; a page
        may have any size.
    cu_seqlens_q, cu_seqlens_k : array of int
        ``[B + 1]``: sequence b has the rows from ``cu_seqlens_q[b]`` up to ``cu_seqlens_q[b + 1]``; likewise keys, of
        which only the numbers count with `block_table`.
    max_seqlen_q, max_seqlen_k : int
        As long as the longest sequence, at least.
    block_table : array of int, optional
        ``[B, pages of a sequence]``: key j lies in page ``block_table[b, j // page_size]``. Entries that no key needs
        are not looked at.
    dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs
        As for `flash_attn_func`, for each sequence.

    Returns
    -------
    out : array
        As `q`.
    lse : array
        With `return_attn_probs`: float32 ``[H, rows]``.

    Raises
    ------
    InvalidArgumentError
        Arrays, lengths, table or options that do not fit together.
    UnsupportedError
        Gradients, dropout, another dtype, or a head dimension without a kernel.
    """
    name = "flash_attn_varlen_func"
    no_dropout(name, dropout_p)
    q_starts = integers(name, "cu_seqlens_q", cu_seqlens_q, (-1,))
    k_starts = integers(name, "cu_seqlens_k", cu_seqlens_k, (len(q_starts),))
    for argument, starts, limit in (("q", q_starts, max_seqlen_q), ("k", k_starts, max_seqlen_k)):
        longest = np.diff(starts).max(initial=0)
        if longest > integer(name, f"max_seqlen_{argument}", limit):
            raise invalid(name, f"max_seqlen_{argument}", f"{longest} or more, the longest sequence", str(limit))
    keys: dict[str, Any] = {"cu_seqlens_k": k_starts}
    if block_table is not None:
        table = integers(name, "block_table", block_table, (len(q_starts) - 1, -1))
        keys = {"cu_seqlens_k": None, "block_table": table, "kv_lens": np.diff(k_starts)}
    out, lse = call(
        name,
        _STARTS,
        attention_varlen,
        *_operands(name, q=q, k=k, v=v),
        q_starts,
        return_lse=True,
        **keys,
        **_options(name, softmax_scale, causal, window_size, softcap, alibi_slopes),
    )
    back = like(name, "q", q)
    return (back(out), back(lse), None) if return_attn_probs else back(out)


def flash_attn_with_kvcache(
    q: Any,
    k_cache: Any,
    v_cache: Any,
    k: Any = None,
    v: Any = None,
    rotary_cos: Any = None,
    rotary_sin: Any = None,
    cache_seqlens: Any = None,
    cache_batch_idx: Any = None,
    cache_leftpad: Any = None,
    block_table: Any = None,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    rotary_interleaved: bool = True,
    alibi_slopes: Any = None,
    num_splits: int = 0,  # noqa: ARG001 - the kernels decide
    return_softmax_lse: bool = False,
) -> Any:
    """Append keys and values to a cache in place, if any are given, and attend it.

    Parameters
    ----------
    q : array
        Queries ``[B, qL, H, D]``.
    k_cache, v_cache : array
        ``[sequences, capacity, Hkv, D]``, or ``[pages, page_size, Hkv, D]`` with `block_table`. A page may have any
        size.
    k, v : array, optional
        ``[B, new, Hkv, D]``: written behind the keys and values that are there.
    rotary_cos, rotary_sin : array, optional
        ``[positions, rotary_dim / 2]``, with `k` and `v`: `k` is rotated before it is written, and `q` before it
        attends. The first new key stands at position ``cache_seqlens``, and so does the first query; without `causal`
        and a window all queries stand there.
    cache_seqlens : int or array of int, optional
        ``[B]``: keys that are there before the call. All there is room for by default, but required with `k`.
    cache_batch_idx : array of int, optional
        ``[B]``: sequence of the cache that each of the batch has; its own number by default. Not with `block_table`.
    cache_leftpad : None
        There is no padding on the left.
    block_table : array of int, optional
        ``[B, pages of a sequence]``: key j lies in page ``block_table[b, j // page_size]``.
    rotary_interleaved : bool
        Coordinates 0 and 1, 2 and 3, ... turn together; otherwise the first and second half of those that turn.
    num_splits : int
        Without effect: how work is divided is not up to the caller.
    return_softmax_lse : bool
        Return the log-sum-exp too.
    softmax_scale, causal, window_size, softcap, alibi_slopes
        As for `flash_attn_func`.

    Returns
    -------
    out : array
        As `q`.
    lse : array
        With `return_softmax_lse`: float32 ``[B, H, qL]``.

    Raises
    ------
    InvalidArgumentError
        Arrays, lengths, table or options that do not fit together; the cache is what it was.
    UnsupportedError
        Gradients, padding on the left, another dtype, or a head dimension without a kernel.
    """
    name = "flash_attn_with_kvcache"
    refuse(name, "cache_leftpad", cache_leftpad, None, why="sequences start at the first slot")
    queries = rows(view(name, "q", q))
    if queries.ndim != 4:
        raise invalid(name, "q", "[B, qL, H, D]", str(list(queries.shape)))
    keys, values = _kv_append.slots(name, "k_cache", k_cache), _kv_append.slots(name, "v_cache", v_cache)
    cache = _kv_append.Cache(name, keys, values, len(queries), cache_seqlens, cache_batch_idx, block_table)
    undo = None
    if k is not None or v is not None:
        if k is None or v is None or cache_seqlens is None:
            missing = "k" if k is None else "v" if v is None else "cache_seqlens"
            raise invalid(name, missing, "k, v and cache_seqlens together", "None")
        # What is no window at all is refused below.
        local = causal or (
            isinstance(window_size, (tuple, list)) and any(side not in (-1, None) for side in window_size)
        )
        new_keys, new_values = view(name, "k", k), view(name, "v", v)
        if rotary_cos is not None or rotary_sin is not None:
            angles = _kv_append.Rotation(name, rotary_cos, rotary_sin, rotary_interleaved)
            queries = angles.turn("q", queries, cache.lengths, each=local)
            new_keys = angles.turn("k", new_keys, cache.lengths, each=True)
        undo = cache.append(new_keys, new_values)
    elif rotary_cos is not None or rotary_sin is not None:
        raise invalid(name, "k", "keys to rotate and append, with rotary_cos", "None")
    batch, q_len, *vector = queries.shape
    try:
        out, lse = call(
            name,
            _CACHES,
            attention_varlen,
            queries.reshape(batch * q_len, *vector),
            keys,
            values,
            np.arange(batch + 1) * q_len,
            None,
            block_table=cache.table,
            kv_lens=cache.lengths,
            return_lse=True,
            **_options(name, softmax_scale, causal, window_size, softcap, alibi_slopes),
        )
    except BaseException:
        if undo is not None:
            undo()
        raise
    back = like(name, "q", q)
    out = back(out.reshape(queries.shape))
    if not return_softmax_lse:
        return out
    return out, back(np.ascontiguousarray(lse.reshape(-1, batch, q_len).swapaxes(0, 1)))


def _operands(operation: str, **tensors: Any) -> list[Any]:
    return [rows(view(operation, argument, tensor)) for argument, tensor in tensors.items()]


def _options(
    operation: str,
    softmax_scale: float | None,
    causal: bool,
    window_size: Sequence[int],
    softcap: float,
    alibi_slopes: Any,
) -> Mapping[str, Any]:
    return {
        "scale": softmax_scale,
        "causal": causal,
        "window": window_size,
        "softcap": softcap,
        "alibi": None if alibi_slopes is None else view(operation, "alibi_slopes", alibi_slopes),
    }
