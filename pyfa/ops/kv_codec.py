"""Rotation and KV codec: fwht_standalone, kv_encode, kv_decode, hadamard_quantize_kv, tq_dequantize_kv.

``docs/codec.md`` has the formats. Sizes are read from shapes; caches are buffers that the operations write in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pyfa import _dtypes
from pyfa._buffer import Buffer
from pyfa._device import Device, KernelRegistry
from pyfa._encoder import CommandEncoder
from pyfa._ffi import check, choices, choose, ffi, integer, lib, string
from pyfa.ops import _operands
from pyfa.ops._call import FORMATS, Call, per_sequence, rank_of, seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyfa.ops._operands import Operand

Transform = Literal["standalone", "sign_premult", "sign_undo"]
_TRANSFORMS = choices("fa_fwht_transform", "FA_FWHT_")


@dataclass(frozen=True)
class KvFormat:
    """What a cache keeps of a vector."""

    name: str
    version: int
    """Of the codec."""
    bits: int
    """Of a coordinate, or of its code."""
    dtype: np.dtype[Any]
    """Of what is kept."""
    table_crc32: int
    """Of the table that codes stand in; 0 without one."""
    width: int
    """Elements kept of a vector."""
    norms: int
    """Norms of a vector."""

    def norm_shape(self, lead: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the norms of vectors of a shape."""
        return (*lead, self.norms) if self.norms > 1 else lead


def kv_format(name: str, head_dim: int) -> KvFormat:
    """Return what is known of a cache format.

    Parameters
    ----------
    name : str
        ``"f32"``, ``"f16"``, ``"bf16"``, ``"q8"``, ``"tq2"`` ... ``"tq8"``, ``"tq4_v1"``, ``"tq_hb5"``, ``"tq_hb6"`` or
        ``"tq_hb8"``.
    head_dim : int
        Of the vectors.

    Raises
    ------
    InvalidArgumentError
        No such format, or a head dimension that no codec has.

    Examples
    --------
    >>> pyfa.ops.kv_format("tq6", 128).width
    96
    """
    operation = "kv_format"
    info = ffi.new("fa_kv_format_info *")
    code = choose(operation, "name", FORMATS, name)
    check(lib.fa_kv_format_get_info(code, integer(operation, "head_dim", head_dim), info))
    return KvFormat(
        string(info.name), info.version, info.bits, _dtypes.NUMPY[info.dtype], info.table_crc32, info.width, info.norms
    )


