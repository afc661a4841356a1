"""What every owner of a C handle has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pyfa._errors import invalid
from pyfa._ffi import CData, ffi

if TYPE_CHECKING:
    from types import TracebackType

_Self = TypeVar("_Self", bound="Handle")


class Handle:
    """Owns one reference to a C object, given back by `release`, at the end of a ``with`` block or by the collector."""

    def __init__(self, cdata: CData, release: object) -> None:
        self._cdata: CData = ffi.gc(cdata, release)

    @property
    def released(self) -> bool:
        """Whether the handle was given back."""
        return self._cdata is None

    def release(self) -> None:
        """Give the handle back now; a second call does nothing."""
        cdata, self._cdata = self._cdata, None
        if cdata is not None:
            ffi.release(cdata)

    def __enter__(self: _Self) -> _Self:
        live(self, f"{type(self).__name__}.__enter__")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def live(owner: Handle, operation: str) -> CData:
    """Return the C handle of an object, or raise that it is gone."""
    cdata = owner._cdata
    if cdata is None:
        noun = type(owner).__name__
        raise invalid(operation, noun, "a live object", f"a {noun} used after release")
    return cdata
