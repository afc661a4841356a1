"""Bad input to pyfa.attention: the class, what the message names, and an output that nobody touched."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import pyfa
from tests.python import cases
from tests.python.reference import DTYPES

INVALID, UNSUPPORTED = pyfa.InvalidArgumentError, pyfa.UnsupportedError
Q = np.zeros((2, 4, 5, 64), np.float32)
K = np.zeros((2, 2, 9, 64), np.float32)
WIDE = np.zeros((2, 4, 5, 128), np.float32)


def misaligned(array):
    """Return the same array one byte further on."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    return memory[1:].view(array.dtype).reshape(array.shape)


def huge(shape):
    """Return an array of any size that takes one row of memory."""
    return as_strided(np.zeros(64, np.float32), shape, (0,) * (len(shape) - 1) + (4,))


# (id, class, argument, what the message says besides, changed arguments)
BAD = [
    ("not an array", INVALID, "q", ["builtins.list"], {"q": [[1.0]]}),
    ("none", INVALID, "k", ["NoneType"], {"k": None}),
    ("masked array", INVALID, "v", ["MaskedArray"], {"v": np.ma.zeros(K.shape, np.float32)}),
    ("float64", UNSUPPORTED, "q", ["float32", "float16", "bfloat16", "float64"], {"q": Q.astype(np.float64)}),
    ("big endian", UNSUPPORTED, "q", ["float32", ">f4"], {"q": Q.astype(">f4")}),
    ("complex mask", UNSUPPORTED, "mask", ["bool", "complex64"], {"mask": np.zeros((5, 9), np.complex64)}),
    ("integers", INVALID, "q", ["f32", "f16", "bf16", "i32"], {"q": Q.astype(np.int32)}),
    ("mixed dtypes", INVALID, "k", ["f32", "f16"], {"k": K.astype(np.float16)}),
    ("mixed values", INVALID, "v", ["f32", "bf16"], {"v": K.astype(DTYPES["bf16"])}),
    ("rank 3", INVALID, "q", ["4 dimensions", "3"], {"q": Q[0]}),
    ("rank 5", INVALID, "k", ["4 dimensions", "5"], {"k": K[None]}),
    ("scalar", INVALID, "v", ["4 dimensions", "0"], {"v": np.array(1, np.float32)}),
    ("no heads", INVALID, "q", ["at least 1", "0"], {"q": Q[:, :0]}),
    ("no head_dim", INVALID, "k", ["at least 1", "0"], {"k": K[..., :0], "v": K[..., :0]}),
    ("no batch", INVALID, "q", ["at least 1", "0"], {"q": Q[:0]}),
    ("other batch", INVALID, "k", ["batch 2", "[1, 2, 9, 64]"], {"k": K[:1], "v": K[:1]}),
    ("other head_dim", INVALID, "k", ["head_dim 64", "[2, 2, 9, 32]"], {"k": K[..., :32], "v": K[..., :32]}),
    ("other values", INVALID, "v", ["[2, 2, 9, 64]", "[2, 2, 8, 64]"], {"v": K[:, :, :8]}),
    ("heads do not divide", INVALID, "k", ["divides", "4", "3"], {"k": np.zeros((2, 3, 9, 64), np.float32),
                                                                 "v": np.zeros((2, 3, 9, 64), np.float32)}),
    ("more kv heads", INVALID, "k", ["divides", "4", "8"], {"k": np.zeros((2, 8, 9, 64), np.float32),
                                                            "v": np.zeros((2, 8, 9, 64), np.float32)}),
    ("unsupported head_dim", UNSUPPORTED, "head_dim", [*map(str, cases.HEAD_DIMS), "40"],
     {"q": Q[..., :40], "k": K[..., :40], "v": K[..., :40]}),
    ("reversed rows", INVALID, "q", ["ascontiguousarray", "negative"], {"q": Q[:, :, ::-1]}),
    ("reversed elements", INVALID, "k", ["ascontiguousarray", "contiguous last"], {"k": K[..., ::-1]}),
    ("transposed", INVALID, "v", ["ascontiguousarray"], {"v": K.swapaxes(2, 3)}),
    ("every second element", INVALID, "q", ["ascontiguousarray"], {"q": WIDE[..., ::2]}),
    ("broken stride", INVALID, "q", ["ascontiguousarray", "whole number"],
     {"q": as_strided(np.zeros(9000, np.float32), Q.shape, (5122, 1280, 256, 4))}),
    ("misaligned", INVALID, "q", ["aligned to 4"], {"q": misaligned(Q)}),
    ("misaligned values", INVALID, "v", ["aligned to 4"], {"v": misaligned(K)}),
    ("too many rows", INVALID, "q_len", ["2147483648"], {"q": huge((2, 4, 2**31, 64)),
                                                          "out": huge((2, 4, 2**31, 64))}),
    ("too many keys", INVALID, "kv_len", ["2147483648"], {"k": huge((2, 2, 2**31, 64)), "v": huge((2, 2, 2**31, 64))}),
    ("mask of another length", INVALID, "mask", ["9", "[5, 8]"], {"mask": np.ones((5, 8), bool)}),
    ("mask of no length", INVALID, "mask", ["5 or 1", "[5, 0]"], {"mask": np.ones((5, 0), bool)}),
    ("mask of other heads", INVALID, "mask", ["4 or 1", "[2, 2, 5, 9]"], {"mask": np.ones((2, 2, 5, 9), bool)}),
    ("mask of other batch", INVALID, "mask", ["2 or 1", "[3, 5, 9]"], {"mask": np.ones((3, 5, 9), bool)}),
    ("mask of rank 1", INVALID, "mask", ["2 to 4", "1"], {"mask": np.ones(9, bool)}),
    ("mask of rank 5", INVALID, "mask", ["dimensions", "5"], {"mask": np.ones((1, 2, 4, 5, 9), bool)}),
    ("mask of float64", UNSUPPORTED, "mask", ["bool", "float64"], {"mask": np.zeros((5, 9))}),
    ("mask of another float", INVALID, "mask", ["bool", "f32", "f16"], {"mask": np.zeros((5, 9), np.float16)}),
    ("mask of integers", INVALID, "mask", ["bool", "f32", "i32"], {"mask": np.zeros((5, 9), np.int32)}),
    ("mask with broken strides", INVALID, "mask", ["whole number"],
     {"mask": as_strided(np.zeros(99, np.float32), (5, 9), (36, 2))}),
    ("window is a number", INVALID, "window", ["(left, right)", "5"], {"window": 5}),
    ("window is text", INVALID, "window", ["(left, right)", "'12'"], {"window": "12"}),
    ("window of one side", INVALID, "window", ["(left, right)", "(1,)"], {"window": (1,)}),
    ("window is a float", INVALID, "window", ["an integer", "1.5"], {"window": (1.5, 0)}),
    ("window is negative", INVALID, "window", ["-1 for all", "(-2, 0)"], {"window": (-2, 0)}),
    ("window is too wide", INVALID, "window", ["2147483647", "(0, 2147483648)"], {"window": (0, 2**31)}),
    ("softcap is text", INVALID, "softcap", ["a number", "'1'"], {"softcap": "1"}),
    ("softcap is negative", INVALID, "softcap", ["not negative", "-1.0"], {"softcap": -1.0}),
    ("softcap is nan", INVALID, "softcap", ["finite", "nan"], {"softcap": float("nan")}),
    ("softcap is infinite", INVALID, "softcap", ["finite", "inf"], {"softcap": float("inf")}),
    ("sinks of other heads", INVALID, "sinks", ["[4]", "[2]"], {"sinks": np.zeros(2, np.float32)}),
    ("sinks of rank 2", INVALID, "sinks", ["1 dimensions", "2"], {"sinks": np.zeros((1, 4), np.float32)}),
    ("sinks of f16", INVALID, "sinks", ["f32", "f16"], {"sinks": np.zeros(4, np.float16)}),
    ("sinks of float64", UNSUPPORTED, "sinks", ["float32", "float64"], {"sinks": np.zeros(4)}),
    ("sinks are a number", INVALID, "sinks", ["a NumPy array", "float"], {"sinks": 0.5}),
    ("causal is a mask", INVALID, "causal", ["a bool", "array"], {"causal": np.ones((5, 9), bool)}),
    ("causal is text", INVALID, "causal", ["a bool", "'yes'"], {"causal": "yes"}),
    ("scale is text", INVALID, "scale", ["a number", "'1'"], {"scale": "1"}),
    ("scale is nan", INVALID, "scale", ["finite", "nan"], {"scale": float("nan")}),
    ("scale is zero", INVALID, "scale", ["other than 0", "0.0"], {"scale": 0.0}),
    ("scale is infinite", INVALID, "scale", ["finite", "inf"], {"scale": 1e300}),
    ("offset is a float", INVALID, "q_offset", ["an integer", "1.0"], {"causal": True, "q_offset": 1.0}),
    ("offset beyond the keys", INVALID, "q_offset", ["-2147483648 to 4", "5 rows and 9 keys", "got 5"],
     {"q_offset": 5}),
    ("offset of more rows than keys", INVALID, "q_offset", ["to 0 for 5 rows and 4 keys", "got 1"],
     {"k": K[:, :, :4], "v": K[:, :, :4], "q_offset": 1}),
    ("offset is too small", INVALID, "q_offset", ["-2147483648", "-2147483649"], {"q_offset": -(2**31) - 1}),
    ("offset is too large", INVALID, "q_offset", ["64 bits", str(2**63)], {"causal": True, "q_offset": 2**63}),
    ("unknown layout", INVALID, "layout", ["'bhld'", "'blhd'", "'BHLD'"], {"layout": "BHLD"}),
    ("layout is a number", INVALID, "layout", ["'bhld'", "0"], {"layout": 0}),
    ("strided layout", INVALID, "layout", ["'blhd'", "'strided'"], {"layout": "strided"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "argument", "words", "changed"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
@pytest.mark.parametrize("function", [pyfa.attention, pyfa.explain])
def test_bad_argument(function, error, argument, words, changed, device):
    arguments = {"q": Q, "k": K, "v": K} | changed
    # An output that fits q, so that nothing is wrong but what the case says.
    q = np.asarray(arguments["q"])
    if "out" not in arguments:
        arguments["out"] = np.full(q.shape, 7, q.dtype)
    out = arguments["out"]
    before = out[..., :1, :].copy()
    with pytest.raises(error) as caught:
        function(arguments.pop("q"), arguments.pop("k"), arguments.pop("v"), **arguments, device=device)
    assert type(caught.value) is error
    assert caught.value.argument == argument
    assert caught.value.operation in ("attention", "explain")
    message = str(caught.value)
    assert message.startswith(f"{caught.value.operation}: {argument}: expected ")
    assert ", got " in message
    for word in words:
        assert word in message
    np.testing.assert_array_equal(out[..., :1, :], before)


# (id, what the message says besides, out)
BAD_OUT = [
    ("read only", ["writable", "read-only"], np.broadcast_to(np.float32(7), Q.shape).copy()),
    ("shape", ["[2, 4, 5, 64]", "[2, 4, 6, 64]"], np.full((2, 4, 6, 64), 7, np.float32)),
    ("rank", ["[2, 4, 5, 64]", "[4, 5, 64]"], np.full((4, 5, 64), 7, np.float32)),
    ("dtype", ["f32", "f16"], np.full(Q.shape, 7, np.float16)),
    ("misaligned", ["aligned to 4"], misaligned(Q)),
    ("strided elements", ["contiguous last"], WIDE[..., ::2]),
    ("not an array", ["a NumPy array", "list"], [7]),
    ("rows over each other", ["apart", "[320, 0, 64]"], as_strided(Q.copy(), Q.shape, (1280, 0, 256, 4))),
]  # fmt: skip
BAD_OUT[0][2].flags.writeable = False


@pytest.mark.parametrize(("words", "out"), [row[1:] for row in BAD_OUT], ids=[row[0] for row in BAD_OUT])
def test_bad_out(words, out, device):
    before = np.array(out)
    with pytest.raises(INVALID) as caught:
        pyfa.attention(Q, K, K, out=out, device=device)
    assert caught.value.argument in ("o", "o_strides")
    for word in words:
        assert word in str(caught.value)
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize("name", ["q", "k", "v", "mask", "sinks"])
def test_out_over_an_operand(rng, name, device):
    arrays = {key: rng.standard_normal((1, 2, 64, 64), dtype=np.float32) for key in ("q", "k", "v", "mask", "sinks")}
    out = arrays[name]
    arrays["sinks"] = arrays["sinks"][0, :, 0, 0]
    before = out.copy()
    with pytest.raises(INVALID, match=f"^attention: o: .*{name}"):
        pyfa.attention(**arrays, out=out, device=device)
    np.testing.assert_array_equal(out, before)


def test_more_memory_than_there_is(device):
    q = huge((1, 1, 2**40, 64))
    with pytest.raises(
        pyfa.DeviceError, match=rf"^attention: o: expected {2**48} bytes of memory for \[1, 1, {2**40}, 64\]"
    ):
        pyfa.attention(q, q, q, device=device)


def test_error_from_a_released_device():
    device = pyfa.Device()
    device.release()
    with pytest.raises(INVALID, match="^attention: Device: .*used after release"):
        pyfa.attention(Q, K, K, device=device)


def test_an_error_leaves_the_next_call_alone(qkv, device):
    plain = pyfa.attention(*qkv, device=device)
    with pytest.raises(INVALID):
        pyfa.attention(*qkv, scale=float("nan"), device=device)
    np.testing.assert_array_equal(pyfa.attention(*qkv, device=device), plain)
