"""Devices that execute shaders in one way or another."""

from __future__ import annotations

import os
import threading

import pyfa

SCHEDULES = {
    "forward": {"SOFTMETAL_ORDER": "forward"},
    "reverse": {"SOFTMETAL_ORDER": "reverse"},
    "random": {"SOFTMETAL_ORDER": "random", "SOFTMETAL_SEED": "1"},
    "interleaved": {"SOFTMETAL_ORDER": "random", "SOFTMETAL_SEED": "2", "SOFTMETAL_INTERLEAVE": "1"},
    "one-thread": {"SOFTMETAL_WORKERS": "1"},
}
STRICT = {"SOFTMETAL_MODE": "strict"}
CHECKED = {"SOFTMETAL_CHECK": "1"}
# One thread at a time changes the environment.
_ENVIRONMENT = threading.Lock()


def shader_device(**options: str) -> pyfa.Device:
    """A device that runs shaders only, with options by the names of their environment variables."""
    with _ENVIRONMENT:
        saved = {name: os.environ.get(name) for name in options}
        os.environ.update(options)
        try:
            return pyfa.Device("shader")
        finally:
            for name, value in saved.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
