"""flash_attn_prefill_mask: masks of causal attention and sliding windows, filled on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfa import _dtypes
from pyfa._buffer import Buffer
from pyfa._device import Device, KernelRegistry, default_device
from pyfa._encoder import CommandEncoder
from pyfa._explain import Explanation
from pyfa._ffi import CData, check, ffi, integer, lib, result, string
from pyfa._handle import live
from pyfa.ops import _operands


@dataclass(frozen=True, kw_only=True)
class FlashAttnPrefillMaskProblem:
    """Every parameter of the operation."""

    q_len: int
    kv_len: int
    dtype: npt.DTypeLike = np.bool_
    """bool: True attends. float32, float16 or bfloat16: 0 attends, -inf masks."""
    causal: bool = True
    """No key after a row's position."""
    window: int | None = None
    """Keys a row attends up to its position, that one included; -1 or None: all."""
    q_offset: int = 0
    """Position of the first row among the keys."""


def flash_attn_prefill_mask(
    q_len: int,
    kv_len: int,
    mask: Buffer | None = None,
    *,
    dtype: npt.DTypeLike = np.bool_,
    causal: bool = True,
    window: int | None = None,
    q_offset: int = 0,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> Any:
    """Fill a mask ``[q_len, kv_len]`` for causal attention, a sliding window, or both.

    Parameters
    ----------
    q_len, kv_len : int
        Extents, each at least 1.
    mask : Buffer, optional
        Where it goes; a new buffer by default.
    dtype : dtype
        bool: True attends. float32, float16 or bfloat16: 0 attends, -inf masks.
    causal : bool
        Row i attends no key after its position ``i + q_offset``.
    window : int, optional
        How many keys a row attends up to its position, that one included; -1 or None: all.
    q_offset : int
        Position of the first row among the keys.
    encoder : CommandEncoder, optional
        Encode only: nothing has run when the call returns, and the result is a buffer.
    registry : KernelRegistry, optional
        Where the kernel is looked up; the device's own by default.
    device : Device, optional
        Without an encoder: what runs the work. `default_device` by default.

    Returns
    -------
    Buffer or numpy.ndarray
        An array if the work was run and no buffer given, else the buffer.

    Raises
    ------
    InvalidArgumentError
        Sizes, a window or a buffer that cannot be.
    UnsupportedError
        A dtype that no kernel serves.

    Notes
    -----
    `pyfa.attention` needs no such mask: its options `causal` and `window` say the same and cost nothing.

    Examples
    --------
    >>> pyfa.ops.flash_attn_prefill_mask(3, 4, window=2, q_offset=1).astype(int)
    array([[1, 1, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 1, 1]])
    """
    operation = "flash_attn_prefill_mask"
    target = _operands.output(operation, "mask", mask)
    problem = FlashAttnPrefillMaskProblem(
        q_len=q_len, kv_len=kv_len, dtype=dtype, causal=causal, window=window, q_offset=q_offset
    )
    raw = _encode(operation, problem)
    run = encoder is None
    encoder = encoder or CommandEncoder(device or default_device())
    on = encoder.device
    if target is None:
        # What is wrong with the problem comes before what is wrong with a buffer of its sizes.
        flash_attn_prefill_mask_explain(problem, device=on)
        target = Buffer.zeros((q_len, kv_len), dtype, device=on)
    handles = (live(encoder, operation), live(registry or on.registry, operation))
    check(lib.fa_flash_attn_prefill_mask(*handles, raw, live(target, operation)))
    encoder.keep(target)
    if not run:
        return target
    encoder.commit_and_wait()
    return target if mask is not None else target.numpy()


def flash_attn_prefill_mask_explain(
    problem: FlashAttnPrefillMaskProblem, *, device: Device | None = None
) -> Explanation:
    """Tell which kernel would run, with which grid, or raise what the call would raise.

    Parameters
    ----------
    problem : FlashAttnPrefillMaskProblem
        What would be computed.
    device : Device, optional
        What would run it; `default_device` by default.

    Returns
    -------
    Explanation
        As of `pyfa.explain`; its `problem` is a dict.
    """
    operation = "flash_attn_prefill_mask"
    handle = live(device or default_device(), operation)
    found = result("const char *", lib.fa_flash_attn_prefill_mask_explain, handle, _encode(operation, problem))
    return Explanation.from_json(string(found))


def _encode(operation: str, problem: FlashAttnPrefillMaskProblem) -> CData:
    raw = ffi.new("fa_flash_attn_prefill_mask_problem *")
    _operands.set_sizes(operation, raw, problem, ("q_len", "kv_len", "q_offset"))
    raw.dtype = _dtypes.dtype_code(operation, "dtype", problem.dtype)
    raw.causal = bool(problem.causal)
    raw.window = -1 if problem.window is None else integer(operation, "window", problem.window)
    return raw
