"""The same problem in every library's terms: what differs, and that it comes to the same bits."""

from __future__ import annotations

import numpy as np
import pytest

import pyfa
from pyfa.compat import flash_attn, flashinfer, mlx
from tests.python.compat_reference import random

SCALE = 64**-0.5


@pytest.fixture
def problem(rng):
    """q [H, qL, D], k and v [Hkv, kL, D], of one sequence: H 4, Hkv 2, qL 5, kL 9, D 64."""
    return random(rng, 4, 5, 64), *random(rng, 2, 2, 9, 64)


def of_torch(q, k, v, mask=None, **options):
    torch = pytest.importorskip("torch")
    from pyfa.compat.torch import scaled_dot_product_attention

    mask = None if mask is None else torch.from_numpy(mask)
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    return scaled_dot_product_attention(*tensors, mask, enable_gqa=True, **options).numpy()


def of_mlx(q, k, v, **options):
    return mlx.scaled_dot_product_attention(q[None], k[None], v[None], scale=SCALE, **options)[0]


def of_flash_attn(q, k, v, **options):
    lengths_first = (x.swapaxes(0, 1)[None] for x in (q, k, v))
    out, lse, _ = flash_attn.flash_attn_func(*lengths_first, return_attn_probs=True, **options)
    return out[0].swapaxes(0, 1), lse[0]


def of_flashinfer(q, k, v, **options):
    out, lse = flashinfer.single_prefill_with_kv_cache(
        q.swapaxes(0, 1), k, v, kv_layout="HND", return_lse=True, **options
    )
    return out.swapaxes(0, 1), lse.T


def plain(q, k, v, **options):
    out, lse = pyfa.attention(q[None], k[None], v[None], return_lse=True, **options)
    return out[0], lse[0]


def same(*results):
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_layouts(problem):
    out, lse = plain(*problem)
    same(out, of_torch(*problem), of_mlx(*problem), of_flash_attn(*problem)[0], of_flashinfer(*problem)[0])
    same(lse, of_flash_attn(*problem)[1])


def test_causal_of_lengths_that_differ(problem):
    bottom_right = plain(*problem, causal=True)[0]
    same(
        bottom_right,
        of_mlx(*problem, mask="causal"),
        of_flash_attn(*problem, causal=True)[0],
        of_flashinfer(*problem, causal=True)[0],
    )
    top_left = of_torch(*problem, is_causal=True)
    same(top_left, plain(*problem, causal=True, q_offset=0)[0])
    assert np.abs(top_left - bottom_right).max() > 0.1


def test_windows_count_the_keys_beside_a_rows_own(problem):
    windowed = plain(*problem, window=(2, 0))[0]
    same(windowed, of_flash_attn(*problem, window_size=(2, 0))[0])
    same(windowed, of_flashinfer(*problem, window_left=2, causal=True)[0])
    # Three keys: the row's own and two before it.
    q, k, v = problem
    same(windowed[:, -1], plain(q[:, -1:], k[:, -3:], v[:, -3:])[0][:, 0])


def test_off_is_off(problem):
    unbounded = plain(*problem)[0]
    same(unbounded, of_flash_attn(*problem, window_size=(-1, -1), softcap=0.0)[0])
    same(unbounded, of_flashinfer(*problem, window_left=-1, logits_soft_cap=0.0)[0])
    same(unbounded, of_flashinfer(*problem, logits_soft_cap=None)[0])


def test_softcap(problem):
    same(
        plain(*problem, softcap=1.5)[0],
        of_flash_attn(*problem, softcap=1.5)[0],
        of_flashinfer(*problem, logits_soft_cap=1.5)[0],
    )


def test_scale_by_any_name(problem):
    same(
        plain(*problem, scale=0.3)[0],
        of_torch(*problem, scale=0.3),
        of_flash_attn(*problem, softmax_scale=0.3)[0],
        of_flashinfer(*problem, sm_scale=0.3)[0],
        mlx.scaled_dot_product_attention(*(x[None] for x in problem), scale=0.3)[0],
    )


def test_true_attends(problem, rng):
    mask = rng.random((5, 9)) < 0.6
    same(
        plain(*problem, mask=mask)[0],
        of_torch(*problem, mask),
        of_mlx(*problem, mask=mask),
        of_flashinfer(*problem, custom_mask=mask)[0],
    )


def test_bias_is_added_to_scaled_scores(problem, rng):
    bias = random(rng, 5, 9)
    biased = plain(*problem, mask=bias, scale=0.3)[0]
    same(biased, of_torch(*problem, bias, scale=0.3))
    same(biased, mlx.scaled_dot_product_attention(*(x[None] for x in problem), scale=0.3, mask=bias)[0])


def test_three_dimensions_of_a_mask(problem, rng):
    mask = rng.random((4, 5, 9)) < 0.6
    same(plain(*problem, mask=mask[None])[0], of_torch(*problem, mask), of_mlx(*problem, mask=mask))
    with pytest.raises(pyfa.InvalidArgumentError, match="^attention: mask: "):
        plain(*problem, mask=mask)


def test_bases_of_the_logarithm(problem):
    natural, binary = of_flash_attn(*problem)[1], of_flashinfer(*problem)[1]
    np.testing.assert_allclose(binary, natural * np.log2(np.e), rtol=1e-6)
    assert np.abs(binary - natural).max() > 0.5


def test_rows_that_may_attend_nothing(problem):
    q, k, v = problem
    short = q, k[:, :3], v[:, :3]
    nothing = np.zeros((5, 3), bool)
    for out, lse in (
        plain(*short, mask=nothing),
        of_flashinfer(*short, custom_mask=nothing),
        (of_torch(*short, nothing), None),
        (of_mlx(*short, mask=nothing), None),
        [x[:, :2] for x in of_flash_attn(*short, causal=True)],
    ):
        assert (out == 0).all()
        assert lse is None or np.isneginf(lse).all()


def test_sinks(problem, rng):
    sinks = random(rng, 4)
    same(plain(*problem, sinks=sinks)[0], of_mlx(*problem, sinks=sinks))


def test_alibi_counts_distances_or_positions(problem):
    slopes = np.array([2**-2, 2**-4, 2**-6, 2**-8], np.float32)
    of_fa, fa_lse = of_flash_attn(*problem, causal=True, alibi_slopes=slopes)
    of_fi, fi_lse = of_flashinfer(*problem, causal=True, pos_encoding_mode="ALIBI")
    same(plain(*problem, causal=True, alibi=slopes)[0], of_fa, of_fi)
    # The last row stands four keys behind its number.
    np.testing.assert_allclose(fi_lse / np.log2(np.e), fa_lse + 4 * slopes[:, None], atol=1e-5)
