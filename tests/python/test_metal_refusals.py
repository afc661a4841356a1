"""Programs that are none: each is refused, and the message names the line."""

from __future__ import annotations

import pytest

import pyfa
from tests.msl.refusals import REFUSALS


@pytest.fixture(scope="module")
def device():
    with pyfa.Device("shader") as device:
        yield device


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_refusal(refusal, device):
    with pytest.raises(pyfa.CompileError) as caught:
        pyfa.metal.Library(refusal.source, device=device)
    log = caught.value.log
    assert "error" in log
    assert f"program_source:{refusal.line}:" in log
    assert refusal.word in log


def test_refusals_are_many_and_named_apart():
    assert len(REFUSALS) >= 60
    assert len({refusal.name for refusal in REFUSALS}) == len(REFUSALS)
