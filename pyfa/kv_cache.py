"""`KVCache`: keys and values of past tokens, as they are or quantised, and attention over them."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pyfa import _dtypes, _kv_file, _kv_queries, _tensor
from pyfa._buffer import Buffer
from pyfa._device import Device, default_device
from pyfa._encoder import CommandEncoder
from pyfa._errors import invalid
from pyfa._explain import Explanation
from pyfa._ffi import CData, check, choose, ffi, integer, lib, result, string
from pyfa._handle import Handle, live
from pyfa._kv_queries import Queries, batched
from pyfa.ops._call import FORMATS, choose_sizes, seed_of

Codec = str | tuple[str, str]
_NULL = ffi.NULL
_NORMS = {"f32": 0, "f16": 1}
_NAMES = {value: name for name, value in FORMATS.items()}


class KVCache(Handle):
    """Keys and values of past tokens of one or several sequences.

    Parameters
    ----------
    kv_heads : int
        Heads of keys and values.
    head_dim : int
        64, 128, 256 or 512.
    capacity : int
        Tokens each sequence has room for.
    codec : str or (str, str)
        How vectors are kept; a pair has one for keys and one for values. ``"f32"``, ``"f16"`` and ``"bf16"`` as they
        are; ``"q8"`` and ``"tq2"`` ... ``"tq8"`` rotated and quantised to so many bits; ``"tq4_v1"``, ``"tq_hb5"``,
        ``"tq_hb6"`` and ``"tq_hb8"`` as version 1 of the codec.
    batch : int
        Sequences, at most 1024.
    ring : bool
        When there is no room, the oldest tokens give way; by default appending then raises.
    window : int, optional
        Keys a query attends at most, its own included; all by default.
    max_capacity : int, optional
        How far the capacity may grow, doubling when there is no room; by default it stays.
    seed : int
        Of the signs of the codec's rotation; 0 for the default ones.
    norms : {"f32", "f16"}
        How the norm of a quantised vector is kept.
    dtype : dtype
        What `dequantize` returns: float32, float16 or bfloat16.
    device : Device, optional
        Where the memory is and what computes; `default_device` by default.

    Raises
    ------
    InvalidArgumentError
        Sizes or options that cannot be.
    UnsupportedError
        A head dimension or an option that the codec does not have.
    DeviceError
        The device has not that much memory.

    Notes
    -----
    Methods return when their work is done, and exclude each other. A method that raises leaves the cache as it was,
    unless the device failed at work that had begun.

    A vector with NaN or infinities stays so in a dense cache; quantised, it is NaN throughout from then on.

    Examples
    --------
    >>> cache = pyfa.KVCache(kv_heads=2, head_dim=64, capacity=16, codec="tq8")
    >>> k, v = np.random.default_rng(0).standard_normal((2, 1, 2, 5, 64), dtype=np.float32)
    >>> cache.append(k, v)
    >>> cache.attend(np.ones((1, 8, 1, 64), np.float32)).shape
    (1, 8, 1, 64)
    >>> len(cache), cache.bytes_per_token
    (5, 272)
    """

    def __init__(
        self,
        kv_heads: int,
        head_dim: int,
        capacity: int,
        codec: Codec = "tq8",
        *,
        batch: int = 1,
        ring: bool = False,
        window: int | None = None,
        max_capacity: int | None = None,
        seed: int = 0,
        norms: Literal["f32", "f16"] = "f32",
        dtype: npt.DTypeLike = np.float32,
        device: Device | None = None,
    ) -> None:
        operation = "KVCache"
        raw = ffi.new("fa_kv_cache_config *")
        sizes = {"batch": batch, "kv_heads": kv_heads, "head_dim": head_dim, "capacity": capacity}
        choose_sizes(operation, raw, sizes | {"max_capacity": max_capacity, "window": window}, 64)
        raw.seed, raw.ring = seed_of(operation, seed), bool(ring)
        raw.half_norms = choose(operation, "norms", _NORMS, norms)
        keys, values = (codec, codec) if isinstance(codec, str) else _pair(operation, codec)
        raw.keys, raw.values = (choose(operation, "codec", FORMATS, name) for name in (keys, values))
        self._device = device or default_device()
        self._dtype = _dtypes.NUMPY[_dtypes.dtype_code(operation, "dtype", dtype)]
        super().__init__(
            result("fa_kv_cache *", lib.fa_kv_cache_create, live(self._device, operation), raw), lib.fa_kv_cache_release
        )

    # ------------------------------------------------------------------------------------------------- what it holds

    def _info(self) -> CData:
        info = ffi.new("fa_kv_cache_info *")
        check(lib.fa_kv_cache_get_info(live(self, "KVCache"), info))
        return info

    @property
    def device(self) -> Device:
        """Where the memory is and what computes."""
        return self._device

    @property
    def codec(self) -> tuple[str, str]:
        """How keys and values are kept."""
        info = self._info()  # what is in it lives as long as it does
        config = info.config
        return _NAMES[config.keys], _NAMES[config.values]

    @property
    def batch(self) -> int:
        """Sequences."""
        info = self._info()
        return int(info.config.batch)

    @property
    def capacity(self) -> int:
        """Tokens each sequence has room for now."""
        return int(self._info().capacity)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, used or not."""
        return int(self._info().byte_count)

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token of one sequence takes."""
        return int(self._info().bytes_per_token)

    @property
    def ranges(self) -> tuple[range, ...]:
        """Positions of each sequence's tokens that are there."""
        count = self.batch
        begins, ends = ffi.new("int64_t[]", count), ffi.new("int64_t[]", count)
        check(lib.fa_kv_cache_get_ranges(live(self, "KVCache"), begins, ends, count))
        return tuple(range(begins[i], ends[i]) for i in range(count))

    def __len__(self) -> int:
        """Tokens that are there; of the longest sequence."""
        return max(len(there) for there in self.ranges)

    @property
    def header(self) -> dict[str, Any]:
        """What a saved cache says of itself: sizes, codecs, and the checksums of their tables."""
        described_by = self._info()
        config = described_by.config
        norms = next(name for name, value in _NORMS.items() if value == config.half_norms)
        described: dict[str, Any] = {
            "batch": config.batch, "kv_heads": config.kv_heads, "head_dim": config.head_dim, "ring": bool(config.ring),
            "window": config.window, "seed": config.seed, "norm_dtype": norms, "dtype": self._dtype.name,
            "max_capacity": config.max_capacity,
        }  # fmt: skip
        info = ffi.new("fa_kv_format_info *")
        for name, code in (("keys", config.keys), ("values", config.values)):
            check(lib.fa_kv_format_get_info(code, config.head_dim, info))
            described[name] = {
                "codec": string(info.name), "version": info.version, "bits": info.bits, "table_crc32": info.table_crc32,
            }  # fmt: skip
        return described

    def buffers(self) -> dict[str, Buffer]:
        """Return the memory itself, by ``"k"``, ``"k_norms"``, ``"v"`` and ``"v_norms"``.

        Returns
        -------
        dict of str to Buffer
            Data ``[B, Hkv, capacity, width]`` and norms ``[B, Hkv, capacity]``; no norms where there are none. Growing
            replaces them.
        """
        names = ("k", "k_norms", "v", "v_norms")
        out = [ffi.new("fa_buffer **") for _ in names]
        check(lib.fa_kv_cache_get_buffers(live(self, "KVCache.buffers"), *out))
        return {name: Buffer(handle[0]) for name, handle in zip(names, out, strict=True) if handle[0] != ffi.NULL}

    # -------------------------------------------------------------------------------------------------------- tokens

    def append(self, k: Any, v: Any, *, encoder: CommandEncoder | None = None) -> None:
        """Append tokens to every sequence.

        Parameters
        ----------
        k, v : array
            ``[B, Hkv, n, D]``, or ``[Hkv, n, D]`` for a single sequence: float32, float16 or bfloat16 arrays or DLPack
            tensors, with an `encoder` arrays, which are copied, or buffers. In a ring only the newest are kept if they
            are more than the capacity.
        encoder : CommandEncoder, optional
            Encode only: nothing has run when the call returns, yet the tokens count as there. Commit the encoder before
            anything else is done with the cache. The capacity does not grow.

        Raises
        ------
        InvalidArgumentError
            Shapes that do not fit, or more tokens than there is room for.
        """
        if encoder is None:
            self._step("KVCache.append", (k, v), None)
        else:
            _kv_queries.encode(self, encoder, (k, v))

    def attend(
        self,
        q: Any,
        *,
        append: tuple[Any, Any] | None = None,
        causal: bool = True,
        window: int | None = None,
        softcap: float | None = None,
        sinks: Any = None,
        scale: float | None = None,
        return_lse: bool = False,
        out: Any = None,
        encoder: CommandEncoder | None = None,
    ) -> Any:
        """Attend the tokens that are there.

        Parameters
        ----------
        q : array
            ``[B, H, n, D]``, or ``[H, n, D]`` for a single sequence: the queries of the newest n tokens; Hkv divides
            H. A float32, float16 or bfloat16 array or a DLPack tensor.
        append : tuple of arrays, optional
            Keys and values to append first, in the same submission.
        causal : bool
            A query attends no token after its own.
        window : int, optional
            Keys a query attends at most, its own included; the cache's own window by default.
        softcap : float, optional
            Scores become ``softcap * tanh(score / softcap)``.
        sinks : array, optional
            float32 ``[H]``: a score of each head that has no value.
        scale : float, optional
            ``1 / sqrt(D)`` by default.
        return_lse : bool
            Return the log-sum-exp of the scores too.
        out : array, optional
            Where the result is written: as `q`.
        encoder : CommandEncoder, optional
            Encode only, as `append` does: tensors are arrays, which are copied, or buffers, and the results buffers.

        Returns
        -------
        out : array or Buffer
            As `q`, and of the same library; `out` itself where it was given.
        lse : array
            With `return_lse`: natural logarithm, float32, the shape of `q` without its last dimension.

        Raises
        ------
        InvalidArgumentError
            Shapes, dtypes or options that do not fit; nothing was written.

        Notes
        -----
        A query of a ring that is full sees no more than the ring holds: with several queries, make the capacity
        ``window + n - 1``.
        """
        if encoder is not None:
            asked = {"causal": causal, "window": window, "softcap": softcap, "scale": scale}
            return _kv_queries.encode(self, encoder, append, q, asked, sinks, return_lse, out)
        call = Queries(self, q, causal, window, softcap, sinks, scale, return_lse, out)
        self._step("KVCache.attend", append, call.args)
        return call.results()

    def explain(
        self,
        q: Any,
        *,
        causal: bool = True,
        window: int | None = None,
        softcap: float | None = None,
        sinks: Any = None,
        scale: float | None = None,
        return_lse: bool = False,
        out: Any = None,
    ) -> Explanation:
        """Tell what `attend` would do with the same arguments, without doing it.

        Parameters
        ----------
        q, causal, window, softcap, sinks, scale, return_lse, out
            As for `attend`.

        Returns
        -------
        Explanation
            Passes, kernels, constants, grids and copies; its `problem` is a dict.
        """
        call = Queries(self, q, causal, window, softcap, sinks, scale, return_lse, out)
        found = result("const char *", lib.fa_kv_cache_explain, live(self, "KVCache.explain"), call.args)
        return Explanation.from_json(string(found))

    def _step(self, operation: str, tokens: tuple[Any, Any] | None, queries: CData | None) -> None:
        handle, asked = live(self, operation), _NULL if queries is None else queries
        if tokens is None:
            check(lib.fa_kv_cache_step(handle, _NULL, _NULL, asked))
            return
        keys, values = _pair(operation, tokens)
        both, _kept = _tensor.fill_pair(operation, batched(keys, 3), batched(values, 3))
        check(lib.fa_kv_cache_step(handle, both, both + 1, asked))

    def truncate(self, length: int, *, sequence: int | None = None) -> None:
        """Forget the newest tokens.

        Parameters
        ----------
        length : int
            The position after the last token that stays.
        sequence : int, optional
            Which one; all by default.

        Raises
        ------
        InvalidArgumentError
            A position that is not there: beyond the newest token, or before the oldest that a ring still has.
        """
        operation = "KVCache.truncate"
        which = _sequence(operation, sequence)
        check(lib.fa_kv_cache_truncate(live(self, operation), which, integer(operation, "length", length)))

    def copy(self) -> KVCache:
        """Return a cache of its own with the same content.

        Returns
        -------
        KVCache
            Neither sees what the other appends.
        """
        handle = result("fa_kv_cache *", lib.fa_kv_cache_copy, live(self, "KVCache.copy"))
        twin = KVCache.__new__(KVCache)
        twin._device, twin._dtype = self._device, self._dtype
        Handle.__init__(twin, handle, lib.fa_kv_cache_release)
        return twin

    def dequantize(self, sequence: int | None = None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return keys and values, oldest first.

        Parameters
        ----------
        sequence : int, optional
            Which one; by default all, which then have equally many tokens.

        Returns
        -------
        k, v : numpy.ndarray
            ``[B, Hkv, n, D]``, of one sequence ``[Hkv, n, D]``, of the cache's `dtype`.
        """
        operation = "KVCache.dequantize"
        handle, info = live(self, operation), self._info()
        config = info.config
        which = _sequence(operation, sequence)
        there = self.ranges
        if not -1 <= which < len(there):
            raise invalid(operation, "sequence", f"0 to {len(there) - 1}", str(which))
        shape: tuple[int, ...] = (config.kv_heads, len(there[max(which, 0)]), config.head_dim)
        if which < 0:
            shape = (config.batch, *shape)
        both = np.empty(shape, self._dtype), np.empty(shape, self._dtype)
        tensors, _kept = _tensor.fill_pair(operation, *both, written=True)
        check(lib.fa_kv_cache_dequantize(handle, which, tensors, tensors + 1))
        return both

    # ---------------------------------------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the cache to a safetensors file.

        Parameters
        ----------
        path : str or path-like
            The file; replaced if there is one.

        Raises
        ------
        FileError
            It cannot be written.
        """
        _kv_file.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: Device | None = None) -> KVCache:
        """Make a cache of a file that `save` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.
        device : Device, optional
            Where the memory is and what computes; `default_device` by default.

        Raises
        ------
        FileError
            It cannot be read, is no such file, or is damaged.
        UnsupportedError
            It was written with a codec or a table that this library does not have.
        """
        return _kv_file.load(cls, path, device)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Take over the content of a file that `save` wrote, from a cache of the same kind.

        Parameters
        ----------
        path : str or path-like
            The file.

        Raises
        ------
        FileError
            It cannot be read, is no such file, or is damaged; the cache is as it was.
        InvalidArgumentError
            Its cache is of another kind, or has more tokens than there is room for; the cache is as it was.
        """
        _kv_file.restore(self, path)

    def __repr__(self) -> str:
        if self.released:
            return "<pyfa.KVCache released>"
        keys, values = self.codec
        codec = keys if keys == values else f"{keys}/{values}"
        return f"<pyfa.KVCache {codec}, {len(self)} of {self.capacity} tokens, {self.nbytes} bytes>"


def _pair(operation: str, given: Any) -> tuple[Any, Any]:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise invalid(operation, "keys and values", "a pair", type(given).__name__)
    return given[0], given[1]


def _sequence(operation: str, sequence: int | None) -> int:
    if sequence is None:
        return -1
    number = integer(operation, "sequence", sequence)
    if number < 0:
        raise invalid(operation, "sequence", "0 or more", str(number))
    return number
