"""The prefill shaders by their slots: every instance, all checks, and what must not change a bit."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest

from tests.python import reference
from tests.python.shader_devices import CHECKED, SCHEDULES, STRICT, shader_device
from tests.python.shader_prefill import HEAD_DIMS, Operands, kernel_name, run, tile_of

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="a GPU has neither schedules nor checks")


class Instance(NamedTuple):
    """A kernel: an instance of one of the rooms, and the simdgroups of the second."""

    dtype: str
    head_dim: int
    boolean: bool
    nsg: int | None = None

    def __str__(self):
        name = kernel_name(*self).removeprefix("flash_attn_prefill_")
        return name if self.nsg is None else f"{name}-nsg{self.nsg}"

    @property
    def tile(self):
        return tile_of(kernel_name(*self))


INSTANCES = [
    *(Instance(*choice) for choice in itertools.product(reference.DTYPES, HEAD_DIMS, (False, True))),
    *(Instance(dtype, 512, boolean, nsg) for dtype in ("f16", "bf16") for boolean in (False, True) for nsg in (4, 8)),
]
# One of each way to hold Q, K, V and O, and both kinds of mask.
SAMPLE = [
    Instance("f32", 64, boolean=False),
    Instance("bf16", 80, boolean=True),
    Instance("f32", 256, boolean=True),
    Instance("f16", 192, boolean=False),
    Instance("f32", 512, boolean=False),
    Instance("f16", 512, boolean=False, nsg=4),
    Instance("bf16", 512, boolean=True, nsg=8),
]
CHECKED_DEVICES = {
    name: shader_device(**STRICT, **CHECKED, **schedule) for name, schedule in SCHEDULES.items() if name != "one-thread"
}
DEVICE = shader_device()


def make(instance, q_len, kv_len, *, heads=(2, 1), batch=1, mask=False, seed=0, **options):
    """Make random operands, with a mask of the instance's kind if wanted."""
    rng = np.random.default_rng(seed)
    dtype = reference.DTYPES[instance.dtype]

    def tensor(heads, length):
        return rng.standard_normal((batch, heads, length, instance.head_dim)).astype(dtype)

    if mask:
        attends = rng.random((batch, 1, q_len, kv_len)) < 0.7
        bias = np.where(attends, rng.standard_normal(attends.shape), -np.inf)
        options["mask"] = attends if instance.boolean else bias.astype(dtype)
    return Operands(tensor(heads[0], q_len), tensor(heads[1], kv_len), tensor(heads[1], kv_len), options)


def everything(instance):
    """Make operands with every option on, some tiles that nothing attends, and some rows."""
    operands = make(
        instance, 33, 70, mask=True, causal=True, window=(19, 3), softcap=4.0, q_offset=35,
        sinks=np.array([0.3, -np.inf], np.float32),
    )  # fmt: skip
    mask = operands.options["mask"]
    mask[..., 32:48] = False if instance.boolean else -np.inf
    mask[:, :, 5] = False if instance.boolean else -np.inf
    return operands


def attends(operands):
    """Return which keys each row attends, bool [B, H or 1, qL, kL]."""
    options = operands.options
    shape = operands.q.shape[2], operands.k.shape[2]
    kept = reference.attended(
        *shape, **{name: options[name] for name in ("causal", "window", "q_offset") if name in options}
    )
    mask = options.get("mask")
    if mask is None:
        return kept[None, None]
    return kept & (mask if mask.dtype == bool else mask != -np.inf)


def check(operands, found):
    out, lse = found
    expected, expected_lse = reference.attention(*operands[:3], **operands.options)
    reference.assert_close(out, expected)
    if lse is not None:
        reference.assert_lse_close(lse, expected_lse, out.dtype)


def same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(*(np.ascontiguousarray(x).view(np.uint8) for x in (ours, theirs)))


