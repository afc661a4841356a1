"""FlashInfer's functions for a single request, and its merging of attention states, computed by pyfa.

Queries are ``[length, heads, head_dim]``; keys and values likewise (``"NHD"``) or with heads first (``"HND"``); causal
masks are aligned to the bottom right corner; log-sum-exps are logarithms to base 2. A row that may attend no key is
zero, and its log-sum-exp is -inf.

Examples
--------
>>> from pyfa.compat.flashinfer import merge_state, single_prefill_with_kv_cache
>>> q = np.zeros((5, 8, 64), np.float32)
>>> k = v = np.ones((9, 2, 64), np.float32)
>>> first = single_prefill_with_kv_cache(q, k[:4], v[:4], return_lse=True)
>>> second = single_prefill_with_kv_cache(q, k[4:], v[4:], return_lse=True)
>>> out, lse = merge_state(*first, *second)
>>> float(2 ** lse.mean())
9.0
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyfa._errors import invalid, unsupported
from pyfa.attention import attention
from pyfa.compat._arrays import Array, floats, like, rows, view
from pyfa.compat._calls import call, refuse

__all__ = ["merge_state", "merge_states", "single_decode_with_kv_cache", "single_prefill_with_kv_cache"]

_ARGUMENTS = {
    "mask": "custom_mask",
    "scale": "sm_scale",
    "softcap": "logits_soft_cap",
    "window": "window_left",
}
_LOG2_E = math.log2(math.e)


def single_prefill_with_kv_cache(
    q: Any,
    k: Any,
    v: Any,
    scale_q: Any = None,
    scale_k: Any = None,
    scale_v: Any = None,
    o_dtype: Any = None,
    custom_mask: Any = None,
    packed_custom_mask: Any = None,
    causal: bool = False,
    kv_layout: str = "NHD",
    pos_encoding_mode: str = "NONE",
    use_fp16_qk_reduction: bool = False,  # noqa: ARG001 - it allows less precision, and there is more
    sm_scale: float | None = None,
    window_left: int = -1,
    logits_soft_cap: float | None = None,
    rope_scale: float | None = None,
    rope_theta: float | None = None,
    backend: str = "auto",
    return_lse: bool = False,
) -> Any:
    """Compute attention of one request: its newest queries and all of its keys.

    Parameters
    ----------
    q : array
        Queries ``[qL, H, D]``: a torch tensor, a NumPy array or a DLPack tensor in CPU memory, of float32, float16 or
        bfloat16.
    k, v : array
        Keys and values ``[kL, Hkv, D]``, or ``[Hkv, kL, D]`` with ``kv_layout="HND"``, of the dtype of `q`.
    scale_q, scale_k, scale_v : None
        There are no 8-bit operands to scale.
    o_dtype : None
        The result has the dtype of `q`.
    custom_mask : array of bool, optional
        ``[qL, kL]``, or as many in one dimension; True attends. `causal` counts for nothing beside it.
    packed_custom_mask : array of uint8, optional
        The same, eight keys to a byte, the first in the lowest bit; it takes the place of `custom_mask`.
    causal : bool
        A row attends no key after its position; the last row stands at the last key.
    kv_layout : {"NHD", "HND"}
        Order of the dimensions of `k` and `v`.
    pos_encoding_mode : {"NONE", "ALIBI"}
        ``"ALIBI"``, with `causal` or a single query, adds the original's bias by the heads' usual slopes.
    use_fp16_qk_reduction : bool
        Without effect: sums are float32.
    sm_scale : float, optional
        Multiplies the scores; ``1 / sqrt(D)`` by default.
    window_left : int
        Keys before a row's position that it attends, its own besides; -1: all.
    logits_soft_cap : float, optional
        Scores become ``logits_soft_cap * tanh(score / logits_soft_cap)``; None or 0: as they are.
    rope_scale, rope_theta : None
        There is no rotary embedding.
    backend : {"auto"}
        There are no other names for what computes.
    return_lse : bool
        Return the log-sum-exp too.

    Returns
    -------
    out : array
        As `q`.
    lse : array
        With `return_lse`: float32 ``[qL, H]``, to base 2.

    Raises
    ------
    InvalidArgumentError
        Arrays or options that do not fit together.
    UnsupportedError
        Gradients, scales, rotary embedding, another dtype, or a head dimension without a kernel.
    """
    name = "single_prefill_with_kv_cache"
    for argument, value in (("scale_q", scale_q), ("scale_k", scale_k), ("scale_v", scale_v), ("o_dtype", o_dtype)):
        refuse(name, argument, value, None, why="operands and results have one dtype of 16 bits or more")
    refuse(name, "backend", backend, "auto", why="the library chooses its kernels")
    queries = _three(name, "q", q)
    keys, values = (_by_length(name, argument, array, kv_layout) for argument, array in (("k", k), ("v", v)))
    mask = _mask(name, custom_mask, packed_custom_mask, (len(queries), keys.shape[0]))
    aligned = mask is None and causal
    past_only = mask is None and (causal or len(queries) == 1)
    out, lse = _attend(
        name,
        queries,
        keys,
        values,
        mask=mask,
        causal=aligned,
        alibi=_alibi(name, pos_encoding_mode, rope_scale, rope_theta, queries, logits_soft_cap, past_only=past_only),
        scale=sm_scale,
        window_left=window_left,
        logits_soft_cap=logits_soft_cap,
    )
    back = like(name, "q", q)
    return (back(out), back(lse)) if return_lse else back(out)


def single_decode_with_kv_cache(
    q: Any,
    k: Any,
    v: Any,
    kv_layout: str = "NHD",
    pos_encoding_mode: str = "NONE",
    use_tensor_cores: bool = False,  # noqa: ARG001 - the kernels decide
    q_scale: float | None = None,
    k_scale: float | None = None,
    v_scale: float | None = None,
    window_left: int = -1,
    logits_soft_cap: float | None = None,
    sm_scale: float | None = None,
    rope_scale: float | None = None,
    rope_theta: float | None = None,
    return_lse: bool = False,
) -> Any:
    """Compute attention of one request's newest query, which stands at the last key.

    Parameters
    ----------
    q : array
        The query ``[H, D]``.
    q_scale, k_scale, v_scale : float, optional
        Multiply queries, keys and values; 1 by default.
    use_tensor_cores : bool
        Without effect: what computes is not up to the caller.
    k, v, kv_layout, pos_encoding_mode, window_left, logits_soft_cap, sm_scale, rope_scale, rope_theta, return_lse
        As for `single_prefill_with_kv_cache`.

    Returns
    -------
    out : array
        As `q`.
    lse : array
        With `return_lse`: float32 ``[H]``, to base 2.

    Raises
    ------
    InvalidArgumentError
        Arrays or options that do not fit together.
    UnsupportedError
        Gradients, rotary embedding, another dtype, or a head dimension without a kernel.
    """
    name = "single_decode_with_kv_cache"
    query = view(name, "q", q)
    if query.ndim != 2:
        raise invalid(name, "q", "[H, D]", str(list(query.shape)))
    queries = query[None]
    scale = max(query.shape[1], 1) ** -0.5 if sm_scale is None else sm_scale
    for factor in (q_scale, k_scale):
        scale *= 1 if factor is None else factor
    out, lse = _attend(
        name,
        queries,
        *(_by_length(name, argument, array, kv_layout) for argument, array in (("k", k), ("v", v))),
        mask=None,
        causal=True,
        alibi=_alibi(name, pos_encoding_mode, rope_scale, rope_theta, queries, logits_soft_cap, past_only=True),
        scale=scale,
        window_left=window_left,
        logits_soft_cap=logits_soft_cap,
    )
    if v_scale is not None:
        numbers = floats(out)
        numbers[...] = numbers.astype(np.float32) * np.float32(v_scale)
    back = like(name, "q", q)
    return (back(out[0]), back(lse[0])) if return_lse else back(out[0])


def merge_state(v_a: Any, s_a: Any, v_b: Any, s_b: Any) -> tuple[Any, Any]:
    """Merge the results of attention over two sets of keys into that over both.

    Parameters
    ----------
    v_a, v_b : array
        Outputs ``[L, H, D]``.
    s_a, s_b : array
        Log-sum-exps to base 2, ``[L, H]``.

    Returns
    -------
    v : array
        As `v_a`.
    s : array
        float32 ``[L, H]``, to base 2.

    Raises
    ------
    InvalidArgumentError
        Shapes or dtypes that do not fit together.
    """
    name = "merge_state"
    outputs = [_three(name, argument, array) for argument, array in (("v_a", v_a), ("v_b", v_b))]
    sums = [view(name, argument, array) for argument, array in (("s_a", s_a), ("s_b", s_b))]
    if outputs[1].shape != outputs[0].shape or outputs[1].dtype != outputs[0].dtype:
        expected = f"{outputs[0].dtype} {list(outputs[0].shape)}, as v_a"
        raise invalid(name, "v_b", expected, f"{outputs[1].dtype} {list(outputs[1].shape)}")
    for argument, array in zip(("s_a", "s_b"), sums, strict=True):
        _check_sums(name, argument, array, outputs[0].shape[:2])
    out, total = _merge(np.stack([floats(array) for array in outputs], 1), np.stack(sums, 1))
    back = like(name, "v_a", v_a)
    return back(out.view(outputs[0].dtype)), back(total)


def merge_states(v: Any, s: Any) -> tuple[Any, Any]:
    """Merge the results of attention over several sets of keys into that over all.

    Parameters
    ----------
    v : array
        Outputs ``[L, states, H, D]``.
    s : array
        Log-sum-exps to base 2, ``[L, states, H]``.

    Returns
    -------
    v : array
        ``[L, H, D]``, of the dtype of `v`.
    s : array
        float32 ``[L, H]``, to base 2.

    Raises
    ------
    InvalidArgumentError
        Shapes or dtypes that do not fit together.
    """
    name = "merge_states"
    outputs, sums = view(name, "v", v), view(name, "s", s)
    if outputs.ndim != 4:
        raise invalid(name, "v", "[L, states, H, D]", str(list(outputs.shape)))
    _check_sums(name, "s", sums, outputs.shape[:3])
    out, total = _merge(floats(outputs), sums)
    back = like(name, "v", v)
    return back(out.view(outputs.dtype)), back(total)


def _merge(outputs: Array, sums: Array) -> tuple[Array, Array]:
    """Merge along dimension 1; where a set has no key, what its output holds does not matter."""
    top = sums.max(axis=1, keepdims=True, initial=-np.inf).astype(np.float32)
    finite = np.where(np.isneginf(top), np.float32(0), top)
    # NaN and infinite sums, and no sum at all, are nothing to warn of.
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = np.exp2(sums - finite).astype(np.float32)[..., None]
        total = weights.sum(axis=1)
        products = np.where(weights == 0, np.float32(0), outputs.astype(np.float32) * weights).sum(axis=1)
        merged = np.divide(products, total, out=np.zeros_like(products), where=total != 0)
        return merged.astype(outputs.dtype), np.log2(total[..., 0]) + finite[:, 0]


def _check_sums(operation: str, argument: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float32:
        raise invalid(operation, argument, f"float32 {list(shape)}", f"{array.dtype} {list(array.shape)}")


def _three(operation: str, argument: str, tensor: Any) -> Array:
    array = rows(view(operation, argument, tensor))
    if array.ndim != 3:
        raise invalid(operation, argument, "3 dimensions", str(list(array.shape)))
    return array


def _by_length(operation: str, argument: str, tensor: Any, kv_layout: str) -> Array:
    """Return keys or values as ``[kL, Hkv, D]``, which is a matter of strides."""
    if kv_layout not in ("NHD", "HND"):
        raise invalid(operation, "kv_layout", "'NHD' or 'HND'", repr(kv_layout))
    array = _three(operation, argument, tensor)
    return array if kv_layout == "NHD" else array.swapaxes(0, 1)


def _mask(operation: str, plain: Any, packed: Any, shape: tuple[int, int]) -> Array | None:
    """Return the mask ``[qL, kL]`` that was given, in either form."""
    if packed is not None:
        bits = view(operation, "packed_custom_mask", packed)
        if bits.dtype != np.uint8 or bits.ndim != 1 or len(bits) * 8 < math.prod(shape):
            expected = f"uint8 [{-(-math.prod(shape) // 8)}]"
            raise invalid(operation, "packed_custom_mask", expected, f"{bits.dtype} {list(bits.shape)}")
        return np.unpackbits(bits, count=math.prod(shape), bitorder="little").reshape(shape).astype(bool)
    if plain is None:
        return None
    mask = view(operation, "custom_mask", plain)
    if mask.dtype != np.bool_ or mask.shape not in (shape, (math.prod(shape),)):
        raise invalid(operation, "custom_mask", f"bool {list(shape)}", f"{mask.dtype} {list(mask.shape)}")
    return mask.reshape(shape)


def _slopes(heads: int) -> Array:
    """Return the slopes that ALiBi's authors give to heads: 2 ** (-8 i / n) for a power of 2, others in between."""
    power = 1 << (max(heads, 1).bit_length() - 1)
    exponents = np.concatenate([np.arange(1, power + 1) * 2, np.arange(1, 2 * (heads - power), 2)])
    return np.exp2(exponents * (-4.0 / power)).astype(np.float32)


