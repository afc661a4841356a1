"""Adapters are called as the originals are, and cost nothing to who does not import them."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

# As the libraries have them; where one is installed, it is asked too.
ORIGINALS = {
    "torch": {
        "scaled_dot_product_attention": (
            "query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, *, scale=None, enable_gqa=False"
        )
    },
    "mlx": {
        "scaled_dot_product_attention": "q, k, v, *, scale, mask=None, sinks=None, force_fused=False, stream=None",
    },
    "flash_attn": {
        "flash_attn_func": (
            "q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, "
            "alibi_slopes=None, deterministic=False, return_attn_probs=False"
        ),
        "flash_attn_varlen_func": (
            "q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None, "
            "causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None, deterministic=False, "
            "return_attn_probs=False, block_table=None"
        ),
        "flash_attn_with_kvcache": (
            "q, k_cache, v_cache, k=None, v=None, rotary_cos=None, rotary_sin=None, cache_seqlens=None, "
            "cache_batch_idx=None, cache_leftpad=None, block_table=None, softmax_scale=None, causal=False, "
            "window_size=(-1, -1), softcap=0.0, rotary_interleaved=True, alibi_slopes=None, num_splits=0, "
            "return_softmax_lse=False"
        ),
    },
    "flashinfer": {
        "single_prefill_with_kv_cache": (
            "q, k, v, scale_q=None, scale_k=None, scale_v=None, o_dtype=None, custom_mask=None, "
            "packed_custom_mask=None, causal=False, kv_layout='NHD', pos_encoding_mode='NONE', "
            "use_fp16_qk_reduction=False, sm_scale=None, window_left=-1, logits_soft_cap=None, rope_scale=None, "
            "rope_theta=None, backend='auto', return_lse=False"
        ),
        "single_decode_with_kv_cache": (
            "q, k, v, kv_layout='NHD', pos_encoding_mode='NONE', use_tensor_cores=False, q_scale=None, k_scale=None, "
            "v_scale=None, window_left=-1, logits_soft_cap=None, sm_scale=None, rope_scale=None, rope_theta=None, "
            "return_lse=False"
        ),
        "merge_state": "v_a, s_a, v_b, s_b",
        "merge_states": "v, s",
    },
}
FUNCTIONS = [(library, name) for library, functions in ORIGINALS.items() for name in functions]


def bare(function):
    """Return a function's parameters without their types."""
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in parameters]))[1:-1]


def adapter(library):
    if library == "torch":
        pytest.importorskip("torch")
    return importlib.import_module(f"pyfa.compat.{library}")


@pytest.mark.parametrize(("library", "name"), FUNCTIONS)
def test_signatures(library, name):
    assert bare(getattr(adapter(library), name)) == ORIGINALS[library][name]


@pytest.mark.parametrize("library", ["flash_attn", "flashinfer"])
def test_signatures_of_installed_libraries(library):
    original = pytest.importorskip(library)
    for name in ORIGINALS[library]:
        assert bare(getattr(adapter(library), name)) == bare(getattr(original, name))


def test_signature_of_installed_torch():
    torch = pytest.importorskip("torch")
    schema = torch.ops.aten.scaled_dot_product_attention.default._schema
    found = [(x.name, x.kwarg_only, x.default_value if x.has_default_value() else None) for x in schema.arguments]
    parameters = inspect.signature(adapter("torch").scaled_dot_product_attention).parameters.values()
    ours = [(x.name, x.kind is x.KEYWORD_ONLY, None if x.default is x.empty else x.default) for x in parameters]
    assert ours == found
    own = torch.ops.pyfa.scaled_dot_product_attention.default._schema
    assert str(own).split("(", 1)[1] == str(schema).split("(", 1)[1]


def test_signature_of_installed_mlx():
    fast = pytest.importorskip("mlx.core").fast
    text = fast.scaled_dot_product_attention.__doc__.split("\n")[0]
    for annotation in ("None | str | array", "array | None", "array", "float", "bool", "StreamOrDevice"):
        text = text.replace(f": {annotation} =", "=").replace(f": {annotation}", "")
    assert " ".join(text.replace("= ", "=").split()).startswith(
        f"scaled_dot_product_attention({ORIGINALS['mlx']['scaled_dot_product_attention']})"
    )


@pytest.mark.parametrize("library", ORIGINALS)
def test_what_is_public_is_the_originals(library):
    module = adapter(library)
    assert sorted(module.__all__) == sorted(ORIGINALS[library])
    for name in module.__all__:
        assert getattr(module, name).__doc__


@pytest.mark.parametrize(
    "imported", ["pyfa", "pyfa.compat", "pyfa.compat.mlx, pyfa.compat.flash_attn, pyfa.compat.flashinfer"]
)
def test_importing_pyfa_imports_none_of_them(imported):
    names = ("torch", "mlx", "flash_attn", "flashinfer", "jax")
    code = f"import {imported}, sys; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_compat_is_not_imported_by_pyfa():
    code = "import pyfa, sys; print('pyfa.compat' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
