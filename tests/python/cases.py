"""Problems to try: the factors, every pair of their values, and random operands for one choice."""

from __future__ import annotations

import itertools
import zlib
from typing import NamedTuple

import numpy as np

import pyfa
from tests.python.reference import DTYPES

LENGTHS = (1, 31, 32, 33, 63, 64, 65, 300)
ROOMS = {room["name"]: room["variants"] for room in pyfa.manifest()["rooms"]}
VARIANTS = ROOMS["flash_attn_prefill"]
HEAD_DIMS = sorted({variant["head_dim"] for variant in VARIANTS})

# What the dimensions of a mask are, by the letters of the problem; 1 broadcasts.
MASKS = (
    "none",
    *(
        f"{kind} {shape}"
        for kind in ("additive", "bool")
        for shape in ("qk", "1k", "q1", "bqk", "1qk", "bhqk", "b1qk", "1h1k")
    ),
)
WINDOWS = {
    "": None, "left": (7, None), "right": (-1, 3), "both": (20, 5), "self": (0, 0), "wide": (1000, 1000),
}  # fmt: skip


class Case(NamedTuple):
    """One choice of every factor."""

    q_len: int
    kv_len: int
    dtype: str
    head_dim: int
    mask: str
    causal: str
    window: str
    softcap: float
    sinks: bool
    layout: str
    heads: tuple[int, int]
    batch: int
    lse: bool

    def __str__(self):
        heads = "x".join(map(str, self.heads))
        extras = ("sinks" if self.sinks else "", f"cap{self.softcap}" if self.softcap else "", self.window)
        lse = "lse" if self.lse else ""
        parts = (f"b{self.batch}", f"h{heads}", f"{self.q_len}x{self.kv_len}", f"d{self.head_dim}", self.dtype)
        return "-".join(filter(None, (*parts, self.layout, self.mask.replace(" ", "_"), self.causal, *extras, lse)))


FACTORS = Case(
    q_len=LENGTHS,
    kv_len=LENGTHS,
    dtype=tuple(DTYPES),
    head_dim=tuple(HEAD_DIMS),
    mask=MASKS,
    causal=("full", "causal", "top-left", "short"),
    window=tuple(WINDOWS),
    softcap=(0, 1.5),
    sinks=(False, True),
    layout=("bhld", "blhd"),
    heads=((1, 1), (3, 3), (4, 2), (6, 1)),
    batch=(1, 2),
    lse=(False, True),
)


def every_pair(factors):
    """Choose rows so that any two values of different factors meet in one of them; the same rows every time."""
    columns = range(len(factors))
    open_pairs = {
        (a, x, b, y)
        for a, b in itertools.combinations(columns, 2)
        for x, y in itertools.product(range(len(factors[a])), range(len(factors[b])))
    }
    rows = []
    while open_pairs:
        a, x, b, y = min(open_pairs)
        chosen = {a: x, b: y}
        for column in columns:
            if column not in chosen:
                chosen[column] = max(
                    range(len(factors[column])),
                    key=lambda value, column=column: sum(
                        _ordered(column, value, other, picked) in open_pairs for other, picked in chosen.items()
                    ),
                )
        open_pairs -= {_ordered(*p, *q) for p, q in itertools.combinations(chosen.items(), 2)}
        rows.append(type(factors)(*(factors[column][chosen[column]] for column in columns)))
    return rows


def _ordered(a, x, b, y):
    return (a, x, b, y) if a < b else (b, y, a, x)


class Operands(NamedTuple):
    """Arrays of a case, and the options that go with them."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    options: dict


def operands(case):
    """Make random operands; the seed is the case itself."""
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    dtype = DTYPES[case.dtype]
    heads, kv_heads = case.heads

    def tensor(heads, length):
        shape = (case.batch, heads, length) if case.layout == "bhld" else (case.batch, length, heads)
        return rng.standard_normal((*shape, case.head_dim)).astype(dtype)

    options = {"layout": case.layout}
    if case.mask != "none":
        options["mask"] = random_mask(rng, case, dtype)
    if case.causal != "full":
        options["causal"] = True
    offsets = {"top-left": 0, "short": case.kv_len - case.q_len - 7}
    if case.causal in offsets:
        options["q_offset"] = offsets[case.causal]
    if case.window:
        options["window"] = WINDOWS[case.window]
    if case.softcap:
        options["softcap"] = case.softcap
    if case.sinks:
        options["sinks"] = rng.standard_normal(heads).astype(np.float32)
    return Operands(tensor(heads, case.q_len), tensor(kv_heads, case.kv_len), tensor(kv_heads, case.kv_len), options)


def random_mask(rng, case, dtype):
    """Make a mask that lets some keys through; every fifth row of it none."""
    kind, letters = case.mask.split()
    sizes = {"b": case.batch, "h": case.heads[0], "q": case.q_len, "k": case.kv_len, "1": 1}
    shape = [sizes[letter] for letter in letters]
    attends = rng.random(shape) < 0.7
    attends[..., ::5, :] &= shape[-2] == 1 or shape[-1] == 1
    if kind == "bool":
        return attends
    return np.where(attends, rng.standard_normal(shape), -np.inf).astype(dtype)
