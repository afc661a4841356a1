"""flash_attn_prefill: query rows against keys, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pyfa import _dtypes
from pyfa._buffer import Buffer
from pyfa._device import Device, KernelRegistry, default_device
from pyfa._encoder import CommandEncoder
from pyfa._errors import invalid
from pyfa._explain import Explanation
from pyfa._ffi import CData, check, choices, choose, ffi, integer, lib, result, string
from pyfa._handle import live

if TYPE_CHECKING:
    from collections.abc import Sequence

Layout = Literal["bhld", "blhd", "strided"]
MaskKind = Literal["none", "additive", "bool"]
Operand = Buffer | npt.NDArray[Any]

_LAYOUTS = choices("fa_layout", "FA_LAYOUT_")
_MASKS = choices("fa_mask_kind", "FA_MASK_")
_STRIDES = ("q_strides", "k_strides", "v_strides", "o_strides", "mask_strides")


@dataclass(frozen=True, kw_only=True)
class FlashAttnPrefillProblem:
    """Every parameter of the operation.

    Strides are in elements, between batches, heads and rows. Those of q, k, v and o are read with
    ``layout="strided"`` only, those of the mask with ``mask_rank=0`` only, where 0 broadcasts.
    """

    batch: int
    heads: int
    kv_heads: int
    """Divides `heads`."""
    head_dim: int
    q_len: int
    kv_len: int
    dtype: npt.DTypeLike
    """Of q, k, v and o."""
    scale: float | None = None
    """``1 / sqrt(head_dim)`` by default."""
    causal: bool = False
    q_offset: int | None = None
    """Row i attends keys 0 ... i + q_offset; ``kv_len - q_len`` by default."""
    layout: Layout = "bhld"
    mask: MaskKind = "none"
    mask_rank: int = 0
    """2 for ``[q, k]``, 3 for ``[batch, q, k]``, 4 for ``[batch, heads, q, k]``, contiguous; 0: by `mask_strides`."""
    has_lse: bool = False
    q_strides: Sequence[int] = (0, 0, 0)
    k_strides: Sequence[int] = (0, 0, 0)
    v_strides: Sequence[int] = (0, 0, 0)
    o_strides: Sequence[int] = (0, 0, 0)
    mask_strides: Sequence[int] = (0, 0, 0)

    @property
    def o_shape(self) -> tuple[int, int, int, int]:
        """Shape of the result in this layout."""
        if self.layout == "blhd":
            return self.batch, self.q_len, self.heads, self.head_dim
        return self.batch, self.heads, self.q_len, self.head_dim


def flash_attn_prefill(
    q: Operand,
    k: Operand,
    v: Operand,
    out: Operand | None = None,
    *,
    mask: Operand | None = None,
    lse: Buffer | bool | None = None,
    causal: bool = False,
    scale: float | None = None,
    layout: Literal["bhld", "blhd"] = "bhld",
    q_offset: int | None = None,
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
        ``[qL, kL]``, ``[B, qL, kL]`` or ``[B, H, qL, kL]``; extents of 1 broadcast, except the last. bool or uint8:
        true attends. Of q's dtype: added to the scaled scores.
    lse : Buffer or bool, optional
        Where the log-sum-exp of each row goes, float32 ``[B, H, qL]``; True makes a new buffer.
    causal, scale, layout, q_offset
        As for `pyfa.attention`.
    problem : FlashAttnPrefillProblem, optional
        Every parameter, in place of `causal`, `scale`, `layout` and `q_offset` and of what is read from the shapes;
        for a part of a larger cache, strides of one's own, and so on. `mask` and `lse` are given as it says.
    encoder : CommandEncoder, optional
        Encode only: nothing has run when the call returns, and results are buffers.
    registry : KernelRegistry, optional
        Where the kernel is looked up; the device's own by default.
    device : Device, optional
        Without an encoder: what runs the work. `default_device` by default.

    Returns
    -------
    out : Buffer or numpy.ndarray
        An array if `q` was one and the work was run, else a buffer; `out` itself where it was given.
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
    operation = "flash_attn_prefill"
    if out is not None and not isinstance(out, Buffer):
        raise invalid(operation, "out", "a Buffer", type(out).__name__)
    run = encoder is None
    encoder = encoder or CommandEncoder(device or default_device())
    on = encoder.device
    operands = [_buffer(operation, name, array, on) for name, array in (("q", q), ("k", k), ("v", v))]
    bias = None if mask is None else _buffer(operation, "mask", mask, on)
    wants_lse = lse is not None and lse is not False
    if problem is None:
        problem = _problem(operation, operands, bias, wants_lse, causal, scale, layout, q_offset)
    raw = _encode(operation, problem)
    target = out or Buffer.zeros(problem.o_shape, problem.dtype, device=on)
    sums: Buffer | None = None
    if wants_lse:
        shape = (problem.batch, problem.heads, problem.q_len)
        sums = lse if isinstance(lse, Buffer) else Buffer.zeros(shape, np.float32, device=on)
    bound = dict(zip("qkvo", (*operands, target), strict=True)) | {"mask": bias, "lse": sums}
    buffers = ffi.new("fa_flash_attn_prefill_buffers *")
    for name, buffer in bound.items():
        setattr(buffers, name, ffi.NULL if buffer is None else live(buffer, operation))
    check(lib.fa_flash_attn_prefill(live(encoder, operation), live(registry or on.registry, operation), raw, buffers))
    encoder.keep(*bound.values())
    if not run:
        return target if sums is None else (target, sums)
    encoder.commit_and_wait()
    results = [_as_given(buffer, out if buffer is target else lse, q) for buffer in (target, sums) if buffer]
    return results[0] if sums is None else tuple(results)


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
    >>> pyfa.ops.flash_attn_prefill_explain(problem).passes[0].room
    'flash_attn_prefill'
    """
    operation = "flash_attn_prefill_explain"
    handle = live(device or default_device(), operation)
    found = result("const char *", lib.fa_flash_attn_prefill_explain, handle, _encode(operation, problem))
    return Explanation.from_json(string(found))


