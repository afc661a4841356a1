"""The oracle of the KV codec: rotation, tables, packing, both versions, in float64 NumPy. docs/codec.md is the text.

Vectors are the last axis of every array; the axes in front are the caller's.
"""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np

from scripts import make_codebooks

FORMATS = {
    "f32": 0,
    "f16": 1,
    "bf16": 2,
    "q8": 3,
    **{f"tq{bits}": 10 + bits for bits in range(2, 9)},
    "tq4_v1": 24,
    "tq_hb5": 25,
    "tq_hb6": 26,
    "tq_hb8": 28,
}
"""Ids of the formats by name, as in fa_kv_format."""

DENSE = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
TABLES = tuple(f"tq{bits}" for bits in range(2, 9))
VERSION_1 = ("tq4_v1", "tq_hb5", "tq_hb6", "tq_hb8")
HEAD_DIMS = (64, 128, 256, 512)

LEAST_NORM = 1e-10
DEFAULT_SIGNS = bytes.fromhex(
    "a73b91f46dc2580eb37f24d68945ea1c63afd852970be13d76c419fe4a852cdb"
    "d34ea8179c5be63172b90df5438a6ec7582f94e1b63d0a7cc561d84fa3971e85"
)
_WORD = (1 << 64) - 1


def sign_table(seed=0):
    """Return the 64 bytes of signs that belong to a seed.

    Parameters
    ----------
    seed : int
        0 is the default table; any other 64-bit number gives eight outputs of SplitMix64, little-endian.

    Returns
    -------
    bytes
        Bit j & 7 of byte j >> 3 says that coordinate j is negated.
    """
    if seed == 0:
        return DEFAULT_SIGNS
    words, state = [], seed & _WORD
    for _ in range(8):
        state = (state + 0x9E3779B97F4A7C15) & _WORD
        word = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & _WORD
        word = ((word ^ word >> 27) * 0x94D049BB133111EB) & _WORD
        words.append(word ^ word >> 31)
    return b"".join(word.to_bytes(8, "little") for word in words)


def signs(head_dim, seed=0):
    """Return the signs of all coordinates, +1.0 and −1.0.

    Parameters
    ----------
    head_dim : int
        How many.
    seed : int
        Of `sign_table`.

    Returns
    -------
    ndarray
        Float64 [head_dim].
    """
    bits = np.unpackbits(np.frombuffer(sign_table(seed), np.uint8), bitorder="little")[:head_dim]
    return 1.0 - 2.0 * bits


def fwht(x):
    """Return the normalised Walsh-Hadamard transform of each vector, H x / sqrt(D).

    Parameters
    ----------
    x : ndarray
        Vectors of a power of two of coordinates.

    Returns
    -------
    ndarray
        Float64, of the same shape.
    """
    x = np.array(x, np.float64)
    head_dim, distance = x.shape[-1], 1
    while distance < head_dim:
        pairs = x.reshape(*x.shape[:-1], -1, 2, distance)
        x = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], -2).reshape(x.shape)
        distance *= 2
    return x / np.sqrt(head_dim)


def rotate(x, seed=0):
    """Return R x = H (s * x) / sqrt(D) of each vector, float64.

    Parameters
    ----------
    x : ndarray
        Vectors.
    seed : int
        Of `sign_table`.

    Returns
    -------
    ndarray
        Of the same shape.
    """
    return fwht(np.asarray(x, np.float64) * signs(x.shape[-1], seed))


def unrotate(x, seed=0):
    """Return R^T x = s * (H x) / sqrt(D) of each vector, float64: the inverse of `rotate`.

    Parameters
    ----------
    x : ndarray
        Vectors.
    seed : int
        Of `sign_table`.

    Returns
    -------
    ndarray
        Of the same shape.
    """
    return fwht(x) * signs(x.shape[-1], seed)


@functools.cache
def centroids(name):
    """Return the table of a format.

    Parameters
    ----------
    name : str
        Any format with a table.

    Returns
    -------
    ndarray
        Float64, ascending; each value is a float32.
    """
    return make_codebooks.tables()[name].astype(np.float64)


@functools.cache
def boundaries(name):
    """Return where neighbouring cells of a format's table meet.

    Parameters
    ----------
    name : str
        Any format with a table.

    Returns
    -------
    ndarray
        Float64, ascending; each value is a float32.
    """
    return make_codebooks.boundaries(make_codebooks.tables()[name]).astype(np.float64)


