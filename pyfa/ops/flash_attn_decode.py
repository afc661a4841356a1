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
from pyfa._ffi import CData, check, choices, choose, ffi, lib, result, string
from pyfa._handle import live
from pyfa.ops import _operands
from pyfa.ops._call import FORMATS, Call, choose_sizes, per_sequence, rank_of, seed_of

LAYOUTS = choices("fa_page_layout", "FA_PAGES_")

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

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
    alibi: Operand | None = None,
    block_table: npt.ArrayLike | None = None,
    page_layout: str = "nhd",
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
        ``[B, Hkv, capacity, width]``, with a `block_table` ``[pages, page_size, Hkv, width]``; `kv_format` tells width
        and dtype.
    kv_lens : int or sequence of int
        Keys of every sequence, or of each.
    formats : str or (str, str)
        Of `k` and `v`: any of `kv_format`.
    k_norms, v_norms : Buffer or numpy.ndarray, optional
        ``[B, Hkv, capacity]``, of version 1 at D = 512 ``[B, Hkv, capacity, 2]``: float32, or float16 for version 2.
        None for a dense format. With a `block_table` ``[pages, page_size, Hkv]`` likewise.
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
    alibi : Buffer or numpy.ndarray, optional
        float32 ``[H]`` or ``[B, H]``: slopes. ``slope * |position of the query - position of the key|`` is taken from
        each score, after the softcap.
    block_table : array_like of int, optional
        ``[B, pages of a sequence]``: the pages that have the sequences' keys, ``page_size`` after ``page_size``, in any
        order; sequences may share pages. Entries of keys that nobody attends may be anything.
    page_layout : str
        ``"nhd"``, or ``"hnd"`` for pages ``[Hkv, page_size, width]`` and norms ``[Hkv, page_size]``.
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
        Shapes, lengths, pages, options or buffers that do not fit together.
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
    raw = ffi.new(_PROBLEM)
    raw.batch, raw.heads, raw.q_len, raw.head_dim = shape
    if block_table is not None:
        pages, _kept = _pages(operation, cache, block_table, page_layout, shape[0])
        raw.pages, raw.kv_heads = pages, cache[1 if page_layout == "hnd" else 2]
        _same_pages(operation, cache, {"k_norms": k_norms, "v": v, "v_norms": v_norms})
    elif cache[0] != shape[0]:
        raise invalid(operation, "k", f"batch {shape[0]}, as q has", str(list(cache)))
    else:
        raw.kv_heads, raw.capacity = cache[1:3]
    if alibi is not None:
        slopes = tuple(_operands.checked(operation, "alibi", alibi).shape)
        if slopes not in ((shape[1],), shape[:2]):
            raise invalid(operation, "alibi", f"{list(shape[1:2])} or {list(shape[:2])}", str(list(slopes)))
        raw.alibi = lib.FA_ALIBI_HEADS if len(slopes) == 1 else lib.FA_ALIBI_SEQUENCES
    raw.kv_lens = _lengths = per_sequence(operation, "kv_lens", kv_lens, shape[0])
    if ring_starts is not None:
        raw.ring_starts = _starts = per_sequence(operation, "ring_starts", ring_starts, shape[0])
    names = (formats, formats) if isinstance(formats, str) else formats
    if len(names) != 2:
        raise invalid(operation, "formats", "one format, or a pair", repr(formats))
    keys, values = names
    raw.keys, raw.values = choose(operation, "formats", FORMATS, keys), choose(operation, "formats", FORMATS, values)
    dtype = _operands.element_type(q)
    raw.dtype = _dtypes.dtype_code(operation, "dtype", dtype)
    raw.causal = bool(causal)
    if sinks is not None:
        raw.has_sinks = 1
    if return_lse:
        raw.has_lse = 1
    if rotate_query:
        raw.rotate_query = 1
    if undo_rotation:
        raw.undo_rotation = 1
    choose_sizes(operation, raw, {"window": window, "splits": splits, "nsg": nsg})
    _operands.number(operation, raw, "scale", max(shape[3], 1) ** -0.5 if scale is None else scale)
    if softcap is not None:
        _operands.number(operation, raw, "softcap", softcap)
    _operands.number(operation, raw, "scale_factor_d512", scale_factor_d512)
    raw.seed = seed_of(operation, seed)
    raw.half_norms = _is_half(k_norms) or _is_half(v_norms)
    if explain:
        on = live((encoder.device if encoder else device) or default_device(), operation)
        return Explanation.from_json(string(result("const char *", lib.fa_flash_attn_decode_explain, on, raw)))
    call = Call(operation, encoder, registry, device)
    scratch = ffi.new(_SIZES)
    check(lib.fa_flash_attn_decode_scratch_bytes(live(call.device, operation), raw, scratch, scratch + 1))
    target = _operands.output(operation, "out", out) or call.new(shape, dtype)
    sums = call.new(shape[:3], np.float32) if return_lse else None
    partials, states = (call.new((size // 4,), np.float32) if size else None for size in (scratch[0], scratch[1]))
    return call.attend(
        lib.fa_flash_attn_decode,
        (raw,),
        ffi.new(_BUFFERS),
        {"q": q, "k": k, "k_norms": k_norms, "v": v, "v_norms": v_norms, "sinks": sinks, "alibi": alibi},
        {"o": target, "lse": sums, "partials": partials, "partial_states": states},
        out,
    )


def _is_half(norms: Operand | None) -> bool:
    return norms is not None and norms.dtype == _HALF


def _pages(
    operation: str, cache: tuple[int, ...], block_table: npt.ArrayLike, layout: str, batch: int
) -> tuple[CData, npt.NDArray[np.int32]]:
    """Return the pages of a cache of shape `cache`, and what they refer to."""
    given = np.asarray(block_table)
    if given.dtype.kind not in "iu" or given.ndim != 2 or len(given) != batch or given.shape[1] == 0:
        what = f"{given.dtype} {list(given.shape)}"
        raise invalid(operation, "block_table", f"integers [{batch}, pages of a sequence]", what)
    # What no int32 can be is no page either way; whether that is looked at is for the library to say.
    bounds = np.iinfo(np.int32)
    table = np.ascontiguousarray(np.clip(given, bounds.min, bounds.max), np.int32)
    pages = ffi.new("fa_kv_pages *")
    pages.layout = choose(operation, "page_layout", LAYOUTS, layout)
    pages.count, pages.page_size = cache[0], cache[2 if layout == "hnd" else 1]
    pages.columns, pages.table = table.shape[1], ffi.from_buffer("int32_t[]", table)
    return pages, table


def _same_pages(operation: str, cache: tuple[int, ...], others: Mapping[str, Operand | None]) -> None:
    """Refuse what has other pages than K: their bytes may be as many."""
    for name, other in others.items():
        if other is not None and tuple(_operands.checked(operation, name, other).shape[:3]) != cache[:3]:
            raise invalid(operation, name, f"pages {list(cache[:3])}, as k has", str(list(other.shape[:3])))
