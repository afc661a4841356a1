"""What is installed: versions, device and kernels."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyfa._device import Device, default_device
from pyfa._ffi import lib, library_path, string

_OWN_VARIABLES = ("PYFA_", "SOFTMETAL_")

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
        ``"versions"``, ``"platform"``, ``"library"`` and ``"library_bytes"``, ``"device"``; ``"shader_cache"`` with its
        directory, files and bytes, or None where there is none; and ``"environment"``, the variables that pyfa or
        SoftMetal read. All as JSON can hold them.

    Examples
    --------
    >>> pyfa.info()["versions"]["pyfa"] == pyfa.__version__
    True
    """
    from importlib import metadata  # noqa: PLC0415  # slow to import, and seldom wanted

    versions = {"pyfa": __version__, "abi": str(lib.fa_abi_version()), "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in ("numpy", "cffi", "ml_dtypes")}
    described = (device or default_device()).info()
    return {
        "versions": versions,
        "platform": platform.platform(),
        "library": str(library_path),
        "library_bytes": library_path.stat().st_size,
        "device": asdict(described),
        "shader_cache": _shader_cache() if described.backend == "SoftMetal" else None,
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(_OWN_VARIABLES)},
    }


def _shader_cache() -> dict[str, Any] | None:
    """Describe where SoftMetal keeps compiled shaders, and how much; None where it has no place for them."""
    own, caches, home = (os.environ.get(name, "") for name in ("SOFTMETAL_CACHE", "XDG_CACHE_HOME", "HOME"))
    places = (own, caches and f"{caches}/softmetal", home and f"{home}/.cache/softmetal")
    directory = next((Path(place) for place in places if place.startswith("/")), None)
    if directory is None:
        return None
    sizes = []
    for parent, _, names in os.walk(directory):  # which skips what others clean up meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                sizes.append(os.lstat(os.path.join(parent, name)).st_size)  # noqa: PTH118 (os.walk speaks in words)
    return {"directory": str(directory), "files": len(sizes), "bytes": sum(sizes)}
