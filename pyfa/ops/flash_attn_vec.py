"""flash_attn_vec and its family: up to eight queries of each sequence against a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyfa._buffer import Buffer
from pyfa._device import Device, KernelRegistry, default_device
from pyfa._encoder import CommandEncoder
from pyfa._errors import invalid
from pyfa._explain import Explanation
from pyfa._ffi import CData, choose, ffi, integer, lib, result, string
from pyfa._handle import live
from pyfa.ops import _operands
from pyfa.ops._call import FORMATS, Call, choose_sizes, per_sequence, rank_of, seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyfa.ops._operands import Operand

Mask = Literal["none", "causal", "window"]
_MASKS = {"none": 0, "causal": 1, "window": 2}
_DENSE = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_ROOMS = {
    "flash_attn_vec": lib.FA_VEC,
    "flash_attn_vec_peer_port_f16": lib.FA_VEC_PEER_PORT_F16,
    "flash_attn_vec_tq": lib.FA_VEC_TQ,
    "flash_attn_vec_tq_hb": lib.FA_VEC_TQ_HB,
}


def flash_attn_vec(
    q: Operand,
    k: Operand,
    v: Operand,
    kv_lens: int | Sequence[int],
    out: Buffer | None = None,
    *,
    ring_starts: int | Sequence[int] | None = None,
    mask: Mask = "none",
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Operand | None = None,
    return_lse: bool = False,
    nwg: int | None = None,
    peer_port: bool = False,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
    explain: bool = False,
) -> Any:
    """Attend the newest keys of each sequence in a dense cache.

    Parameters
    ----------
    q : Buffer or numpy.ndarray
        float32 ``[B, H, q_len, D]`` with q_len up to 8; query t belongs to key ``kv_len - q_len + t``.
    k, v : Buffer or numpy.ndarray
        ``[B, Hkv, capacity, D]``: float32, float16 or bfloat16 (or its bits as uint16).
    kv_lens : int or sequence of int
        Keys of every sequence, or of each.
    out : Buffer, optional
        As `q`; a new buffer by default.
    ring_starts : int or sequence of int, optional
        Slot of the first key; key i lies in slot ``(ring_start + i) mod capacity``.
    mask : {"none", "causal", "window"}
        Whether a query attends all keys, those up to its own, or of those the last `window`.
    window : int, optional
        Keys, the query's own included.
    scale : float, optional
        ``1 / sqrt(D)`` by default.
    softcap : float, optional
        Scores become ``softcap * tanh(score / softcap)``.
    sinks : Buffer or numpy.ndarray, optional
        float32 ``[H]``: a score of each head that has no value.
    return_lse : bool
        Return the log-sum-exp too, float32 ``[B, H, q_len]``.
    nwg : int, optional
        Work-groups that share a query's keys, 1 to 32; chosen by their number by default.
    peer_port : bool
        The float16 kernel that rounds Q to half and has 1 or 32 work-groups.
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
    >>> q = np.ones((1, 4, 1, 64), np.float32)
    >>> k = v = np.ones((1, 2, 10, 64), np.float16)
    >>> float(pyfa.ops.flash_attn_vec(q, k, v, 7).mean())
    1.0
    """
    operation = "flash_attn_vec_peer_port_f16" if peer_port else "flash_attn_vec"
    for name, operand in (("q", q), ("k", k), ("v", v)):
        _operands.checked(operation, name, operand)
    dtype = _operands.element_type(k)
    if _operands.element_type(v) != dtype:
        raise invalid(operation, "v", f"{dtype}, as k has", str(v.dtype))
    if dtype.name not in _DENSE:
        raise invalid(operation, "k", f"one of {', '.join(_DENSE)}", dtype.name)
    options = {"ring_starts": ring_starts, "mask": mask, "window": window, "scale": scale, "softcap": softcap}
    return _attend(
        operation, q, (k, None), (v, None), _DENSE[dtype.name], kv_lens, out, sinks, return_lse, nwg, None,
        options, encoder, registry, device, explain,
    )  # fmt: skip


def flash_attn_vec_tq(
    q: Operand,
    k: Operand,
    k_norms: Operand,
    v: Operand,
    v_norms: Operand,
    kv_lens: int | Sequence[int],
    out: Buffer | None = None,
    *,
    codec: str = "tq4_v1",
    ring_starts: int | Sequence[int] | None = None,
    mask: Mask = "none",
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Operand | None = None,
    return_lse: bool = False,
    nwg: int | None = None,
    nsg: int | None = None,
    rotate_query: bool = False,
    undo_rotation: bool = False,
    seed: int = 0,
    scale_factor_d512: float = 1.0,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
    explain: bool = False,
) -> Any:
    """Attend the newest keys of each sequence in a cache of version 1 of the codec.

    Parameters
    ----------
    q : Buffer or numpy.ndarray
        float32 ``[B, H, q_len, D]``, rotated unless `rotate_query`.
    k, v : Buffer or numpy.ndarray
        uint8 ``[B, Hkv, capacity, width]``.
    k_norms, v_norms : Buffer or numpy.ndarray
        float32 ``[B, Hkv, capacity]``, for D = 512 ``[B, Hkv, capacity, 2]``.
    codec : {"tq4_v1", "tq_hb5", "tq_hb6", "tq_hb8"}
        Of both caches; with ``"tq4_v1"`` the room is flash_attn_vec_tq, else flash_attn_vec_tq_hb.
    nsg : int, optional
        Simdgroups of a work-group, 1, 2 or 4; not with ``"tq4_v1"``.
    rotate_query : bool
        The kernel rotates `q`; not with ``"tq4_v1"``.
    undo_rotation : bool
        Take the rotation out of the result.
    seed : int
        Of the rotation's signs; 0 for the default ones.
    scale_factor_d512 : float
        The encoder's.
    kv_lens, out, ring_starts, mask, window, scale, softcap, sinks, return_lse, nwg
        As of `flash_attn_vec`.
    encoder, registry, device, explain
        As of `flash_attn_vec`.

    Returns
    -------
    Buffer or numpy.ndarray
        As of `flash_attn_vec`.

    Raises
    ------
    InvalidArgumentError
        Shapes, lengths, options or buffers that do not fit together.
    UnsupportedError
        A format or head dimension that no kernel serves.
    """
    operation = "flash_attn_vec_tq" if codec == "tq4_v1" else "flash_attn_vec_tq_hb"
    options = {
        "ring_starts": ring_starts, "mask": mask, "window": window, "scale": scale, "softcap": softcap,
        "rotate_query": rotate_query, "undo_rotation": undo_rotation, "seed": seed,
        "scale_factor_d512": scale_factor_d512,
    }  # fmt: skip
    return _attend(
        operation, q, (k, k_norms), (v, v_norms), codec, kv_lens, out, sinks, return_lse, nwg, nsg,
        options, encoder, registry, device, explain,
    )  # fmt: skip


def flash_attn_vec_reduce(
    tmp: Buffer,
    out: Buffer,
    *,
    nwg: int,
    lse: Buffer | None = None,
    undo_rotation: bool = False,
    peer_port: bool = False,
    seed: int = 0,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> Buffer:
    """Merge the partial results of work-groups, the second pass of a decode.

    Parameters
    ----------
    tmp : Buffer
        float32, ``B * q_len * H * nwg * (D + 2)`` elements.
    out : Buffer
        float32 ``[B, H, q_len, D]``; written.
    nwg : int
        Work-groups, 1 to 32.
    lse : Buffer, optional
        float32 ``[B, H, q_len]``; written.
    undo_rotation : bool
        Take the codec's rotation out of the result.
    peer_port : bool
        The peer port's own kernel, of 32 work-groups.
    seed : int
        Of the rotation's signs; 0 for the default ones.
    encoder, registry, device
        As of `flash_attn_vec`.

    Returns
    -------
    Buffer
        `out`.
    """
    call = Call("flash_attn_vec_reduce", encoder, registry, device)
    raw = ffi.new("fa_flash_attn_vec_reduce_problem *")
    handles = [call.handle("tmp", tmp), call.handle("out", out, written=True), call.handle("lse", lse, written=True)]
    raw.batch, raw.heads, raw.q_len, raw.head_dim = rank_of(call.operation, "out", out, 4)
    raw.nwg, raw.has_lse = integer(call.operation, "nwg", nwg, 32), lse is not None
    raw.undo_rotation, raw.peer_port = bool(undo_rotation), bool(peer_port)
    raw.seed = seed_of(call.operation, seed)
    call(lib.fa_flash_attn_vec_reduce, raw, *handles)
    return out


def _attend(
    operation: str,
    q: Operand,
    k: tuple[Operand, Operand | None],
    v: tuple[Operand, Operand | None],
    codec: str,
    kv_lens: int | Sequence[int],
    out: Buffer | None,
    sinks: Operand | None,
    return_lse: bool,
    nwg: int | None,
    nsg: int | None,
    options: dict[str, Any],
    encoder: CommandEncoder | None,
    registry: KernelRegistry | None,
    device: Device | None,
    explain: bool,
) -> Any:
    """Encode one of the rooms; its partial results go to a buffer of their own."""
    shape = rank_of(operation, "q", q, 4)
    cache = rank_of(operation, "k", k[0], 4)
    raw, lengths = _problem(operation, shape, cache, codec, kv_lens, options)
    raw.has_sinks, raw.has_lse = sinks is not None, bool(return_lse)
    choose_sizes(operation, raw, {"nwg": nwg, "nsg": nsg})
    room = _ROOMS[operation]
    if explain:
        on = live((encoder.device if encoder else device) or default_device(), operation)
        return Explanation.from_json(string(result("const char *", lib.fa_flash_attn_vec_explain, on, room, raw)))
    call = Call(operation, encoder, registry, device)
    tmp_bytes = result("uint64_t", lib.fa_flash_attn_vec_tmp_bytes, live(call.device, operation), room, raw)
    target = _operands.output(operation, "out", out) or call.new(shape, np.float32)
    sums = call.new(shape[:3], np.float32) if return_lse else None
    tmp = call.new((tmp_bytes // 4,), np.float32) if tmp_bytes else None
    attended = call.attend(
        lib.fa_flash_attn_vec,
        (room, raw),
        ffi.new("fa_flash_attn_vec_buffers *"),
        {"q": q, "k": k[0], "k_norms": k[1], "v": v[0], "v_norms": v[1], "sinks": sinks},
        {"o": target, "lse": sums, "tmp": tmp},
        out,
    )
    del lengths
    return attended


def _problem(
    operation: str,
    shape: tuple[int, ...],
    cache: tuple[int, ...],
    codec: str,
    kv_lens: int | Sequence[int],
    options: dict[str, Any],
) -> tuple[CData, list[CData]]:
    """Make the header's struct, and what it points at."""
    raw = ffi.new("fa_flash_attn_vec_problem *")
    raw.batch, raw.heads, raw.q_len, raw.head_dim = shape
    if cache[0] != shape[0]:
        raise invalid(operation, "k", f"batch {shape[0]}, as q has", str(list(cache)))
    raw.kv_heads, raw.capacity = cache[1:3]
    pointed = [per_sequence(operation, "kv_lens", kv_lens, shape[0])]
    raw.kv_lens = pointed[0]
    if options["ring_starts"] is not None:
        pointed.append(per_sequence(operation, "ring_starts", options["ring_starts"], shape[0]))
        raw.ring_starts = pointed[1]
    raw.format = choose(operation, "codec", FORMATS, codec)
    raw.mask_type = choose(operation, "mask", _MASKS, options["mask"])
    window = options["window"]
    if (raw.mask_type == 2) != (window is not None):
        raise invalid(operation, "window", "a number of keys with mask 'window' only", repr(window))
    raw.window = 0 if window is None else integer(operation, "window", window)
    scale, softcap = options["scale"], options["softcap"]
    _operands.number(operation, raw, "scale", max(shape[3], 1) ** -0.5 if scale is None else scale)
    _operands.number(operation, raw, "softcap", 0 if softcap is None else softcap)
    _operands.number(operation, raw, "scale_factor_d512", options.get("scale_factor_d512", 1.0))
    raw.rotate_query = bool(options.get("rotate_query"))
    raw.undo_rotation = bool(options.get("undo_rotation"))
    raw.seed = seed_of(operation, options.get("seed", 0))
    return raw, pointed
