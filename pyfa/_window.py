"""The window option: how far from its own position a row attends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from pyfa._errors import invalid
from pyfa._ffi import CData, integer

Window: TypeAlias = Sequence[int | None] | None
"""``(left, right)``: keys before and after a row's position; None or -1: all of that side."""


def set_window(operation: str, raw: CData, window: Window) -> None:
    """Copy a window into a struct that has one."""
    if window is None:
        return
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise invalid(operation, "window", "(left, right) or None", repr(window))
    raw.window = [-1 if side is None else integer(operation, "window", side) for side in window]
    raw.has_window = 1