@pytest.fixture(scope="module")
def compiled():
    """Every instance with every option, compiled for checks side by side."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(INSTANCES, pool.map(lambda each: run_checked(each, "forward"), INSTANCES), strict=True))


def run_checked(instance, schedule, operands=None):
    return run(operands or everything(instance), CHECKED_DEVICES[schedule], nsg=instance.nsg, blk=True)


@pytest.mark.parametrize("instance", INSTANCES, ids=str)
def test_every_instance_passes_all_checks_in_every_order(instance, compiled):
    check(everything(instance), compiled[instance])
    for schedule in CHECKED_DEVICES:
        same(run_checked(instance, schedule), compiled[instance])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("instance", INSTANCES, ids=str)
def test_what_a_row_does_not_attend_does_not_matter(instance, value, compiled):
    operands = everything(instance)
    # Keys that all, some and no rows attend.
    hidden = [0, 17, 40, 50, 55, 69]
    operands.k[:, :, hidden] = operands.v[:, :, hidden] = value
    touched = attends(operands)[..., hidden].any(axis=-1)[0, 0]
    assert touched.any()
    assert not touched.all()
    found = run_checked(instance, "forward", operands)
    same([x[:, :, ~touched] for x in found], [x[:, :, ~touched] for x in compiled[instance]])
    if np.isnan(value):
        assert np.isnan(found[0][:, :, touched]).all()


@pytest.mark.parametrize("instance", SAMPLE, ids=str)
def test_infinite_values_reach_the_rows_that_attend_them(instance):
    operands = make(instance, 40, 70, causal=True)
    v = operands.v
    v[..., 3, 1], v[..., 40, 2], v[..., 41, 3], v[..., 44, 3] = np.inf, -np.inf, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        # Minus infinity times a weight of 0 is not what the definition says: hide it first.
        expected = np.stack(
            [
                reference.attention(operands.q[:, :, i : i + 1], operands.k[:, :, : i + 31], v[:, :, : i + 31])[0][
                    :, :, 0
                ]
                for i in range(40)
            ],
            axis=2,
        )
    out, _ = run(operands, DEVICE, nsg=instance.nsg)
    for kind in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(kind(out), kind(expected))
    finite = np.isfinite(expected)
    reference.assert_close(np.where(finite, out, 0), np.where(finite, expected, 0), out.dtype)


# Rows of options, every pair of which meets: mask, causal, window, softcap, sinks, LSE, offset.
OPTIONS = [
    (True, False, (5, -1), None, False, True, 0),
    (True, True, None, 3.0, True, False, -9),
    (False, True, (40, 0), None, True, True, 7),
    (False, False, (-1, 3), 2.0, False, False, -9),
    (True, True, (0, 0), 2.0, False, True, 7),
    (False, False, None, 3.0, True, True, 0),
    (True, False, (20, 9), 3.0, True, False, 7),
    (False, True, None, None, False, False, 0),
]


@pytest.mark.parametrize(
    ("instance", "row"),
    [(instance, row) for i, instance in enumerate(SAMPLE) for j, row in enumerate(OPTIONS) if (i + j) % 2],
    ids=str,
)
def test_options(instance, row):
    mask, causal, window, softcap, sinks, lse, shift = row
    options = {"causal": causal, "window": window, "softcap": softcap}
    if sinks:
        options["sinks"] = np.random.default_rng(1).standard_normal(6).astype(np.float32)
    for seed, (q_len, kv_len) in enumerate(lengths(instance.tile)):
        offset = kv_len - q_len + shift
        operands = make(
            instance, q_len, kv_len, heads=(6, 2), batch=2, mask=mask, seed=seed, q_offset=offset, **options
        )
        check(operands, run(operands, DEVICE, nsg=instance.nsg, lse=lse, align=False))


def lengths(tile):
    """Return lengths around one and two tiles, paired so that edges meet."""
    rows = [1, tile.q - 1, tile.q, tile.q + 1, 2 * tile.q, 3]
    keys = [2 * tile.k + 1, 1, tile.k, tile.k - 1, 2 * tile.k, tile.k + 1]
    return zip(rows, keys, strict=True)


@pytest.mark.parametrize("instance", SAMPLE, ids=str)
def test_whole_tiles_need_no_checks_of_their_edges(instance):
    tile = instance.tile
    operands = make(instance, 2 * tile.q, 2 * tile.k, mask=True)
    found = run(operands, DEVICE, nsg=instance.nsg)
    check(operands, found)
    same(found, run(operands, DEVICE, nsg=instance.nsg, align=False))


@pytest.mark.parametrize("instance", SAMPLE, ids=str)
def test_block_bytes_change_no_bit(instance):
    operands = everything(instance)
    same(run(operands, DEVICE, nsg=instance.nsg, blk=True), run(operands, DEVICE, nsg=instance.nsg))


@pytest.mark.parametrize("instance", SAMPLE, ids=str)
def test_a_window_is_the_mask_that_says_the_same(instance):
    operands = make(instance, 37, 150, causal=True, window=(30, -1))
    mask = reference.attended(37, 150, causal=True, window=(30, -1))
    if not instance.boolean:
        mask = np.where(mask, 0, -np.inf).astype(operands.q.dtype)
    masked = operands._replace(options={"mask": mask})
    same(run(operands, DEVICE, nsg=instance.nsg), run(masked, DEVICE, nsg=instance.nsg))


@pytest.mark.parametrize("instance", SAMPLE, ids=str)
def test_resumed_rows_have_the_same_bits(instance):
    """Rows of a longer problem, on a cache that is longer than what is in use; the rest of it is never read."""
    q, k, v, options = make(instance, 75, 75, causal=True, window=(33, -1), q_offset=0)
    out, lse = run(Operands(q, k, v, options), DEVICE, nsg=instance.nsg)
    caches = [np.full((1, 1, 100, instance.head_dim), np.nan, q.dtype) for _ in "kv"]
    for first, last in ((0, 5), (5, 44), (44, 75)):
        for cache, rows in zip(caches, (k, v), strict=True):
            cache[:, :, :last] = rows[:, :, :last]
        part = Operands(
            np.ascontiguousarray(q[:, :, first:last]),
            *(cache[:, :, :last] for cache in caches),
            options | {"q_offset": first},
        )
        part_out, part_lse = run(part, DEVICE, nsg=instance.nsg, align=False)
        same([part_out, part_lse], [out[:, :, first:last], lse[:, :, first:last]])


@pytest.mark.parametrize("bias", [-3e38, -1e30, -65504.0, 30000.0])
@pytest.mark.parametrize("instance", [each for each in SAMPLE if not each.boolean], ids=str)
def test_a_finite_bias_of_any_size_counts(instance, bias):
    dtype = reference.DTYPES[instance.dtype]
    if abs(bias) > float(ml_dtypes.finfo(dtype).max):
        pytest.skip(f"{bias} is not finite in {instance.dtype}")
    operands = make(instance, 9, 21)
    operands.options["mask"] = np.full((9, 21), bias, dtype)
    # Beside such a bias the scores vanish, in float; what is left is the mean of the values, or nearly.
    out, _ = run(operands, DEVICE, nsg=instance.nsg)
    if abs(bias) > 1e8:
        reference.assert_close(
            out, np.broadcast_to(operands.v.astype(np.float64).mean(axis=2, keepdims=True), out.shape)
        )
    else:
        plain = reference.attention(*operands[:3])[0]
        assert np.abs(out - plain).max() < 2e-3 * np.abs(plain).max()


@pytest.mark.parametrize("sink", [-np.inf, 0.5])
@pytest.mark.parametrize("instance", SAMPLE, ids=str)
def test_rows_without_keys(instance, sink):
    operands = make(instance, 9, 21, causal=True, q_offset=-30, sinks=np.full(2, sink, np.float32))
    out, lse = run(operands, DEVICE, nsg=instance.nsg)
    assert not out.any()
    np.testing.assert_allclose(lse, sink, atol=1e-6)


@pytest.mark.parametrize("instance", SAMPLE, ids=str)
def test_tiles_that_nothing_attends_are_not_read(instance):
    """A window over a tensor that has memory for its own keys only."""
    whole = make(instance, 8, 200, causal=True, window=(20, -1))
    found = run(whole, DEVICE, nsg=instance.nsg)
    first = (200 - 8 - 20) // instance.tile.k * instance.tile.k
    for name in "kv":
        getattr(whole, name)[:, :, :first] = np.nan
    same(run(whole, DEVICE, nsg=instance.nsg), found)
