"""Command encoders: dispatch of any kernel, order, life cycle, capture, counters."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest

import pyfa
from tests.python import cases, reference

INVALID = pyfa.InvalidArgumentError
VARIANTS = {variant["kernel"]: variant for variant in cases.VARIANTS}

# fa_attn_params, written down once more so that a changed layout shows.
PARAMS = np.dtype(
    [(name, np.int32) for name in ("B", "H", "D", "qL", "kL", "gqa_factor")]
    + [("scale", np.float32), ("softcap", np.float32)]
    + [(name, np.int32) for name in ("NQ", "NK", "NQ_aligned", "NK_aligned", "qL_rem", "kL_rem", "qL_off", "reserved")]
    + [(f"{name}_strides", np.int64, 3) for name in "QKVO"]
)


class Prefill:
    """One dispatch of a prefill kernel, all of it by hand."""

    def __init__(self, kernel, q, k, v, device, *, causal=False, mask=None):
        variant = VARIANTS[kernel]
        (batch, heads, q_len, dim), (kv_heads, kv_len) = q.shape, k.shape[1:3]
        rows, keys = variant["tile"]["BQ"], variant["tile"]["BK"]
        params = np.zeros((), PARAMS)
        for name, value in {
            "B": batch, "H": heads, "D": dim, "qL": q_len, "kL": kv_len, "gqa_factor": heads // kv_heads,
            "scale": dim**-0.5, "NQ": -(-q_len // rows), "NK": -(-kv_len // keys), "NQ_aligned": q_len // rows,
            "NK_aligned": kv_len // keys, "qL_rem": q_len % rows, "kL_rem": kv_len % keys, "qL_off": kv_len - q_len,
        }.items():  # fmt: skip
            params[name] = value
        for name, array in (("Q", q), ("K", k), ("V", v), ("O", q)):
            params[f"{name}_strides"] = [stride // array.itemsize for stride in array.strides[:3]]
        self.out = pyfa.Buffer.zeros(q.shape, q.dtype, device=device)
        self.kernel = kernel
        self.arguments = {slot: pyfa.Buffer.from_array(x, device=device) for slot, x in enumerate((q, k, v))}
        self.arguments |= {3: self.out, 4: params.tobytes()}
        if mask is not None:
            self.arguments[5] = pyfa.pack_struct("fa_attn_mask_params", M_strides=[0, 0, kv_len])
            self.arguments[6] = pyfa.Buffer.from_array(mask, device=device)
        self.constants = {
            200: q_len % rows == 0,
            201: kv_len % keys == 0,
            300: mask is not None,
            301: causal,
            306: False,
        }
        self.grid = (-(-q_len // rows), heads, batch)
        self.threads = variant["tile"]["threads"]

    def encode(self, encoder, **changed):
        options = {
            "arguments": self.arguments, "grid": self.grid, "threads": self.threads, "constants": self.constants,
        } | changed  # fmt: skip
        encoder.dispatch(options.pop("kernel", self.kernel), **options)


@pytest.fixture
def prefill(qkv, device):
    return Prefill("flash_attn_prefill_f32_d64", *qkv, device)


def operands(rng, variant):
    dtype = reference.DTYPES[variant["dtype"]]
    shapes = ((2, 4, 45, variant["head_dim"]), *[(2, 2, 70, variant["head_dim"])] * 2)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


# A kernel of boolean masks always has one, a kernel of additive masks may do without.
KERNELS = [(kernel, masked) for kernel in VARIANTS for masked in (False, True) if masked or "boolmask" not in kernel]


@pytest.mark.parametrize(("kernel", "masked"), KERNELS)
def test_every_kernel_by_its_own_parameters(kernel, masked, rng, device):
    variant = VARIANTS[kernel]
    q, k, v = operands(rng, variant)
    mask = None
    if masked:
        attends = rng.random((45, 70)) < 0.7
        mask = attends if variant["mask"] == "bool" else np.where(attends, 0.5, -np.inf).astype(q.dtype)
    prefill = Prefill(kernel, q, k, v, device, causal=True, mask=mask)
    with pyfa.CommandEncoder(device) as encoder:
        prefill.encode(encoder)
    expected = reference.attention(q, k, v, causal=True, mask=mask)[0]
    reference.assert_close(prefill.out.read(), expected)


def test_params_layout():
    fields = {"B": 1, "scale": 0.5, "qL_off": -3, "O_strides": [7, 8, 9]}
    packed = np.frombuffer(pyfa.pack_struct("fa_attn_params", **fields), PARAMS)[0]
    assert (packed["B"], packed["scale"], packed["qL_off"]) == (1, 0.5, -3)
    assert packed["O_strides"].tolist() == [7, 8, 9]
    assert PARAMS.itemsize == 160


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("fa_no_such_struct", {}),
        ("fa_attn_params", {"no_such_field": 1}),
        ("fa_attn_params", {"B": 2**31}),
        ("fa_attn_params", {"B": "x"}),
        ("fa_attn_params", {"Q_strides": [1, 2, 3, 4]}),
        ("not C", {}),
    ],
)
def test_pack_struct_errors(name, fields):
    with pytest.raises(INVALID, match=f"^pack_struct: {name}: expected a struct of the header and its fields"):
        pyfa.pack_struct(name, **fields)


def test_grid_in_threads(prefill, device):
    with pyfa.CommandEncoder(device) as encoder:
        prefill.encode(encoder)
    plain = prefill.out.read()
    prefill.out.fill(0)
    grid = [count * size for count, size in zip(prefill.grid, prefill.threads, strict=True)]
    with pyfa.CommandEncoder(device) as encoder:
        prefill.encode(encoder, grid=grid, unit="threads")
    np.testing.assert_array_equal(prefill.out.read(), plain)


def test_dispatches_in_order(qkv, device):
    """The second dispatch reads what the first has written."""
    q, k, v = qkv
    once = pyfa.attention(q, k, v, device=device)
    twice = pyfa.attention(once, k, v, device=device)
    for tracked in (False, True):
        first = Prefill("flash_attn_prefill_f32_d64", q, k, v, device)
        second = Prefill("flash_attn_prefill_f32_d64", q, k, v, device)
        second.arguments[0] = first.out
        pyfa.reset_counters()
        with pyfa.CommandEncoder(device, label="two") as encoder:
            first.encode(encoder, label="first", writes=[3], tracked=tracked)
            if not tracked:
                encoder.barrier()
            second.encode(encoder, label="second", writes=[3], tracked=tracked)
        np.testing.assert_array_equal(second.out.read(), twice)
        counters = pyfa.counters()
        assert (counters.dispatches, counters.barriers, counters.auto_barriers) == (2, 1, int(tracked))


def test_counters(prefill, device):
    pyfa.reset_counters()
    for _ in range(3):
        with pyfa.CommandEncoder(device) as encoder:
            prefill.encode(encoder, writes=[3])
    counters = pyfa.counters()
    assert (counters.dispatches, counters.command_buffers, counters.waits, counters.barriers) == (3, 3, 3, 0)


def test_life_cycle(prefill, device):
    encoder = pyfa.CommandEncoder(device)
    with pytest.raises(INVALID, match="encoder: expected a committed one"):
        encoder.gpu_time()
    with pytest.raises(INVALID, match="encoder: expected a committed one"):
        encoder.wait()
    prefill.encode(encoder)
    assert not encoder.committed
    encoder.commit()
    assert encoder.committed
    encoder.wait()
    encoder.wait()
    start, end = encoder.gpu_time()
    assert 0 < start <= end
    for use in (encoder.commit, encoder.commit_and_wait, encoder.barrier, encoder.end, lambda: prefill.encode(encoder)):
        with pytest.raises(INVALID, match="commit"):
            use()
    assert prefill.out.read().any()


def test_end_closes_for_encoding(prefill, device):
    encoder = pyfa.CommandEncoder(device)
    prefill.encode(encoder)
    encoder.end()
    with pytest.raises(INVALID):
        prefill.encode(encoder)
    encoder.commit_and_wait()
    assert prefill.out.read().any()


def test_empty_encoder(device):
    with pyfa.CommandEncoder(device) as encoder:
        pass
    assert encoder.committed


def test_block_that_raises_gives_up_the_work(prefill, device):
    encoder = pyfa.CommandEncoder(device)

    def block():
        with encoder:
            prefill.encode(encoder)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        block()
    assert encoder.released
    assert not prefill.out.read().any()


def test_block_with_own_commit(prefill, device):
    with pyfa.CommandEncoder(device) as encoder:
        prefill.encode(encoder)
        encoder.commit()
    assert prefill.out.read().any()
    encoder.gpu_time()


@pytest.mark.skipif(sys.platform == "darwin", reason="Metal wraps whole pages only")
def test_memory_in_flight_is_kept(rng, device):
    """Neither the arrays behind the buffers nor the encoder are held by the caller while the work runs."""
    for _ in range(5):
        q = rng.standard_normal((1, 2, 300, 64), dtype=np.float32)
        out = np.zeros_like(q)
        encoder = pyfa.CommandEncoder(device)
        operand = pyfa.Buffer.wrap(q.copy(), device=device)
        pyfa.ops.flash_attn_prefill(operand, operand, operand, pyfa.Buffer.wrap(out, device=device), encoder=encoder)
        operand.release()
        encoder.commit()
        del operand, encoder
        gc.collect()
        reference.assert_close(out, reference.attention(q, q, q)[0])


def test_capture_and_replay(prefill, device):
    encoder = pyfa.CommandEncoder(device)
    encoder.start_capture()
    prefill.encode(encoder, op="sdpa")
    encoder.barrier()
    prefill.encode(encoder)
    capture = encoder.take_capture()
    encoder.commit_and_wait()
    assert not prefill.out.read().any()

    assert len(capture) == 3
    first, barrier, last = capture
    assert (first.kernel, first.op, first.unit) == (prefill.kernel, "sdpa", "threadgroups")
    assert (first.grid, first.threads) == (tuple(prefill.grid), tuple(prefill.threads))
    assert first.argument_count == len(prefill.arguments)
    assert barrier.is_barrier
    assert barrier.kernel is None
    assert (last.op, last.is_barrier) == ("other", False)
    assert capture[-1] == last
    assert capture[:2] == [first, barrier]
    for index in (3, -4):
        with pytest.raises(IndexError):
            _ = capture[index]

    with pyfa.CommandEncoder(device) as other:
        other.replay(capture)
    reference.assert_close(prefill.out.read(), reference.attention(*(prefill.arguments[i].read() for i in range(3)))[0])


def test_capture_keeps_its_memory(qkv, device):
    prefill = Prefill("flash_attn_prefill_f32_d64", *qkv, device)
    out = prefill.out
    encoder = pyfa.CommandEncoder(device)
    encoder.start_capture()
    prefill.encode(encoder)
    capture = encoder.take_capture()
    del prefill, encoder
    gc.collect()
    with pyfa.CommandEncoder(device) as other:
        other.replay(capture)
    reference.assert_close(out.read(), reference.attention(*qkv)[0])


def test_capture_errors(device):
    encoder = pyfa.CommandEncoder(device)
    with pytest.raises(INVALID, match="encoder: expected one that is capturing"):
        encoder.take_capture()
    encoder.start_capture()
    with pytest.raises(INVALID, match="encoder: expected .*captur"):
        encoder.start_capture()
    capture = encoder.take_capture()
    assert len(capture) == 0
    with pytest.raises(INVALID, match=r"^CommandEncoder.replay: capture: expected a Capture, got int"):
        encoder.replay(3)
    capture.release()
    with pytest.raises(INVALID, match=r"^CommandEncoder.replay: Capture: .*used after release"):
        encoder.replay(capture)
    with pytest.raises(INVALID, match="Capture used after release"):
        len(capture)


# (id, argument or None, what the message says, changes to a sound dispatch)
BAD = [
    ("kernel is no text", "kernel", "a str", {"kernel": 3}),
    ("arguments are a list", "arguments", "a mapping", {"arguments": [1]}),
    ("argument is a list", r"arguments[0]", "a Buffer, bytes or a NumPy scalar", {"arguments": {0: [1.0]}}),
    ("slot is text", r"arguments[a]", "an integer", {"arguments": {"a": b"1234"}}),
    ("slot is negative", None, "slot", {"arguments": {-1: b"1234"}}),
    ("slot is too large", None, "slot", {"arguments": {31: b"1234"}}),
    ("no bytes", None, "1 to 4096 bytes", {"arguments": {4: b""}}),
    ("too many bytes", None, "1 to 4096 bytes", {"arguments": {4: bytes(4097)}}),
    ("grid is empty", "grid", "one to three extents", {"grid": ()}),
    ("grid of rank 4", "grid", "one to three extents", {"grid": (1, 1, 1, 1)}),
    ("grid is text", "grid", "an integer", {"grid": "1"}),
    ("grid of floats", "grid", "an integer", {"grid": (1.0, 1, 1)}),
    ("grid of zero", None, "grid", {"grid": (0, 1, 1)}),
    ("grid is negative", None, "grid", {"grid": (1, -1, 1)}),
    ("grid is huge", None, "grid", {"grid": (2**62, 2**62, 2**62)}),
    ("threads of zero", None, "threads", {"threads": (32, 0, 1)}),
    ("threads are too many", None, "threads", {"threads": (1024, 1024, 1)}),
    ("threads overflow", None, "threads", {"threads": (2**32, 2**32, 1)}),
    ("five slots of memory", "threadgroup_bytes", "at most 4 slots", {"threadgroup_bytes": [16] * 5}),
    ("memory of odd size", None, "16", {"threadgroup_bytes": [17]}),
    ("memory is negative", None, "threadgroup", {"threadgroup_bytes": [-16]}),
    ("memory is too much", None, "threadgroup", {"threadgroup_bytes": [1 << 40]}),
    ("unknown unit", "unit", "'threadgroups', 'threads'", {"unit": "warps"}),
    ("unknown op", "op", "'sdpa'", {"op": "matmul"}),
    ("writes elsewhere", "writes", "slots of [0, 1, 2, 3, 4]", {"writes": [7]}),
    ("constants are a list", "constants", "a mapping", {"constants": [1]}),
    ("label is no text", "label", "a str", {"label": 1}),
]


@pytest.mark.parametrize(("argument", "words", "changed"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_dispatch(argument, words, changed, prefill, device):
    if set(changed.get("arguments", ())) and isinstance(changed["arguments"], dict):
        changed = {"arguments": prefill.arguments | changed["arguments"]}
    encoder = pyfa.CommandEncoder(device)
    with pytest.raises(INVALID) as caught:
        prefill.encode(encoder, **changed)
    message = str(caught.value)
    assert words in message
    assert "expected " in message
    assert ", got " in message
    if argument is not None:
        assert (caught.value.operation, caught.value.argument) == ("CommandEncoder.dispatch", argument)
    # The encoder is none the worse for it.
    prefill.encode(encoder)
    encoder.commit_and_wait()
    assert prefill.out.read().any()


def test_unknown_kernel(prefill, device):
    encoder = pyfa.CommandEncoder(device)
    with pytest.raises(pyfa.KernelNotFoundError, match="no_such_kernel"):
        prefill.encode(encoder, kernel="no_such_kernel")


@pytest.mark.parametrize("slot", [0, 3, 4])
def test_missing_argument(slot, prefill, device):
    arguments = dict(prefill.arguments)
    del arguments[slot]
    with pytest.raises(pyfa.PyfaError), pyfa.CommandEncoder(device) as encoder:
        prefill.encode(encoder, arguments=arguments)
    assert not prefill.out.read().any()


@pytest.mark.skipif(sys.platform == "darwin", reason="a GPU does not check what a kernel reads")
@pytest.mark.parametrize("device", ["native"], indirect=True)  # nor do shaders, unless they run in checks
@pytest.mark.parametrize("slot", [0, 1, 2, 3])
def test_short_buffer(slot, prefill, device):
    short = pyfa.Buffer.zeros((1, *prefill.arguments[slot].shape[1:3], 32), np.float32, device=device)
    with pytest.raises(pyfa.PyfaError), pyfa.CommandEncoder(device) as encoder:
        prefill.encode(encoder, arguments=prefill.arguments | {slot: short})
    assert not prefill.out.read().any()


def test_short_params(prefill, device):
    with pytest.raises(pyfa.PyfaError), pyfa.CommandEncoder(device) as encoder:
        prefill.encode(encoder, arguments=prefill.arguments | {4: prefill.arguments[4][:100]})
    assert not prefill.out.read().any()


def test_released_buffer(prefill, device):
    prefill.arguments[1].release()
    with pytest.raises(INVALID, match=r"^CommandEncoder.dispatch: Buffer: .*used after release"):
        prefill.encode(pyfa.CommandEncoder(device))


def test_read_only_result(prefill, device):
    frozen = np.zeros(prefill.out.shape, np.float32)
    frozen.flags.writeable = False
    if sys.platform == "darwin":
        pytest.skip("Metal wraps whole pages only")
    buffer = pyfa.Buffer.wrap(frozen, device=device)
    with pytest.raises(INVALID, match="read-only"):
        prefill.encode(pyfa.CommandEncoder(device), arguments=prefill.arguments | {3: buffer}, writes=[3])
    assert not frozen.any()


def test_buffer_of_another_device(prefill, device):
    with pyfa.Device() as other:
        foreign = pyfa.Buffer.zeros(prefill.out.shape, np.float32, device=other)
        with pytest.raises(INVALID, match="device"):
            prefill.encode(pyfa.CommandEncoder(device), arguments=prefill.arguments | {3: foreign})


USES = {
    "barrier": lambda encoder: encoder.barrier(),
    "set_label": lambda encoder: encoder.set_label("x"),
    "end": lambda encoder: encoder.end(),
    "commit": lambda encoder: encoder.commit(),
    "wait": lambda encoder: encoder.wait(),
    "gpu_time": lambda encoder: encoder.gpu_time(),
    "start_capture": lambda encoder: encoder.start_capture(),
    "take_capture": lambda encoder: encoder.take_capture(),
    "dispatch": lambda encoder: encoder.dispatch("x", {}, grid=1, threads=1),
}


@pytest.mark.parametrize("name", USES)
def test_use_after_release(name, device):
    encoder = pyfa.CommandEncoder(device)
    encoder.release()
    with pytest.raises(INVALID, match=rf"^CommandEncoder.{name}: CommandEncoder: .*used after release"):
        USES[name](encoder)
