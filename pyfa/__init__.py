"""Fast, exact flash attention, written for Apple's Metal and at home on Linux.

`attention` works on arrays in host memory; `explain` tells how. Below it stand the parts it is made of: `Device`,
`Buffer`, `BufferPool`, `KernelRegistry` and `CommandEncoder`, with the kernels' own operations in `pyfa.ops`, and
`pyfa.metal` for kernels of your own.

Examples
--------
>>> import numpy as np, pyfa
>>> q = np.zeros((1, 8, 5, 64), np.float32)
>>> k = v = np.ones((1, 2, 9, 64), np.float32)
>>> float(pyfa.attention(q, k, v, causal=True).mean())
1.0
"""

from pyfa import metal, ops
from pyfa._attention_varlen import attention_varlen, explain_varlen
from pyfa._buffer import Buffer
from pyfa._capture import Capture, CaptureNode
from pyfa._counters import Counters, counters, reset_counters
from pyfa._device import Device, DeviceInfo, KernelRegistry, default_device
from pyfa._encoder import CommandEncoder
from pyfa._errors import (
    CompileError,
    DeviceError,
    FileError,
    InternalError,
    InvalidArgumentError,
    KernelNotFoundError,
    PyfaError,
    ShaderCheckError,
    UnsupportedError,
)
from pyfa._explain import Explanation
from pyfa._ffi import library_path, pack_struct
from pyfa._info import __version__, info, manifest
from pyfa._pool import BufferPool
from pyfa.attention import attention, explain
from pyfa.kv_cache import KVCache

__all__ = [
    "Buffer",
    "BufferPool",
    "Capture",
    "CaptureNode",
    "CommandEncoder",
    "CompileError",
    "Counters",
    "Device",
    "DeviceError",
    "DeviceInfo",
    "Explanation",
    "FileError",
    "InternalError",
    "InvalidArgumentError",
    "KVCache",
    "KernelNotFoundError",
    "KernelRegistry",
    "PyfaError",
    "ShaderCheckError",
    "UnsupportedError",
    "__version__",
    "attention",
    "attention_varlen",
    "counters",
    "default_device",
    "explain",
    "explain_varlen",
    "info",
    "library_path",
    "manifest",
    "metal",
    "ops",
    "pack_struct",
    "reset_counters",
]

# What users see is where they import it from, not the file it happens to stand in.
for _name in __all__:
    if getattr(globals()[_name], "__module__", "").startswith("pyfa."):
        globals()[_name].__module__ = "pyfa"
del _name