def packed_bits(name):
    """Return how many bits of a row a code takes.

    Parameters
    ----------
    name : str
        A quantised format.

    Returns
    -------
    int
        2 ... 8.
    """
    if name == "tq4_v1":
        return 4
    return int(name[2:]) if name in TABLES else 8


def parts(bits):
    """Return the parts of a code.

    Parameters
    ----------
    bits : int
        Of the code.

    Returns
    -------
    list of (int, int)
        Width and lowest bit of each, the widest first.
    """
    found, shift = [], 0
    for width in (8, 4, 2, 1):
        if bits - shift >= width:
            found.append((width, shift))
            shift += width
    return found


def pack(codes, bits):
    """Return the rows of codes.

    Parameters
    ----------
    codes : ndarray
        Integers below 2^bits; the last axis is a vector.
    bits : int
        Of a code.

    Returns
    -------
    ndarray
        Bytes, D * bits / 8 for each vector.
    """
    codes = np.asarray(codes).astype(np.uint8)
    rows = []
    for width, shift in parts(bits):
        bits_of_part = codes[..., None] >> (shift + np.arange(width, dtype=np.uint8)) & 1
        rows.append(np.packbits(bits_of_part.reshape(*codes.shape[:-1], -1), axis=-1, bitorder="little"))
    return np.concatenate(rows, -1)


def unpack(rows, bits, head_dim):
    """Return the codes of rows.

    Parameters
    ----------
    rows : ndarray
        What `pack` returned.
    bits : int
        Of a code.
    head_dim : int
        Codes of a vector.

    Returns
    -------
    ndarray
        Uint8, the last axis head_dim long.
    """
    codes = np.zeros((*rows.shape[:-1], head_dim), np.uint8)
    first = 0
    for width, shift in parts(bits):
        size = head_dim * width // 8
        part = np.unpackbits(rows[..., first : first + size], axis=-1, bitorder="little")
        part = part.reshape(*rows.shape[:-1], head_dim, width)
        codes |= (part << (shift + np.arange(width, dtype=np.uint8))).sum(-1).astype(np.uint8)
        first += size
    return codes


def stored(norm, dtype):
    """Return norms as they are stored.

    Parameters
    ----------
    norm : ndarray
        Any; what is not finite in `dtype` becomes NaN.
    dtype : dtype
        float32 or float16.

    Returns
    -------
    ndarray
        Of `dtype`.
    """
    with np.errstate(over="ignore"):
        norm = np.asarray(norm).astype(dtype)
    return np.where(np.isfinite(norm), norm, np.asarray(np.nan, dtype))


def table_codes(y, name):
    """Return the codes of values: how many boundaries are below each.

    Parameters
    ----------
    y : ndarray
        Values; NaN is looked up as 0.
    name : str
        A format with a table.

    Returns
    -------
    ndarray
        Uint8.
    """
    return np.searchsorted(boundaries(name), np.nan_to_num(y, nan=0.0), side="left").astype(np.uint8)


def levels(r, norms, name):
    """Return what is looked up, or rounded, for rotated vectors under the norms that are stored for them.

    Parameters
    ----------
    r : ndarray
        Rotated vectors [..., D].
    norms : ndarray
        [...], of the type they are stored in.
    name : str
        A quantised format of version 2.

    Returns
    -------
    ndarray
        Float64 [..., D]; 0 where the norm is 0 or NaN.
    """
    norms = norms.astype(np.float64)[..., None]
    usable = norms > 0
    factor = 1.0 if name == "q8" else np.sqrt(r.shape[-1])
    return np.where(usable, np.where(usable, r, 0.0) * factor / np.where(usable, norms, 1.0), 0.0)


