"""Attention and a quantised cache for models of the transformers library.

`register` adds ``"pyfa"`` to the attention implementations that models are made with:

>>> pyfa.compat.transformers.register()  # doctest: +SKIP
>>> model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="pyfa")  # doctest: +SKIP
>>> cache = pyfa.compat.transformers.PyfaCache(model.config, codec="tq8")  # doctest: +SKIP
>>> model.generate(**inputs, past_key_values=cache)  # doctest: +SKIP

Needs transformers 5 or newer, and PyTorch; neither is imported before one of the names here is used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"PyfaCache": "_cache", "PyfaLayer": "_layer", "attention_forward": "_attention", "attention_mask": "_mask"}

__all__ = ["PyfaCache", "PyfaLayer", "attention_forward", "attention_mask", "register"]


def register(name: str = "pyfa") -> None:
    """Make pyfa an attention implementation of transformers.

    Parameters
    ----------
    name : str
        What models are then given as ``attn_implementation``.

    Raises
    ------
    ModuleNotFoundError
        transformers or PyTorch is not installed.

    Notes
    -----
    Head dimensions, dtypes and masks are those of `pyfa.attention`. Sliding windows, softcap, sinks and grouped
    heads are the kernel's own. A mask is made only where causality and a window do not say everything: for padded
    batches, packed sequences or patterns of other kinds. There is no dropout, no gradient and no attention weights:
    asking for them raises NotImplementedError.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    from ._attention import attention_forward
    from ._mask import attention_mask

    AttentionInterface.register(name, attention_forward)
    AttentionMaskInterface.register(name, attention_mask)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
