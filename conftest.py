"""What doctests may name without importing it, and which modules have none here."""

from importlib.util import find_spec

import numpy as np
import pytest

import pyfa

# Adapters are imported where the library is that they adapt to.
collect_ignore_glob = [
    f"pyfa/compat/{name}/*" for name in ("transformers",) if find_spec(name) is None or find_spec("torch") is None
]


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace |= {"np": np, "pyfa": pyfa}
