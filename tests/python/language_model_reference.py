"""The language model in float64, straight from its file, one token's row at a time: no code is pyfa's."""

from __future__ import annotations

import json
import math

import numpy as np


def read(path):
    """Sizes and tensors of a safetensors file of f16."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    sizes = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F16"
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(raw[start:end], np.float16).reshape(entry["shape"]).astype(np.float64)
    return {
        name: float(sizes[name]) for name in ("layers", "heads", "kv_heads", "head_dim", "eps", "rope_base")
    }, tensors


def logits(path, text):
    """Of the byte after each of `text`: float64 [n, 256]."""
    sizes, tensors = read(path)
    heads, kv_heads, head_dim = (int(sizes[name]) for name in ("heads", "kv_heads", "head_dim"))

    def norm(x, name):
        return x / math.sqrt((x * x).mean() + sizes["eps"]) * tensors[name]

    def turned(x, position):
        pairs = (x[: head_dim // 2] + 1j * x[head_dim // 2 :]) * np.exp(
            1j * position * sizes["rope_base"] ** (-2 * np.arange(head_dim // 2) / head_dim)
        )
        return np.concatenate([pairs.real, pairs.imag])

    rows = [tensors["embed"][byte] for byte in text]
    for layer in (f"layers.{i}." for i in range(int(sizes["layers"]))):
        keys, values, out = [], [], []
        for position, x in enumerate(rows):
            y = norm(x, f"{layer}attention_norm")
            q, k, v = ((tensors[layer + name] @ y).reshape(-1, head_dim) for name in ("q", "k", "v"))
            keys.append([turned(key, position) for key in k])
            values.append(v)
            context = []
            for head in range(heads):
                group = head // (heads // kv_heads)
                query = turned(q[head], position)
                weights = np.array([math.exp(query @ key[group] / math.sqrt(head_dim)) for key in keys])
                context.append(weights @ np.array([value[group] for value in values]) / weights.sum())
            middle = x + tensors[f"{layer}o"] @ np.concatenate(context)
            y = norm(middle, f"{layer}mlp_norm")
            gate = tensors[f"{layer}gate"] @ y
            out.append(middle + tensors[f"{layer}down"] @ (gate / (1 + np.exp(-gate)) * (tensors[f"{layer}up"] @ y)))
        rows = out
    return np.array([tensors["head"] @ norm(x, "norm") for x in rows])
