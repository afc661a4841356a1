"""Check an installed pyfa: one attention call against the definition."""

import numpy as np

import pyfa


def main() -> None:
    """Raise unless the installed package computes attention."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, 40, 64), dtype=np.float32) for _ in range(3))
    scores = (q @ k.swapaxes(-1, -2)).astype(np.float64) / 8
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True) @ v
    np.testing.assert_allclose(pyfa.attention(q, k, v), expected, rtol=1e-4, atol=1e-5)
    print(f"pyfa {pyfa.__version__} from {pyfa.__file__}: attention is right")


if __name__ == "__main__":
    main()
