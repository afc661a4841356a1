"""Problems for flash_attn_decode: random caches of any format, dispatches, and what must come out."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np

from tests.python import codec_reference as codec
from tests.python import decode_reference as reference
from tests.python.codec_kernels import flattened, struct
from tests.python.decode_shaders import kernel

DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
TOLERANCE = {"f32": 2e-6, "f16": 1e-3, "bf16": 8e-3}
SCALE_FACTOR = 1.25

# Function constants.
SIGNS, SINKS, LSE = 55, 61, 62
K_FORMAT, V_FORMAT, NORMS_F16, SOFTCAP, WINDOW, RING, UNDO, ROTATE, PAGES, ALIBI = (
    70,
    71,
    72,
    74,
    75,
    76,
    77,
    78,
    79,
    80,
)
OPTIONS = (SINKS, LSE, SOFTCAP, WINDOW, RING)
"""What a problem's kernel has unless it is told otherwise; every one of them has a value that means `none`."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """One call of the kernel, and of the merging pass where the keys are split."""

    dim: int = 64
    formats: tuple[str, str] = ("f32", "f32")
    dtype: str = "f32"
    heads: tuple[int, int] = (2, 1)
    q_len: int = 1
    kv_lens: tuple[int, ...] = (40,)
    capacity: int = 40
    ring_starts: tuple[int, ...] = ()
    causal: bool = False
    window: int = 0
    softcap: float = 0.0
    sinks: bool = False
    half_norms: bool = False
    rotate: bool = False  # the kernel rotates Q
    undo: bool = False  # V's rotation is taken out of O
    signs: int = 0  # seed of the table of signs
    splits: int = 1
    nsg: int = 2
    seed: int = 0
    poison: bool = True  # everything that no query attends becomes NaN
    page_size: int = 0  # the cache lies in pages, in any order
    page_layout: str = "nhd"
    alibi: str = ""  # slopes for all "heads", or for all "sequences"

    def but(self, **changes):
        return dataclasses.replace(self, **changes)

    @property
    def starts(self):
        return self.ring_starts or (0,) * len(self.kv_lens)

    @property
    def columns(self):
        return -(-self.capacity // self.page_size)

    def in_pages(self, page_size, page_layout):
        """Return the problem with its keys in pages, where there are no rings."""
        return self.but(page_size=page_size, page_layout=page_layout, ring_starts=())


@dataclasses.dataclass
class Operands:
    """What the kernels get, and what the caches stand for."""

    q: np.ndarray
    caches: list[np.ndarray]  # data and norms of K and V; norms of a dense format are one float that nobody reads
    k: np.ndarray
    v: np.ndarray
    sinks: np.ndarray
    slopes: np.ndarray
    table: np.ndarray  # of pages


def attended(p, kv_len, token):
    """Return the range of keys that query `token` of a sequence attends."""
    own_end = max(kv_len - (p.q_len - 1 - token), 0)
    begin = max(own_end - p.window, 0) if p.window else 0
    return range(begin, own_end if p.causal else kv_len)


def operands(p):
    rng = np.random.default_rng([p.seed, p.dim])
    heads, kv_heads = p.heads
    rows = (len(p.kv_lens), kv_heads, p.capacity)
    unused = np.ones(rows, bool)
    for b, (kv_len, start) in enumerate(zip(p.kv_lens, p.starts, strict=True)):
        for token in range(p.q_len):
            unused[b, :, (start + np.array(attended(p, kv_len, token), int)) % p.capacity] = False
    unused &= p.poison
    q = rng.standard_normal((len(p.kv_lens), heads, p.q_len, p.dim), dtype=np.float32).astype(DTYPES[p.dtype])
    caches, values = [], []
    for name in p.formats:
        found = random_cache(p, name, rows, rng)
        found[1 if name not in codec.DENSE else 0][unused] = np.nan
        caches += found
        values.append(decoded(p, name, *found))
    sinks = rng.standard_normal(heads, dtype=np.float32) * 2 if p.sinks else np.full(heads, -np.inf, np.float32)
    slopes = 2.0 ** -rng.uniform(1, 8, (len(p.kv_lens), heads) if p.alibi == "sequences" else heads).astype(np.float32)
    caches, table = pages(p, caches, rng) if p.page_size else (caches, np.zeros((1, 1), np.uint32))
    return Operands(q, caches, *values, sinks, slopes, table)


def pages(p, caches, rng):
    """Return the caches in pages, and which are whose; there are more, and entries that nobody may look at."""
    batch, kv_heads = len(p.kv_lens), p.heads[1]
    table = rng.permutation(batch * p.columns + 2)[: batch * p.columns].reshape(batch, p.columns).astype(np.uint32)
    found = []
    for cache in caches:
        if cache.ndim <= 2:
            found.append(cache)
            continue
        unused = 255 if cache.dtype == np.uint8 else np.nan
        whole = np.full((batch, kv_heads, p.columns * p.page_size, *cache.shape[3:]), unused, cache.dtype)
        whole[:, :, : p.capacity] = cache
        whole = whole.reshape(batch, kv_heads, p.columns, p.page_size, *cache.shape[3:]).swapaxes(1, 2)
        whole = whole.swapaxes(2, 3) if p.page_layout == "nhd" else whole
        scattered = np.full((batch * p.columns + 2, *whole.shape[2:]), unused, cache.dtype)
        scattered[table] = whole
        found.append(scattered)
    for b, kv_len in enumerate(p.kv_lens):
        keys = sorted(key for token in range(p.q_len) for key in attended(p, kv_len, token))
        looked_at = range(keys[0] // p.page_size, keys[-1] // p.page_size + 1) if keys else ()
        table[b, [column for column in range(p.columns) if column not in looked_at]] = 0xFFFFFFFF
    return found, table


def random_cache(p, name, rows, rng):
    if name in codec.DENSE:
        data = rng.standard_normal((*rows, p.dim), dtype=np.float32).astype(codec.DENSE[name])
        return [data, np.zeros(1, np.float32)]
    data = rng.integers(0, 256, (*rows, p.dim * codec.packed_bits(name) // 8), dtype=np.uint8)
    two = name in codec.VERSION_1 and p.dim == 512
    norms = rng.uniform(0.3, 0.9, (*rows, 2) if two else rows)
    if not two:
        norms *= 1 / 73 if name == "q8" else p.dim**0.5
    return [data, norms.astype(np.float16 if p.half_norms and name not in codec.VERSION_1 else np.float32)]


def decoded(p, name, data, norms):
    if name in codec.VERSION_1:
        return codec.decode_v1(data, norms, name, p.dim, SCALE_FACTOR)
    return codec.decode(data, norms, name, p.dim, undo_rotation=False)


def expected(p, x):
    """Return the oracle's output and LSE."""
    q = codec.rotate(x.q.astype(np.float64), p.signs) if p.rotate else x.q
    out, lse = reference.decode(
        q, x.k, x.v, p.kv_lens, ring_starts=p.starts, softcap=p.softcap, sinks=x.sinks,
        mask=lambda kv_len, token: attended(p, kv_len, token), alibi=x.slopes if p.alibi else None,
    )  # fmt: skip
    return codec.unrotate(out, p.signs) if p.undo else out, lse


def table_floats(p):
    """Return the floats that the tables of codes take."""
    sizes = [0 if name in codec.DENSE or name == "q8" else len(codec.centroids(name)) for name in p.formats]
    same = p.formats[0] == p.formats[1]
    taken = [size * min(32, (4096 if same else 2048) // size) if size else 0 for size in sizes]
    return taken[0] if same else sum(taken)


def threadgroup_memory(p):
    """Return the bytes of threadgroup memory 0."""
    groups = p.nsg // 2 if p.dim == 512 else p.nsg
    floats = max(table_floats(p), 8 * p.dim * max(groups // 2, 1)) + 16 * (1 + groups)
    return 4 * (floats + (128 * p.nsg if p.dim == 512 else 0))


def source(room):
    return flattened(f"{room}.metal")


def constants_of(p, options):
    constants = dict.fromkeys(options if not p.page_size else [option for option in options if option != RING], True)
    constants |= ({PAGES: True} if p.page_size else {}) | ({ALIBI: True} if p.alibi else {})
    constants |= {K_FORMAT: codec.FORMATS[p.formats[0]], V_FORMAT: codec.FORMATS[p.formats[1]]}
    constants |= {NORMS_F16: True} if p.half_norms else {}
    constants |= {ROTATE: True} if p.rotate else {}
    return constants | rotation_constants(p)


def rotation_constants(p):
    return ({UNDO: True} if p.undo else {}) | ({SIGNS: True} if p.signs else {})


def run(p, x=None, *, text=None, options=OPTIONS, **device_options):
    """Dispatch the problem's kernels and return the output and the LSE, which is NaN if it is not asked for."""
    x = operands(p) if x is None else x
    text = source("flash_attn_decode") if text is None else text
    device = tuple(sorted(device_options.items()))
    batch, (heads, kv_heads) = len(p.kv_lens), p.heads
    # Rows of Q and O lie apart, and their axes in another order than the kernel's.
    q = padded_rows(x.q)
    out = padded_rows(np.full(x.q.shape, np.nan, x.q.dtype))
    lse = np.full(out.shape[:3], np.nan, np.float32)
    rows = lse.size * p.splits
    partials = np.full((rows, p.dim) if p.splits > 1 else 1, np.nan, np.float32)
    states = np.full((rows, 2) if p.splits > 1 else 1, np.nan, np.float32)
    params = struct(
        "fa_decode_params", batch=batch, heads=heads, kv_heads=kv_heads, q_len=p.q_len,
        capacity=p.columns * p.page_size if p.page_size else p.capacity, slope_stride=heads * (p.alibi == "sequences"),
        splits=p.splits, window=p.window, causal=p.causal, scale=p.dim**-0.5, softcap=p.softcap,
        scale_factor_d512=SCALE_FACTOR, q_strides=strides(q), o_strides=strides(out),
    )  # fmt: skip
    slots = dict(enumerate([params, q.base, *x.caches]))
    slots |= {6: partials if p.splits > 1 else out.base, 7: states, 8: np.array(p.kv_lens, np.uint32)}
    slots |= {9: np.array(p.starts, np.uint32)} if RING in options and not p.page_size else {}
    slots |= paging(p, x) if p.page_size else {}
    slots |= {15: x.slopes} if p.alibi else {}
    slots |= {10: x.sinks} if SINKS in options else {}
    signs = {12: np.frombuffer(codec.sign_table(p.signs)[: p.dim // 8], np.uint8)} if p.signs else {}
    in_kernel = {11: lse} if LSE in options else {}
    constants = constants_of(p, options)
    kernel(text, f"flash_attn_decode_{p.dtype}_d{p.dim}", tuple(constants.items()), device)(
        {slot: value for slot, value in slots.items() if slot not in unused_norms(p)} | signs | in_kernel,
        threadgroups=(-(-heads // kv_heads * p.q_len // 8), kv_heads, batch * p.splits),
        threads=(32 * p.nsg, 1, 1),
        threadgroup_memory={0: threadgroup_memory(p)},
    )
    if p.splits > 1:
        assert np.isnan(lse).all()
        constants = rotation_constants(p) | ({LSE: True} if LSE in options else {})
        kernel(text, f"flash_attn_decode_merge_{p.dtype}_d{p.dim}", tuple(constants.items()), device)(
            {0: params, 3: out.base, 6: partials, 7: states} | signs | in_kernel,
            threadgroups=(p.q_len, heads, batch),
            threads=(32 * min(p.splits, p.nsg), 1, 1),
        )
    return out, lse


def paging(p, x):
    """Return the slots that say where pages are."""
    kv_heads, nhd = p.heads[1], p.page_layout == "nhd"
    params = struct(
        "fa_decode_pages", page_size=p.page_size, table_stride=p.columns, pages=len(p.kv_lens) * p.columns + 2,
        page_stride=p.page_size * kv_heads, slot_stride=kv_heads if nhd else 1, head_stride=1 if nhd else p.page_size,
    )  # fmt: skip
    return {13: params, 14: x.table}


def unused_norms(p):
    return {slot for slot, name in zip((3, 5), p.formats, strict=True) if name in codec.DENSE}


def padded_rows(x):
    """Return x [B, H, q_len, D] as a view of an array [B, q_len, H, D + 2]."""
    memory = np.full((x.shape[0], x.shape[2], x.shape[1], x.shape[3] + 2), np.nan, x.dtype)
    view = memory.transpose(0, 2, 1, 3)[..., : x.shape[3]]
    view[...] = x
    return view


def strides(view):
    return [stride // view.itemsize for stride in view.strides[:3]]


def compile_in_parallel(problems, **device_options):
    """Run the problems on all cores: most of a first run's time goes into compiling the kernels."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda p: run(p, **device_options), problems))


def check(p, *, lse_tolerance=4e-6, **how):
    """Run the problem, compare it with the oracle, and return the output."""
    x = operands(p)
    out, lse = run(p, x, **how)
    exact, exact_lse = expected(p, x)
    found = reference.error(out.astype(np.float64), exact)
    assert found <= TOLERANCE[p.dtype], f"error {found:.3g}: {p}"
    if LSE in how.get("options", OPTIONS):
        np.testing.assert_allclose(lse, exact_lse, rtol=0, atol=lse_tolerance, err_msg=str(p))
    return np.array(out)
