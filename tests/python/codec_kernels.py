"""The codec's shaders as functions of arrays."""

from __future__ import annotations

import re
from pathlib import Path

import ml_dtypes
import numpy as np

import pyfa
from tests.python import codec_reference as codec
from tests.python.reference import DTYPES

ROOT = Path(__file__).parents[2]
DIRECTORIES = ("shaders", "shaders/include", "Sources/CFlashAttn/include")
NAMES = {dtype: name for name, dtype in DTYPES.items()}
C_TYPES = {"uint32_t": np.uint32, "int64_t": np.int64, "float": np.float32}
SIMDGROUP = 32
# What memory holds that nobody has written.
UNTOUCHED = 0xA5


def flattened(name, seen=None):
    """The text of a shader or header with its quoted includes in place, each once."""
    seen = {name} if seen is None else seen
    path = next(ROOT / directory / name for directory in DIRECTORIES if (ROOT / directory / name).is_file())
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 2):
        include = re.match(r'#include "(.*)"', line)
        if include is None:
            lines.append(line)
        else:
            lines.append("" if include[1] in seen else flattened(include[1], seen | {include[1]}))
            seen.add(include[1])
            lines.append(f'#line {number} "{name}"')
    return "\n".join(lines)


def struct(name, **fields):
    """A parameter block of the header; fields that are not given are 0."""
    declared = (ROOT / DIRECTORIES[2] / "flash_attn_params.h").read_text(encoding="utf-8")
    body = re.search(rf"typedef struct {name} {{(.*?)}} {name};", declared, re.DOTALL)[1]
    members = re.findall(r"^ +(\w+) (\w+)(?:\[(\d+)\])?;", body, re.MULTILINE)
    block = np.zeros((), [(field, C_TYPES[kind], (int(n),) if n else ()) for kind, field, n in members])
    for field, value in fields.items():
        block[field] = value
    return block[()]


class Rooms:
    """The kernels on one device; each source is compiled once."""

    def __init__(self, device):
        self._device = device
        self._libraries = {}

    def kernel(self, room, name, constants=None):
        if room not in self._libraries:
            self._libraries[room] = pyfa.metal.Library(flattened(f"{room}.metal"), device=self._device)
        return self._libraries[room].kernel(name, constants)

    def fwht(self, kind, x, signs=None):
        """Rows of x, transformed in place."""
        rows, head_dim = x.shape
        kernel = self.kernel("fwht_standalone", f"{kind}_f32_d{head_dim}", None if signs is None else {55: True})
        arguments = {0: x, 1: struct("fa_fwht_params", head_dim=head_dim, num_heads=rows)}
        if signs is not None:
            arguments[2] = table(signs, head_dim)
        kernel(arguments, threadgroups=rows, threads=SIMDGROUP)

    def encode(self, x, cache, write_pos, *, ring=False, signs=None):
        """Append x [B, Hkv, n, D], strided in all but its last axis, to a `Cache`."""
        memory, strides = contiguous_base(x)
        batch, kv_heads, tokens, head_dim = x.shape
        params = struct(
            "fa_kv_encode_params",
            batch=batch,
            kv_heads=kv_heads,
            n_tokens=tokens,
            capacity=cache.capacity,
            is_ring=int(ring),
            src_strides=strides,
        )
        arguments = {0: memory, 1: cache.data, 3: params, 4: np.asarray(write_pos, np.uint32)}
        if cache.norms is not None:
            arguments[2] = cache.norms
        if signs is not None:
            arguments[5] = table(signs, head_dim)
        kernel = self.kernel("kv_encode", f"kv_encode_{NAMES[x.dtype]}_d{head_dim}", cache.constants(signs))
        kernel(arguments, threadgroups=(tokens, kv_heads, batch), threads=SIMDGROUP)

    def decode(self, cache, read_pos, tokens, *, dtype=np.float32, ring=False, undo=True, signs=None):
        """Tokens of a `Cache`, [B, Hkv, n, D]."""
        batch, kv_heads = cache.data.shape[:2]
        out = np.full((batch, kv_heads, tokens, cache.head_dim), UNTOUCHED, dtype)
        params = struct(
            "fa_kv_decode_params",
            batch=batch,
            kv_heads=kv_heads,
            n_tokens=tokens,
            capacity=cache.capacity,
            read_pos=read_pos,
            is_ring=int(ring),
            undo_rotation=int(undo),
        )
        arguments = {0: cache.data, 2: out, 3: params}
        if cache.norms is not None:
            arguments[1] = cache.norms
        if signs is not None:
            arguments[5] = table(signs, cache.head_dim)
        name = f"kv_decode_{NAMES[out.dtype]}_d{cache.head_dim}"
        kernel = self.kernel("kv_decode", name, cache.constants(signs))
        kernel(arguments, threadgroups=(tokens, kv_heads, batch), threads=SIMDGROUP)
        return out

    def encode_v1(self, x, cache, write_pos, *, sequence=True, sliding=False, factor=1.0, probe=None):
        """Append x [n, Hkv, D] to a `Cache` of version 1 without a batch."""
        tokens, kv_heads, head_dim = x.shape
        nibbles = cache.name == "tq4_v1"
        last = {"rms_probe_enabled": int(probe is not None)} if nibbles else {"codebook_bits": int(cache.name[-1])}
        params = struct(
            "fa_hadamard_quantize_kv_params" if nibbles else "fa_hadamard_quantize_kv_hb_params",
            head_dim=head_dim,
            num_kv_heads=kv_heads,
            write_pos=write_pos,
            cache_capacity=cache.capacity,
            is_sliding=int(sliding),
            scale_factor_d512=factor,
            **last,
        )
        arguments = {0: x, 1: cache.data, 2: cache.norms, 3: params}
        if probe is not None:
            arguments[4] = probe
        name = f"hadamard_quantize_kv_{'fast' if nibbles else 'hb'}{'_seq' if sequence else ''}_d{head_dim}"
        kernel = self.kernel("hadamard_quantize_kv", name, None if probe is None else {56: True})
        kernel(arguments, threadgroups=(kv_heads, tokens, 1), threads=SIMDGROUP)

    def decode_v1(self, cache, read_pos, factor=1.0):
        """One position of a `Cache` of version 1, [Hkv, D], rotated."""
        kv_heads, nibbles = len(cache.data), cache.name == "tq4_v1"
        out = np.full((kv_heads, cache.head_dim), UNTOUCHED, np.float32)
        params = struct(
            "fa_tq_dequantize_kv_params" if nibbles else "fa_tq_dequantize_hb_kv_params",
            head_dim=cache.head_dim,
            num_kv_heads=kv_heads,
            read_pos=read_pos,
            cache_capacity=cache.capacity,
            norms_per_pos=2 if cache.head_dim == 512 else 1,
            scale_factor_d512=factor,
            **({} if nibbles else {"codebook_bits": int(cache.name[-1])}),
        )
        kernel = self.kernel("tq_dequantize_kv", f"tq_dequantize_{'' if nibbles else 'hb_'}kv_d{cache.head_dim}")
        kernel({0: cache.data, 1: cache.norms, 2: out, 3: params}, threadgroups=kv_heads, threads=SIMDGROUP)
        return out


