"""Many threads on one device and on several."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pyfa
from tests.python import cases, reference
from tests.python.conftest import PROVIDERS

CASES = cases.every_pair(cases.FACTORS)[::9]
THREADS = 8


def check(case, device):
    q, k, v, options = cases.operands(case)
    out, lse = pyfa.attention(q, k, v, **options, return_lse=True, device=device)
    expected, expected_lse = reference.attention(q, k, v, **options)
    reference.assert_close(out, expected)
    reference.assert_lse_close(lse, expected_lse, q.dtype)


def test_one_device(device):
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda case: check(case, device), CASES * 3))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_device_for_each(provider):
    def work(case):
        with pyfa.Device(provider) as device:
            check(case, device)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, CASES))


def test_errors_belong_to_their_thread(qkv, device):
    """The last error is a thread's own, so messages do not mix."""

    def work(index):
        length = index + 1
        with pytest.raises(pyfa.InvalidArgumentError) as caught:
            pyfa.attention(*qkv, mask=np.ones((length + 9, 9), bool), device=device)
        assert f"[{length + 9}, 9]" in str(caught.value)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(200)))


def test_buffers_are_made_and_released_at_once(device):
    def work(value):
        with pyfa.Buffer.zeros(1000, np.uint8, device=device) as buffer, buffer.view(10) as view:
            view.fill(value)
            assert buffer.read().sum() == 10 * value

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, [value % 256 for value in range(400)]))


def test_release_while_others_use_it(device):
    """Whoever comes too late gets an error, and nothing worse."""
    outcomes = set()

    def work(buffer):
        try:
            buffer.read()
        except pyfa.InvalidArgumentError:
            outcomes.add("refused")
        else:
            outcomes.add("read")

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(50):
            buffer = pyfa.Buffer.zeros(100_000, np.uint8, device=device)
            futures = [pool.submit(work, buffer) for _ in range(THREADS)]
            pool.submit(buffer.release)
            futures += [pool.submit(work, buffer) for _ in range(THREADS)]
            for future in futures:
                future.result()
            work(buffer)
    assert "refused" in outcomes


def test_encoders_on_one_device(rng, device):
    q = pyfa.Buffer.from_array(rng.standard_normal((1, 2, 50, 64), dtype=np.float32), device=device)
    expected = pyfa.ops.flash_attn_prefill(q, q, q, device=device).read()

    def work(_):
        with pyfa.CommandEncoder(device) as encoder:
            out = pyfa.ops.flash_attn_prefill(q, q, q, encoder=encoder)
        np.testing.assert_array_equal(out.read(), expected)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(100)))
