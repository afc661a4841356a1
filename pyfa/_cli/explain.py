"""``python -m pyfa explain``: the plan of a call, without its data: kernels, constants, grids, provider, copies."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

import numpy as np

from pyfa._bench.problem import DTYPES
from pyfa._cli import _output, _words
from pyfa._cli._errors import UsageError
from pyfa._device import Device
from pyfa._explain import Explanation, Pass
from pyfa.attention import explain
from pyfa.kv_cache import KVCache

_EXAMPLES = """examples:
  python -m pyfa explain 1x12x512x64
  python -m pyfa explain 1x16x128x256 1x8x4096x256 --dtype bf16 --causal --window 1023,0
  python -m pyfa explain 1x8x512x64 --mask bool --provider shader --json
  python -m pyfa explain 1x16x1x256 1x8x4096x256 --cache tq8      # a step of decoding"""


def add_parser(commands: Any) -> None:
    """Add ``explain``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="show which kernels a call would run, and why",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("q", type=_words.shape, metavar="Q", help="shape of the queries, BxHxLxD")
    parser.add_argument("k", type=_words.shape, metavar="K", nargs="?", help="of the keys; as Q by default")
    parser.add_argument("v", type=_words.shape, metavar="V", nargs="?", help="of the values; as K by default")
    parser.add_argument("--dtype", choices=list(DTYPES), default="f32", help="default: %(default)s")
    _words.add_options(parser)
    parser.add_argument("--scale", type=float, metavar="X", help="of the scores; 1/sqrt(D) by default")
    parser.add_argument("--q-offset", type=int, metavar="N", help="position of the first row among the keys")
    parser.add_argument("--layout", choices=("bhld", "blhd"), default="bhld", help="order of the extents")
    parser.add_argument("--lse", action="store_true", help="return the log-sum-exp too")
    parser.add_argument("--cache", metavar="CODEC", help="attend a KVCache that holds K tokens, such as f16, tq8, tq4")
    parser.add_argument("--provider", choices=("default", "native", "shader"), default="default", help="what runs it")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    """Print the plan."""
    with Device(options.provider) as device:
        found = (_cached if options.cache else _plain)(options, device)
    if options.json:
        print(json.dumps(asdict(found), indent=2))
    elif _output.is_rich():
        _draw(found)
    else:
        print(found)
    return 0


def _plain(options: argparse.Namespace, device: Device) -> Explanation:
    dtype = DTYPES[options.dtype]
    k_shape = options.k or options.q
    # Memory that nobody reads or writes costs nothing.
    q, k, v = (np.empty(shape, dtype) for shape in (options.q, k_shape, options.v or k_shape))
    rows = (options.q[2], k_shape[2]) if options.layout == "bhld" else (options.q[1], k_shape[1])
    heads = options.q[1] if options.layout == "bhld" else options.q[2]
    return explain(
        q,
        k,
        v,
        causal=options.causal,
        mask=None if options.mask == "none" else np.empty(rows, np.bool_ if options.mask == "bool" else dtype),
        window=options.window,
        softcap=options.softcap,
        sinks=np.zeros(heads, np.float32) if options.sinks else None,
        scale=options.scale,
        layout=options.layout,
        q_offset=options.q_offset,
        return_lse=options.lse,
        device=device,
    )


def _cached(options: argparse.Namespace, device: Device) -> Explanation:
    given = {
        "--mask": options.mask != "none",
        "--q-offset": options.q_offset is not None,
        "--layout": options.layout != "bhld",
        "V": options.v is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise UsageError(f"argument --cache: a cache has no {name}")
    if options.window is not None and options.window[1] not in (-1, 0):
        raise UsageError("argument --window: a cache's window has nothing to the right; expected LEFT,0")
    dtype = DTYPES[options.dtype]
    batch, kv_heads, length, dim = options.k or options.q
    with KVCache(kv_heads, dim, length, options.cache, batch=batch, dtype=dtype, device=device) as cache:
        tokens = np.zeros((batch, kv_heads, length, dim), dtype)
        cache.append(tokens, tokens)
        return cache.explain(
            np.zeros(options.q, dtype),
            window=None if options.window is None or options.window[0] < 0 else options.window[0] + 1,
            softcap=options.softcap,
            sinks=np.zeros(options.q[1], np.float32) if options.sinks else None,
            scale=options.scale,
            return_lse=options.lse,
        )


def _draw(found: Explanation) -> None:
    isa = f", {found.isa}" if found.isa else ""
    _output.facts(
        [
            ("operation", f"{found.operation} on {found.device} ({found.backend}, {found.provider}{isa})"),
            ("problem", str(found.problem)),
            ("copies", "; ".join(f"{c.operand}, {c.bytes} bytes: {c.reason}" for c in found.copies) or "nothing"),
            ("scratch memory", f"{found.scratch_bytes} bytes"),
        ]
    )
    columns = ("pass", "kernel", "provider", "threadgroups", "threads", "threadgroup memory", "tile", "constants")
    _output.table("Passes", columns, [_row(number, step) for number, step in enumerate(found.passes, 1)])
    if found.rejected:
        _output.table("Not used", ("kernel", "reason"), found._reasons())


def _row(number: int, step: Pass) -> tuple[str, ...]:
    return (
        str(number),
        step.kernel,
        step.provider,
        " x ".join(map(str, step.threadgroups)),
        " x ".join(map(str, step.threads)),
        ", ".join(f"{size} bytes" for size in step.threadgroup_bytes if size) or "-",
        "\n".join(f"{name} {size}" for name, size in step.tile.items()),
        "\n".join(f"{constant.name} = {constant.value}" for constant in step.constants),
    )
