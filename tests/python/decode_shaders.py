"""Problems for the decode kernels of the vec family: random caches, dispatches, and what must come out."""

from __future__ import annotations

import dataclasses
import functools
import os
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np

from pyfa import metal
from tests.python import codec_reference as codec
from tests.python import decode_reference as reference
from tests.python.codec_kernels import flattened, struct
from tests.python.shader_devices import shader_device

HEAD_DIMS = (64, 128, 256, 512)
DENSE = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "peer": np.float16}
CODED = {"tq": "tq4_v1", "hb5": "tq_hb5", "hb6": "tq_hb6", "hb8": "tq_hb8"}
FAMILIES = (*DENSE, *CODED)
ROUNDS_QUERY = ("peer", *CODED)
SCALE_FACTOR = 1.25

# Function constants.
BITS, SIGNS, BATCH, SINKS, LSE = 50, 55, 60, 61, 62


@dataclasses.dataclass(frozen=True)
class Problem:
    """One call of a family's kernels. Those with `kv_lens` get all optional arguments, the others none: so there are
    two forms of each kernel to compile, whatever is asked for."""

    family: str
    dim: int
    heads: tuple[int, int] = (2, 1)
    q_len: int = 1
    kv_len: int = 0
    capacity: int = 0
    ring_start: int = 0
    kv_lens: tuple[int, ...] = ()
    ring_starts: tuple[int, ...] = ()
    mask_type: int = 0
    window: int = 0
    softcap: float = 0.0
    sinks: bool = False
    nwg: int = 1
    nsg: int = 1
    fuse: bool = False  # the kernel rotates Q
    undo: bool = False  # the second pass takes V's rotation out
    signs: int = 0  # seed of the table of signs
    seed: int = 0
    poison: bool = True  # everything that no query attends becomes NaN

    def but(self, **changes):
        return dataclasses.replace(self, **changes)

    @property
    def batched(self):
        return bool(self.kv_lens)

    @property
    def lengths(self):
        return self.kv_lens or (self.kv_len,)

    @property
    def starts(self):
        return self.ring_starts or (self.ring_start,) * len(self.lengths)


@dataclasses.dataclass
class Operands:
    """What a problem's kernels get, and what its caches stand for."""

    q: np.ndarray
    caches: list[np.ndarray]  # as the slots have them: data alone, or codes and norms, of K and of V
    k: np.ndarray
    v: np.ndarray
    sinks: np.ndarray


