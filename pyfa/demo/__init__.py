"""Search by meaning with a small sentence encoder that runs on ``pyfa.attention``: ``python -m pyfa demo``."""

from pyfa.demo.cli import main

__all__ = ["main"]
