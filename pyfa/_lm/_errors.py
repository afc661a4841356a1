"""The one exception of the language model that its user is meant to see."""

from __future__ import annotations


class LanguageModelError(Exception):
    """Weights or text that cannot be used; the message is one line for the user."""
