"""What a model's attention layer calls."""

from __future__ import annotations

from typing import Any

import torch

import pyfa
from pyfa._errors import unsupported
from pyfa.compat._arrays import without_gradient

from ._states import CachedStates


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend, as transformers asks its attention implementations to.

    Parameters
    ----------
    module : torch.nn.Module
        The layer; its `is_causal` counts where the argument is None.
    query : torch.Tensor
        ``[B, H, qL, D]``: float32, float16 or bfloat16, on the CPU.
    key, value : torch.Tensor
        ``[B, Hkv, kL, D]``, or what `PyfaCache.update` returned.
    attention_mask : torch.Tensor, optional
        Boolean (true attends) or additive, broadcast to ``[B, H, qL, kL]``. With one, neither causality nor the window
        is applied again.
    dropout : float
        0.
    scaling : float, optional
        Of the scores; ``1 / sqrt(D)`` by default.
    is_causal : bool, optional
        Without a mask, the last query stands at the last key and none attends a later one.
    sliding_window : int, optional
        Keys a query attends at most, its own included.
    softcap : float, optional
        Scores become ``softcap * tanh(score / softcap)``.
    s_aux : torch.Tensor, optional
        ``[H]``: a score of each head that has no value (an attention sink).
    position_bias : torch.Tensor, optional
        Added to the scores; broadcast to ``[B, H, qL, kL]``.
    options
        What other implementations take; no `output_attentions`.

    Returns
    -------
    out : torch.Tensor
        ``[B, qL, H, D]``.
    weights : None
        They are never made.

    Raises
    ------
    UnsupportedError
        Dropout, gradients or attention weights are asked for.
    pyfa.Error
        As `pyfa.attention`: shapes, dtypes or head dimensions it does not have.
    """
    operation = "attention_forward"
    if dropout:
        raise unsupported(operation, "dropout", "0", str(dropout))
    if options.get("output_attentions"):
        raise unsupported(operation, "output_attentions", "false, for no weights are made", "true")
    query, key, value = (
        without_gradient(operation, *pair) for pair in (("query", query), ("key", key), ("value", value))
    )
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal) and attention_mask is None
    window = sliding_window if causal else None
    shared: dict[str, Any] = {
        "scale": scaling, "softcap": softcap, "sinks": None if s_aux is None else s_aux.detach().float(),
    }  # fmt: skip
    batch, heads, length, head_dim = query.shape
    out = query.new_empty((batch, length, heads, head_dim))
    target = out.transpose(1, 2)
    if isinstance(key, CachedStates) and attention_mask is None and position_bias is None:
        key.read().attend(query, target, causal=causal, window=window, **shared)
        return out, None
    pyfa.attention(
        query, _tensor(key), _tensor(value), mask=_mask(attention_mask, position_bias, query.dtype), causal=causal,
        window=None if window is None else (window - 1, 0), out=target, **shared,
    )  # fmt: skip
    return out, None


def _tensor(states: torch.Tensor) -> torch.Tensor:
    return states.materialize() if isinstance(states, CachedStates) else states


def _mask(mask: torch.Tensor | None, bias: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """A mask and a bias as the kernels take them: boolean, or of the queries' type."""
    if mask is None or mask.dtype != torch.bool:
        total = mask if bias is None else bias if mask is None else bias + mask
        return None if total is None else total.to(dtype)
    return mask if bias is None else torch.where(mask, bias.to(dtype), torch.tensor(-torch.inf, dtype=dtype))
