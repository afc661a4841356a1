"""The prefill operations through the C interface: what its structs can say that Python's arguments cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest

import pyfa
from pyfa._ffi import ffi, lib, string
from tests.python import reference
from tests.python.prefill_model import blk_bytes, sliding_mask


def prefill_problem(**changed):
    sizes = {"batch": 1, "heads": 2, "kv_heads": 1, "head_dim": 64, "q_len": 5, "kv_len": 9, "scale": 0.125}
    return ffi.new("fa_flash_attn_prefill_problem *", sizes | changed)


def assert_refused(status, operation, argument, words):
    assert status == lib.FA_INVALID_ARGUMENT
    message = string(lib.fa_last_error())
    assert message.startswith(f"{operation}: {argument}: expected ")
    assert words in message


BAD = [
    ("layout", "0 to 2, got 7", {"layout": 7}),
    ("mask", "0 to 2, got 9", {"mask": 9}),
    ("mask_rank", "2, 3 or 4, got 5", {"mask": 1, "mask_rank": 5}),
    ("dtype", "got 99", {"dtype": 99}),
    ("window", "got (-2, 0)", {"has_window": 1, "window": [-2, 0]}),
    ("window", "got (0, 2147483648)", {"has_window": 1, "window": [0, 2**31]}),
    ("softcap", "got -1.0", {"softcap": -1.0}),
    ("softcap", "got inf", {"softcap": float("inf")}),
    ("scale", "got 0.0", {"scale": 0.0}),
    ("q_offset", "-2147483648 to 4", {"has_q_offset": 1, "q_offset": 2**63 - 1}),
    ("kv_capacity", "got 8", {"kv_capacity": 8}),
    ("blk", "none without a mask", {"has_blk": 1}),
    ("kv_len", "0 to 2147483647, got -1", {"kv_len": -1}),
]


@pytest.mark.parametrize(("argument", "words", "changed"), BAD, ids=str)
def test_bad_problems(argument, words, changed, device):
    out = ffi.new("const char **", ffi.NULL)
    for operation, extra in (("flash_attn_prefill", {}), ("flash_attn_prefill_d512", {"head_dim": 512, "dtype": 1})):
        problem = prefill_problem(**(extra | changed))
        status = getattr(lib, f"fa_{operation}_explain")(device._cdata, problem, out)
        assert_refused(status, operation, argument, words)
        assert out[0] == ffi.NULL


def test_simdgroups(device):
    out = ffi.new("const char **")
    for nsg in (-1, 5, 16):
        problem = prefill_problem(head_dim=512, dtype=lib.FA_F16, nsg=nsg)
        status = lib.fa_flash_attn_prefill_d512_explain(device._cdata, problem, out)
        assert_refused(status, "flash_attn_prefill_d512", "nsg", f"4 or 8, got {nsg}")
    for nsg, threads in ((0, 8), (4, 4), (8, 8)):
        problem = prefill_problem(head_dim=512, dtype=lib.FA_F16, nsg=nsg)
        assert lib.fa_flash_attn_prefill_d512_explain(device._cdata, problem, out) == lib.FA_OK
        assert json.loads(string(out[0]))["passes"][0]["threads"] == [32, threads, 1]
    status = lib.fa_flash_attn_prefill_explain(device._cdata, prefill_problem(nsg=4), out)
    assert_refused(status, "flash_attn_prefill", "nsg", "none")


def test_null_buffers_are_named(qkv, device):
    """A buffer may be null only where the problem has nothing for it."""
    held = {key: pyfa.Buffer.from_array(x[:, :2], device=device) for key, x in zip("qkv", qkv, strict=True)}
    held["o"] = pyfa.Buffer.zeros((1, 2, 5, 64), np.float32, device=device)
    problem = prefill_problem(kv_heads=2, mask=lib.FA_MASK_BOOL, mask_rank=2, has_blk=1, has_sinks=1, has_lse=1)
    held["mask"] = pyfa.Buffer.from_array(np.ones((5, 9), bool), device=device)
    held["blk"] = pyfa.Buffer.from_array(np.ones((1, 1), np.uint8), device=device)
    held["sinks"] = pyfa.Buffer.zeros(2, np.float32, device=device)
    held["lse"] = pyfa.Buffer.zeros((1, 2, 5), np.float32, device=device)
    encoder = pyfa.CommandEncoder(device)
    for absent in held:
        buffers = ffi.new("fa_flash_attn_prefill_buffers *")
        for name, buffer in held.items():
            setattr(buffers, name, ffi.NULL if name == absent else buffer._cdata)
        status = lib.fa_flash_attn_prefill(encoder._cdata, device.registry._cdata, problem, buffers)
        assert_refused(status, "flash_attn_prefill", absent, "a buffer, got none")
    encoder.commit_and_wait()
    assert not held["o"].read().any()


def test_block_bytes(device):
    mask = sliding_mask(50, 70, 9)
    held = pyfa.Buffer.from_array(mask, device=device)
    sizes = {"batch": 1, "heads": 1, "q_len": 50, "kv_len": 70, "tile_rows": 8, "tile_keys": 16}
    problem = ffi.new("fa_flash_attn_prefill_blk_problem *", sizes | {"dtype": lib.FA_BOOL, "mask_rank": 2})
    needed = ffi.new("uint64_t *")
    assert lib.fa_flash_attn_prefill_blk_bytes(50, 70, 8, 16, needed) == lib.FA_OK
    assert needed[0] == 64
    blk = pyfa.Buffer.zeros(needed[0], np.uint8, device=device)
    with pyfa.CommandEncoder(device) as encoder:
        handles = (encoder._cdata, device.registry._cdata)
        assert lib.fa_flash_attn_prefill_blk(*handles, problem, held._cdata, blk._cdata) == lib.FA_OK
        status = lib.fa_flash_attn_prefill_blk(*handles, problem, ffi.NULL, blk._cdata)
        assert_refused(status, "flash_attn_prefill_blk", "mask", "got null")
        problem.mask_rank = 1
        status = lib.fa_flash_attn_prefill_blk(*handles, problem, held._cdata, blk._cdata)
        assert_refused(status, "flash_attn_prefill_blk", "mask_rank", "got 1")
    np.testing.assert_array_equal(blk.read()[:35].reshape(7, 5), blk_bytes(mask, (8, 16)))


def test_attention_options(qkv, device):
    """Options of fa_attention that stand in the struct itself."""
    q, k, v = qkv
    args = ffi.new("fa_attention_args *")
    out = np.zeros_like(q)
    sinks = np.float32([0.5, -1, 2, 0])
    held = {"q": q, "k": k, "v": v, "o": out, "sinks": sinks}
    for name, array in held.items():
        tensor = getattr(args, name)
        tensor.data, tensor.rank, tensor.dtype = ffi.cast("void *", array.ctypes.data), array.ndim, lib.FA_F32
        tensor.shape[0 : array.ndim] = array.shape
        tensor.strides[0 : array.ndim] = [stride // 4 for stride in array.strides]
    args.softcap, args.has_window = 1.5, 1
    args.window = [2, 1]
    assert lib.fa_attention(device._cdata, args) == lib.FA_OK
    expected = reference.attention(q, k, v, softcap=1.5, window=(2, 1), sinks=sinks)[0]
    reference.assert_close(out, expected)
    before = out.copy()
    for field, value in (("softcap", -1.0), ("window", [-3, 0]), ("layout", 2)):
        saved = list(args.window) if field == "window" else getattr(args, field)
        setattr(args, field, value)
        assert_refused(lib.fa_attention(device._cdata, args), "attention", field, "got")
        setattr(args, field, saved)
    args.sinks.shape[0] = 3
    assert_refused(lib.fa_attention(device._cdata, args), "attention", "sinks", "[4]")
    np.testing.assert_array_equal(out, before)
