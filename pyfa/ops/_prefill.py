"""What flash_attn_prefill and flash_attn_prefill_d512 share: the problem, its struct, and a call."""

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
from pyfa._ffi import CData, check, choices, choose, ffi, integer, result, string
from pyfa._handle import live
from pyfa._sequences import Integers, integers, point, point_to_table
from pyfa._window import Window, set_window
from pyfa.ops import _operands
from pyfa.ops._operands import Operand

if TYPE_CHECKING:
    from collections.abc import Sequence

Layout = Literal["bhld", "blhd", "strided"]
MaskKind = Literal["none", "additive", "bool"]

_LAYOUTS = choices("fa_layout", "FA_LAYOUT_")
_MASKS = choices("fa_mask_kind", "FA_MASK_")
_PROBLEM = ffi.typeof("fa_flash_attn_prefill_problem *")
_BUFFERS = ffi.typeof("fa_flash_attn_prefill_buffers *")
_F32 = np.dtype(np.float32)
_BOOLS = (np.dtype(np.bool_), np.dtype(np.uint8))


@dataclass(frozen=True, kw_only=True)
class FlashAttnPrefillProblem:
    """Every parameter of the prefill operations.

    Strides are in elements, between batches, heads and rows. Those of q, k, v and o are read with
    ``layout="strided"`` only, those of the mask with ``mask_rank=0`` only, where 0 broadcasts.
    """

    batch: int
    heads: int
    kv_heads: int
    """Divides `heads`."""
    head_dim: int
    q_len: int
    """With 0 there is nothing to compute."""
    kv_len: int
    """With 0 the result is zeros."""
    dtype: npt.DTypeLike
    """Of q, k, v and o."""
    kv_capacity: int = 0
    """Keys each head of k and v has room for, of which the first `kv_len` are there; 0: `kv_len`."""
    scale: float | None = None
    """``1 / sqrt(head_dim)`` by default."""
    softcap: float | None = None
    """Scores become ``softcap * tanh(score / softcap)``."""
    causal: bool = False
    q_offset: int | None = None
    """Position of the first row among the keys; ``kv_len - q_len`` by default."""
    window: Window = None
    """Keys before and after a row's position that it attends; -1 or None: all."""
    layout: Layout = "bhld"
    mask: MaskKind = "none"
    mask_rank: int = 0
    """2 for ``[q, k]``, 3 for ``[batch, q, k]``, 4 for ``[batch, heads, q, k]``, contiguous; 0: by `mask_strides`."""
    has_blk: bool = False
    has_sinks: bool = False
    has_lse: bool = False
    nsg: int | None = None
    """Simdgroups of a threadgroup, 4 or 8; flash_attn_prefill_d512 only, which chooses by default."""
    q_strides: Sequence[int] = (0, 0, 0)
    k_strides: Sequence[int] = (0, 0, 0)
    v_strides: Sequence[int] = (0, 0, 0)
    o_strides: Sequence[int] = (0, 0, 0)
    mask_strides: Sequence[int] = (0, 0, 0)
    blk_strides: Sequence[int] = (0, 0)
    """Bytes between the block bytes of batches and of heads; 0 broadcasts."""
    has_alibi: bool = False
    alibi_stride: int = 0
    """Elements between the slopes of batches; 0 broadcasts."""
    q_starts: Integers | None = None
    """``[batch + 1]``: q and out are packed, ``[rows, heads, head_dim]``, and the LSE is ``[heads, rows]``; sequence b
    has the rows from ``q_starts[b]`` to ``q_starts[b + 1] - 1``. `q_len` is not read."""
    k_starts: Integers | None = None
    """``[batch + 1]``: likewise of k and v, with `q_starts`. `kv_len` is not read."""
    kv_lens: Integers | None = None
    """``[batch]``: keys of each sequence, of those it has room for."""
    block_table: Integers | None = None
    """``[batch, pages of a sequence]``, with `kv_lens`: k and v are ``[pages, page_size, kv_heads, head_dim]``; of
    strides, the first are between pages. `kv_len` is not read."""
    page_size: int = 0
    pages: int = 0

    @property
    def rows(self) -> int:
        """Query rows of a batch, or of all where they are packed."""
        if self.q_starts is None:
            return self.q_len
        return int(integers("flash_attn_prefill", "q_starts", self.q_starts, 1)[-1:].sum())

    @property
    def lse_shape(self) -> tuple[int, ...]:
        """Shape of the log-sum-exp."""
        return (self.batch, self.heads, self.q_len) if self.q_starts is None else (self.heads, self.rows)

    @property
    def o_shape(self) -> tuple[int, ...]:
        """Shape of the result in this layout."""
        if self.q_starts is not None:
            return self.rows, self.heads, self.head_dim
        if self.layout == "blhd":
            return self.batch, self.q_len, self.heads, self.head_dim
        return self.batch, self.heads, self.q_len, self.head_dim


