"""flash_attn_decode: the last queries of each sequence against a cache of any format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyfa import _dtypes
from pyfa._buffer import Buffer
from pyfa._device import Device, KernelRegistry, default_device
from pyfa._encoder import CommandEncoder
from pyfa._errors import invalid
from pyfa._explain import Explanation
from pyfa._ffi import check, choose, ffi, lib, result, string
from pyfa._handle import live
from pyfa.ops import _operands
from pyfa.ops._call import FORMATS, Call, choose_sizes, per_sequence, rank_of, seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyfa.ops._operands import Operand

_PROBLEM, _BUFFERS, _SIZES = map(
    ffi.typeof, ("fa_flash_attn_decode_problem *", "fa_flash_attn_decode_buffers *", "uint64_t[2]")
)
_HALF = np.dtype(np.float16)


def flash_attn_decode(
    q: Operand,
    k: Operand,
    v: Operand,
    kv_lens: int | Sequence[int],
    formats: str | tuple[str, str],
    *,
    k_norms: Operand | None = None,
    v_norms: Operand | None = None,
    out: Buffer | None = None,
    ring_starts: int | Sequence[int] | None = None,
    causal: bool = True,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Operand | None = None,
    return_lse: bool = False,
    rotate_query: bool = False,
    undo_rotation: bool = False,
    seed: int = 0,
    scale_factor_d512: float = 1.0,
    splits: int | None = None,
    nsg: int | None = None,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
    explain: bool = False,
) -> Any:
    """Attend the newest keys of each sequence; the heads of a group read the cache together.

    Parameters
    ----------
    q : Buffer or numpy.ndarray
        ``[B, H, q_len, D]``: float32, float16 or bfloat16 (or its bits as uint16); query t belongs to key
        ``kv_len - q_len + t``.
    k, v : Buffer or numpy.ndarray
        ``[B, Hkv, capacity, width]``; `kv_format` tells width and dtype.
    kv_lens : int or sequence of int
        Keys of every sequence, or of each.
    formats : str or (str, str)
        Of `k` and `v`: any of `kv_format`.
    k_norms, v_norms : Buffer or numpy.ndarray, optional
        ``[B, Hkv, capacity]``, of version 1 at D = 512 ``[B, Hkv, capacity, 2]``: float32, or float16 for version 2.
        None for a dense format.
    out : Buffer, optional
        As `q`; a new buffer by default.
    ring_starts : int or sequence of int, optional
        Slot of the first key; key i lies in slot ``(ring_start + i) mod capacity``.
    causal : bool
        A query attends no key after its own.
    window : int, optional
        Keys a query attends up to its own, that one included.
    scale : float, optional
        ``1 / sqrt(D)`` by default.
    softcap : float, optional
        Scores become ``softcap * tanh(score / softcap)``.
    sinks : Buffer or numpy.ndarray, optional
        float32 ``[H]``: a score of each head that has no value.
    return_lse : bool
        Return the log-sum-exp too, float32 ``[B, H, q_len]``.
    rotate_query : bool
        The kernel rotates `q`, as quantised keys want it.
    undo_rotation : bool
        Take the rotation of quantised values out of the result.
    seed : int
        Of the rotation's signs; 0 for the default ones.
    scale_factor_d512 : float
        The encoder's, version 1.
    splits : int, optional
        Threadgroups that share a sequence's keys, 1 to 32; chosen by their number by default.
    nsg : int, optional
        Simdgroups of a threadgroup: 1, 2, 4 or 8.
    encoder : CommandEncoder, optional
        Encode only: nothing has run when the call returns, and the results are buffers.
    registry : KernelRegistry, optional
        Where kernels are looked up; the device's own by default.
    device : Device, optional
        Without an encoder: what runs the work. `default_device` by default.
    explain : bool
        Return an `Explanation` instead, and run nothing.

    Returns
    -------
    Buffer or numpy.ndarray
        As `q`; with `return_lse` a pair. Arrays if `q` was one and the work was run.

    Raises
    ------
    InvalidArgumentError
        Shapes, lengths, options or buffers that do not fit together.
    UnsupportedError
        A dtype or head dimension that no kernel serves.

    Examples
    --------
    >>> q = np.ones((1, 4, 1, 64), np.float16)
    >>> k = v = np.ones((1, 2, 10, 64), np.float32)
    >>> float(pyfa.ops.flash_attn_decode(q, k, v, 7, "f32").mean())
    1.0
    """
    operation = "flash_attn_decode"
    shape, cache = rank_of(operation, "q", q, 4), rank_of(operation, "k", k, 4)
    if cache[0] != shape[0]:
        raise invalid(operation, "k", f"batch {shape[0]}, as q has", str(list(cache)))
    raw = ffi.new(_PROBLEM)
    raw.batch, raw.heads, raw.q_len, raw.head_dim = shape
    raw.kv_heads, raw.capacity = cache[1:3]
    lengths = per_sequence(operation, "kv_lens", kv_lens, shape[0])
    starts = ffi.NULL if ring_starts is None else per_sequence(operation, "ring_starts", ring_starts, shape[0])
    raw.kv_lens, raw.ring_starts = lengths, starts
    names = (formats, formats) if isinstance(formats, str) else formats
    if len(names) != 2:
        raise invalid(operation, "formats", "one format, or a pair", repr(formats))
    raw.keys, raw.values = (choose(operation, "formats", FORMATS, name) for name in names)
    dtype = _operands.element_type(q)
    raw.dtype = _dtypes.dtype_code(operation, "dtype", dtype)
    raw.causal, raw.has_sinks, raw.has_lse = bool(causal), sinks is not None, bool(return_lse)
    choose_sizes(operation, raw, {"window": window, "splits": splits, "nsg": nsg})
    _operands.number(operation, raw, "scale", max(shape[3], 1) ** -0.5 if scale is None else scale)
    _operands.number(operation, raw, "softcap", 0 if softcap is None else softcap)
    _operands.number(operation, raw, "scale_factor_d512", scale_factor_d512)
    raw.rotate_query, raw.undo_rotation = bool(rotate_query), bool(undo_rotation)
    raw.seed = seed_of(operation, seed)
    raw.half_norms = any(norms is not None and norms.dtype == _HALF for norms in (k_norms, v_norms))
    if explain:
        on = live((encoder.device if encoder else device) or default_device(), operation)
        return Explanation.from_json(string(result("const char *", lib.fa_flash_attn_decode_explain, on, raw)))
    call = Call(operation, encoder, registry, device)
    scratch = ffi.new(_SIZES)
    check(lib.fa_flash_attn_decode_scratch_bytes(live(call.device, operation), raw, scratch, scratch + 1))
    target = _operands.output(operation, "out", out) or call.new(shape, dtype)
    sums = call.new(shape[:3], np.float32) if return_lse else None
    parts = [call.new((size // 4,), np.float32) if size else None for size in scratch]
    return call.attend(
        lib.fa_flash_attn_decode,
        (raw,),
        ffi.new(_BUFFERS),
        q,
        {"k": k, "k_norms": k_norms, "v": v, "v_norms": v_norms, "sinks": sinks},
        target,
        sums,
        {"partials": parts[0], "partial_states": parts[1]},
        out,
    )