def operands(p):
    rng = np.random.default_rng([p.seed, p.dim, FAMILIES.index(p.family)])
    batch, (heads, kv_heads) = len(p.lengths), p.heads
    rows = (batch, kv_heads, p.capacity)
    unused = np.ones(rows, bool)
    for b, (kv_len, start) in enumerate(zip(p.lengths, p.starts, strict=True)):
        for token in range(p.q_len):
            keys = reference.attended(kv_len, p.q_len, token, p.mask_type, p.window)
            unused[b, :, (start + np.array(keys, int)) % p.capacity] = False
    unused &= p.poison
    q = rng.standard_normal((batch, heads, p.q_len, p.dim), dtype=np.float32)
    caches, values = [], []
    for _ in range(2):
        if p.family in DENSE:
            data = rng.standard_normal((*rows, p.dim), dtype=np.float32).astype(DENSE[p.family])
            data[unused] = np.nan
            caches.append(data)
            values.append(data)
            continue
        packed = rng.integers(0, 256, (*rows, p.dim // 2 if p.family == "tq" else p.dim), dtype=np.uint8)
        norms = rng.uniform(0.3, 0.9, (*rows, 2) if p.dim == 512 else rows).astype(np.float32)
        norms *= 1 if p.dim == 512 else p.dim**0.5
        norms[unused] = np.nan
        caches += [packed, norms]
        values.append(codec.decode_v1(packed, norms, CODED[p.family], p.dim, SCALE_FACTOR))
    sinks = rng.standard_normal(heads, dtype=np.float32) * 2 if p.sinks else np.full(heads, -np.inf, np.float32)
    return Operands(q, caches, *values, sinks)


def expected(p, x, *, rounded):
    """Return the oracle's output and LSE; `rounded` for queries that are rounded to half first."""
    q = x.q
    if p.fuse:
        q = reference.rotate(q, codec.signs(p.dim, p.signs)) if rounded else codec.rotate(q, p.signs)
    if rounded:
        q = q.astype(np.float16)
    out, lse = reference.decode(
        q, x.k, x.v, p.lengths, ring_starts=p.starts, mask_type=p.mask_type, window=p.window,
        softcap=0.0 if p.family == "peer" else p.softcap, sinks=x.sinks,
    )  # fmt: skip
    return codec.unrotate(out, p.signs) if p.undo else out, lse


@functools.cache
def library(text, device_options):
    return metal.Library(text, device=shader_device(**dict(device_options)))


@functools.cache
def kernel(text, name, constants, device_options=()):
    return library(text, device_options).kernel(name, dict(constants))


def names(p):
    """Return the first pass's room and kernel, and the second pass's."""
    if p.family == "peer":
        room = "flash_attn_vec_peer_port_f16"
        split = "" if p.nwg == 1 else "_nwg32"
        return (room, f"{room}{split}_dk{p.dim}_dv{p.dim}"), (room, f"{room}_reduce_dv{p.dim}_nwg32")
    kind = {"f32": "", "f16": "_f16kv", "bf16": "_bf16kv", "tq": "_tq"}.get(p.family, "_tq_hb")
    reduce = "flash_attn_vec_reduce" + ("_tq_hb_undo" if p.undo else "")
    room = "flash_attn_vec" + (kind if p.family in CODED else "")
    return (room, f"flash_attn_vec{kind}_dk{p.dim}"), ("flash_attn_vec_reduce", f"{reduce}_dk{p.dim}")


def params(p):
    shared = {
        "heads": p.heads[0], "kv_heads": p.heads[1], "head_dim": p.dim, "kv_len": p.lengths[0],
        "capacity": p.capacity, "scale": p.dim**-0.5, "mask_type": p.mask_type, "window": p.window,
    }  # fmt: skip
    if p.family == "peer":
        return struct("fa_vec_peer_port_params", **shared, ring_start=p.starts[0])
    shared |= {"softcap": p.softcap, "nwg": p.nwg}
    if p.family in DENSE:
        return struct("fa_vec_params", **shared)
    shared |= {"ring_start": p.starts[0], "scale_factor_d512": SCALE_FACTOR}
    if p.family == "tq":
        return struct("fa_vec_tq_params", **shared)
    bits = int(p.family[2:])
    return struct("fa_vec_tq_hb_params", **shared, codebook_bits=bits, fuse_fwht_pre=p.fuse, nsg=p.nsg)


def source(room):
    """Return the whole text of a room."""
    return flattened(f"{room}.metal")


def run(p, x=None, *, texts=source, optional=None, **device_options):
    """Dispatch the problem's kernels and return the output and the LSE, which is NaN if it is not asked for.

    `texts` gives the text of a room, `optional` says which of the constants `BATCH`, `SINKS` and `LSE` to set.
    """
    x = operands(p) if x is None else x
    optional = ((BATCH, SINKS, LSE) if p.batched else ()) if optional is None else optional
    device = tuple(sorted(device_options.items()))
    (room, name), (reduce_room, reduce_name) = names(p)
    split = p.nwg > 1
    out = np.full(x.q.shape, np.nan, np.float32)
    rows = out.size // p.dim
    tmp = np.full(rows * p.nwg * (p.dim + 2), np.nan, np.float32) if split else out
    lse = np.full(out.shape[:3], np.nan, np.float32)
    untouched = lse.copy()

    signs = np.frombuffer(codec.sign_table(p.signs)[: p.dim // 8], np.uint8)
    batch = {7: struct("fa_decode_batch", batch=len(p.lengths), q_len=p.q_len)} if BATCH in optional else {}
    constants = dict.fromkeys(optional, True)
    slots = {0: params(p), 1: x.q, **dict(enumerate([*x.caches, tmp], 2)), **batch}
    if batch:
        slots |= {8: np.array(p.lengths, np.uint32), 9: np.array(p.starts, np.uint32)}
    if SINKS in optional:
        slots[10] = x.sinks
    if LSE in optional:
        slots[11] = untouched if split else lse
    if p.family.startswith("hb"):
        constants[BITS] = int(p.family[2:])
    if p.fuse and p.signs:
        constants[SIGNS], slots[12] = True, signs
    padded = max(p.dim, 128)
    kernel(texts(room), name, tuple(constants.items()), device)(
        slots,
        threadgroups=(p.q_len, p.heads[0], p.nwg * len(p.lengths)),
        threads=(32, p.nsg, 1),
        threadgroup_memory={0: 2 * (padded + p.nsg * (128 + 2 * padded))},
    )
    assert np.isnan(untouched).all()
    if split:
        constants = {constant: True for constant in optional if constant != SINKS}
        slots = {0: struct("fa_vec_reduce_params", nrows=rows), 1: tmp, 2: out, **batch}
        if p.family != "peer":
            slots[3] = metal.uint(p.nwg)
        if LSE in optional:
            slots[4] = lse
        if p.undo and p.signs:
            constants[SIGNS], slots[12] = True, signs
        kernel(texts(reduce_room), reduce_name, tuple(constants.items()), device)(
            slots, threadgroups=rows, threads=32 * p.nwg, threadgroup_memory={0: 4 * p.dim} if p.undo else None
        )
    return out, lse


@functools.lru_cache(maxsize=2)
def answers(p):
    """Return the operands, and the outputs and LSE for queries as the kernel and as the caller has them."""
    x = operands(p)
    kept = expected(p, x, rounded=False)
    return x, expected(p, x, rounded=True) if p.family in ROUNDS_QUERY else kept, kept


def compile_in_parallel(problems, **device_options):
    """Run the problems on all cores: most of a first run's time goes into compiling the kernels."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda p: run(p, **device_options), problems))


def check(p, **how):
    """Run the problem, compare it with the oracle, and return the output."""
    # How the work is split up changes neither question nor answer.
    x, (exact, exact_lse), (kept, _) = answers(p.but(nwg=1, nsg=1))
    out, lse = run(p, x, **how)
    found = reference.error(out, exact)
    assert found <= 1e-5, f"error {found:.3g}: {p}"
    found = reference.error(out, kept)
    assert found <= 1e-3, f"error {found:.3g} with the query as it was: {p}"
    if p.batched:
        np.testing.assert_allclose(lse, exact_lse, rtol=0, atol=1e-5, err_msg=str(p))
    return out