def _buffer(operation: str, name: str, operand: object, device: Device) -> Buffer:
    """Return a buffer of an operand: itself, or a copy of an array."""
    if isinstance(operand, Buffer):
        return operand
    if not isinstance(operand, np.ndarray):
        raise invalid(operation, name, "a Buffer or a NumPy array", type(operand).__name__)
    dtype = _dtypes.BFLOAT16 if operand.dtype == _dtypes.UINT16 else operand.dtype
    return Buffer.from_array(operand, dtype=dtype, device=device)


def _encode(operation: str, problem: FlashAttnPrefillProblem) -> CData:
    """Make the header's struct of a problem."""
    raw = ffi.new("fa_flash_attn_prefill_problem *")
    for name in ("batch", "heads", "kv_heads", "head_dim", "q_len", "kv_len"):
        setattr(raw, name, integer(operation, name, getattr(problem, name)))
    raw.dtype = _dtypes.dtype_code(operation, "dtype", problem.dtype)
    try:
        # A head_dim that gives no default scale is the library's to refuse.
        raw.scale = max(problem.head_dim, 1) ** -0.5 if problem.scale is None else problem.scale
    except (TypeError, OverflowError):
        raise invalid(operation, "scale", "a number or None", repr(problem.scale)) from None
    raw.causal = bool(problem.causal)
    if problem.q_offset is not None:
        raw.has_q_offset, raw.q_offset = 1, integer(operation, "q_offset", problem.q_offset)
    raw.layout = choose(operation, "layout", _LAYOUTS, problem.layout)
    raw.mask = choose(operation, "mask", _MASKS, problem.mask)
    raw.mask_rank = integer(operation, "mask_rank", problem.mask_rank, 32)
    raw.has_lse = bool(problem.has_lse)
    for name in _STRIDES:
        strides = [integer(operation, name, stride) for stride in getattr(problem, name)]
        if len(strides) != 3:
            raise invalid(operation, name, "strides of batches, heads and rows", str(strides))
        setattr(raw, name, strides)
    return raw


