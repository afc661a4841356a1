"""pyfa.ops.flash_attn_prefill: every parameter of the kernel family."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa.ops import FlashAttnPrefillProblem, flash_attn_prefill, flash_attn_prefill_explain
from tests.python import cases, reference

INVALID = pyfa.InvalidArgumentError
PAIRS = cases.every_pair(cases.FACTORS)


@pytest.mark.parametrize("case", PAIRS[::2], ids=str)
def test_arrays(case, device):
    q, k, v, options = cases.operands(case)
    found = flash_attn_prefill(q, k, v, **options, lse=case.lse, device=device)
    expected, expected_lse = reference.attention(q, k, v, **options)
    out, lse = found if case.lse else (found, None)
    assert isinstance(out, np.ndarray)
    reference.assert_close(out, expected)
    if case.lse:
        reference.assert_lse_close(lse, expected_lse, q.dtype)


@pytest.mark.parametrize("case", [case for case in PAIRS[::4] if not case.mask.endswith("q1")], ids=str)
def test_buffers(case, device):
    q, k, v, options = cases.operands(case)
    q, k, v = (pyfa.Buffer.from_array(x, device=device) for x in (q, k, v))
    mask = options.pop("mask", None)
    bias = None if mask is None else pyfa.Buffer.from_array(mask, device=device)
    out = pyfa.Buffer.zeros(q.shape, q.dtype, device=device)
    lse = pyfa.Buffer.zeros((case.batch, case.heads[0], case.q_len), np.float32, device=device)
    assert flash_attn_prefill(q, k, v, out, mask=bias, lse=lse, **options, device=device) == (out, lse)
    expected, expected_lse = reference.attention(q.read(), k.read(), v.read(), mask=mask, **options)
    reference.assert_close(out.read(), expected)
    reference.assert_lse_close(lse.read(), expected_lse, q.dtype)


def test_encode_only(qkv, device):
    encoder = pyfa.CommandEncoder(device)
    out, lse = flash_attn_prefill(*qkv, lse=True, encoder=encoder)
    assert isinstance(out, pyfa.Buffer)
    assert not out.read().any()
    encoder.commit_and_wait()
    expected, expected_lse = reference.attention(*qkv)
    reference.assert_close(out.read(), expected)
    reference.assert_lse_close(lse.read(), expected_lse, qkv[0].dtype)


def test_nothing_to_attend_or_to_compute(qkv, device):
    q, k, v = qkv
    out, lse = flash_attn_prefill(q, k[:, :, :0], v[:, :, :0], lse=True, device=device)
    assert not out.any()
    assert (lse == -np.inf).all()
    out, lse = flash_attn_prefill(q[:, :, :0], k, v, lse=True, device=device)
    assert (out.shape, lse.shape) == ((1, 4, 0, 64), (1, 4, 0))


def test_mask_of_one_key_for_all(qkv, rng, device):
    q, k, v = qkv
    mask = rng.standard_normal((5, 1), dtype=np.float32)
    out, lse = flash_attn_prefill(q, k, v, mask=mask, lse=True, device=device)
    expected, expected_lse = reference.attention(q, k, v, mask=mask)
    reference.assert_close(out, expected)
    reference.assert_lse_close(lse, expected_lse, q.dtype)
    with pytest.raises(INVALID, match="^flash_attn_prefill: mask: "):
        flash_attn_prefill(q, k, v, mask=pyfa.Buffer.from_array(mask, device=device), device=device)


def test_layers_in_one_command_buffer(qkv, device):
    q, k, v = qkv
    with pyfa.CommandEncoder(device) as encoder:
        first = flash_attn_prefill(q, k, v, encoder=encoder)
        encoder.barrier()
        second = flash_attn_prefill(first, k, v, encoder=encoder)
    np.testing.assert_array_equal(
        second.read(), pyfa.attention(pyfa.attention(q, k, v, device=device), k, v, device=device)
    )


def test_bits(qkv, device):
    q, k, v = (x.astype(reference.DTYPES["bf16"]) for x in qkv)
    out = flash_attn_prefill(*(x.view(np.uint16) for x in (q, k, v)), device=device)
    assert out.dtype == np.uint16
    np.testing.assert_array_equal(out, pyfa.attention(q, k, v, device=device).view(np.uint16))


def test_own_registry(qkv, device):
    with pyfa.KernelRegistry(device) as registry:
        flash_attn_prefill(*qkv, registry=registry, device=device)
        assert registry.cached_count == 1


def test_part_of_a_cache(rng, device):
    """K and V stand in a cache of 50 rows a head, of which 37 are in use; the rest is never read."""
    q = rng.standard_normal((1, 4, 5, 64), dtype=np.float32)
    cache = np.full((2, 2, 50, 64), np.nan, np.float32)
    cache[:, :, :37] = rng.standard_normal((2, 2, 37, 64), dtype=np.float32)
    problem = FlashAttnPrefillProblem(
        batch=1, heads=4, kv_heads=2, head_dim=64, q_len=5, kv_len=37, dtype=np.float32, causal=True, layout="strided",
        q_strides=(0, 5 * 64, 64), k_strides=(0, 50 * 64, 64), v_strides=(0, 50 * 64, 64), o_strides=(0, 5 * 64, 64),
    )  # fmt: skip
    out = flash_attn_prefill(q, cache[0], cache[1], problem=problem, device=device)
    reference.assert_close(out, reference.attention(q, cache[:1, :, :37], cache[1:, :, :37], causal=True)[0])


def test_mask_by_strides(qkv, rng, device):
    q, k, v = qkv
    row = rng.random(9) < 0.5
    problem = FlashAttnPrefillProblem(
        batch=1, heads=4, kv_heads=2, head_dim=64, q_len=5, kv_len=9, dtype=np.float32, mask="bool", scale=0.2
    )
    out = flash_attn_prefill(q, k, v, mask=row, problem=problem, device=device)
    reference.assert_close(out, reference.attention(q, k, v, mask=row[None], scale=0.2)[0])


def problem(**changed):
    sizes = {"batch": 1, "heads": 4, "kv_heads": 2, "head_dim": 64, "q_len": 5, "kv_len": 9, "dtype": np.float32}
    return FlashAttnPrefillProblem(**(sizes | changed))


BAD_PROBLEMS = [
    ("batch", INVALID, {"batch": 0}),
    ("heads", INVALID, {"heads": -4}),
    ("kv_heads", INVALID, {"kv_heads": 3}),
    ("q_len", INVALID, {"q_len": 2**31}),
    ("kv_len", INVALID, {"kv_len": 2**62}),
    ("q_len", INVALID, {"q_len": -1}),
    ("softcap", INVALID, {"softcap": "1"}),
    ("softcap", INVALID, {"softcap": float("nan")}),
    ("window", INVALID, {"window": (1, -2)}),
    ("window", INVALID, {"window": (1,)}),
    ("q_offset", INVALID, {"q_offset": 5}),
    ("blk_strides", INVALID, {"blk_strides": (0, 0, 0)}),
    ("mask_strides", INVALID, {"mask": "bool", "mask_strides": (0, 0, -9)}),
    ("kv_len", INVALID, {"kv_len": 1.5}),
    ("head_dim", pyfa.UnsupportedError, {"head_dim": 40}),
    ("dtype", pyfa.UnsupportedError, {"dtype": np.int32}),
    ("dtype", pyfa.UnsupportedError, {"dtype": np.float64}),
    ("scale", INVALID, {"scale": float("inf")}),
    ("scale", INVALID, {"scale": "1"}),
    ("layout", INVALID, {"layout": "hbld"}),
    ("mask", INVALID, {"mask": "causal"}),
    ("mask_rank", INVALID, {"mask": "bool", "mask_rank": 5}),
    ("q_strides", INVALID, {"layout": "strided", "q_strides": (1, 2)}),
    ("q_strides", INVALID, {"layout": "strided", "q_strides": (-1, 64, 64)}),
    ("mask_strides", INVALID, {"mask": "bool", "mask_strides": (0, 0, "x")}),
]


@pytest.mark.parametrize(("argument", "error", "changed"), BAD_PROBLEMS, ids=[str(row[2]) for row in BAD_PROBLEMS])
def test_bad_problem(argument, error, changed, qkv, device):
    with pytest.raises(error, match="expected .*, got ") as caught:
        flash_attn_prefill_explain(problem(**changed), device=device)
    assert type(caught.value) is error
    assert caught.value.argument == argument
    assert caught.value.operation.startswith("flash_attn_prefill")
    out = pyfa.Buffer.zeros(qkv[0].shape, np.float32, device=device)
    mask = np.ones((5, 9), bool) if "mask" in changed else None
    with pytest.raises(error):
        flash_attn_prefill(*qkv, out, mask=mask, problem=problem(**changed), device=device)
    assert not out.read().any()


@pytest.mark.parametrize("name", ["q", "k", "v", "o", "mask", "sinks", "lse"])
def test_short_buffers(name, qkv, device):
    buffers = {key: pyfa.Buffer.from_array(x, device=device) for key, x in zip("qkv", qkv, strict=True)}
    buffers["o"] = pyfa.Buffer.zeros(qkv[0].shape, np.float32, device=device)
    buffers["mask"] = pyfa.Buffer.from_array(np.ones((5, 9), bool), device=device)
    buffers["lse"] = pyfa.Buffer.zeros((1, 4, 5), np.float32, device=device)
    buffers["sinks"] = pyfa.Buffer.zeros(4, np.float32, device=device)
    needed = buffers[name].nbytes
    buffers[name] = buffers[name].view(needed // buffers[name].dtype.itemsize - 1)
    q, k, v, o = (buffers[key] for key in "qkvo")
    whole = problem(mask="bool", mask_rank=2, has_sinks=True, has_lse=True)
    rest = {key: buffers[key] for key in ("mask", "sinks", "lse")}
    with pytest.raises(INVALID, match=f"^flash_attn_prefill: {name}: .*{needed} bytes.*got") as caught:
        flash_attn_prefill(q, k, v, o, **rest, problem=whole, device=device)
    assert caught.value.argument == name
    assert not o.read().any()


BAD_ARRAYS = [
    ("q", {"q": np.zeros((4, 5, 64), np.float32)}),
    ("q", {"q": [1.0]}),
    ("k", {"k": np.zeros((1, 2, 9, 64), np.float16)}),
    ("k", {"k": np.zeros((1, 2, 9, 32), np.float32)}),
    ("v", {"v": np.zeros((1, 2, 8, 64), np.float32)}),
    ("mask", {"mask": np.ones((5, 8), bool)}),
    ("mask", {"mask": np.ones((4, 1), bool)}),
    ("blk", {"blk": np.ones((1, 1), np.uint8)}),
    ("blk", {"blk": [1]}),
    ("sinks", {"sinks": np.zeros(3, np.float32)}),
    ("sinks", {"sinks": np.zeros(4, np.float16)}),
    ("sinks", {"sinks": 0.5}),
    ("window", {"window": 3}),
    ("softcap", {"softcap": -2.0}),
    ("kv_capacity", {"kv_len": 10}),
    ("kv_len", {"kv_len": 1.5}),
    ("mask", {"mask": np.ones((2, 5, 9), bool)}),
    ("mask", {"mask": np.zeros((5, 9), np.float16)}),
    ("out", {"out": np.zeros((1, 4, 5, 64), np.float32)}),
    ("layout", {"layout": "strided"}),
    ("scale", {"scale": "x"}),
    ("q_offset", {"q_offset": 0.5, "causal": True}),
]


@pytest.mark.parametrize(("argument", "changed"), BAD_ARRAYS)
def test_bad_arrays(argument, changed, qkv, device):
    arguments = dict(zip("qkv", qkv, strict=True)) | changed
    with pytest.raises(INVALID, match=f"^flash_attn_prefill: {argument}: expected .*, got "):
        flash_attn_prefill(arguments.pop("q"), arguments.pop("k"), arguments.pop("v"), **arguments, device=device)


def test_presence_must_match_the_problem(qkv, device):
    for changed, given in (({"mask": "bool", "mask_rank": 2}, {}), ({}, {"mask": np.ones((5, 9), bool)})):
        with pytest.raises(INVALID, match="^flash_attn_prefill: mask: "):
            flash_attn_prefill(*qkv, problem=problem(**changed), **given, device=device)
    for changed, given in (({"has_sinks": True}, {}), ({}, {"sinks": np.zeros(4, np.float32)})):
        with pytest.raises(INVALID, match="^flash_attn_prefill: sinks: "):
            flash_attn_prefill(*qkv, problem=problem(**changed), **given, device=device)
    for changed, given in (({"has_lse": True}, {}), ({}, {"lse": True})):
        with pytest.raises(INVALID, match="^flash_attn_prefill: lse: "):
            flash_attn_prefill(*qkv, problem=problem(**changed), **given, device=device)


def test_released_buffers(qkv, device):
    q, k, v = (pyfa.Buffer.from_array(x, device=device) for x in qkv)
    k.release()
    with pytest.raises(INVALID, match=r"^flash_attn_prefill: Buffer: .*used after release"):
        flash_attn_prefill(q, k, v, device=device)


def test_committed_encoder(qkv, device):
    with pyfa.CommandEncoder(device) as encoder:
        flash_attn_prefill(*qkv, encoder=encoder)
    with pytest.raises(INVALID, match="commit"):
        flash_attn_prefill(*qkv, encoder=encoder)


def test_explain(device):
    report = flash_attn_prefill_explain(problem(causal=True), device=device)
    assert report.operation == "flash_attn_prefill"
    assert report.problem.q_offset == 4
    assert report.passes[0].kernel == "flash_attn_prefill_f32_d64"
    assert report.backend == device.info().backend
