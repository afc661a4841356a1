"""The parts of the encoder besides attention, in float32 NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

# Rational minimax fit of erf on [-4, 4]: x P(x^2) / Q(x^2), lowest power first. Its own error is 2e-8; beyond 4 erf
# differs from 1 by less than that.
_ERF_LIMIT = np.float32(4.0)
_ERF_P = (1.12837898, 0.196207408, 0.0534611096, 0.00400154178, 0.000287939697, 1.97449268e-06)
_ERF_Q = (1.0, 0.50721548, 0.116458414, 0.0154403671, 0.00121574119, 3.74719162e-05)


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    """Horner's scheme in float32, lowest power first."""
    value = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value *= x
        value += np.float32(coefficient)
    return value


def erf(x: Floats) -> Floats:
    """Error function, within 5e-7 of the exact one."""
    x = np.clip(x, -_ERF_LIMIT, _ERF_LIMIT)
    square = x * x
    x *= _polynomial(_ERF_P, square)
    x /= _polynomial(_ERF_Q, square)
    return x


def gelu(x: Floats) -> Floats:
    """Gaussian error linear unit in its exact form, x Phi(x)."""
    gate = erf(x * np.float32(np.sqrt(0.5)))
    gate += np.float32(1.0)
    gate *= x
    gate *= np.float32(0.5)
    return gate


def layer_norm(x: Floats, weight: Floats, bias: Floats, eps: float) -> Floats:
    """Normalise the last dimension to mean 0 and variance 1, then scale and shift it."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    centred /= np.sqrt(variance + np.float32(eps))
    centred *= weight
    normed: Floats = centred + bias
    return normed


def mean_pool(hidden: Floats, mask: Bools) -> Floats:
    """Average the tokens that are not padding: [B, L, W] and [B, L] give unit vectors [B, W]."""
    weights = mask.astype(np.float32)[:, None, :]
    pooled = (weights @ hidden)[:, 0, :] / weights.sum(axis=-1)
    unit: Floats = pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)
    return unit


@dataclass(frozen=True)
class Linear:
    """``x @ weight + bias`` with weight [in, out]."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Apply to the last dimension of x."""
        y: Floats = x @ self.weight
        y += self.bias
        return y


@dataclass(frozen=True)
class Norm:
    """A layer norm with its parameters."""

    weight: Floats
    bias: Floats
    eps: float

    def __call__(self, x: Floats) -> Floats:
        """Apply to the last dimension of x."""
        return layer_norm(x, self.weight, self.bias, self.eps)
