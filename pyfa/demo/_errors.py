"""The one exception the demo reports to its user."""

from __future__ import annotations


class DemoError(Exception):
    """Input or a model that cannot be used; the text is one line for the user."""
