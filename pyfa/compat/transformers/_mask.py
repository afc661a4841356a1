"""Which masks have to be made: none where causality, and a window, say everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.masking_utils import causal_mask_function, sdpa_mask, sliding_window_overlay

_WINDOW = sliding_window_overlay(1).__qualname__


def attention_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | torch.Tensor = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    *,
    allow_is_causal_skip: bool = True,
    **options: Any,
) -> torch.Tensor | None:
    """Make the mask of a model's layers.

    Parameters
    ----------
    batch_size, q_length, kv_length, q_offset, kv_offset, mask_function, attention_mask, allow_is_causal_skip, options
        As transformers gives them to every mask function.

    Returns
    -------
    torch.Tensor or None
        bool ``[B, 1, q_length, kv_length]``, true attends. None where rows attend just what `attention_forward` lets
        them without a mask: the keys up to their own, in a causal model, and of these the window's.
    """
    aligned = int(q_offset) + q_length == kv_offset + kv_length
    unpadded = attention_mask is None or bool(attention_mask[:, kv_offset : kv_offset + kv_length].all())
    if allow_is_causal_skip and aligned and unpadded and _is_causal(mask_function):
        return None
    mask: torch.Tensor | None = sdpa_mask(
        batch_size, q_length, kv_length, q_offset, kv_offset, mask_function, attention_mask,
        allow_is_causal_skip=False, **options,
    )  # fmt: skip
    return mask


def _is_causal(function: Callable[..., Any]) -> bool:
    """Whether a function says what causality and a sliding window say."""
    if function is causal_mask_function:
        return True
    both = [
        part
        for cell in function.__closure__ or ()
        if isinstance(cell.cell_contents, tuple)
        for part in cell.cell_contents
    ]
    return len(both) == 2 and causal_mask_function in both and any(part.__qualname__ == _WINDOW for part in both)
