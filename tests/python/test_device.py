"""Devices, the default device and kernel registries."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import asdict

import numpy as np
import pytest

import pyfa
from tests.python.cases import VARIANTS

INVALID = pyfa.InvalidArgumentError
KERNEL = VARIANTS[0]["kernel"]
CONSTANTS = {200: True, 201: True, 300: False, 301: False, 306: False}
SOURCE = "kernel void pyfa_test_nothing() {}"


def test_info(device):
    info = device.info()
    assert info.backend == ("Metal" if sys.platform == "darwin" else "SoftMetal")
    assert info.provider in ("metal", "native", "shader")
    assert info.name
    assert info.max_buffer_bytes >= 1 << 28
    assert info.max_threadgroup_bytes >= 32768
    assert info.max_threads_per_threadgroup >= 1024
    assert info.page_bytes in (4096, 16384, 65536)
    assert info.backend in repr(device)
    assert all(value is not None for value in asdict(info).values())


def test_unknown_provider():
    with pytest.raises(INVALID, match=r"^Device: provider: expected one of 'default', 'native', 'shader', got 'gpu'"):
        pyfa.Device("gpu")


def test_use_after_release():
    device = pyfa.Device()
    device.release()
    assert repr(device) == "<pyfa.Device released>"
    for use in (
        device.info,
        lambda: device.registry,
        lambda: pyfa.Buffer.zeros(1, np.uint8, device=device),
        lambda: pyfa.CommandEncoder(device),
        lambda: pyfa.BufferPool(device),
        lambda: pyfa.KernelRegistry(device),
    ):
        with pytest.raises(INVALID, match="Device used after release"):
            use()


def test_objects_outlive_their_device():
    device = pyfa.Device()
    buffer, registry = pyfa.Buffer.zeros(4, np.uint8, device=device), device.registry
    device.release()
    assert not buffer.read().any()
    assert registry.cached_count >= 0


def test_default_device_is_made_once():
    found = []
    threads = [threading.Thread(target=lambda: found.append(pyfa.default_device())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_default_device_again_after_release():
    first = pyfa.default_device()
    first.release()
    second = pyfa.default_device()
    assert second is not first
    assert second is pyfa.default_device()


@pytest.mark.skipif(sys.platform == "darwin", reason="Metal cannot be used after a fork")
def test_default_device_after_a_fork():
    script = """if True:
        import os, numpy as np, pyfa
        q = np.random.default_rng(0).standard_normal((1, 4, 300, 64), dtype=np.float32)
        expected = pyfa.attention(q, q, q)
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(pyfa.attention(q, q, q), expected) else 3)
        assert os.waitpid(child, 0)[1] == 0
        assert np.array_equal(pyfa.attention(q, q, q), expected)
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("provider", ["native", "shader"])
def test_provider_from_the_environment(provider):
    command = [sys.executable, "-c", "import pyfa; print(pyfa.Device().info().provider)"]
    environment = os.environ | {"PYFA_PROVIDER": provider}
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout
    assert shown.strip() == ("metal" if sys.platform == "darwin" else provider)


class TestRegistry:
    @pytest.fixture
    def registry(self, device):
        with pyfa.KernelRegistry(device) as registry:
            yield registry

    def test_prepare_caches(self, registry):
        assert registry.cached_count == 0
        assert not registry.is_cached(KERNEL, CONSTANTS)
        registry.prepare(KERNEL, CONSTANTS)
        registry.prepare(KERNEL, CONSTANTS)
        assert registry.is_cached(KERNEL, CONSTANTS)
        assert registry.cached_count == 1

    def test_order_of_constants_does_not_matter(self, registry):
        registry.prepare(KERNEL, CONSTANTS)
        assert registry.is_cached(KERNEL, dict(reversed(CONSTANTS.items())))
        assert not registry.is_cached(KERNEL, CONSTANTS | {301: True})

    def test_registries_are_independent(self, registry, device):
        registry.prepare(KERNEL, CONSTANTS | {200: False})
        with pyfa.KernelRegistry(device) as other:
            assert other.cached_count == 0

    def test_device_has_one(self, device):
        assert device.registry is device.registry

    def test_device_makes_another_handle_after_release(self, device):
        before = device.registry
        before.release()
        device.registry.prepare(KERNEL, CONSTANTS)
        assert device.registry.is_cached(KERNEL, CONSTANTS)

    def test_unknown_kernel(self, registry):
        with pytest.raises(pyfa.KernelNotFoundError, match="no_such_kernel"):
            registry.prepare("no_such_kernel")
        with pytest.raises(LookupError):
            registry.prepare("no_such_kernel")

    @pytest.mark.parametrize(
        ("constants", "words"),
        [
            ({1: "x"}, "'x'"),
            ({1: None}, "None"),
            ({1: np.float64(1)}, "float64"),
            ({1: 2**31}, "32 bits"),
            ({-1: True}, "0 ... 65535"),
            ({65536: True}, "0 ... 65535"),
            ({"a": True}, "an integer"),
            ([1, 2], "a mapping"),
        ],
    )
    def test_bad_constants(self, registry, constants, words):
        with pytest.raises(INVALID, match=r"^KernelRegistry.prepare: constants") as caught:
            registry.prepare(KERNEL, constants)
        assert words in str(caught.value)

    @pytest.mark.parametrize("constant", [1, 1.0, np.uint32(1)])
    def test_constants_of_another_type(self, registry, constant):
        with pytest.raises((INVALID, pyfa.CompileError), match="200|align_Q"):
            registry.prepare(KERNEL, CONSTANTS | {200: constant})

    def test_missing_constant(self, registry):
        constants = dict(CONSTANTS)
        del constants[301]
        with pytest.raises((INVALID, pyfa.CompileError), match="301|do_causal"):
            registry.prepare(KERNEL, constants)

    def test_replaced_source_drops_its_pipelines(self, registry):
        registry.prepare(KERNEL, CONSTANTS)
        registry.register("another", SOURCE)
        assert registry.is_cached(KERNEL, CONSTANTS)
        registry.register("flash_attn_prefill", SOURCE)
        assert not registry.is_cached(KERNEL, CONSTANTS)

    def test_include_that_is_not_there(self, registry):
        with pytest.raises(pyfa.CompileError, match=r"absent\.h") as caught:
            registry.register("mine", '#include <metal_stdlib>\n#include "absent.h"\n')
        assert "absent.h" in caught.value.log

    def test_source_without_a_name(self, registry):
        with pytest.raises(INVALID, match="^registry_register: name: "):
            registry.register("", SOURCE)

    def test_text_with_nul(self, registry):
        with pytest.raises(INVALID, match=r"^KernelRegistry.register: source: expected a str without NUL"):
            registry.register("name", "a\0b")
        with pytest.raises(INVALID, match=r"^KernelRegistry.prepare: kernel: expected a str"):
            registry.prepare(None)

    def test_use_after_release(self, device):
        registry = pyfa.KernelRegistry(device)
        registry.release()
        for use in (
            lambda: registry.prepare(KERNEL),
            lambda: registry.is_cached(KERNEL),
            lambda: registry.register("a", SOURCE),
            lambda: registry.cached_count,
        ):
            with pytest.raises(INVALID, match="KernelRegistry used after release"):
                use()
