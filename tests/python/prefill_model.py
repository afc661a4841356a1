"""NumPy models around prefill: block bytes and masks as they should be, and as mistaken kernels make them."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tests.python import reference


def blk_bytes(mask, tile):
    """Judge the tiles of a mask [..., q, k]: 0 nothing attended, 2 everything without a bias, 1 anything else."""
    excludes = ~mask if mask.dtype == np.bool_ else np.isneginf(mask.astype(np.float32))
    attends = mask if mask.dtype == np.bool_ else mask == 0
    lead, (rows, keys) = mask.shape[:-2], mask.shape[-2:]
    tiles = [-(-size // part) for size, part in zip((rows, keys), tile, strict=True)]
    padded = (*lead, tiles[0] * tile[0], tiles[1] * tile[1])

    def every(found, beyond_keys):
        # Rows that are not there have no say; a tile with keys that are not there is no tile of 2.
        whole = np.ones(padded, bool)
        whole[..., keys:] = beyond_keys
        whole[..., :rows, :keys] = found
        return whole.reshape(*lead, tiles[0], tile[0], tiles[1], tile[1]).all(axis=(-3, -1))

    return np.where(every(excludes, True), 0, np.where(every(attends, False), 2, 1)).astype(np.uint8)


def sliding_mask(q_len, kv_len, keys=None, q_offset=0):
    """Return a causal mask, of a sliding window where `keys` is given, bool [q, k]."""
    window = None if keys is None else (keys - 1, None)
    return reference.attended(q_len, kv_len, causal=True, window=window, q_offset=q_offset)


def additive(mask, dtype=np.float32):
    """Return 0 where a mask attends and -inf elsewhere."""
    return np.where(mask, np.float32(0), np.float32(-np.inf)).astype(dtype)


def blk_bytes_of_32_lanes(mask, tile):
    """Return the bytes of a pass that reads one column of a tile with each of 32 lanes, whatever the tile's width."""
    out = np.empty([-(-size // part) for size, part in zip(mask.shape, tile, strict=True)], np.uint8)
    for i, j in np.ndindex(out.shape):
        part = mask[i * tile[0] : (i + 1) * tile[0], j * tile[1] : min(j * tile[1] + 32, (j + 1) * tile[1])]
        whole = (j + 1) * tile[1] <= mask.shape[1]
        out[i, j] = 0 if not part.any() else 2 if part.all() and whole else 1
    return out


def causal_pairs_of_late_tiles(q_len, kv_len, q_offset, tile=(32, 16)):
    """Return which pairs are attended if only the last tiles before the causal limit are masked.

    Those are as many as a query tile is wide, and one more where the keys do not fill their tiles: too few where the
    offset is no multiple of the tile.
    """
    (rows, keys), attended = tile, np.zeros((q_len, kv_len), bool)
    for first in range(0, q_len, rows):
        limit = min(-(-(first + rows + q_offset) // keys), -(-kv_len // keys))
        masked_from = limit - -(-rows // keys) - (kv_len % keys != 0)
        for block in range(limit):
            i, j = np.ogrid[first : min(first + rows, q_len), block * keys : min((block + 1) * keys, kv_len)]
            attended[i, j] = (block < masked_from) | (j <= i + q_offset)
    return attended


def attention_of_prescaled_bf16(q, k, v):
    """Return output and LSE where q is multiplied by scale * log2(e) and rounded to bf16 before it meets k."""
    bf16 = ml_dtypes.bfloat16
    factor = bf16(q.shape[-1] ** -0.5 * np.log2(np.e))
    scaled = (q.astype(np.float32) * np.float32(factor)).astype(bf16)
    return reference.attention(scaled, k, v, scale=np.log(2))
