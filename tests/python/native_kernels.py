"""Raw dispatches of native kernels, in place of the shaders that other tests' problems are written for."""

from __future__ import annotations

import contextlib
import functools
from unittest import mock

import numpy as np

import pyfa
from tests.python import codec_kernels, decode_shaders, flash_attn_decode_shader


@functools.cache
def native_device():
    return pyfa.Device("native")


class NativeKernel:
    """A kernel by its host name, called as `pyfa.metal.Kernel` is."""

    def __init__(self, name, constants=None):
        self._name = name
        self._constants = dict(constants or {})

    def __call__(self, arguments, *, threads, threadgroups, threadgroup_memory=None):
        device = native_device()
        bound, copies = {}, []
        for slot, value in arguments.items():
            if not isinstance(value, np.ndarray):
                bound[slot] = value.tobytes()
                continue
            bound[slot] = pyfa.Buffer.from_array(value.reshape(-1).view(np.uint8), device=device)
            if value.flags.writeable:
                copies.append((value, bound[slot]))
        sizes = threadgroup_memory or {}
        with pyfa.CommandEncoder(device) as encoder:
            encoder.dispatch(
                self._name, bound, grid=threadgroups, threads=threads, constants=self._constants,
                threadgroup_bytes=[-(-sizes.get(slot, 0) // 16) * 16 for slot in range(max(sizes, default=-1) + 1)],
            )  # fmt: skip
        for array, buffer in copies:
            array.reshape(-1).view(np.uint8)[:] = buffer.numpy()


@contextlib.contextmanager
def in_place_of_shaders():
    """Problems of `decode_shaders`, `flash_attn_decode_shader` and `codec_kernels` run native kernels meanwhile.

    Those keep queries as they are: none is rounded to half.
    """

    def kernel(_text, name, constants, _device_options=()):
        return NativeKernel(name, dict(constants))

    with contextlib.ExitStack() as patches:
        for target, name, value in (
            (decode_shaders, "kernel", kernel),
            (decode_shaders, "ROUNDS_QUERY", ()),
            (flash_attn_decode_shader, "kernel", kernel),
            (codec_kernels.Rooms, "kernel", lambda _rooms, _room, name, constants=None: NativeKernel(name, constants)),
        ):
            patches.enter_context(mock.patch.object(target, name, value))
        decode_shaders.answers.cache_clear()
        yield
    decode_shaders.answers.cache_clear()
