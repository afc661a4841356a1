"""What is installed: versions, device and kernels."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from typing import Any

from pyfa._device import Device, default_device
from pyfa._ffi import lib, library_path, string

__version__ = string(lib.fa_version())


def manifest() -> dict[str, Any]:
    """Return every kernel the library dispatches.

    Returns
    -------
    dict
        ``"rooms"``: for each kernel family its variants (host name, dtype, head dimension, mask, tile), operands with
        their slots, parameter blocks and function constants.

    Examples
    --------
    >>> "rooms" in pyfa.manifest()
    True
    """
    parsed: dict[str, Any] = json.loads(string(lib.fa_manifest_json()))
    return parsed


def info(device: Device | None = None) -> dict[str, Any]:
    """Return versions, library and device, as for a bug report.

    Parameters
    ----------
    device : Device, optional
        Which device to describe; `default_device` by default.

    Returns
    -------
    dict
        ``"versions"``, ``"platform"``, ``"library"`` and ``"device"``, as JSON can hold them.

    Examples
    --------
    >>> pyfa.info()["versions"]["pyfa"] == pyfa.__version__
    True
    """
    from importlib import metadata  # noqa: PLC0415  # slow to import, and seldom wanted

    versions = {"pyfa": __version__, "abi": str(lib.fa_abi_version()), "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in ("numpy", "cffi", "ml_dtypes")}
    return {
        "versions": versions,
        "platform": platform.platform(),
        "library": str(library_path),
        "device": asdict((device or default_device()).info()),
    }