class Cache:
    """Rows and norms of a cache, as bytes that nobody has written."""

    def __init__(self, name, head_dim, *heads, capacity, norm_dtype=np.float32):
        self.name, self.head_dim, self.capacity, self.norm_dtype = name, head_dim, capacity, np.dtype(norm_dtype)
        width = {"f32": 32, "f16": 16, "bf16": 16}.get(name) or codec.packed_bits(name)
        self.data = np.full((*heads, capacity, head_dim * width // 8), UNTOUCHED, np.uint8)
        per_row = (2,) if name in codec.VERSION_1 and head_dim == 512 else ()
        shape = (*heads, capacity, *per_row)
        self.norms = None if name in codec.DENSE else untouched(shape, self.norm_dtype)

    def constants(self, signs):
        """Function constants of version 2."""
        found = {70: codec.FORMATS[self.name]}
        if self.norm_dtype == np.float16:
            found[72] = True
        return found if signs is None else found | {55: True}

    def dense(self):
        """Rows of a dense format as numbers."""
        return self.data.view(codec.DENSE[self.name])


def untouched(shape, dtype):
    """An array of `UNTOUCHED` bytes."""
    return np.full((*shape, np.dtype(dtype).itemsize), UNTOUCHED, np.uint8).view(dtype)[..., 0]


def table(seed, head_dim):
    """The bytes of a sign table that a head dimension uses."""
    return np.frombuffer(codec.sign_table(seed)[: head_dim // 8], np.uint8)


def contiguous_base(x):
    """The memory below a view of an array, and the view's strides in elements."""
    memory = x
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
    assert memory.ctypes.data == x.ctypes.data
    assert x.strides[-1] == x.itemsize
    return memory, [stride // x.itemsize for stride in x.strides[:-1]]


def small_floats(x, dtype):
    """x in a dtype, without a warning where it is too large."""
    with np.errstate(over="ignore"):
        return x.astype(ml_dtypes.bfloat16 if dtype == "bf16" else DTYPES[dtype])
