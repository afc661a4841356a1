"""Who computes a problem: pyfa on each of its providers, NumPy, and other libraries where they are installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from pyfa._bench.problem import Problem
from pyfa._bench.timing import interleaved
from pyfa._device import Device
from pyfa.attention import attention

Array = npt.NDArray[Any]
Call = Callable[[], Any]
# What each needs to be installed.
PEERS = {"numpy": ("numpy",), "torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx")}


class InapplicableError(Exception):
    """A contender that cannot compute a problem; the message says why."""


@contextmanager
def skipping(name: str, skipped: dict[str, str]) -> Iterator[None]:
    """Note why a contender cannot compute a problem."""
    try:
        yield
    except InapplicableError as error:
        skipped[name] = str(error)


def missing(peer: str) -> list[str]:
    """Return the packages of a peer that are not installed."""
    return [name for name in PEERS[peer] if importlib.util.find_spec(name) is None]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ours(problem: Problem, arrays: dict[str, Array], device: Device) -> Call:
    """Return a call of `pyfa.attention` that writes to an array of its own."""
    q, k, v, *_ = arrays.values()
    out = np.empty_like(q)
    options: Any = problem.options() | {name: arrays[name] for name in ("mask", "sinks") if name in arrays}
    return lambda: attention(q, k, v, **options, out=out, device=device)


def peer(name: str, problem: Problem, arrays: dict[str, Array]) -> Call:
    """Return another library's call for a problem.

    Raises
    ------
    InapplicableError
        It has no such option or dtype.
    """
    return {"numpy": _numpy, "torch": _torch, "onnxruntime": _onnxruntime}[name](problem, arrays)


def as_float32(result: Any) -> Array:
    """Return any contender's result as NumPy has it."""
    if hasattr(result, "detach"):
        result = result.detach().float().numpy()
    return np.asarray(result[0] if isinstance(result, list) else result).astype(np.float32)


def definition(problem: Problem, arrays: dict[str, Array]) -> Array:
    """Compute attention as it is defined, in float32 and with the whole score matrix."""
    q, k, v = (arrays[name].astype(np.float32) for name in ("q", "k", "v"))
    batch, heads, q_len, dim = q.shape
    group = heads // k.shape[1]
    scores = q.reshape(batch, k.shape[1], group * q_len, dim) @ k.swapaxes(2, 3)
    scores = scores.reshape(batch, heads, q_len, -1) * np.float32(dim**-0.5)
    if problem.softcap:
        scores = problem.softcap * np.tanh(scores / problem.softcap)
    bias = _bias(problem, arrays)
    if bias is not None:
        scores += bias
    largest = scores.max(-1, keepdims=True)
    if problem.sinks:
        largest = np.maximum(largest, arrays["sinks"][:, None, None])
    largest = np.where(np.isfinite(largest), largest, np.float32(0))  # a row that attends nothing
    weights = np.exp(scores - largest)
    total = weights.sum(-1, keepdims=True)
    if problem.sinks:
        total += np.exp(arrays["sinks"][:, None, None] - largest)
    weights /= np.where(total > 0, total, np.float32(1))
    out: Array = weights.reshape(batch, k.shape[1], group * q_len, -1) @ v
    return out.reshape(q.shape)


def _bias(problem: Problem, arrays: dict[str, Array]) -> Array | None:
    """Return what positions and the mask add to the scores, in float32; None: nothing."""
    allowed = problem.attended()
    bias = None if allowed is None else np.where(allowed, np.float32(0), np.float32(-np.inf))
    mask = arrays.get("mask")
    if mask is None:
        return bias
    given = np.where(mask, np.float32(0), np.float32(-np.inf)) if mask.dtype == np.bool_ else mask.astype(np.float32)
    return given if bias is None else given + bias


def _numpy(problem: Problem, arrays: dict[str, Array]) -> Call:
    return lambda: definition(problem, arrays)


def _torch(problem: Problem, arrays: dict[str, Array]) -> Call:
    import torch  # noqa: PLC0415  # optional

    if problem.softcap or problem.sinks:
        raise InapplicableError("scaled_dot_product_attention has no softcap and no sinks")
    torch.set_num_threads(cores())
    q, k, v = (torch_tensor(arrays[name]) for name in ("q", "k", "v"))
    # Its causal limit is at the first key, ours at the last: they agree for squares.
    is_causal = problem.causal and problem.window is None and problem.q[2] == problem.k[2] and problem.mask == "none"
    bias = None if is_causal else _bias(problem, arrays)
    mask = None if bias is None else torch.from_numpy(bias).to(q.dtype)
    return fastest_torch(q, k, v, causal=is_causal, mask=mask)


def torch_tensor(array: Array) -> Any:
    """Copy to torch; NumPy's bfloat16 goes by its bits."""
    import torch  # noqa: PLC0415  # optional

    if array.dtype in (ml_dtypes.bfloat16, np.uint16):
        return torch.from_numpy(array.view(np.uint16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def fastest_torch(q: Any, k: Any, v: Any, *, causal: bool, mask: Any = None) -> Call:
    """Of torch's ways to say the same, take the one that is faster here: grouped heads, or repeated kv heads."""
    import torch  # noqa: PLC0415  # optional

    function = torch.nn.functional.scaled_dot_product_attention
    group = q.shape[1] // k.shape[1]
    options = {"is_causal": causal, "attn_mask": mask}

    def call(k: Any, v: Any, **more: Any) -> Call:
        def run() -> Any:
            with torch.no_grad():
                return function(q, k, v, **options, **more)

        return run

    if group == 1:
        return call(k, v)
    ways = {
        "grouped": call(k, v, enable_gqa=True),
        "repeated": call(*(x.repeat_interleave(group, dim=1) for x in (k, v))),
    }
    times = interleaved(ways, rounds=3, block=0.02)
    return ways[min(ways, key=lambda name: times[name].median)]


def _onnxruntime(problem: Problem, arrays: dict[str, Array]) -> Call:
    import onnx  # noqa: PLC0415  # optional
    import onnxruntime  # noqa: PLC0415  # optional

    if problem.sinks or problem.softcap:
        raise InapplicableError("ONNX's Attention is given neither sinks nor a softcap here")
    if problem.dtype == "bf16":
        raise InapplicableError("onnxruntime's CPU provider takes no bf16")
    kind = {"f32": onnx.TensorProto.FLOAT, "f16": onnx.TensorProto.FLOAT16}[problem.dtype]
    feeds = {name.upper(): arrays[name] for name in ("q", "k", "v")}
    bias = _bias(problem, arrays)
    if bias is not None:
        feeds["attn_mask"] = bias.astype(arrays["q"].dtype)
    node = onnx.helper.make_node("Attention", list(feeds), ["Y"])
    inputs = [onnx.helper.make_tensor_value_info(name, kind, array.shape) for name, array in feeds.items()]
    result = onnx.helper.make_tensor_value_info("Y", kind, problem.q)
    graph = onnx.helper.make_graph([node], "attention", inputs, [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (its errors have no type in common)
        raise InapplicableError(f"onnxruntime: {str(error).splitlines()[0]}") from None
    return lambda: session.run(None, feeds)