def fwht_standalone(
    data: Buffer,
    transform: Transform = "standalone",
    *,
    seed: int = 0,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> None:
    """Transform rows in place: H x / sqrt(D), or the codec's rotation R x, or its inverse.

    Parameters
    ----------
    data : Buffer
        float32 ``[..., D]`` with D 64, 128, 256 or 512.
    transform : {"standalone", "sign_premult", "sign_undo"}
        H x / sqrt(D), R x, or the transpose of R times x.
    seed : int
        Of the rotation's signs; 0 for the default ones.
    encoder : CommandEncoder, optional
        Encode only: nothing has run when the call returns.
    registry : KernelRegistry, optional
        Where the kernel is looked up; the device's own by default.
    device : Device, optional
        Without an encoder: what runs the work. `default_device` by default.

    Raises
    ------
    InvalidArgumentError
        A buffer or option that cannot be used.
    UnsupportedError
        A head dimension that no kernel serves.

    Examples
    --------
    >>> rows = pyfa.Buffer.from_array(np.eye(1, 64, dtype=np.float32))
    >>> pyfa.ops.fwht_standalone(rows)
    >>> rows.numpy()[0, :2]
    array([0.125, 0.125], dtype=float32)
    """
    call = Call("fwht_standalone", encoder, registry, device)
    handle = call.handle("data", data, written=True)
    raw = ffi.new("fa_fwht_problem *")
    raw.transform = choose(call.operation, "transform", _TRANSFORMS, transform)
    raw.head_dim, raw.seed = data.shape[-1], seed_of(call.operation, seed)
    raw.rows = int(np.prod(data.shape[:-1], dtype=np.int64))
    call(lib.fa_fwht_standalone, raw, handle)


def kv_encode(
    src: Operand,
    data: Buffer,
    norms: Buffer | None,
    codec: str,
    positions: int | Sequence[int] = 0,
    *,
    ring: bool = False,
    seed: int = 0,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> None:
    """Append tokens to a cache, as they are or quantised.

    Parameters
    ----------
    src : Buffer or numpy.ndarray
        ``[B, Hkv, n, D]``: float32, float16 or bfloat16.
    data : Buffer
        ``[B, Hkv, capacity, width]`` of the format's dtype; `kv_format` tells both.
    norms : Buffer or None
        ``[B, Hkv, capacity]``, float32 or float16; None for a dense format.
    codec : str
        Of version 2: ``"f32"``, ``"f16"``, ``"bf16"``, ``"q8"``, ``"tq2"`` ... ``"tq8"``.
    positions : int or sequence of int
        Of the first token: of every sequence, or of each.
    ring : bool
        Position p is kept in slot p mod capacity.
    seed : int
        Of the rotation's signs; 0 for the default ones.
    encoder, registry, device
        As of `fwht_standalone`.

    Raises
    ------
    InvalidArgumentError
        Buffers, shapes or positions that do not fit.
    UnsupportedError
        A format or head dimension that no kernel serves.

    Notes
    -----
    A vector with NaN or infinities is kept as one that decodes to NaN throughout.
    """
    call = Call("kv_encode", encoder, registry, device)
    shape = rank_of(call.operation, "src", src, 4)
    handles = [call.handle("src", src)]
    handles += [call.handle("data", data, written=True), call.handle("norms", norms, written=True)]
    raw = ffi.new("fa_kv_encode_problem *")
    raw.batch, raw.kv_heads, raw.tokens, raw.head_dim = shape
    raw.capacity = rank_of(call.operation, "data", data, 4)[2]
    where = per_sequence(call.operation, "positions", positions, shape[0])
    raw.positions = where
    raw.dtype = _dtypes.dtype_code(call.operation, "src", _operands.element_type(src))
    raw.format = choose(call.operation, "codec", FORMATS, codec)
    raw.ring, raw.seed = bool(ring), seed_of(call.operation, seed)
    raw.half_norms = norms is not None and norms.dtype == np.float16
    call(lib.fa_kv_encode, raw, *handles)


def kv_decode(
    data: Operand,
    norms: Operand | None,
    codec: str,
    head_dim: int,
    tokens: int,
    out: Buffer | None = None,
    *,
    position: int = 0,
    dtype: npt.DTypeLike = np.float32,
    ring: bool = False,
    seed: int = 0,
    undo_rotation: bool = True,
    scale_factor_d512: float = 1.0,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> Any:
    """Read tokens back from a cache that `kv_encode` or `hadamard_quantize_kv` wrote.

    Parameters
    ----------
    data, norms, codec
        As of `kv_encode`, or of version 1 with norms ``[B, Hkv, capacity]``, at D = 512 ``[B, Hkv, capacity, 2]``;
        arrays are copied.
    head_dim : int
        Of the vectors.
    tokens : int
        How many, from `position` on.
    out : Buffer, optional
        ``[B, Hkv, tokens, D]``; a new buffer by default.
    position : int
        Of the first token.
    dtype : dtype
        Of the result: float32, float16 or bfloat16.
    ring, seed
        As they were encoded.
    undo_rotation : bool
        False leaves quantised vectors rotated.
    scale_factor_d512 : float
        The encoder's, version 1.
    encoder, registry, device
        As of `fwht_standalone`.

    Returns
    -------
    Buffer or numpy.ndarray
        An array if `data` was one and the work was run, else a buffer.

    Raises
    ------
    InvalidArgumentError
        Buffers, shapes or positions that do not fit.
    UnsupportedError
        A format or head dimension that no kernel serves.
    """
    call = Call("kv_decode", encoder, registry, device)
    batch, kv_heads, capacity, _ = rank_of(call.operation, "data", data, 4)
    raw = ffi.new("fa_kv_decode_problem *")
    raw.batch, raw.kv_heads, raw.capacity = batch, kv_heads, capacity
    raw.head_dim = integer(call.operation, "head_dim", head_dim)
    raw.tokens = integer(call.operation, "tokens", tokens)
    raw.position = integer(call.operation, "position", position)
    target = _operands.output(call.operation, "out", out)
    if target is None:
        target = call.new((batch, kv_heads, max(raw.tokens, 1), max(raw.head_dim, 1)), dtype)
    raw.dtype = _dtypes.dtype_code(call.operation, "dtype", target.dtype)
    raw.format = choose(call.operation, "codec", FORMATS, codec)
    raw.ring, raw.seed, raw.undo_rotation = bool(ring), seed_of(call.operation, seed), bool(undo_rotation)
    raw.half_norms = norms is not None and norms.dtype == np.float16
    _operands.number(call.operation, raw, "scale_factor_d512", scale_factor_d512)
    handles = [call.handle("data", data), call.handle("norms", norms), call.handle("out", target, written=True)]
    call(lib.fa_kv_decode, raw, *handles)
    return call.result(target, out, data)


def hadamard_quantize_kv(
    src: Operand,
    packed: Buffer,
    norms: Buffer,
    codec: str,
    position: int = 0,
    *,
    ring: bool = False,
    scale_factor_d512: float = 1.0,
    rms_scratch: Buffer | None = None,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> None:
    """Append float tokens to a cache of version 1 of the codec.

    Parameters
    ----------
    src : Buffer or numpy.ndarray
        float32 ``[n, Hkv, D]``.
    packed : Buffer
        uint8 ``[Hkv, capacity, width]``.
    norms : Buffer
        float32 ``[Hkv, capacity]``, for D = 512 ``[Hkv, capacity, 2]``.
    codec : {"tq4_v1", "tq_hb5", "tq_hb6", "tq_hb8"}
        Of the cache.
    position : int
        Of the first token.
    ring : bool
        Position p is kept in slot p mod capacity.
    scale_factor_d512 : float
        Multiplies what head dimension 512 looks up.
    rms_scratch : Buffer, optional
        float32 ``[n, Hkv, D]``: gets what is looked up; ``"tq4_v1"`` only.
    encoder, registry, device
        As of `fwht_standalone`.

    Raises
    ------
    InvalidArgumentError
        Buffers, shapes or positions that do not fit.
    UnsupportedError
        A format or head dimension that no kernel serves.
    """
    call = Call("hadamard_quantize_kv", encoder, registry, device)
    raw = ffi.new("fa_hadamard_quantize_kv_problem *")
    raw.tokens, raw.kv_heads, raw.head_dim = rank_of(call.operation, "src", src, 3)
    raw.capacity = rank_of(call.operation, "packed", packed, 3)[1]
    raw.position = integer(call.operation, "position", position)
    raw.format, raw.ring = choose(call.operation, "codec", FORMATS, codec), bool(ring)
    _operands.number(call.operation, raw, "scale_factor_d512", scale_factor_d512)
    outputs = {"packed": packed, "norms": norms, "rms_scratch": rms_scratch}
    handles = [call.handle("src", src)]
    handles += [call.handle(name, buffer, written=True) for name, buffer in outputs.items()]
    call(lib.fa_hadamard_quantize_kv, raw, *handles)


def tq_dequantize_kv(
    packed: Operand,
    norms: Operand,
    codec: str,
    head_dim: int,
    out: Buffer | None = None,
    *,
    position: int = 0,
    scale_factor_d512: float = 1.0,
    encoder: CommandEncoder | None = None,
    registry: KernelRegistry | None = None,
    device: Device | None = None,
) -> Any:
    """Read the vectors of one slot back from a cache of version 1; they stay rotated.

    Parameters
    ----------
    packed, norms, codec, scale_factor_d512
        As of `hadamard_quantize_kv`; arrays are copied.
    head_dim : int
        Of the vectors.
    out : Buffer, optional
        float32 ``[Hkv, D]``; a new buffer by default.
    position : int
        The slot.
    encoder, registry, device
        As of `fwht_standalone`.

    Returns
    -------
    Buffer or numpy.ndarray
        An array if `packed` was one and the work was run, else a buffer.

    Raises
    ------
    InvalidArgumentError
        Buffers, shapes or positions that do not fit.
    UnsupportedError
        A format or head dimension that no kernel serves.
    """
    call = Call("tq_dequantize_kv", encoder, registry, device)
    raw = ffi.new("fa_tq_dequantize_kv_problem *")
    raw.kv_heads, raw.capacity, _ = rank_of(call.operation, "packed", packed, 3)
    raw.head_dim = integer(call.operation, "head_dim", head_dim)
    raw.position = integer(call.operation, "position", position)
    raw.format = choose(call.operation, "codec", FORMATS, codec)
    _operands.number(call.operation, raw, "scale_factor_d512", scale_factor_d512)
    target = _operands.output(call.operation, "out", out)
    if target is None:
        target = call.new((raw.kv_heads, max(raw.head_dim, 1)), np.float32)
    handles = [call.handle("packed", packed), call.handle("norms", norms), call.handle("out", target, written=True)]
    call(lib.fa_tq_dequantize_kv, raw, *handles)
    return call.result(target, out, packed)
