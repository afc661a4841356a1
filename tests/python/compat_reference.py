"""Attention of one sequence in float64, with every mask and bias spelt out by the tests of a convention."""

from __future__ import annotations

import numpy as np

from tests.python import reference


def attend(q, k, v, *, scale=None, softcap=0.0, bias=0.0, keep=True, sinks=None):
    """Return the output [H, qL, D] and natural log-sum-exp [H, qL] of q [H, qL, D], k and v [Hkv, kL, D]."""
    q, k, v = (np.asarray(x).astype(np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, len(q) // max(len(x), 1), axis=0) for x in (k, v))
    scores = np.einsum("hid,hjd->hij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    scores = np.where(keep, scores + bias, -np.inf)
    extra = np.full((len(q), q.shape[1], 1), -np.inf)
    if sinks is not None:
        extra[...] = np.asarray(sinks).astype(np.float64)[:, None, None]
    weights = np.exp(np.concatenate([scores, extra], axis=-1))
    total = weights.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.einsum("hij,hjd->hid", weights[..., :-1], v) / total[..., None]
        return np.where(total[..., None] > 0, out, 0), np.log(total)


def random(rng, *shape, dtype="f32"):
    return rng.standard_normal(shape, dtype=np.float32).astype(reference.DTYPES[dtype])


def alibi_slopes(heads):
    return np.exp2(-8.0 / heads * np.arange(1, heads + 1)).astype(np.float32)


KINDS = ("numpy", "torch")


def of_kind(array, kind):
    """Return an array as a tensor over the same memory, or as it is."""
    if kind == "numpy" or array is None:
        return array
    import torch

    if array.dtype == reference.DTYPES["bf16"]:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_array(tensor, kind):
    """Return a result as an array; check that it is of that library."""
    if kind == "numpy":
        assert isinstance(tensor, np.ndarray)
        return tensor
    import torch

    assert isinstance(tensor, torch.Tensor)
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(reference.DTYPES["bf16"])
    return tensor.numpy()