def encode(operation: str, problem: FlashAttnPrefillProblem) -> CData:
    """Make the header's struct of a problem."""
    raw = ffi.new(_PROBLEM)
    names = ("batch", "heads", "kv_heads", "head_dim", "q_len", "kv_len", "kv_capacity")
    _operands.set_sizes(operation, raw, problem, names)
    raw.dtype = _dtypes.dtype_code(operation, "dtype", problem.dtype)
    # A head_dim that gives no default scale is the library's to refuse.
    scale = max(problem.head_dim, 1) ** -0.5 if problem.scale is None else problem.scale
    _operands.number(operation, raw, "scale", scale)
    _operands.number(operation, raw, "softcap", 0 if problem.softcap is None else problem.softcap)
    raw.causal = bool(problem.causal)
    if problem.q_offset is not None:
        raw.has_q_offset, raw.q_offset = 1, integer(operation, "q_offset", problem.q_offset)
    set_window(operation, raw, problem.window)
    raw.layout = choose(operation, "layout", _LAYOUTS, problem.layout)
    raw.mask = choose(operation, "mask", _MASKS, problem.mask)
    raw.mask_rank = integer(operation, "mask_rank", problem.mask_rank, 32)
    raw.has_blk, raw.has_sinks, raw.has_lse = bool(problem.has_blk), bool(problem.has_sinks), bool(problem.has_lse)
    if problem.nsg is not None:
        raw.nsg = integer(operation, "nsg", problem.nsg, 32)
        if raw.nsg == 0:  # in the struct, that leaves the choice to the library
            raise invalid(operation, "nsg", "4 or 8", "0")
    for name in ("q_strides", "k_strides", "v_strides", "o_strides", "mask_strides", "blk_strides"):
        _operands.set_strides(operation, raw, problem, name)
    raw.has_alibi = bool(problem.has_alibi)
    _operands.set_sizes(operation, raw, problem, ("alibi_stride", "page_size", "pages"))
    for name, extra in (("q_starts", 1), ("k_starts", 1), ("kv_lens", 0)):
        numbers = point(operation, raw, name, getattr(problem, name))
        if numbers is not None and len(numbers) != problem.batch + extra:
            what = f"one for each of {problem.batch} sequences" + (" and an end" if extra else "")
            raise invalid(operation, name, what, str(len(numbers)))
    table = point_to_table(operation, raw, problem.block_table)
    if table is not None and table[0] != problem.batch:
        raise invalid(operation, "block_table", f"[{problem.batch}, pages of a sequence]", str(list(table)))
    return raw


def explain(operation: str, function: Any, problem: FlashAttnPrefillProblem, device: Device | None) -> Explanation:
    """Ask the library what it would do."""
    handle = live(device or default_device(), operation)
    found = result("const char *", function, handle, encode(operation, problem))
    return Explanation.from_json(string(found))


