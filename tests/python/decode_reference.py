"""The oracle of the decode kernels: attention over caches in float64."""

from __future__ import annotations

import numpy as np

NO_MASK, CAUSAL, WINDOW = 0, 1, 2


def attended(kv_len, q_len, token, mask_type=NO_MASK, window=0):
    """Return the range of keys that query `token` of a sequence attends; the last query is that of the last key."""
    end = kv_len if mask_type == NO_MASK else max(kv_len - (q_len - 1 - token), 0)
    begin = max(end - window, 0) if mask_type == WINDOW and window else 0
    return range(begin, end)


def decode(
    q, k, v, kv_lens, *, ring_starts=None, scale=None, mask_type=NO_MASK, window=0, softcap=0.0, sinks=None, mask=None,
    alibi=None,
):  # fmt: skip
    """Attention of the last queries of each sequence over its cache.

    Parameters
    ----------
    q : array [B, H, q_len, D]
    k, v : arrays [B, Hkv, capacity, D]
        What the caches stand for.
    kv_lens, ring_starts : sequences of int
        Valid keys of each sequence, and the slot of its oldest one.
    scale : float, optional
        1 / sqrt(D) by default.
    mask_type, window : int
        `NO_MASK`, `CAUSAL`, or `WINDOW`: causal and only the last `window` keys, if that is not 0.
    softcap : float
        0 means none.
    sinks : array [H], optional
        Scores that join the denominator.
    mask : function, optional
        Takes a sequence's length and a query's number and returns a range of keys, in place of `mask_type`.
    alibi : array [H] or [B, H], optional
        What each step between a query and a key takes from the score.

    Returns
    -------
    out : array [B, H, q_len, D]
        Zeros where a query attends no key.
    lse : array [B, H, q_len]
        Log-sum-exp, of the sink too.
    """
    q, k, v = (np.asarray(x).astype(np.float64) for x in (q, k, v))
    batch, heads, q_len, dim = q.shape
    capacity, group = k.shape[2], heads // k.shape[1]
    ring_starts = [0] * batch if ring_starts is None else ring_starts
    scale = dim**-0.5 if scale is None else scale
    slopes = np.broadcast_to(0.0 if alibi is None else np.asarray(alibi, np.float64), (batch, heads))
    sinks = np.full(heads, -np.inf) if sinks is None else np.asarray(sinks, np.float64)
    out, lse = np.zeros(q.shape), np.full(q.shape[:3], -np.inf)
    for b, h, t in np.ndindex(*q.shape[:3]):
        keys = mask(kv_lens[b], t) if mask else attended(kv_lens[b], q_len, t, mask_type, window)
        keys = np.array(keys, int)
        slots = (ring_starts[b] + keys) % capacity
        scores = k[b, h // group, slots] @ q[b, h, t] * scale
        if softcap > 0:
            scores = softcap * np.tanh(scores / softcap)
        scores -= slopes[b, h] * np.abs(kv_lens[b] - q_len + t - keys)
        top = max(scores.max(initial=-np.inf), sinks[h])
        if top == -np.inf:
            continue
        weights = np.exp(scores - top)
        total = weights.sum() + np.exp(sinks[h] - top)
        out[b, h, t] = weights @ v[b, h // group, slots] / total
        lse[b, h, t] = top + np.log(total)
    return out, lse


def rotate(x, signs):
    """Return R x of vectors [..., D] in float32, rounded where the kernels round; `signs` [D] are +1 and −1."""
    x = (x * signs).astype(np.float32)
    dim, distance = x.shape[-1], 1
    while distance < dim:
        pairs = x.reshape(*x.shape[:-1], -1, 2, distance)
        low, high = pairs[..., 0, :], pairs[..., 1, :]
        x = np.stack([low + high, low - high], axis=-2).reshape(x.shape)
        distance *= 2
    return x * np.float32(dim**-0.5)


def error(found, expected):
    """Return the largest error of any sequence over its largest value; what should be 0 must be."""
    axes = tuple(range(1, expected.ndim))
    wrong, size = np.abs(found - expected).max(axes), np.abs(expected).max(axes)
    return np.divide(wrong, size, out=np.where(wrong == 0, 0, np.inf), where=size > 0).max()