def _problem(
    operation: str,
    operands: Sequence[Buffer],
    mask: Buffer | None,
    has_lse: bool,
    causal: bool,
    scale: float | None,
    layout: Literal["bhld", "blhd"],
    q_offset: int | None,
) -> FlashAttnPrefillProblem:
    """Read the sizes from the shapes; whether they fit together is the library's to say, by the bytes it needs."""
    q, k, v = operands
    for name, buffer in zip("qkv", operands, strict=True):
        if len(buffer.shape) != 4:
            raise invalid(operation, name, "4 dimensions", str(len(buffer.shape)))
        if buffer.dtype != q.dtype:
            raise invalid(operation, name, f"{q.dtype}, as q has", str(buffer.dtype))
    if layout not in ("bhld", "blhd"):
        raise invalid(operation, "layout", "'bhld' or 'blhd' without a problem", repr(layout))
    length, heads = (1, 2) if layout == "blhd" else (2, 1)
    if k.shape[::3] != q.shape[::3]:
        raise invalid(operation, "k", f"batch and head_dim {list(q.shape[::3])}", str(list(k.shape[::3])))
    if v.shape != k.shape:
        raise invalid(operation, "v", f"the shape of k, {list(k.shape)}", str(list(v.shape)))
    kind: MaskKind = "none"
    rank, strides = 0, (0, 0, 0)
    if mask is not None:
        sizes = (q.shape[0], q.shape[heads], q.shape[length], k.shape[length])
        kind = "bool" if mask.dtype in (np.dtype(np.bool_), np.dtype(np.uint8)) else "additive"
        if kind == "additive" and mask.dtype != q.dtype:
            raise invalid(operation, "mask", f"bool, uint8 or {q.dtype}, as q has", str(mask.dtype))
        rank, strides = _mask_strides(operation, mask.shape, sizes)
    return FlashAttnPrefillProblem(
        batch=q.shape[0],
        heads=q.shape[heads],
        kv_heads=k.shape[heads],
        head_dim=q.shape[3],
        q_len=q.shape[length],
        kv_len=k.shape[length],
        dtype=q.dtype,
        scale=scale,
        causal=causal,
        q_offset=q_offset,
        layout=layout,
        mask=kind,
        mask_rank=rank,
        has_lse=has_lse,
        mask_strides=strides,
    )


def _mask_strides(
    operation: str, shape: tuple[int, ...], sizes: tuple[int, int, int, int]
) -> tuple[int, tuple[int, int, int]]:
    """Return mask_rank and mask_strides: the rank where nothing broadcasts within it, else strides."""
    full = {2: sizes[2:], 3: (sizes[0], *sizes[2:]), 4: sizes}.get(len(shape))
    if full is None or shape[-1] != full[-1] or any(a not in (1, b) for a, b in zip(shape, full, strict=True)):
        expected = "[q, k], [batch, q, k] or [batch, heads, q, k], with 1 for what broadcasts except the last"
        raise invalid(operation, "mask", f"{expected}, of {list(sizes)}", str(list(shape)))
    if shape == full:
        return len(shape), (0, 0, 0)
    aligned = {2: (1, 1, *shape), 3: (shape[0], 1, *shape[1:]), 4: shape}[len(shape)]
    row, head = aligned[3], aligned[2] * aligned[3]
    dense = (aligned[1] * head, head, row)
    batch_stride, head_stride, row_stride = (0 if n == 1 else s for n, s in zip(aligned, dense, strict=False))
    return 0, (batch_stride, head_stride, row_stride)


def _as_given(buffer: Buffer, given: object, q: Operand) -> Operand:
    """Return a computed buffer as the caller's kind: what it passed, or an array where `q` was one."""
    if given is buffer or isinstance(q, Buffer):
        return buffer
    array = buffer.numpy()
    return array.view(np.uint16) if q.dtype == np.uint16 and array.dtype == _dtypes.BFLOAT16 else array
