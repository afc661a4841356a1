"""flash_attn_prefill_blk: which tiles of a mask attend nothing, and which everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyfa import _dtypes
from pyfa._buffer import Buffer
from pyfa._device import Device, KernelRegistry, default_device
from pyfa._encoder import CommandEncoder
from pyfa._errors import invalid
from pyfa._explain import Explanation
from pyfa._ffi import CData, check, ffi, integer, lib, result, string
from pyfa._handle import live
from pyfa.ops import _operands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyfa.ops._operands import Operand


@dataclass(frozen=True, kw_only=True)
class FlashAttnPrefillBlkProblem:
    """Every parameter of the operation."""

    batch: int = 1
    """Planes of the output: batches ..."""
    heads: int = 1
    """... times heads."""
    q_len: int
    kv_len: int
    tile_rows: int
    tile_keys: int
    dtype: npt.DTypeLike
    """Of the mask: float32, float16 or bfloat16, where -inf masks; bool or uint8, where false does."""
    mask_rank: int = 0
    """2 for ``[q, k]``, 3 for ``[batch, q, k]``, 4 for ``[batch, heads, q, k]``, contiguous; 0: by `mask_strides`."""
    mask_strides: Sequence[int] = (0, 0, 0)
    """Elements between batches, heads and rows; 0 broadcasts."""

    @property
    def blk_shape(self) -> tuple[int, int, int, int]:
        """Shape of the result."""
        return self.batch, self.heads, -(-self.q_len // self.tile_rows), -(-self.kv_len // self.tile_keys)


def flash_attn_prefill_blk(
    mask: Operand,
    blk: Buffer | None = None,
    *,
    tile: tuple[int, int] | None = None,
    problem: FlashAttnPrefillBlkProblem | None = None,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> Any:
    """Write one byte for each tile of a mask: 0 nothing attended, 2 everything without a bias, 1 anything else.

    Parameters
    ----------
    mask : Buffer or numpy.ndarray
        ``[qL, kL]``, ``[B, qL, kL]`` or ``[B, H, qL, kL]``: bool or uint8, or float32, float16, bfloat16 (or its bits
        as uint16).
    blk : Buffer, optional
        uint8, where the bytes go; a new buffer by default.
    tile : tuple of int
        Query rows and keys of a tile: those of the kernel that is to read the bytes.
    problem : FlashAttnPrefillBlkProblem, optional
        Every parameter, in place of what is read from the shape of the mask and of `tile`.
    encoder : CommandEncoder, optional
        Encode only: nothing has run when the call returns, and the result is a buffer.
    registry : KernelRegistry, optional
        Where the kernel is looked up; the device's own by default.
    device : Device, optional
        Without an encoder: what runs the work. `default_device` by default.

    Returns
    -------
    Buffer or numpy.ndarray
        uint8 ``[q tiles, k tiles]`` after the mask's leading dimensions; an array if `mask` was one and the work was
        run, else a buffer; `blk` itself where it was given.

    Raises
    ------
    InvalidArgumentError
        Shapes, dtypes, sizes or handles that do not fit together.

    Examples
    --------
    >>> pyfa.ops.flash_attn_prefill_blk(np.tril(np.ones((4, 4), bool)), tile=(2, 2))
    array([[1, 0],
           [2, 1]], dtype=uint8)
    """
    operation = "flash_attn_prefill_blk"
    _operands.checked(operation, "mask", mask)
    target = _operands.output(operation, "blk", blk)
    lead = tuple(mask.shape[:-2]) if problem is None else (problem.batch, problem.heads)
    problem = problem or _problem(operation, mask, tile)
    raw = _encode(operation, problem)
    run = encoder is None
    encoder = encoder or CommandEncoder(device or default_device())
    on = encoder.device
    if target is None:
        # What is wrong with the problem comes before what is wrong with a buffer of its sizes.
        flash_attn_prefill_blk_explain(problem, device=on)
        target = Buffer.zeros((*lead, *problem.blk_shape[-2:]), np.uint8, device=on)
    source = _operands.buffer_of(mask, on)
    handles = (_operands.handle(source, operation), _operands.handle(target, operation))
    check(
        lib.fa_flash_attn_prefill_blk(live(encoder, operation), live(registry or on.registry, operation), raw, *handles)
    )
    encoder.keep(source, target)
    if not run:
        return target
    encoder.commit_and_wait()
    return _operands.given_back(target, blk, mask)


def flash_attn_prefill_blk_bytes(q_len: int, kv_len: int, tile: tuple[int, int]) -> int:
    """Return how many bytes hold one plane of block bytes: one for each tile, rounded up to a multiple of 32.

    Parameters
    ----------
    q_len, kv_len : int
        Extents of the mask.
    tile : tuple of int
        Query rows and keys of a tile.

    Raises
    ------
    InvalidArgumentError
        Sizes that are not positive.

    Examples
    --------
    >>> pyfa.ops.flash_attn_prefill_blk_bytes(100, 100, (32, 16))
    32
    """
    operation = "flash_attn_prefill_blk_bytes"
    rows, keys = _tile(operation, tile)
    sizes = (integer(operation, "q_len", q_len), integer(operation, "kv_len", kv_len), rows, keys)
    return int(result("uint64_t", lib.fa_flash_attn_prefill_blk_bytes, *sizes))


def flash_attn_prefill_blk_explain(problem: FlashAttnPrefillBlkProblem, *, device: Device | None = None) -> Explanation:
    """Tell which kernel would run, with which constants and grid, or raise what the call would raise.

    Parameters
    ----------
    problem : FlashAttnPrefillBlkProblem
        What would be computed.
    device : Device, optional
        What would run it; `default_device` by default.

    Returns
    -------
    Explanation
        As of `pyfa.explain`; its `problem` is a dict.
    """
    operation = "flash_attn_prefill_blk"
    handle = live(device or default_device(), operation)
    found = result("const char *", lib.fa_flash_attn_prefill_blk_explain, handle, _encode(operation, problem))
    return Explanation.from_json(string(found))


def _tile(operation: str, tile: object) -> tuple[int, int]:
    if not isinstance(tile, (tuple, list)) or len(tile) != 2:
        raise invalid(operation, "tile", "(rows, keys)", repr(tile))
    return integer(operation, "tile", tile[0]), integer(operation, "tile", tile[1])


def _problem(operation: str, mask: Operand, tile: object) -> FlashAttnPrefillBlkProblem:
    rows, keys = _tile(operation, tile)
    shape = tuple(mask.shape)
    if not 2 <= len(shape) <= 4:
        raise invalid(operation, "mask", "2 to 4 dimensions", str(len(shape)))
    batch, heads = ((1, 1), (shape[0], 1), shape[:2])[len(shape) - 2]
    return FlashAttnPrefillBlkProblem(
        batch=batch, heads=heads, q_len=shape[-2], kv_len=shape[-1], tile_rows=rows, tile_keys=keys,
        dtype=_operands.element_type(mask), mask_rank=len(shape),
    )  # fmt: skip


def _encode(operation: str, problem: FlashAttnPrefillBlkProblem) -> CData:
    raw = ffi.new("fa_flash_attn_prefill_blk_problem *")
    _operands.set_sizes(operation, raw, problem, ("batch", "heads", "q_len", "kv_len", "tile_rows", "tile_keys"))
    code = _dtypes.dtype_code(operation, "dtype", problem.dtype)
    raw.dtype = lib.FA_BOOL if code == lib.FA_U8 else code
    raw.mask_rank = integer(operation, "mask_rank", problem.mask_rank, 32)
    _operands.set_strides(operation, raw, problem, "mask_strides")
    return raw
