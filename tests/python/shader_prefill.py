"""The prefill kernels by their slots and function constants, as any host may dispatch them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pyfa
from pyfa._ffi import ffi
from tests.python import prefill_model
from tests.python.reference import DTYPES

SHADERS = Path(__file__).parents[2] / "shaders"
HEAD_DIMS = (32, 64, 80, 96, 128, 192, 256, 512)
D512_BYTES = 28672


def source(room):
    return (SHADERS / f"{room}.metal").read_text(encoding="utf-8")


class Tile(NamedTuple):
    """Query rows and keys of a tile, and the threads that own it."""

    q: int
    k: int
    threads: tuple[int, int, int]


def kernel_name(dtype, head_dim, boolean, nsg=None):
    """Return a host name."""
    prefix = "flash_attn_prefill" if nsg is None else "flash_attn_prefill_llamacpp"
    return f"{prefix}_{dtype}_d{head_dim}{'_boolmask' if boolean else ''}"


def tile_of(name):
    """Return a kernel's tile, by its host name."""
    if "llamacpp" in name:
        return Tile(8, 64, (32, 4, 1))
    dtype, head_dim = name.split("_")[3:5]
    if head_dim == "d512":
        return Tile(8, 8, (32, 1, 1))
    return Tile(32, 8 if (dtype, head_dim) == ("f32", "d256") else 16, (32, 4, 1))


@functools.lru_cache(maxsize=64)
def library(room, device, text=None):
    """The compiled source of a room, or of another text in its place."""
    return pyfa.metal.Library(source(room) if text is None else text, device=device)


@functools.lru_cache(maxsize=512)
def kernel(room, device, name, constants, text=None):
    return library(room, device, text).kernel(name, dict(constants))


def struct(name, **fields):
    """Return the bytes of a struct of the header."""
    return bytes(ffi.buffer(ffi.new(f"{name} *", fields)))


class Operands(NamedTuple):
    """What a prefill kernel gets. K and V may be views of something longer; a mask broadcasts from any rank."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    options: dict

    @property
    def dtype(self):
        return next(name for name, dtype in DTYPES.items() if dtype == self.q.dtype)


def strides(array):
    """Return the strides of batches, heads and rows in elements, 0 where an extent broadcasts."""
    return [0 if n == 1 else s // array.itemsize for n, s in zip(array.shape[:3], array.strides[:3], strict=True)]


def whole(array):
    """Return the memory of a view, for a slot; views begin where their memory does."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert base.ctypes.data == array.ctypes.data
    return base


def run(operands, device, *, blk=False, lse=True, align=True, nsg=None, text=None):
    """Dispatch the kernel for these operands; return O and the LSE. `nsg` chooses the room of head dimension 512."""
    q, k, v, given = operands
    options = {"causal": False, "mask": None, "window": None, "softcap": None, "sinks": None} | given
    (batch, heads, q_len, head_dim), kv_len = q.shape, k.shape[2]
    mask, window, sinks = options["mask"], options["window"], options["sinks"]
    room = "flash_attn_prefill" if nsg is None else "flash_attn_prefill_d512"
    name = kernel_name(operands.dtype, head_dim, mask is not None and mask.dtype == bool, nsg)
    tile = tile_of(name)
    constants = {
        200: align and q_len % tile.q == 0,
        201: align and kv_len % tile.k == 0,
        300: mask is not None,
        301: options["causal"],
    }
    optional = {
        303: blk,
        304: sinks is not None,
        306: lse,
        307: window is not None,
        308: options["softcap"] is not None,
    }
    constants |= {index: True for index, wanted in optional.items() if wanted}
    if nsg is not None:
        constants[322] = nsg
    out = np.full(q.shape, np.nan, q.dtype)
    sums = np.full(q.shape[:3], np.nan, np.float32)
    params = {
        "B": batch, "H": heads, "D": head_dim, "qL": q_len, "kL": kv_len, "gqa_factor": heads // k.shape[1],
        "scale": options.get("scale", head_dim**-0.5), "softcap": options["softcap"] or 0,
        "qL_off": options.get("q_offset", kv_len - q_len),
        "Q_strides": strides(q), "K_strides": strides(k), "V_strides": strides(v), "O_strides": strides(out),
    }  # fmt: skip
    arguments = {0: whole(q), 1: whole(k), 2: whole(v), 3: out, 4: struct("fa_attn_params", **params)}
    if mask is not None:
        mask = mask[:, None] if mask.ndim == 3 else mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
        arguments |= {5: struct("fa_attn_mask_params", M_strides=strides(mask)), 6: np.ascontiguousarray(mask)}
    if blk:
        kinds = prefill_model.blk_bytes(np.broadcast_to(mask, (*mask.shape[:2], q_len, kv_len)), tile[:2])
        arguments |= {7: kinds, 11: struct("fa_attn_blk_params", strides=strides(kinds)[:2])}
    if sinks is not None:
        arguments[8] = sinks
    if lse:
        arguments[9] = sums
    if window is not None:
        arguments[10] = struct("fa_attn_window_params", left=window[0], right=window[1])
    kernel(room, device, name, tuple(constants.items()), text)(
        arguments,
        threadgroups=(-(-q_len // tile.q), heads, batch),
        threads=tile.threads if nsg is None else (32, nsg, 1),
        threadgroup_memory=None if nsg is None else {0: D512_BYTES},
    )
    return out, sums if lse else None
