"""Check an installed pyfa where nothing but what it depends on is installed: attention, a cache, a plan, a shader.

Usage: python smoke.py [--no-shader]
"""

import sys

import numpy as np

import pyfa


def main() -> None:
    """Raise unless the installed package works."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, 40, 64), dtype=np.float32) for _ in range(3))
    scores = (q @ k.swapaxes(-1, -2)).astype(np.float64) / 8
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True) @ v
    np.testing.assert_allclose(pyfa.attention(q, k, v), expected, rtol=1e-4, atol=1e-5)

    for codec, error in (("f32", 1e-5), ("tq8", 0.02)):
        cache = pyfa.KVCache(kv_heads=2, head_dim=64, capacity=64, codec=codec)
        cache.append(k, v)
        found = cache.attend(q[:, :, -1:], causal=False)
        np.testing.assert_allclose(found, expected[:, :, -1:], atol=error)
    passes = pyfa.explain(q, k, v, causal=True).passes
    if passes[0].kernel != "flash_attn_prefill_f32_d64":
        raise AssertionError(f"explain names {passes[0].kernel}")
    if "--no-shader" not in sys.argv:
        _shader()
    print(f"pyfa {pyfa.__version__} from {pyfa.__file__}: attention, cache and explain are right")


def _shader() -> None:
    source = """
    #include <metal_stdlib>
    kernel void twice(device float *x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] *= 2; }
    """
    x = np.arange(32, dtype=np.float32)
    pyfa.metal.Library(source).kernel("twice")({0: x}, threadgroups=1, threads=32)
    np.testing.assert_array_equal(x, 2 * np.arange(32, dtype=np.float32))


if __name__ == "__main__":
    main()
