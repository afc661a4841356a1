"""The language model of bytes: against float64, token by token, its text and its file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pyfa._lm import corpus, weights
from pyfa._lm._errors import LanguageModelError
from pyfa._lm.caches import Caches
from pyfa._lm.config import Config
from pyfa._lm.generate import generate
from pyfa._lm.model import LanguageModel
from pyfa.attention import attention
from tests.python import language_model_reference as reference

ROOT = Path(__file__).resolve().parents[2]
TEXT = b'class Reader:\n    def __init__(self, path):\n        """Open a file.'


@pytest.fixture(scope="module")
def model():
    return LanguageModel(weights.load(weights.SHIPPED))


def ids(text):
    return np.frombuffer(text, np.uint8)[None]


def causal(_layer, q, k, v):
    return attention(q, k, v, causal=True)


# -------------------------------------------------------------------------------------------------------------- network


def test_logits_match_float64(model):
    exact = reference.logits(weights.SHIPPED, TEXT)
    for attend in (causal, Caches(model.config, "f32")):
        got = model(ids(TEXT), 0, attend)
        assert got.dtype == np.float32
        assert np.abs(got[0] - exact).max() <= 2e-6 * np.abs(exact).max()


def test_batches_are_apart(model):
    both = np.stack([np.frombuffer(TEXT, np.uint8), np.frombuffer(TEXT[::-1], np.uint8)])
    together = model(both, 0, Caches(model.config, "tq8", batch=2))
    for row in range(2):
        alone = model(both[row : row + 1], 0, Caches(model.config, "tq8"))
        np.testing.assert_allclose(together[row], alone[0], rtol=0, atol=2e-4)


def in_parts(model, caches):
    """Logits of the text, taken in by ones and by some at a time."""
    parts = []
    for count in (1, 2, 8, 9, 20, 1, 1, len(TEXT)):
        first = len(caches)
        parts.append(model(ids(TEXT[first : first + count]), first, caches))
    return np.concatenate(parts, axis=1)


def test_tokens_one_by_one_or_many_at_once(model):
    whole = model(ids(TEXT), 0, Caches(model.config, "f32"))
    np.testing.assert_allclose(in_parts(model, Caches(model.config, "f32")), whole, rtol=0, atol=2e-4)


@pytest.mark.parametrize("codec", ["tq8", "tq4", ("tq8", "tq3"), "tq_hb6"])
def test_quantised_tokens_one_by_one_or_many_at_once(model, codec):
    """Rounding moves a few numbers over a threshold of the codec: far fewer than the codec itself moves."""
    whole, dense = (model(ids(TEXT), 0, Caches(model.config, name)) for name in (codec, "f32"))
    difference, loss = (
        np.sqrt(np.square(x - whole).mean()) for x in (in_parts(model, Caches(model.config, codec)), dense)
    )
    assert difference < 0.3 * loss


def test_context_ends(model):
    with pytest.raises(ValueError, match="context is 1024"):
        model(ids(b"ab"), model.config.context - 1, causal)


def test_greedy_text_is_what_rereading_gives(model):
    prompt = b"import os\n\ndef "
    written = generate(model, prompt, 24, "f32")
    text = prompt
    for _ in range(24):
        text += bytes([int(model(ids(text), 0, causal)[0, -1].argmax())])
    assert text == prompt + written.text
    assert written.bytes_per_token == 4 * 2 * 2 * 128 * 4
    assert written.seconds > 0
    with pytest.raises(ValueError, match="prompt"):
        generate(model, b"", 4, "f32")


# --------------------------------------------------------------------------------------------------------------- corpus


