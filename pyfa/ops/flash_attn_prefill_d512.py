"""flash_attn_prefill_d512: flash_attn_prefill for a head dimension of 512, with chunks of 64 keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pyfa._ffi import lib
from pyfa.ops import _prefill

if TYPE_CHECKING:
    from pyfa._buffer import Buffer
    from pyfa._device import Device, KernelRegistry
    from pyfa._encoder import CommandEncoder
    from pyfa._explain import Explanation
    from pyfa._sequences import Integers
    from pyfa._window import Window
    from pyfa.ops._operands import Operand
    from pyfa.ops._prefill import FlashAttnPrefillProblem


def flash_attn_prefill_d512(
    q: Operand,
    k: Operand,
    v: Operand,
    out: Operand | None = None,
    *,
    mask: Operand | None = None,
    blk: Operand | None = None,
    sinks: Operand | None = None,
    alibi: Operand | None = None,
    lse: Buffer | bool | None = None,
    causal: bool = False,
    window: Window = None,
    softcap: float | None = None,
    scale: float | None = None,
    layout: Literal["bhld", "blhd"] = "bhld",
    q_offset: int | None = None,
    kv_len: int | None = None,
    q_starts: Integers | None = None,
    k_starts: Integers | None = None,
    kv_lens: Integers | None = None,
    block_table: Integers | None = None,
    nsg: int | None = None,
    problem: FlashAttnPrefillProblem | None = None,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> Any:
    """Compute attention of head dimension 512 in f16 or bf16; encode it only, if an encoder is given.

    Parameters
    ----------
    q, k, v, out, mask, sinks, alibi, lse, causal, window, softcap, scale, layout, q_offset, kv_len
    q_starts, k_starts, kv_lens, block_table
        As for `flash_attn_prefill`.
    blk : Buffer or numpy.ndarray, optional
        Likewise; of tiles of 8 rows by 64 keys.
    nsg : int, optional
        Simdgroups that share a threadgroup's rows, 4 or 8; the library's choice by default.
    problem, encoder, registry, device
        As for `flash_attn_prefill`.

    Returns
    -------
    out : Buffer or numpy.ndarray
        As of `flash_attn_prefill`.
    lse : Buffer or numpy.ndarray
        Likewise.

    Raises
    ------
    InvalidArgumentError
        Shapes, dtypes, sizes or handles that do not fit together.
    UnsupportedError
        Another dtype or head dimension.
    """
    options = {
        "causal": causal, "window": window, "softcap": softcap, "scale": scale, "layout": layout, "q_offset": q_offset,
        "nsg": nsg,
    }  # fmt: skip
    sequences = {"q_starts": q_starts, "k_starts": k_starts, "kv_lens": kv_lens, "block_table": block_table}
    return _prefill.Call(
        operation="flash_attn_prefill_d512", function=lib.fa_flash_attn_prefill_d512, q=q, k=k, v=v, out=out, mask=mask,
        blk=blk, sinks=sinks, alibi=alibi, lse=lse, options=options, sequences=sequences, kv_len=kv_len,
        problem=problem, encoder=encoder, registry=registry, device=device,
    )()  # fmt: skip


def flash_attn_prefill_d512_explain(problem: FlashAttnPrefillProblem, *, device: Device | None = None) -> Explanation:
    """Tell which kernel would run, with which constants and grid, or raise what the call would raise.

    Parameters
    ----------
    problem : FlashAttnPrefillProblem
        What would be computed.
    device : Device, optional
        What would run it; `default_device` by default.

    Returns
    -------
    Explanation
        As of `pyfa.explain`.
    """
    return _prefill.explain("flash_attn_prefill_d512_explain", lib.fa_flash_attn_prefill_d512_explain, problem, device)
