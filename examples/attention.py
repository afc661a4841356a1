"""Attention over NumPy arrays: causal, grouped heads, padding. Run: python examples/attention.py."""

import numpy as np

import pyfa

rng = np.random.default_rng(0)
q = rng.standard_normal((2, 8, 100, 64), dtype=np.float32)  # [batch, heads, length, head_dim]
k = rng.standard_normal((2, 2, 100, 64), dtype=np.float32)  # four query heads share a kv head
v = rng.standard_normal((2, 2, 100, 64), dtype=np.float32)

out, lse = pyfa.attention(q, k, v, causal=True, return_lse=True)
print(f"causal: out {out.shape} {out.dtype}, lse {lse.shape}")

# The second sequence has only 70 tokens: true attends, extents of 1 broadcast over heads and queries.
padding = np.arange(100) < np.array([100, 70])[:, None]
padded = pyfa.attention(q, k, v, mask=padding[:, None, None, :])
alone = pyfa.attention(q[1:], k[1:, :, :70], v[1:, :, :70])
print(f"padded and cut: largest difference {np.abs(padded[1:] - alone).max():.1e}")

print(pyfa.explain(q, k, v, causal=True))
