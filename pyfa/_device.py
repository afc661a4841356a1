"""Devices and their kernel registries."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Literal

from pyfa._constants import Constants, encode_constants
from pyfa._ffi import check, choices, choose, ffi, lib, result, string, text
from pyfa._handle import Handle, live

Provider = Literal["default", "native", "shader"]
_PROVIDERS = choices("fa_provider", "FA_PROVIDER_")


@dataclass(frozen=True)
class DeviceInfo:
    """What a device is and can do; sizes in bytes."""

    name: str
    backend: str
    """``"Metal"`` or ``"SoftMetal"``."""
    provider: str
    """``"metal"``, ``"native"`` or ``"shader"``."""
    isa: str
    """Instruction set of the native kernels, empty on a Mac."""
    max_buffer_bytes: int
    max_threadgroup_bytes: int
    working_set_bytes: int
    allocated_bytes: int
    max_threads_per_threadgroup: int
    page_bytes: int
    unified_memory: bool
    residency_sets: bool


class Device(Handle):
    """A Metal device, or SoftMetal where there is none.

    Parameters
    ----------
    provider : {"default", "native", "shader"}
        What runs kernels where there is no GPU: ``$PYFA_PROVIDER`` or else as "native"; native kernels, then shaders;
        shaders only. Without effect on a Mac.

    Raises
    ------
    InvalidArgumentError
        An unknown provider.
    DeviceError
        There is no Metal device.

    Examples
    --------
    >>> with pyfa.Device() as device:
    ...     device.info().unified_memory
    True
    """

    def __init__(self, provider: Provider = "default") -> None:
        code = choose("Device", "provider", _PROVIDERS, provider)
        super().__init__(result("fa_device *", lib.fa_device_create, code), lib.fa_device_release)
        self._registry: KernelRegistry | None = None

    def info(self) -> DeviceInfo:
        """Return what the device is, and how much it has allocated by now.

        Returns
        -------
        DeviceInfo
            A snapshot.
        """
        raw = ffi.new("fa_device_info *")
        check(lib.fa_device_get_info(live(self, "Device.info"), raw))
        return DeviceInfo(
            name=string(raw.name),
            backend=string(raw.backend),
            provider=string(raw.provider),
            isa=string(raw.isa),
            max_buffer_bytes=raw.max_buffer_bytes,
            max_threadgroup_bytes=raw.max_threadgroup_bytes,
            working_set_bytes=raw.working_set_bytes,
            allocated_bytes=raw.allocated_bytes,
            max_threads_per_threadgroup=raw.max_threads_per_threadgroup,
            page_bytes=raw.page_bytes,
            unified_memory=bool(raw.unified_memory),
            residency_sets=bool(raw.residency_sets),
        )

    @property
    def registry(self) -> KernelRegistry:
        """The device's own registry, which `attention` uses and which holds every built-in kernel."""
        handle, registry = live(self, "Device.registry"), self._registry
        if registry is None or registry._cdata is None:
            cdata = result("fa_registry *", lib.fa_device_get_registry, handle)
            self._registry = registry = KernelRegistry.__new__(KernelRegistry)
            Handle.__init__(registry, cdata, lib.fa_registry_release)
        return registry

    def __repr__(self) -> str:
        if self.released:
            return "<pyfa.Device released>"
        info = self.info()
        return f"<pyfa.Device {info.name!r} backend={info.backend} provider={info.provider}>"


class KernelRegistry(Handle):
    """Metal sources and the pipelines made from them.

    Parameters
    ----------
    device : Device, optional
        What the pipelines are for; `default_device` by default. The registry is a new one with every built-in source,
        independent of ``device.registry``.

    Examples
    --------
    >>> registry = pyfa.KernelRegistry()
    >>> registry.cached_count
    0
    """

    def __init__(self, device: Device | None = None) -> None:
        handle = live(device or default_device(), "KernelRegistry")
        super().__init__(result("fa_registry *", lib.fa_registry_create, handle), lib.fa_registry_release)

    def register(self, name: str, source: str) -> None:
        """Add or replace Metal source; pipelines made from a replaced source are dropped.

        Parameters
        ----------
        name : str
            What the source is called.
        source : str
            Metal Shading Language.

        Raises
        ------
        InvalidArgumentError
            No name.
        CompileError
            An ``#include`` of something that is not there; the rest is compiled when a kernel of it is first wanted.
        """
        operation = "KernelRegistry.register"
        arguments = text(operation, "name", name), text(operation, "source", source)
        check(lib.fa_registry_register(live(self, operation), *arguments))

    def prepare(self, kernel: str, constants: Constants | None = None) -> None:
        """Compile and cache a pipeline ahead of its first dispatch.

        Parameters
        ----------
        kernel : str
            Host name.
        constants : mapping, optional
            Function constants by index, as for `CommandEncoder.dispatch`.

        Raises
        ------
        KernelNotFoundError
            No registered source has the kernel.
        CompileError
            It does not compile or specialise; see ``log``.
        """
        operation = "KernelRegistry.prepare"
        name, values = text(operation, "kernel", kernel), encode_constants(operation, constants)
        check(lib.fa_registry_prepare(live(self, operation), name, values, len(values)))

    def is_cached(self, kernel: str, constants: Constants | None = None) -> bool:
        """Tell whether a pipeline is there.

        Parameters
        ----------
        kernel : str
            Host name.
        constants : mapping, optional
            Function constants by index, in any order.

        Returns
        -------
        bool
            Whether dispatching it compiles nothing.
        """
        operation = "KernelRegistry.is_cached"
        name, values = text(operation, "kernel", kernel), encode_constants(operation, constants)
        return bool(result("int32_t", lib.fa_registry_is_cached, live(self, operation), name, values, len(values)))

    @property
    def cached_count(self) -> int:
        """How many pipelines are there."""
        return int(result("uint64_t", lib.fa_registry_cached_count, live(self, "KernelRegistry.cached_count")))


class _Default:
    """The default device, made when it is first wanted."""

    def __init__(self) -> None:
        self.device: Device | None = None
        self.lock = threading.Lock()
        self.before_fork: list[Device] = []

    def make(self) -> Device:
        with self.lock:
            if self.device is None or self.device.released:
                self.device = Device()
            return self.device

    def forget(self) -> None:
        """In a forked child the device's threads do not exist: leave it alone for good, and start afresh."""
        if self.device is not None:
            self.before_fork.append(self.device)
        self.device, self.lock = None, threading.Lock()


_default = _Default()
os.register_at_fork(after_in_child=_default.forget)


def default_device() -> Device:
    """Return the device that everything uses which is not given one; it is made at the first call.

    Returns
    -------
    Device
        The same one for every thread, and a new one after a fork or if it was released.

    Examples
    --------
    >>> pyfa.default_device() is pyfa.default_device()
    True
    """
    device = _default.device
    return _default.make() if device is None or device._cdata is None else device