@dataclass(kw_only=True)
class Call:
    """One call of a prefill operation: operands as they were given, and options that stand for a problem."""

    operation: str
    function: Any
    q: Operand
    k: Operand
    v: Operand
    out: Operand | None
    mask: Operand | None
    blk: Operand | None
    sinks: Operand | None
    alibi: Operand | None
    lse: Buffer | bool | None
    options: dict[str, Any]
    sequences: dict[str, Any]
    kv_len: int | None
    problem: FlashAttnPrefillProblem | None
    encoder: CommandEncoder | None
    registry: KernelRegistry | None
    device: Device | None

    def __call__(self) -> Any:
        """Encode the call, and run it unless an encoder was given."""
        operation = self.operation
        target = _operands.output(operation, "out", self.out)
        for name in "qkv":
            _operands.checked(operation, name, getattr(self, name))
        for name in ("mask", "blk", "sinks", "alibi"):
            if getattr(self, name) is not None:
                _operands.checked(operation, name, getattr(self, name))
        encoder = self.encoder or CommandEncoder(self.device or default_device())
        on = encoder.device
        wants_lse = self.lse is not None and self.lse is not False
        problem = self.problem or self.problem_of_shapes(wants_lse)
        raw = encode(operation, problem)
        is_empty = problem.rows == 0
        if target is None and not is_empty:
            target = Buffer.zeros(problem.o_shape, problem.dtype, device=on)
        sums: Buffer | None = None
        rows = problem.lse_shape
        if wants_lse and not is_empty:
            sums = self.lse if isinstance(self.lse, Buffer) else Buffer.zeros(rows, np.float32, device=on)
        inputs = ("q", "k", "v", "mask", "blk", "sinks", "alibi")
        bound = {name: _operands.buffer_of(getattr(self, name), on) for name in inputs}
        bound |= {"o": target, "lse": sums}
        buffers = ffi.new(_BUFFERS)
        for name, buffer in bound.items():
            if buffer is not None:
                setattr(buffers, name, live(buffer, operation))
        registry = live(self.registry or on.registry, operation)
        check(self.function(live(encoder, operation), registry, raw, buffers))
        encoder.keep(*bound.values())
        if self.encoder is None:
            encoder.commit_and_wait()
        found = self._result(target, self.out, problem.o_shape, self.q.dtype)
        return (found, self._result(sums, self.lse, rows, _F32)) if wants_lse else found

    def _result(self, buffer: Buffer | None, given: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        if buffer is None:
            return np.empty(shape, dtype)  # nothing: no buffer is empty
        return buffer if self.encoder is not None else _operands.given_back(buffer, given, self.q)

    def problem_of_shapes(self, has_lse: bool) -> FlashAttnPrefillProblem:
        """Read the sizes from the shapes; whether they fit is the library's to say, by the bytes it needs."""
        operation = self.operation
        q, k, v = self.q, self.k, self.v
        dtype = _operands.element_type(q)
        packed, paged = self.sequences["q_starts"] is not None, self.sequences["block_table"] is not None
        ranks = (3 if packed else 4, *([3 if packed and not paged else 4] * 2))
        for name, operand, rank in zip("qkv", (q, k, v), ranks, strict=True):
            if len(operand.shape) != rank:
                raise invalid(operation, name, f"{rank} dimensions", str(len(operand.shape)))
            if _operands.element_type(operand) != dtype:
                raise invalid(operation, name, f"{dtype}, as q has", str(operand.dtype))
        layout = self.options["layout"]
        if layout not in ("bhld", "blhd"):
            raise invalid(operation, "layout", "'bhld' or 'blhd' without a problem", repr(layout))
        if packed or any(given is not None for given in self.sequences.values()):
            return self._problem_of_sequences(has_lse, dtype, packed, paged)
        length, heads = (1, 2) if layout == "blhd" else (2, 1)
        if k.shape[::3] != q.shape[::3]:
            raise invalid(operation, "k", f"batch and head_dim {list(q.shape[::3])}", str(list(k.shape[::3])))
        if v.shape != k.shape:
            raise invalid(operation, "v", f"the shape of k, {list(k.shape)}", str(list(v.shape)))
        kv_len = k.shape[length] if self.kv_len is None else integer(operation, "kv_len", self.kv_len)
        sizes = (q.shape[0], q.shape[heads], q.shape[length], kv_len)
        kind, rank, strides = self._mask(sizes, dtype)
        return FlashAttnPrefillProblem(
            batch=q.shape[0],
            heads=q.shape[heads],
            kv_heads=k.shape[heads],
            head_dim=q.shape[3],
            q_len=q.shape[length],
            kv_len=kv_len,
            dtype=dtype,
            kv_capacity=0 if self.kv_len is None else k.shape[length],
            mask=kind,
            mask_rank=rank,
            mask_strides=strides,
            has_blk=self.blk is not None,
            blk_strides=self._blk_strides(sizes),
            has_sinks=self._has_sinks(sizes[1]),
            has_lse=has_lse,
            has_alibi=self.alibi is not None,
            alibi_stride=self._alibi_stride(q.shape[0], sizes[1]),
            **self.options,
        )

    def _problem_of_sequences(
        self, has_lse: bool, dtype: np.dtype[Any], packed: bool, paged: bool
    ) -> FlashAttnPrefillProblem:
        """Read the sizes where sequences differ in length."""
        operation, q, k, given = self.operation, self.q, self.k, self.sequences
        length, heads = (1, 2) if self.options["layout"] == "blhd" else (2, 1)
        if packed:
            starts = integers(operation, "q_starts", given["q_starts"], 1)
            batch, query_heads, q_len = len(starts) - 1, q.shape[1], 0
            if starts[-1:] != q.shape[:1]:
                raise invalid(operation, "q_starts", f"{q.shape[0]}, the rows of q, in the end", str(starts[-1:]))
        else:
            batch, query_heads, q_len = q.shape[0], q.shape[heads], q.shape[length]
        kv_heads = k.shape[-2] if packed or paged else k.shape[heads]
        if k.shape[-1] != q.shape[-1] or (not packed and not paged and k.shape[0] != batch):
            expected = f"head_dim {q.shape[-1]}" + ("" if packed or paged else f" and batch {batch}") + ", as q has"
            raise invalid(operation, "k", expected, str(list(k.shape)))
        if self.v.shape != k.shape:
            raise invalid(operation, "v", f"the shape of k, {list(k.shape)}", str(list(self.v.shape)))
        if self.kv_len is not None:
            raise invalid(operation, "kv_len", "none where sequences differ in length", str(self.kv_len))
        if packed and given["k_starts"] is not None and not paged:
            end = integers(operation, "k_starts", given["k_starts"], 1)[-1:]
            if (end > k.shape[0]).any():
                raise invalid(operation, "k_starts", f"at most {k.shape[0]}, the rows of k", str(end[0]))
        kv_len = 0 if packed or paged else k.shape[length]
        kind, rank, strides = self._mask((batch, query_heads, q_len, kv_len), dtype)
        return FlashAttnPrefillProblem(
            batch=batch,
            heads=query_heads,
            kv_heads=kv_heads,
            head_dim=q.shape[-1],
            q_len=q_len,
            kv_len=kv_len,
            dtype=dtype,
            mask=kind,
            mask_rank=rank,
            mask_strides=strides,
            has_blk=self.blk is not None,
            blk_strides=self._blk_strides((batch, query_heads, q_len, kv_len)),
            has_sinks=self._has_sinks(query_heads),
            has_lse=has_lse,
            has_alibi=self.alibi is not None,
            alibi_stride=self._alibi_stride(batch, query_heads),
            pages=k.shape[0] if paged else 0,
            page_size=k.shape[1] if paged else 0,
            **given,
            **self.options,
        )

    def _alibi_stride(self, batch: int, heads: int) -> int:
        if self.alibi is None:
            return 0
        shape = tuple(self.alibi.shape)
        if shape not in ((heads,), (batch, heads)):
            expected = f"[{heads}] or [{batch}, {heads}], a slope for each head"
            raise invalid(self.operation, "alibi", expected, str(list(shape)))
        return heads if len(shape) == 2 else 0

    def _mask(self, sizes: tuple[int, int, int, int], dtype: np.dtype[Any]) -> tuple[MaskKind, int, Sequence[int]]:
        """Return kind, mask_rank and mask_strides: the rank where nothing broadcasts within it, else strides."""
        if self.mask is None:
            return "none", 0, FlashAttnPrefillProblem.mask_strides
        operation, shape = self.operation, tuple(self.mask.shape)
        found = _operands.element_type(self.mask)
        kind: MaskKind = "bool" if found in _BOOLS else "additive"
        if kind == "additive" and found != dtype:
            raise invalid(operation, "mask", f"bool, uint8 or {dtype}, as q has", str(found))
        if isinstance(self.mask, np.ndarray) and shape[-1:] == (1,) and sizes[3] > 1:
            # Kernels broadcast by strides, and neighbouring keys have none.
            shape = (*shape[:-1], sizes[3])
            self.mask = np.broadcast_to(self.mask, shape)
        full = {2: sizes[2:], 3: (sizes[0], *sizes[2:]), 4: sizes}.get(len(shape))
        if full is None or shape[-1] != full[-1] or any(a not in (1, b) for a, b in zip(shape, full, strict=True)):
            expected = "[q, k], [batch, q, k] or [batch, heads, q, k], with 1 for what broadcasts"
            raise invalid(operation, "mask", f"{expected}, of {list(sizes)}", str(list(shape)))
        if shape == full:
            return kind, len(shape), FlashAttnPrefillProblem.mask_strides
        batch, head = _operands.plane_strides(shape)
        return kind, 0, (batch, head, 0 if shape[-2] == 1 else shape[-1])

    def _blk_strides(self, sizes: tuple[int, int, int, int]) -> Sequence[int]:
        if self.blk is None or len(self.blk.shape) < 2:
            return FlashAttnPrefillProblem.blk_strides
        shape = tuple(self.blk.shape)
        full = {2: (), 3: sizes[:1], 4: sizes[:2]}.get(len(shape))
        if full is None or any(a not in (1, b) for a, b in zip(shape, full, strict=False)):
            expected = "[q tiles, k tiles], after [batch] or [batch, heads] of the problem or 1"
            raise invalid(self.operation, "blk", expected, str(list(shape)))
        return _operands.plane_strides(shape)

    def _has_sinks(self, heads: int) -> bool:
        if self.sinks is not None and tuple(self.sinks.shape) != (heads,):
            raise invalid(self.operation, "sinks", f"[{heads}], one for each head", str(list(self.sinks.shape)))
        return self.sinks is not None
