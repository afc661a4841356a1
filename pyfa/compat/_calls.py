"""Calls below an adapter, whose errors name what its user called and passed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyfa._errors import PyfaError, unsupported


def call(operation: str, names: Mapping[str, str], function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """Call a function; its errors come out under the adapter's own name and those of its arguments.

    Parameters
    ----------
    operation : str
        What the user called.
    names : mapping of str to str
        The adapter's names of arguments that the function has others for.
    function, args, options
        What is called, and with what.

    Returns
    -------
    object
        What the function returned.
    """
    try:
        return function(*args, **options)
    except PyfaError as error:
        argument = names.get(error.argument, error.argument)
        text = str(error).removeprefix(f"{error.operation}: ").removeprefix(f"{error.argument}: ")
        text = ": ".join(filter(None, (operation, argument, text)))
        raise type(error)(text, operation=operation, argument=argument, log=error.log) from None


def refuse(operation: str, argument: str, given: object, *served: object, why: str) -> None:
    """Raise for an argument of the original's that has another value than those that are served."""
    if not any(given is value or (type(given) is type(value) and given == value) for value in served):
        expected = " or ".join(repr(value) for value in served)
        raise unsupported(operation, argument, f"{expected}, for {why}", repr(given))


def no_dropout(operation: str, dropout_p: float) -> None:
    """Refuse dropout."""
    if dropout_p != 0:
        raise unsupported(operation, "dropout_p", "0, for there is no dropout", repr(dropout_p))
