"""What doctests may name without importing it."""

import numpy as np
import pytest

import pyfa


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace |= {"np": np, "pyfa": pyfa}
