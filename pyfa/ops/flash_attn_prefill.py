"""flash_attn_prefill: query rows against keys, tile by tile."""

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


def flash_attn_prefill(
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
    problem: FlashAttnPrefillProblem | None = None,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> Any:
    """Compute attention on device buffers; encode it only, if an encoder is given.

    Parameters
    ----------
    q, k, v : Buffer or numpy.ndarray
        ``[B, H, qL, D]``, ``[B, Hkv, kL, D]`` and ``[B, Hkv, kL, D]``, or with L and H exchanged for
        ``layout="blhd"``. Arrays are copied into buffers first; `Buffer.wrap` saves the copy. uint16 arrays hold the
        bits of bf16.
    out : Buffer, optional
        Where the result goes; a new buffer by default.
    mask : Buffer or numpy.ndarray, optional
        ``[qL, kL]``, ``[B, qL, kL]`` or ``[B, H, qL, kL]``; extents of 1 broadcast (of a Buffer, all but the last).
        bool or uint8: true attends. Of q's dtype: added to the scaled scores.
    blk : Buffer or numpy.ndarray, optional
        What `flash_attn_prefill_blk` makes of the mask with this kernel's tile, which `flash_attn_prefill_explain`
        tells: tiles that attend nothing are skipped. It changes no bit of the result.
    sinks : Buffer or numpy.ndarray, optional
        float32 ``[H]``: a score that joins the sum of every row of its head and has no value.
    alibi : Buffer or numpy.ndarray, optional
        float32 ``[H]`` or ``[B, H]``: slopes; ``slope * |position of the row - key|`` is taken from every score, before
        any mask.
    lse : Buffer or bool, optional
        Where the log-sum-exp of each row goes, float32 ``[B, H, qL]``, packed ``[H, rows]``; True makes a new buffer.
    causal, window, softcap, scale, layout, q_offset
        As for `pyfa.attention`.
    kv_len : int, optional
        How many of the keys in `k` and `v` are there; the others are room for more, and never read.
    q_starts : sequence of int, optional
        ``[B + 1]``: `q` and `out` are packed, ``[rows, H, D]`` in any layout, and sequence b has the rows
        ``q_starts[b] ... q_starts[b + 1] - 1``, from 0 to the number of rows. Its last row stands at its last key. With
        it `k` and `v` are ``[keys, Hkv, D]``, or in pages; there is no `mask`.
    k_starts : sequence of int, optional
        ``[B + 1]``: likewise of `k` and `v`, with `q_starts` and without pages.
    kv_lens : sequence of int, optional
        ``[B]``: keys of each sequence, of those it has room for; the last row of each stands at its last key.
    block_table : array, optional
        ``[B, pages of a sequence]``, with `kv_lens`: in any layout, `k` and `v` are ``[pages, page_size, Hkv, D]``, and
        key j of sequence b is row ``j % page_size`` of page ``block_table[b, j // page_size]``. Entries behind a length
        are not looked at. There is no `mask`.
    problem : FlashAttnPrefillProblem, optional
        Every parameter, in place of those options and of what is read from the shapes; for strides of one's own, and
        so on. `mask`, `blk`, `sinks`, `alibi` and `lse` are given as it says.
    encoder : CommandEncoder, optional
        Encode only: nothing has run when the call returns, and results are buffers.
    registry : KernelRegistry, optional
        Where the kernel is looked up; the device's own by default.
    device : Device, optional
        Without an encoder: what runs the work. `default_device` by default.

    Returns
    -------
    out : Buffer or numpy.ndarray
        An array if `q` was one and the work was run, else a buffer; `out` itself where it was given. Without query
        rows always an array.
    lse : Buffer or numpy.ndarray
        Only where `lse` was given; likewise.

    Raises
    ------
    InvalidArgumentError
        Shapes, dtypes, sizes or handles that do not fit together.
    UnsupportedError
        A dtype or head dimension that no kernel serves.

    Examples
    --------
    >>> q = np.ones((1, 2, 3, 64), np.float32)
    >>> pyfa.ops.flash_attn_prefill(q, q, q).shape
    (1, 2, 3, 64)
    """
    options = {
        "causal": causal, "window": window, "softcap": softcap, "scale": scale, "layout": layout, "q_offset": q_offset,
    }  # fmt: skip
    sequences = {"q_starts": q_starts, "k_starts": k_starts, "kv_lens": kv_lens, "block_table": block_table}
    return _prefill.Call(
        operation="flash_attn_prefill", function=lib.fa_flash_attn_prefill, q=q, k=k, v=v, out=out, mask=mask, blk=blk,
        sinks=sinks, alibi=alibi, lse=lse, options=options, sequences=sequences, kv_len=kv_len, problem=problem,
        encoder=encoder, registry=registry, device=device,
    )()  # fmt: skip


def flash_attn_prefill_explain(problem: FlashAttnPrefillProblem, *, device: Device | None = None) -> Explanation:
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

    Examples
    --------
    >>> problem = pyfa.ops.FlashAttnPrefillProblem(
    ...     batch=1, heads=8, kv_heads=2, head_dim=64, q_len=100, kv_len=100, dtype=np.float32)
    >>> pyfa.ops.flash_attn_prefill_explain(problem).passes[0].tile["BQ"]
    32
    """
    return _prefill.explain("flash_attn_prefill_explain", lib.fa_flash_attn_prefill_explain, problem, device)
