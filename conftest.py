"""What doctests may name without importing it, and which modules have none here."""

from importlib.util import find_spec

import numpy as np
import pytest

import pyfa

# Adapters are imported where the library is that they adapt to.
NEEDS = {"pyfa/compat/torch.py": ("torch",), "pyfa/compat/transformers/*": ("torch", "transformers")}
collect_ignore_glob = [pattern for pattern, libraries in NEEDS.items() if not all(map(find_spec, libraries))]


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace |= {"np": np, "pyfa": pyfa}
