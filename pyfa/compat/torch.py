"""`torch.nn.functional.scaled_dot_product_attention`, computed by pyfa.

The same function is the operator ``torch.ops.pyfa.scaled_dot_product_attention``, so that it can stand in compiled and
exported graphs.

Examples
--------
>>> import torch
>>> from pyfa.compat.torch import scaled_dot_product_attention
>>> q = torch.zeros(1, 8, 5, 64)
>>> k = v = torch.ones(1, 2, 9, 64)
>>> scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).shape
torch.Size([1, 8, 5, 64])
"""

from __future__ import annotations

import math

import torch

from pyfa._errors import invalid, unsupported
from pyfa.attention import attention
from pyfa.compat._arrays import view, without_gradient
from pyfa.compat._calls import call, no_dropout

__all__ = ["scaled_dot_product_attention"]

_NAME = "scaled_dot_product_attention"
_ARGUMENTS = {"q": "query", "k": "key", "v": "value", "mask": "attn_mask"}


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Compute attention as torch defines it.

    Parameters
    ----------
    query : torch.Tensor
        ``[..., H, L, E]`` in CPU memory, of float32, float16 or bfloat16. Two dimensions or more, as for `key` and
        `value`; those before the last two broadcast.
    key, value : torch.Tensor
        ``[..., H, S, E]``, of the dtype of `query`.
    attn_mask : torch.Tensor, optional
        Broadcasts to ``[..., H, L, S]``. Of bool, True attends; of the dtype of `query`, it is added to the scaled
        scores. Not together with `is_causal`.
    dropout_p : float
        0 only.
    is_causal : bool
        Row ``i`` attends keys ``0 ... i``, whatever the lengths: the mask is aligned to the top left corner.
    scale : float, optional
        Multiplies the scores; ``1 / sqrt(E)`` by default.
    enable_gqa : bool
        `key` and `value` may have fewer heads than `query`; a group of query heads that follow each other shares one.

    Returns
    -------
    torch.Tensor
        ``[..., H, L, E]``, contiguous. A row that may attend no key is zero.

    Raises
    ------
    InvalidArgumentError
        Tensors that do not fit together.
    UnsupportedError
        Gradients, dropout, another dtype, values of another width than keys, or a head dimension without a kernel.

    Notes
    -----
    Memory is read where it lies, except operands whose last dimension is not contiguous, and operands of five
    dimensions or more whose leading ones cannot be seen as one: these are copied.
    """
    out: torch.Tensor = torch.ops.pyfa.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )
    return out


def _no_gradients(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    return (
        without_gradient(_NAME, "query", query),
        without_gradient(_NAME, "key", key),
        without_gradient(_NAME, "value", value),
        without_gradient(_NAME, "attn_mask", attn_mask),
    )


def _result_shape(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    dropout_p: float,
    is_causal: bool,
    enable_gqa: bool,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Check what needs no more than shapes and dtypes; return the batch of the result and its heads, if any."""
    no_dropout(_NAME, dropout_p)
    if is_causal and attn_mask is not None:
        raise invalid(_NAME, "attn_mask", "None together with is_causal", "a tensor")
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() < 2:
            raise invalid(_NAME, name, "two dimensions or more", str(tensor.dim()))
        if enable_gqa and tensor.dim() < 3:
            raise invalid(_NAME, name, "three dimensions or more with enable_gqa", str(tensor.dim()))
        if tensor.dtype != query.dtype:
            raise invalid(_NAME, name, f"the dtype of query, {query.dtype}", str(tensor.dtype))
    if value.shape[-1] != query.shape[-1]:
        expected = f"vectors as wide as those of query, {query.shape[-1]}"
        raise unsupported(_NAME, "value", expected, str(value.shape[-1]))
    operands = (query, key, value)
    try:
        batch = _broadcast([tensor.shape[:-3] for tensor in operands])
        heads = query.shape[-3:-2]
        return batch, heads if enable_gqa else _broadcast([heads, key.shape[-3:-2], value.shape[-3:-2]])
    except RuntimeError:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in operands)
        raise invalid(_NAME, "query, key, value", "leading dimensions that broadcast", shapes) from None


def _broadcast(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    # Nearly always there is nothing to do, and torch takes as long over it as over everything else here.
    first, *others = shapes
    return first if all(shape == first for shape in others) else torch.broadcast_shapes(*shapes)


def _flat(tensor: torch.Tensor, batch: tuple[int, ...], heads: int) -> torch.Tensor:
    """Return an operand as ``[B, heads, length, E]`` with a contiguous last dimension."""
    shape = (math.prod(batch), heads)
    if tensor.shape[:-2] != shape:
        last = tensor.shape[-2:]
        tensor = tensor.expand(*batch, heads, *last).reshape(*shape, *last)
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _flat_mask(mask: torch.Tensor, batch: tuple[int, ...]) -> torch.Tensor:
    """Return a mask of rank 2 or 4, extents of 1 left as they are."""
    while mask.dim() < 2:
        mask = mask[None]
    if mask.dim() == 2:
        return mask
    last = mask.shape[-3:]
    if math.prod(mask.shape[:-3]) == 1:
        return mask.reshape(1, *last)
    try:
        # Copies only where the mask has a batch of its own that is not that of the operands.
        return mask.expand(*batch, *last).reshape(math.prod(batch), *last)
    except RuntimeError:
        expected = f"leading dimensions that broadcast to {list(batch)}"
        raise invalid(_NAME, "attn_mask", expected, str(list(mask.shape))) from None


def _compute(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    query, key, value, attn_mask = _no_gradients(query, key, value, attn_mask)
    batch, heads = _result_shape(query, key, value, attn_mask, dropout_p, is_causal, enable_gqa)
    out = query.new_empty((*batch, *heads, *query.shape[-2:]))
    if not out.numel():
        return out
    count = heads[0] if heads else 1
    kv_counts = [tensor.shape[-3] if tensor.dim() > 2 else 1 for tensor in (key, value)]
    if not enable_gqa and kv_counts != [1, 1]:
        kv_counts = [count, count]
    call(
        _NAME,
        _ARGUMENTS,
        attention,
        view(_NAME, "query", _flat(query, batch, count)),
        view(_NAME, "key", _flat(key, batch, kv_counts[0])),
        view(_NAME, "value", _flat(value, batch, kv_counts[1])),
        causal=is_causal,
        q_offset=0 if is_causal else None,
        mask=None if attn_mask is None else view(_NAME, "attn_mask", _flat_mask(attn_mask, batch)),
        scale=scale,
        out=view(_NAME, "out", _flat(out, batch, count)),
    )
    return out


def _describe(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,  # noqa: ARG001 - the operator's signature
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Make a tensor without memory that is like the result."""
    query, key, value, attn_mask = _no_gradients(query, key, value, attn_mask)
    batch, heads = _result_shape(query, key, value, attn_mask, dropout_p, is_causal, enable_gqa)
    return query.new_empty((*batch, *heads, *query.shape[-2:]))


_LIBRARY = torch.library.Library("pyfa", "FRAGMENT")
_LIBRARY.define(
    f"{_NAME}(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0.0, "
    "bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.impl(_NAME, _compute, "CPU")
torch.library.register_fake(f"pyfa::{_NAME}", _describe, lib=_LIBRARY)
