"""The demo: its network against float64 formulas, its answers against NumPy's, its command line."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyfa.demo import cluster, generation, inputs, layers, main, plot, search
from pyfa.demo._errors import DemoError
from pyfa.demo.attend import ComparedAttention, PyfaAttention, numpy_attention
from pyfa.demo.model import Config, Encoder
from pyfa.demo.text import tokenize

SENTENCES = [
    "A man is eating food.",
    "Someone is having a meal.",
    "The stock market fell sharply.",
    "Shares lost a lot of their value today.",
    "The telescope found a new planet around a distant star.",
    "Astronomers saw another world.",
    "Rain.",
    "She tuned her violin before the concert, although the hall was still dark and nobody else had come.",
]
# Of the first three sentences, by sentence-transformers 6.2 on torch: cosines, and the first four elements.
PUBLISHED_COSINES = {(0, 1): 0.68883307, (0, 2): -0.00438283, (1, 2): -0.04240697}
PUBLISHED_VECTORS = [
    [0.03324158, 0.00440603, -0.00627699, 0.0483787],
    [-0.00523971, 0.02856187, -0.02285953, 0.01282252],
    [0.06452259, -0.00480882, 0.0574116, 0.08781882],
]


@pytest.fixture(scope="module")
def directory():
    return inputs.model_directory(None)


@pytest.fixture(scope="module")
def encoder(directory):
    return Encoder.load(directory)


@pytest.fixture(scope="module")
def tokens(directory, encoder):
    return tokenize(directory, SENTENCES, encoder.config.max_tokens)


def encode(encoder, tokens, attention, batch_size=8):
    vectors = np.full((len(tokens.ids), encoder.config.width), np.nan, np.float32)
    for batch in tokens.batches(batch_size):
        vectors[batch.rows] = encoder(batch.ids, batch.mask, attention)
    return vectors


@pytest.fixture
def small_file(tmp_path):
    path = tmp_path / "sentences.txt"
    path.write_text("\n".join(["# a comment", "", *SENTENCES]), encoding="utf-8")
    return path


# --------------------------------------------------------------------------------------------------------------- layers


def test_erf_is_exact_to_float32():
    x = np.linspace(-7, 7, 20001, dtype=np.float32)
    exact = np.array([math.erf(t) for t in x.astype(np.float64)])
    np.testing.assert_allclose(layers.erf(x), exact, rtol=0, atol=5e-7)
    assert layers.erf(np.array([-np.inf, 0.0, np.inf], np.float32)).tolist() == pytest.approx([-1, 0, 1], abs=2e-7)
    assert np.isnan(layers.erf(np.array([np.nan], np.float32)))[0]


def test_gelu_is_x_phi_x():
    x = np.linspace(-9, 9, 5001, dtype=np.float32)
    exact = [t * 0.5 * math.erfc(-t / math.sqrt(2)) for t in x.astype(np.float64)]
    np.testing.assert_allclose(layers.gelu(x), exact, rtol=3e-7, atol=2e-6)


def test_layer_norm_matches_float64():
    rng = np.random.default_rng(1)
    x, weight, bias = (rng.standard_normal(shape) for shape in ((3, 5, 384), 384, 384))
    exact = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * weight + bias
    got = layers.layer_norm(*(t.astype(np.float32) for t in (x, weight, bias)), 1e-12)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, exact, rtol=0, atol=5e-6)


def test_mean_pool_ignores_padding():
    hidden = np.random.default_rng(2).standard_normal((2, 4, 8)).astype(np.float32)
    mask = np.array([[True, True, False, False], [True] * 4])
    hidden[0, 2:] = 1e6
    expected = np.stack([hidden[0, :2].astype(np.float64).mean(0), hidden[1].astype(np.float64).mean(0)])
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(layers.mean_pool(hidden, mask), expected, rtol=0, atol=1e-6)


def test_numpy_attention_matches_loops():
    rng = np.random.default_rng(3)
    q, k, v = (rng.standard_normal((2, 5, 3, 8)).astype(np.float32) for _ in range(3))
    mask = np.array([[True, True, True, False, False], [True] * 5])[:, None, None, :]
    got = numpy_attention(q, k, v, mask)
    for b, h, row in np.ndindex(2, 3, 5):
        keys = np.flatnonzero(mask[b, 0, 0])
        scores = [float(np.dot(q[b, row, h].astype(np.float64), k[b, key, h])) / math.sqrt(8) for key in keys]
        weights = np.exp(np.array(scores) - max(scores))
        expected = weights @ v[b, keys, h].astype(np.float64) / weights.sum()
        np.testing.assert_allclose(got[b, row, h], expected, rtol=0, atol=1e-6)


# -------------------------------------------------------------------------------------------------------------- network


def embed_in_float64(weights, config, ids):
    """One sentence without padding, written as the formulas read."""

    def dense(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        centred = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + config.eps)
        return centred * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for index in range(config.layers):
        layer = f"encoder.layer.{index}"
        context = np.empty_like(x)
        q, k, v = (dense(x, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        for head in range(config.heads):
            span = slice(head * config.head_dim, (head + 1) * config.head_dim)
            weight = np.exp(q[:, span] @ k[:, span].T / math.sqrt(config.head_dim))
            context[:, span] = weight / weight.sum(-1, keepdims=True) @ v[:, span]
        x = norm(x + dense(context, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = dense(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + np.frompyfunc(math.erf, 1, 1)(inner / math.sqrt(2)).astype(np.float64))
        x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x.mean(0) / np.linalg.norm(x.mean(0))


def test_embeddings_match_float64(directory, encoder, tokens):
    from safetensors.numpy import load_file

    weights = {name: array.astype(np.float64) for name, array in load_file(directory / "model.safetensors").items()}
    exact = np.stack([embed_in_float64(weights, encoder.config, np.array(ids)) for ids in tokens.ids])
    np.testing.assert_allclose(encode(encoder, tokens, PyfaAttention()), exact, rtol=0, atol=2e-6)


def test_embeddings_match_the_published_model(encoder, tokens):
    vectors = encode(encoder, tokens, PyfaAttention())
    for (a, b), cosine in PUBLISHED_COSINES.items():
        assert float(vectors[a] @ vectors[b]) == pytest.approx(cosine, abs=1e-5)
    np.testing.assert_allclose(vectors[:3, :4], PUBLISHED_VECTORS, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_pyfa_and_numpy_agree(encoder, tokens, dtype):
    compared = ComparedAttention(encoder.config.layers, dtype, repeats=1)
    ours, plain = encode(encoder, tokens, PyfaAttention(dtype)), encode(encoder, tokens, compared)
    agreement = search.Agreement.of(ours, plain, sentences=4)
    assert agreement.min_cosine >= 0.9999
    assert (agreement.equal_answers, agreement.queries) == (4, 4)
    assert agreement.holds(0.9999)
    limit = {"f32": 1e-5, "f16": 1e-2, "bf16": 8e-2}[dtype]
    for times in compared.times:
        assert times.difference < limit
        assert times.pyfa > 0
        assert times.numpy > 0


def test_batching_does_not_change_embeddings(encoder, tokens):
    whole = encode(encoder, tokens, PyfaAttention())
    np.testing.assert_allclose(encode(encoder, tokens, PyfaAttention(), batch_size=3), whole, rtol=0, atol=1e-6)


def test_paraphrases_are_nearest(encoder, tokens):
    vectors = encode(encoder, tokens, PyfaAttention())
    cosines = vectors @ vectors.T - 2 * np.eye(len(vectors))
    assert np.argmax(cosines, axis=1)[:6].tolist() == [1, 0, 3, 2, 5, 4]


def test_disagreement_is_seen():
    same = np.eye(4, dtype=np.float32)
    assert search.Agreement.of(same, same, 2).holds(0.9999)
    turned = same.copy()
    turned[3] = np.array([1, 0.0, 0, 1], np.float32) / np.sqrt(2)
    found = search.Agreement.of(same, turned, 2)
    assert found.min_cosine == pytest.approx(math.sqrt(0.5))
    assert not found.holds(0.9999)
    assert not search.Agreement(1.0, 1, 2).holds(0.9999)
    assert not search.Agreement(math.nan, 2, 2).holds(0.9999)


# --------------------------------------------------------------------------------------------------- text, groups, plot


def test_batches_hold_every_sentence_once(tokens):
    rows = []
    for batch in tokens.batches(3):
        rows += batch.rows
        assert batch.mask.sum(axis=1).tolist() == [len(tokens.ids[row]) for row in batch.rows]
        for row, ids, mask in zip(batch.rows, batch.ids, batch.mask, strict=True):
            assert ids[mask].tolist() == tokens.ids[row]
            assert not ids[~mask].any()
    assert sorted(rows) == list(range(len(SENTENCES)))


def test_long_sentence_is_cut(directory):
    cut = tokenize(directory, ["short", "word " * 300], 256)
    assert cut.truncated == [1]
    assert [len(ids) for ids in cut.ids] == [3, 256]


def test_default_sentences():
    sentences = inputs.read_sentences(inputs.DEFAULT_SENTENCES)
    assert len(sentences) == len(set(sentences)) == 120


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_groups_are_a_partition(count):
    vectors = np.random.default_rng(count).standard_normal((20, 6)).astype(np.float32)
    found = cluster.groups(vectors @ vectors.T, count)
    assert len(found) == min(count, 20)
    assert sorted(row for group in found for row in group) == list(range(20))


def test_groups_find_blocks():
    of = np.array([0, 1, 2, 1, 0, 2, 2, 1])
    similarity = (of[:, None] == of[None, :]) * np.float32(0.8) + np.float32(0.1)
    found = cluster.groups(similarity, 3)
    assert sorted(sorted(group) for group in found) == [[0, 4], [1, 3, 7], [2, 5, 6]]
    similarity[5, 2] = similarity[2, 5] = 1.0
    assert cluster.centre([2, 5], similarity) in {2, 5}
    assert cluster.centre([1, 2, 5], similarity) in {2, 5}


@pytest.mark.parametrize("count", [1, 2, 30, 500])
def test_plot_is_an_image(tmp_path, count):
    vectors = np.random.default_rng(0).standard_normal((count, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    plot.save_similarity(tmp_path / "plot.png", [f"Costs ${n} and $more" for n in range(count)], vectors)
    assert (tmp_path / "plot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# --------------------------------------------------------------------------------------------------------- command line


def test_command_prints_answers_and_agrees(small_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    picture = tmp_path / "plot.png"
    query = "the discovery of planets"
    code = main(["--sentences", str(small_file), "--query", query, "--top", "2", "--plot", str(picture)])
    text = capsys.readouterr().out
    assert code == 0
    assert "8 sentences" in text
    assert re.search(rf"{query}.*The telescope found a new planet", text)
    assert "pyfa and NumPy agree" in text
    assert "first answers equal: 1 of 1" in text
    assert float(re.search(r"least cosine between embeddings: ([0-9.]+)", text)[1]) >= 0.9999
    assert picture.stat().st_size > 10_000
    assert re.search(r"f16 +│ +4096 │ +[0-9]+ │ ", text)
    assert re.search(r"tq8 +│ +2112 │ +[0-9]+ │ ", text)
    assert re.search(r"tq8 and f16: the same", text)


def test_command_fails_if_the_answers_differ(small_file, capsys, monkeypatch):
    monkeypatch.setattr(PyfaAttention, "__call__", lambda _self, _layer, _q, _k, v, _mask: -v)
    assert main(["--sentences", str(small_file), "--no-generate"]) == 1
    assert "pyfa and NumPy DISAGREE" in capsys.readouterr().out


def test_command_without_comparison(small_file, capsys):
    options = ["--no-compare", "--no-generate", "--dtype", "bf16", "--batch-size", "3"]
    assert main(["--sentences", str(small_file), *options]) == 0
    text = capsys.readouterr().out
    assert "Nearest sentences" in text
    assert "language model" not in text
    assert "NumPy" not in text


def test_command_without_weights(small_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(generation, "SHIPPED", tmp_path / "none.safetensors")
    assert main(["--sentences", str(small_file), "--no-compare"]) == 0
    assert "No text from a language model" in capsys.readouterr().out


def test_command_says_what_it_cut(tmp_path, capsys):
    path = tmp_path / "long.txt"
    path.write_text("short\n" + "endless " * 400, encoding="utf-8")
    assert main(["--sentences", str(path), "--no-compare", "--no-generate"]) == 0
    assert "1 text was longer than 256 tokens and cut there" in capsys.readouterr().out


def test_module_command_shows_help():
    done = subprocess.run([sys.executable, "-m", "pyfa.demo", "--help"], capture_output=True, text=True, check=True)
    for option in ("--query", "--sentences", "--top", "--dtype", "--batch-size", "--plot", "--model", "--weights"):
        assert option in done.stdout
    assert done.stderr == ""


def bad_inputs(tmp_path):
    empty, blob, folder = tmp_path / "empty.txt", tmp_path / "blob.txt", tmp_path / "folder"
    empty.write_text("\n# only a comment\n", encoding="utf-8")
    blob.write_bytes(b"\xff\xfe\x00\x01")
    folder.mkdir()
    return {
        "missing file": (["--sentences", str(tmp_path / "none.txt")], "none.txt: No such file"),
        "directory": (["--sentences", str(folder)], "folder: Is a directory"),
        "empty file": (["--sentences", str(empty)], "empty.txt: no sentences"),
        "not text": (["--sentences", str(blob)], "blob.txt: not UTF-8"),
        "missing model": (["--model", str(tmp_path / "none")], "none: not a directory"),
        "empty model": (["--model", str(folder)], "config.json: cannot be read"),
        "empty query": (["--query", " "], "--query: expected some text"),
        "foreign weights": (["--weights", str(blob)], "blob.txt: cannot be read"),
        "plot": (["--no-compare", "--plot", str(tmp_path / "none" / "x.png")], "cannot be written"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "missing file",
        "directory",
        "empty file",
        "not text",
        "missing model",
        "empty model",
        "empty query",
        "foreign weights",
        "plot",
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, case):
    arguments, message = bad_inputs(tmp_path)[case]
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.startswith("pyfa demo: error: ")
    assert text.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--top", "0"], ["--batch-size", "-1"], ["--dtype", "f64"], ["--top", "x"]])
def test_bad_option(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def broken(directory, target, **changes):
    """Copy the model's small files, with changes to its configuration."""
    target.mkdir()
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    shutil.copy(directory / "tokenizer.json", target)
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "expected a BERT model"),
        ({"num_attention_heads": 7}, "sizes that do not fit together"),
        ({"num_attention_heads": 0}, "sizes that do not fit together"),
        ({"hidden_size": "wide"}, "missing or malformed entry"),
    ],
)
def test_bad_configuration(directory, tmp_path, changes, message):
    with pytest.raises(DemoError, match=message):
        Config.read(broken(directory, tmp_path / "model", **changes))


def test_bad_weights(directory, tmp_path):
    target = broken(directory, tmp_path / "model")
    (target / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DemoError, match=r"model\.safetensors: cannot be read"):
        Encoder.load(target)
    config = Config.read(directory)
    with pytest.raises(DemoError, match=r"word_embeddings\.weight is missing"):
        Encoder(config, {})
    with pytest.raises(DemoError, match=r"expected shape \(30522, 384\), got \(2, 3\)"):
        Encoder(config, {"embeddings.word_embeddings.weight": np.zeros((2, 3), np.float32)})


def test_bad_tokenizer(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DemoError, match=r"tokenizer\.json: cannot be read"):
        tokenize(Path(tmp_path), ["x"], 256)


def test_unknown_token_is_refused(encoder):
    with pytest.raises(DemoError, match="token 40000, but the model knows 30522"):
        encoder(np.array([[101, 40000]]), np.ones((1, 2), np.bool_), PyfaAttention())
