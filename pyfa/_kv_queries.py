"""One call of `KVCache.attend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyfa import _dlpack, _dtypes, _tensor
from pyfa._errors import invalid
from pyfa._ffi import CData, check, ffi, integer, lib
from pyfa._handle import live
from pyfa.ops import _operands
from pyfa.ops._call import Call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyfa._buffer import Buffer
    from pyfa._encoder import CommandEncoder
    from pyfa.kv_cache import KVCache

OPERATION = "KVCache.attend"


class Queries:
    """One call of attend: the library's struct, and everything that must outlive it."""

    def __init__(
        self,
        cache: KVCache,
        q: Any,
        causal: bool,
        window: int | None,
        softcap: float | None,
        sinks: Any,
        scale: float | None,
        return_lse: bool,
        out: Any,
    ) -> None:
        operation = OPERATION
        self.args = ffi.new("fa_kv_cache_queries *")
        args = self.args
        whole = batched(q, 3)
        source = _tensor.fill(operation, args, "q", whole)
        self.convert = None if source is None else _dlpack.importer(operation, "q", q)
        shape = tuple(args.q.shape[0 : args.q.rank])
        dtype = _dtypes.NUMPY[args.q.dtype] if source is not None else whole.dtype
        self.out = np.empty(shape, dtype) if out is None else out
        self.given, self.squeezes = out, whole is not q
        target = batched(self.out, 3)
        self.kept = [whole, source, target, _tensor.fill(operation, args, "o", target, written=True)]
        if sinks is not None:
            self.kept += [sinks, _tensor.fill(operation, args, "sinks", sinks)]
        self.lse = np.empty(shape[:3], np.float32) if return_lse else None
        if self.lse is not None:
            _tensor.fill(operation, args, "lse", self.lse, written=True)
        _set_options(args, causal, window, softcap, scale)
        live(cache, operation)

    def results(self) -> Any:
        """Return what was computed, as the caller has its queries."""
        out, lse = self.out, self.lse
        if self.given is None and self.squeezes:
            out = out[0]
        if lse is not None and self.squeezes:
            lse = lse[0]
        if self.convert is not None:
            out = out if self.given is not None else self.convert(out)
            lse = None if lse is None else self.convert(lse)
        return out if lse is None else (out, lse)


def _set_options(args: CData, causal: bool, window: int | None, softcap: float | None, scale: float | None) -> None:
    args.causal = bool(causal)
    if window is not None:
        args.window = integer(OPERATION, "window", window)
        if args.window == 0:
            raise invalid(OPERATION, "window", "1 or more keys", "0")
    _operands.number(OPERATION, args, "softcap", 0 if softcap is None else softcap)
    if scale is not None:
        args.has_scale = 1
        _operands.number(OPERATION, args, "scale", scale)


def encode(
    cache: KVCache,
    encoder: CommandEncoder,
    append: Any,
    q: Any = None,
    options: Mapping[str, Any] | None = None,
    sinks: Any = None,
    return_lse: bool = False,
    out: Buffer | None = None,
) -> Any:
    """Encode a step: append tokens, if any, and attend if there are `options`. Return buffers of the results."""
    operation = "KVCache.append" if options is None else OPERATION
    call = Call(operation, encoder, None, None)
    buffers = ffi.new("fa_kv_cache_buffers *")
    if append is not None:
        if not isinstance(append, (tuple, list)) or len(append) != 2:
            raise invalid(operation, "keys and values", "a pair", type(append).__name__)
        buffers.k, buffers.v = (call.handle(name, batched(x, 3)) for name, x in zip("kv", append, strict=True))
    args, results = ffi.NULL, []
    if options is not None:
        args = ffi.new("fa_kv_cache_queries *")
        _set_options(args, **options)
        whole = batched(_operands.checked(operation, "q", q), 3)
        results.append(_operands.output(operation, "out", out) or call.new(whole.shape, _operands.element_type(whole)))
        if return_lse:
            results.append(call.new(whole.shape[:3], np.float32))
            buffers.lse = call.handle("lse", results[1], written=True)
        buffers.q, buffers.sinks = call.handle("q", whole), call.handle("sinks", sinks)
        buffers.o = call.handle("out", results[0], written=True)
    check(lib.fa_kv_cache_encode(live(cache, operation), live(encoder, operation), buffers, args))
    encoder.keep(cache, *call.kept)
    return tuple(results) if return_lse else results[0] if results else None


def batched(tensor: Any, rank: int) -> Any:
    """Return an array of a single sequence with a dimension for it; anything else as it is."""
    return tensor[None] if isinstance(tensor, np.ndarray) and tensor.ndim == rank else tensor
