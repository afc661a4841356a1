"""The oracle: attention in float64 NumPy, straight from its definition, and how far a result may be from it."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

DTYPES = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}

# Largest error over the largest reference value.
TOLERANCE = {DTYPES["f32"]: 2e-6, DTYPES["f16"]: 1e-3, DTYPES["bf16"]: 8e-3}
# Largest absolute error of the log-sum-exp, whose values are a few units here.
LSE_TOLERANCE = {DTYPES["f32"]: 1e-5, DTYPES["f16"]: 1e-5, DTYPES["bf16"]: 1e-5}


def positions(q_len, kv_len, q_offset=None):
    """Return where each query row stands among the keys, as a column."""
    return np.arange(q_len)[:, None] + (kv_len - q_len if q_offset is None else q_offset)


def attended(q_len, kv_len, *, causal=False, window=None, q_offset=None):
    """Return which keys causal and window leave to each row, bool [qL, kL]."""
    at, keys = positions(q_len, kv_len, q_offset), np.arange(kv_len)
    keep = np.ones((q_len, kv_len), bool)
    if causal:
        keep &= keys <= at
    left, right = (-1 if side is None else side for side in window or (None, None))
    if left >= 0:
        keep &= keys >= at - left
    if right >= 0:
        keep &= keys <= at + right
    return keep


def attention(
    q, k, v, *, causal=False, mask=None, window=None, softcap=None, sinks=None, alibi=None, scale=None, layout="bhld",
    q_offset=None,
):  # fmt: skip
    """Return the output in the layout of q, and the LSE [B, H, qL], both float64."""
    q, k, v = (np.asarray(x).astype(np.float64) for x in (q, k, v))
    if layout == "blhd":
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    q_len, kv_len, heads = q.shape[2], k.shape[2], q.shape[1]
    k, v = (np.repeat(x, heads // x.shape[1], axis=1) for x in (k, v))
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    if alibi is not None:
        slopes = np.asarray(alibi, np.float64).reshape(-1, heads, 1, 1)
        scores = scores - slopes * np.abs(positions(q_len, kv_len, q_offset) - np.arange(kv_len))
    if mask is not None:
        mask = np.asarray(mask)
        if mask.ndim == 3:
            mask = mask[:, None]
        if mask.dtype in (np.bool_, np.uint8):
            scores = np.where(mask.astype(bool), scores, -np.inf)
        else:
            scores = scores + mask.astype(np.float64)
    scores = np.where(attended(q_len, kv_len, causal=causal, window=window, q_offset=q_offset), scores, -np.inf)
    # A sink is a score like the keys', with a value of 0.
    sink = np.full((heads, 1, 1), -np.inf) if sinks is None else np.asarray(sinks, np.float64)[:, None, None]
    top = np.maximum(scores.max(axis=-1, keepdims=True, initial=-np.inf), sink)
    top = np.where(np.isinf(top), 0, top)
    weights = np.exp(scores - top)
    total = weights.sum(axis=-1, keepdims=True) + np.exp(sink - top)
    out = np.divide(weights @ v, total, out=np.zeros(q.shape), where=total > 0)
    with np.errstate(divide="ignore"):
        lse = (np.log(total) + top)[..., 0]
    return out.swapaxes(1, 2) if layout == "blhd" else out, lse


def attention_varlen(q, k, v, q_starts, k_starts, kv_lens=None, *, alibi=None, **options):
    """Return the output [rows, H, D] and the LSE [H, rows] of a packed batch, sequence by sequence."""
    out, lse = np.zeros(q.shape), np.zeros((q.shape[1], q.shape[0]))
    for b, (first, last) in enumerate(itertools.pairwise(q_starts)):
        end = k_starts[b + 1] if kv_lens is None else k_starts[b] + kv_lens[b]
        own = (q[first:last], k[k_starts[b] : end], v[k_starts[b] : end])
        slopes = alibi[b] if np.ndim(alibi) == 2 else alibi
        found, sums = attention(*(x.swapaxes(0, 1)[None] for x in own), alibi=slopes, **options)
        out[first:last], lse[:, first:last] = found[0].swapaxes(0, 1), sums[0]
    return out, lse


def assert_close(out, expected, dtype=None):
    """Compare an output with the oracle's, by the tolerance of its dtype."""
    dtype = out.dtype if dtype is None else dtype
    assert out.shape == expected.shape
    error = np.abs(out.astype(np.float64) - expected).max(initial=0)
    bound = TOLERANCE[dtype] * np.abs(expected).max(initial=0)
    assert error <= bound, f"error {error:.3g}, at most {bound:.3g} allowed"


def assert_lse_close(lse, expected, dtype):
    """Compare a log-sum-exp with the oracle's; infinities must be the same."""
    assert lse.dtype == np.float32
    assert lse.shape == expected.shape
    np.testing.assert_allclose(lse, expected, rtol=0, atol=LSE_TOLERANCE[dtype])
