"""What this process has done, counted by the library."""

from __future__ import annotations

from dataclasses import dataclass

from pyfa._ffi import check, ffi, lib


@dataclass(frozen=True)
class Counters:
    """What this process has done since it started, or since `reset_counters`."""

    dispatches: int
    command_buffers: int
    waits: int
    barriers: int
    """All of them, automatic ones included."""
    auto_barriers: int
    """Those put in by tracked dispatches."""


def counters() -> Counters:
    """Return the process-wide counters.

    Returns
    -------
    Counters
        A snapshot.

    Examples
    --------
    >>> pyfa.reset_counters()
    >>> pyfa.counters().barriers
    0
    """
    raw = ffi.new("fa_counters *")
    check(lib.fa_counters_get(raw))
    return Counters(raw.dispatches, raw.command_buffers, raw.waits, raw.barriers, raw.auto_barriers)


def reset_counters() -> None:
    """Set the process-wide counters to zero."""
    check(lib.fa_counters_reset())
