"""How SoftMetal executes shaders, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pyfa._device import Device, default_device
from pyfa._errors import invalid
from pyfa._ffi import CData, choices, choose, ffi, integer, lib
from pyfa._ffi import check as check_status
from pyfa._handle import live

Mode = Literal["lockstep", "strict"]
Schedule = Literal["forward", "reverse", "random"]

_MODES = {"lockstep": 0, "strict": 1}
_ORDERS = choices("fa_shader_order", "FA_SHADER_ORDER_")
_OPERATION = "metal.options"


@contextmanager
def options(
    *,
    mode: Mode | None = None,
    schedule: Schedule | None = None,
    seed: int | None = None,
    interleave: bool | None = None,
    check: bool | None = None,
    time_limit: float | None = None,
    workers: int | None = None,
    device: Device | None = None,
) -> Iterator[None]:
    """Execute shaders in another way within a ``with`` block; what is not given stays as it is.

    It holds for the device, not for the thread: kernels that other threads dispatch meanwhile are executed so, too.
    Native kernels take no notice.

    Parameters
    ----------
    mode : {"lockstep", "strict"}, optional
        Threads of a simdgroup meet before stores to threadgroup memory, as on hardware that runs them in step; or only
        where the language promises it.
    schedule : {"forward", "reverse", "random"}, optional
        Which threads, simdgroups and threadgroups run first.
    seed : int, optional
        Of the random schedule, 64 bits without sign.
    interleave : bool, optional
        Simdgroups take turns between barriers.
    check : bool, optional
        Look for data races, accesses out of bounds or misaligned, and reads of unset memory: `ShaderCheckError`.
    time_limit : float, optional
        Seconds a dispatch may take; 0 for any.
    workers : int, optional
        Most threads of this machine that a dispatch uses; 0 for all.
    device : Device, optional
        `default_device` by default.

    Raises
    ------
    InvalidArgumentError
        A value that an option cannot have.
    UnsupportedError
        On a Mac, whose GPU does as it likes.

    Examples
    --------
    >>> library = pyfa.metal.Library("kernel void one(device int *x [[buffer(0)]]) { *x = 1; }")
    >>> x = np.zeros(1, np.int32)
    >>> with pyfa.metal.options(mode="strict", schedule="random", seed=7, check=True):
    ...     library.kernel("one")({0: x}, threadgroups=1, threads=1)
    >>> int(x[0])
    1
    """
    handle = live(device or default_device(), _OPERATION)
    before = ffi.new("fa_shader_options *")
    check_status(lib.fa_device_get_shader_options(handle, before))
    within = ffi.new("fa_shader_options *", before[0])
    if mode is not None:
        within.strict = choose(_OPERATION, "mode", _MODES, mode)
    if schedule is not None:
        within.order = choose(_OPERATION, "schedule", _ORDERS, schedule)
    if seed is not None:
        within.seed = _within(seed, "seed", (1 << 64) - 1)
    if interleave is not None:
        within.interleave = bool(interleave)
    if check is not None:
        within.check = bool(check)
    if time_limit is not None:
        try:
            within.time_limit = time_limit
        except (TypeError, OverflowError):
            raise invalid(_OPERATION, "time_limit", "seconds, a number", repr(time_limit)) from None
    if workers is not None:
        within.workers = integer(_OPERATION, "workers", workers)
    _set(handle, within)
    try:
        yield
    finally:
        _set(handle, before)


def _set(handle: CData, values: CData) -> None:
    check_status(lib.fa_device_set_shader_options(handle, values))


def _within(value: object, name: str, most: int) -> int:
    """Return an int from 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise invalid(_OPERATION, name, f"0 ... {most}", repr(value))
    return value