def test_held_out_modules_depend_on_names_alone(tmp_path):
    names = [f"package{i}/module{j}.py" for i in range(10) for j in range(10)]
    for name in (*names, "test/test_x.py", "site-packages/x.py", "package0/tests/t.py", "_sysconfigdata_x.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(name, encoding="utf-8")
    held_out, learned = (corpus.modules(held_out=choice, root=tmp_path) for choice in (True, False))
    assert sorted([*held_out, *learned]) == sorted(names)
    assert 1 <= len(held_out) <= 15
    assert all(text == name.encode() for name, text in held_out.items())
    # What the shipped weights have not seen: another rule would judge them on what they have learned.
    some = ("ast.py", "enum.py", "heapq.py", "html/__init__.py", "json/decoder.py", "shlex.py")
    assert [name for name in some if corpus.is_held_out(name)] == ["ast.py", "enum.py", "html/__init__.py"]


def test_no_source(tmp_path):
    with pytest.raises(LanguageModelError, match="no source of the standard library"):
        corpus.modules(held_out=True, root=tmp_path)


# ----------------------------------------------------------------------------------------------------------------- file


def test_shipped_weights_say_how_they_were_made():
    shipped = weights.load(weights.SHIPPED)
    assert weights.SHIPPED.stat().st_size <= 16 << 20
    assert all(tensor.dtype == np.float16 for tensor in load_file(weights.SHIPPED).values())
    assert 2e6 <= sum(tensor.size for tensor in shipped.tensors.values()) <= 4e6
    assert shipped.config == Config()
    for fact in ("steps", "bytes_per_step", "seconds", "seed", "corpus_bytes", "held_out_bits_per_byte"):
        assert float(shipped.metadata[fact]) >= 0
    assert shipped.metadata["python"].startswith("3.")
    assert "PSF" in shipped.metadata["licence"]


def broken_files(tmp_path):
    """Files that are not the model's, and what is said of them."""
    tensors, metadata = load_file(weights.SHIPPED), weights.load(weights.SHIPPED).metadata

    def saved(name, tensors, metadata):
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path, metadata=metadata)
        return path

    text = tmp_path / "text.safetensors"
    text.write_text("not a model", encoding="utf-8")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.SHIPPED.read_bytes()[:100_000])
    poisoned = tensors["head"].copy()
    poisoned[3, 5] = np.nan
    head = np.zeros((256, 192), np.int32)
    return {
        "missing": (tmp_path / "none.safetensors", "none.safetensors: cannot be read"),
        "directory": (tmp_path, "cannot be read"),
        "text": (text, "text.safetensors: cannot be read"),
        "cut": (cut, "cut.safetensors: cannot be read"),
        "foreign": (saved("foreign", {"x": np.zeros(3, np.float32)}, {"format": "np"}), "expected weights of kind"),
        "no size": (saved("a", tensors, {k: v for k, v in metadata.items() if k != "heads"}), "heads is missing"),
        "no number": (saved("b", tensors, metadata | {"layers": "many"}), "sizes that cannot be: .*many"),
        "negative": (saved("c", tensors, metadata | {"width": "-1"}), "width: expected a positive number, got -1"),
        "heads": (saved("d", tensors, metadata | {"heads": "3"}), "heads: expected a multiple of 2 kv_heads, got 3"),
        "tensor": (saved("e", tensors | {"norm": np.zeros(7, np.float16)}, metadata), "norm: expected shape .*192.*7"),
        "layers": (saved("f", tensors, metadata | {"layers": "3"}), "layers.3.*: expected shape None"),
        "integers": (saved("g", tensors | {"head": head}, metadata), "head: expected float16 or float32, got int32"),
        "not finite": (saved("h", tensors | {"head": poisoned}, metadata), "head: expected finite numbers"),
    }


def test_bad_file_is_named(tmp_path):
    for name, (path, message) in broken_files(tmp_path).items():
        with pytest.raises(LanguageModelError, match=message) as caught:
            weights.load(path)
        assert "\n" not in str(caught.value), name


def test_no_weights_here(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "none")
    with pytest.raises(LanguageModelError, match="name a file with --weights"):
        weights.find(None)
    assert weights.find(Path("mine")) == Path("mine")


# ------------------------------------------------------------------------------------------------------------- training


@pytest.mark.slow
def test_training_writes_what_can_be_read(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "lm.safetensors"
    command = [sys.executable, ROOT / "examples" / "train_lm.py", "--steps", "3", "--threads", "1", "--output", path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "held out" in done.stdout
    made = weights.load(path)
    assert made.metadata["steps"] == "3"
    assert np.abs(made.tensors["head"]).max() > 0
    exact = reference.logits(path, TEXT)
    assert np.abs(LanguageModel(made)(ids(TEXT), 0, causal)[0] - exact).max() <= 2e-6 * np.abs(exact).max()


def test_training_and_inference_are_one_network(model, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import train_lm

    twin = train_lm.Model(model.config)
    with torch.no_grad():
        for name, tensor in load_file(weights.SHIPPED).items():
            twin.tensors[name].copy_(torch.from_numpy(tensor.astype(np.float32)))
        theirs = twin(torch.from_numpy(ids(TEXT).astype(np.int64))).numpy()
    np.testing.assert_allclose(model(ids(TEXT), 0, causal), theirs, rtol=0, atol=1e-4)
