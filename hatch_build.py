"""Puts the native library into the wheel and gives the wheel its platform tag."""

from __future__ import annotations

import platform
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

from packaging import tags

# The oldest macOS that Package.swift supports.
MACOS_TARGET = (15, 0)


class NativeLibraryHook(BuildHookInterface[Any]):
    """Builds `pyfa/_native/libpyfa.*`, or takes the one that is there where Swift is not."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library and tag the wheel; an editable install leaves that to `make lib`."""
        if version == "editable":
            return
        root = Path(self.root)
        if shutil.which("swift") and shutil.which("make"):
            subprocess.run(["make", "-C", str(root), "lib"], check=True)  # noqa: S607 (on the PATH)
        native = root / "pyfa" / "_native"
        library = native / ("libpyfa.dylib" if sys.platform == "darwin" else "libpyfa.so")
        headers: Any = runpy.run_path(str(root / "pyfa" / "_declarations.py"))
        try:
            library.stat()
            text = headers["interface_text"](native / "include")
        except FileNotFoundError as error:
            message = (
                f"{Path(error.filename).relative_to(root)} is missing, and building it needs make and "
                "Swift 6.3 or newer (https://www.swift.org/install)"
            )
            raise FileNotFoundError(message) from error
        (native / headers["PARSED"]).write_text(headers["parsed"](text), encoding="utf-8")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"


def platform_tag() -> str:
    """Tag of the machine that built the library: any Python 3 loads it, no other platform does."""
    if sys.platform == "darwin":
        return next(iter(tags.mac_platforms(MACOS_TARGET, platform.machine())))
    # manylinux or musllinux at this machine's C library, which is what was linked.
    names = list(tags.platform_tags())
    return next((name for name in names if not name.startswith("linux_")), names[0])
