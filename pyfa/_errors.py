"""Exceptions.

Our exception hierarchy::

    PyfaError
    ├── InvalidArgumentError (ValueError)       a value, shape, dtype, alignment or object that cannot be used
    ├── UnsupportedError (NotImplementedError)  a sound request that nothing serves; names the nearest choices
    ├── KernelNotFoundError (LookupError)       no registered source has a kernel of that name
    ├── CompileError                            shader source or specialisation; the compiler's text is in ``log``
    ├── DeviceError (RuntimeError)              no device, no memory, or work it refused or aborted
    ├── ShaderCheckError                        a race, an access out of bounds or a read of unset memory
    ├── FileError (OSError)                     a file that could not be opened, read or mapped
    └── InternalError (RuntimeError)            a defect of this library

Every message reads ``operation: argument: what was expected, got what``, whether it was found in Python or below.
"""

from __future__ import annotations

__all__ = [
    "CompileError",
    "DeviceError",
    "FileError",
    "InternalError",
    "InvalidArgumentError",
    "KernelNotFoundError",
    "PyfaError",
    "ShaderCheckError",
    "UnsupportedError",
]


class PyfaError(Exception):
    """Base of everything this package raises on purpose.

    Parameters
    ----------
    message : str
        The full text, operation and argument included.
    operation, argument : str
        What failed, and on account of which argument; empty where there is none.
    log : str
        Compiler output, if any.

    Attributes
    ----------
    operation, argument, log : str
        As given.
    """

    def __init__(self, message: str = "", *, operation: str = "", argument: str = "", log: str = "") -> None:
        super().__init__(message)
        self.operation = operation
        self.argument = argument
        self.log = log


class InvalidArgumentError(PyfaError, ValueError):
    """A value, size, shape, dtype, alignment or object that cannot be used."""


class UnsupportedError(PyfaError, NotImplementedError):
    """A sound request that no kernel serves; the message names the nearest choices."""


class KernelNotFoundError(PyfaError, LookupError):
    """No registered source has a kernel of that name."""


class CompileError(PyfaError):
    """Shader source that does not compile or specialise; ``log`` has the compiler's text with the shader's lines."""


class DeviceError(PyfaError, RuntimeError):
    """There is no device, it has no memory left, or it refused or aborted submitted work."""


class ShaderCheckError(PyfaError):
    """A race, an access out of bounds or a read of unset memory, found in check mode."""


class FileError(PyfaError, OSError):
    """A file that could not be opened, read or mapped."""


class InternalError(PyfaError, RuntimeError):
    """A defect of this library."""


def invalid(operation: str, argument: str, expected: str, got: str) -> InvalidArgumentError:
    """Build the error for an argument refused before the library sees it, in the library's own wording."""
    return InvalidArgumentError(
        f"{operation}: {argument}: expected {expected}, got {got}", operation=operation, argument=argument
    )


def unsupported(operation: str, argument: str, expected: str, got: str) -> UnsupportedError:
    """Build the error for a sound request that nothing serves."""
    return UnsupportedError(
        f"{operation}: {argument}: expected {expected}, got {got}", operation=operation, argument=argument
    )