def _alibi(
    operation: str,
    mode: str,
    rope_scale: float | None,
    rope_theta: float | None,
    queries: Array,
    logits_soft_cap: float | None,
    *,
    past_only: bool,
) -> Array | None:
    """Return the slopes that a position encoding asks for, if any."""
    if mode == "ROPE_LLAMA":
        raise unsupported(operation, "pos_encoding_mode", "'NONE' or 'ALIBI'; rotate q and k yourself", repr(mode))
    if mode not in ("NONE", "ALIBI"):
        raise invalid(operation, "pos_encoding_mode", "'NONE' or 'ALIBI'", repr(mode))
    for argument, value in (("rope_scale", rope_scale), ("rope_theta", rope_theta)):
        refuse(operation, argument, value, None, why="there is no rotary embedding")
    if mode == "NONE":
        return None
    if not past_only:
        # The original favours later keys there, instead of nearer ones.
        raise unsupported(operation, "pos_encoding_mode", "'NONE' without causal", repr(mode))
    if logits_soft_cap:
        raise unsupported(operation, "pos_encoding_mode", "'NONE' with logits_soft_cap", repr(mode))
    return _slopes(queries.shape[1])


def _attend(
    operation: str,
    queries: Array,
    keys: Array,
    values: Array,
    *,
    mask: Array | None,
    causal: bool,
    alibi: Array | None,
    scale: float | None,
    window_left: int,
    logits_soft_cap: float | None,
) -> tuple[Array, Array]:
    """Return the output ``[qL, H, D]`` and the log-sum-exp ``[qL, H]`` to base 2."""
    options: dict[str, Any] = {} if alibi is None else {"alibi": alibi}
    out, lse = call(
        operation,
        _ARGUMENTS,
        attention,
        queries[None],
        keys[None],
        values[None],
        layout="blhd",
        mask=mask,
        causal=causal,
        scale=scale,
        window=(window_left, -1),
        softcap=logits_soft_cap,
        return_lse=True,
        **options,
    )
    sums = lse[0].T
    if alibi is not None:
        # The original counts a row's position from the first row: a constant for each row, which only shows here.
        sums = sums + alibi * np.float32(len(keys) - len(queries))
    return out[0], np.multiply(sums, np.float32(_LOG2_E), order="C")