def encode(x, name, *, norm_dtype=np.float32, seed=0):
    """Encode vectors in a dense format or a quantised one of version 2.

    Parameters
    ----------
    x : ndarray
        Vectors [..., D] of any floating type.
    name : str
        The format.
    norm_dtype : dtype
        float32 or float16.
    seed : int
        Of `sign_table`.

    Returns
    -------
    data : ndarray
        The rows: uint8, or for a dense format its own type.
    norms : ndarray or None
        [...] of `norm_dtype`; None for a dense format.
    """
    if name in DENSE:
        with np.errstate(over="ignore"):
            return x.astype(DENSE[name]), None
    with np.errstate(over="ignore", invalid="ignore"):
        r = rotate(x, seed)
        square = stored((r * r).sum(-1), np.float32)
        if name == "q8":
            size, least = np.where(np.isnan(square), np.nan, np.abs(r).max(-1) / 127), np.finfo(np.float32).tiny
        else:
            size, least = np.sqrt(square.astype(np.float64)), np.nextafter(LEAST_NORM, 1)
        norms = stored(size, norm_dtype)
    norms[norms.astype(np.float64) < least] = 0
    y = levels(r, norms, name)
    codes = np.clip(np.rint(y), -127, 127).astype(np.int8).view(np.uint8) if name == "q8" else table_codes(y, name)
    return pack(codes, packed_bits(name)), norms


def decode(data, norms, name, head_dim, *, undo_rotation=True, seed=0):
    """Decode what `encode` returned.

    Parameters
    ----------
    data : ndarray
        Rows.
    norms : ndarray or None
        Their norms.
    name : str
        The format.
    head_dim : int
        Coordinates of a vector.
    undo_rotation : bool
        Whether quantised vectors are rotated back.
    seed : int
        Of `sign_table`.

    Returns
    -------
    ndarray
        Float64 [..., head_dim].
    """
    if name in DENSE:
        return data.astype(np.float64)
    codes = unpack(data, packed_bits(name), head_dim)
    norms = norms.astype(np.float64)[..., None]
    v = codes.view(np.int8) * norms if name == "q8" else centroids(name)[codes] * norms / np.sqrt(head_dim)
    return unrotate(v, seed) if undo_rotation else v


def levels_v1(x, scale_factor=1.0):
    """Return what version 1 looks up, and its norms.

    Parameters
    ----------
    x : ndarray
        Vectors [..., D].
    scale_factor : float
        Of head dimension 512; below 1e-6 it means 1.

    Returns
    -------
    y : ndarray
        Float64 [..., D].
    norms : ndarray
        Float32 [...], or [..., 2] for head dimension 512: root mean squares of the halves.
    """
    head_dim = x.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        r = rotate(x)
        blocks = r.reshape(*x.shape[:-1], 2 if head_dim == 512 else 1, -1)
        square = stored((blocks * blocks).sum(-1), np.float32).astype(np.float64)
        norms = np.sqrt(square / 256 if head_dim == 512 else square).astype(np.float32)
    factor = _factor_v1(head_dim, scale_factor)
    wide = norms.astype(np.float64)[..., None]
    usable = wide > LEAST_NORM
    y = np.where(usable, np.where(usable, blocks, 0.0) * factor / np.where(usable, wide, 1.0), 0.0)
    return y.reshape(x.shape), norms if head_dim == 512 else norms[..., 0]


def encode_v1(x, name, scale_factor=1.0):
    """Encode vectors in a format of version 1.

    Parameters
    ----------
    x : ndarray
        Vectors [..., D].
    name : str
        The format.
    scale_factor : float
        Of head dimension 512.

    Returns
    -------
    rows : ndarray
        Uint8, nibbles for tq4_v1 and else a byte for each coordinate.
    norms : ndarray
        As `levels_v1` returns them.
    """
    y, norms = levels_v1(x, scale_factor)
    return pack(table_codes(y, name), packed_bits(name)), norms


def decode_v1(rows, norms, name, head_dim, scale_factor=1.0):
    """Decode what `encode_v1` returned, without undoing the rotation.

    Parameters
    ----------
    rows, norms : ndarray
        The encoder's.
    name : str
        The format.
    head_dim : int
        Coordinates of a vector.
    scale_factor : float
        Of head dimension 512.

    Returns
    -------
    ndarray
        Float64 [..., head_dim], rotated.
    """
    v = centroids(name)[unpack(rows, packed_bits(name), head_dim) & (len(centroids(name)) - 1)]
    norms = norms.astype(np.float64).reshape(*rows.shape[:-1], -1)
    blocks = v.reshape(*rows.shape[:-1], norms.shape[-1], -1) * norms[..., None]
    return blocks.reshape(v.shape) / _factor_v1(head_dim, scale_factor)


def _factor_v1(head_dim, scale_factor):
    """What a vector of norm 1 is multiplied by before it is looked up."""
    if head_dim != 512:
        return np.sqrt(head_dim)
    return 1.0 if scale_factor < 1e-6 else scale_factor
