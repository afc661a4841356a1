"""``python -m pyfa eval``: what it measures, against what it says, and the command itself."""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest

import pyfa
from pyfa._eval import cli, measure, report
from pyfa._eval.text import Windows
from pyfa._lm import weights
from pyfa._lm._errors import LanguageModelError
from pyfa._lm.caches import Caches
from pyfa._lm.model import LanguageModel

RESULT = {
    "codec", "keys", "values", "bits_per_byte", "change", "argmax_changes", "attention_cosine",
    "cache_bytes_per_token", "tokens_per_second",
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return LanguageModel(weights.load(weights.SHIPPED))


@pytest.fixture(scope="module")
def results(model):
    windows = Windows.of_held_out(768, 256)
    calls = []
    codecs = ("f16", "tq8", "tq4", "tq2", "tq8/tq2")
    found = measure.measure(model, windows, codecs, lambda: calls.append(1))
    assert len(calls) == measure.steps(windows, codecs)
    return {result.codec: result for result in found}


# ---------------------------------------------------------------------------------------------------------- measurement


def test_bits_of_what_followed():
    logits = np.random.default_rng(0).standard_normal((2, 3, 256)).astype(np.float32) * 30
    following = np.array([[0, 7, 255], [9, 9, 9]], np.uint8)
    expected = 0.0
    for row, column in np.ndindex(2, 3):
        scores = [float(x) for x in logits[row, column]]
        total = math.fsum(math.exp(x - max(scores)) for x in scores)
        expected -= math.log2(math.exp(scores[following[row, column]] - max(scores)) / total)
    assert measure.bits(logits, following) == pytest.approx(expected, rel=1e-12)


def test_codecs_cost_what_their_bits_let_expect(results):
    assert list(results) == ["f16", "tq8", "tq4", "tq2", "tq8/tq2"]
    for result in results.values():
        assert all(math.isfinite(value) for name, value in vars(result).items() if name != "codec")
        assert 0.5 < result.bits_per_byte < 5
        assert result.tokens_per_second > 0
    change = {name: result.change for name, result in results.items()}
    assert abs(change["f16"]) < 0.002
    assert abs(change["tq8"]) < 0.02
    assert change["tq2"] > abs(change["tq4"]) + 0.01  # so little text tells no smaller differences
    cosine = {name: result.attention_cosine for name, result in results.items()}
    assert 1 + 1e-6 > cosine["f16"] > cosine["tq8"] > cosine["tq4"] > cosine["tq8/tq2"] > cosine["tq2"] > 0.8
    assert results["f16"].argmax_changes <= results["tq4"].argmax_changes < results["tq2"].argmax_changes < 0.5
    sizes = [result.cache_bytes_per_token for result in results.values()]
    assert sizes == [4 * 2 * 2 * size for size in (256, 132, 68, 36, (132 + 36) / 2)]


def test_baseline_is_not_changed(model):
    (result,) = measure.measure(model, Windows.of_held_out(64, 1024), ("f32",), lambda: None)
    assert (result.change, result.argmax_changes) == (0, 0)
    assert result.attention_cosine == pytest.approx(1, abs=1e-6)


def test_keys_and_values_are_read_from_the_codec(model):
    """Attention in float64 over what a cache gives back must be what every layer of the evaluation sees."""
    ids = Windows.of_held_out(96, 1024).ids
    for codec in ("tq2", ("tq8", "tq3")):
        caches = Caches(model.config, codec)
        errors, losses = [], []

        def attend(layer, q, k, v, caches=caches, codec=codec, errors=errors, losses=losses):
            got = caches(layer, q, k, v)
            kept = pyfa.KVCache(2, 128, 96, codec)
            kept.append(k, v)
            expected = causal_in_float64(q, *kept.dequantize())
            errors.append(np.abs(got - expected).max() / np.abs(expected).max())
            losses.append(np.abs(got - causal_in_float64(q, k, v)).max() / np.abs(expected).max())
            return got

        model(ids, 0, attend)
        assert len(errors) == model.config.layers
        assert max(errors) < 4e-6  # of attention, and of turning keys and values back in float32
        assert min(losses) > 1e-2


def causal_in_float64(q, k, v):
    k, v = (np.repeat(x.astype(np.float64), q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    scores = q.astype(np.float64) @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    scores[..., np.triu(np.ones(scores.shape[-2:], bool), 1)] = -np.inf
    chances = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return chances / chances.sum(axis=-1, keepdims=True) @ v


def test_windows():
    windows = Windows.of_held_out(5000, 1024)
    assert windows.ids.shape == (4, 1024)
    assert windows.predictions == 4 * 1023
    assert windows.sha256 == Windows.of_held_out(4096, 1024).sha256 != Windows.of_held_out(3072, 1024).sha256
    assert Windows.of_held_out(100, 1024).ids.shape == (1, 100)
    for wanted in (63, 1 << 30):
        with pytest.raises(LanguageModelError, match=f"--bytes: expected 64 to .*got {wanted}"):
            Windows.of_held_out(wanted, 1024)


def test_head_dimension_that_a_codec_has_not(model, monkeypatch):
    monkeypatch.setattr(measure, "_batches", None)  # nothing is to be computed
    monkeypatch.setattr(model, "config", type(model.config)(head_dim=32))
    with pytest.raises(pyfa.PyfaError, match="head_dim"):
        measure.measure(model, Windows.of_held_out(64, 1024), ("tq8",), lambda: None)


# -------------------------------------------------------------------------------------------------------------- command


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pyfa", "eval", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_command_prints_and_writes(tmp_path):
    data, picture = tmp_path / "costs.json", tmp_path / "costs.png"
    done = command("--bytes", 256, "--codecs", "f16, tq8/tq4,f16", "--json", data, "--plot", picture)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == ("byte_lm.safetensors: 4 layers, 4 query heads on 2 of keys and values, head dimension 128")
    assert lines[1].startswith("1 window of 256 bytes from ")
    assert lines[2].split("  ")[0] == "codec"
    assert [line.split()[0] for line in lines[3:5]] == ["f16", "tq8/tq4"]
    assert lines[5:] == [f"plot: {picture}"]
    assert picture.read_bytes().startswith(b"\x89PNG")

    found = json.loads(data.read_text(encoding="utf-8"))
    assert found.keys() == {"pyfa", "python", "device", "weights", "text", "baseline", "codecs"}
    assert found["baseline"] == "f32"
    assert found["text"].keys() == {"windows", "window_bytes", "predictions", "modules", "sha256"}
    assert found["text"]["predictions"] == 255
    assert found["weights"]["metadata"]["seed"] == "0"
    assert all(codec.keys() == RESULT for codec in found["codecs"])
    assert [(codec["keys"], codec["values"]) for codec in found["codecs"]] == [("f16", "f16"), ("tq8", "tq4")]
    for line, codec in zip(lines[3:5], found["codecs"], strict=True):
        assert f"{codec['bits_per_byte']:.4f}" in line
        assert str(codec["cache_bytes_per_token"]) in line


def test_table_on_a_terminal(results, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    known = {
        "weights": {"file": "x", "metadata": weights.load(weights.SHIPPED).metadata},
        "text": {"windows": 3, "window_bytes": 256, "modules": 30},
        "python": "3",
    }
    report.print_results(known, list(results.values()))
    text = capsys.readouterr().out
    assert "│" in text
    assert "tq8/tq2" in text
    with report.progress(3) as advance:
        advance()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codecs", "tq9"], "--codecs: expected codecs or pairs .*'tq9'"),
        (["--codecs", "tq8/"], "--codecs: expected codecs .*'tq8/'"),
        (["--codecs", ""], "--codecs: expected codecs .*''"),
        (["--bytes", "0"], "--bytes: expected a positive number, got '0'"),
        (["--bytes", "many"], "--bytes: expected a positive number, got 'many'"),
        (["--plot", "costs.gif"], "--plot: expected a file name ending in .png"),
        (["--plot", "/nowhere/costs.png"], "--plot: expected a file that can be written, got /nowhere/costs.png"),
        (["--json", "."], "--json: expected a file that can be written"),
    ],
)
def test_bad_command_line(arguments, message, capsys):
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit) as error:
        cli.run(parser.parse_args(["eval", *arguments]))
    assert error.value.code == 2
    text = capsys.readouterr().err
    assert re.search(message, text), text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", __file__], "test_eval.py: cannot be read"),
        (["--weights", "none"], "none: cannot be read"),
        (["--bytes", str(1 << 30)], "--bytes: expected 64 to"),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments, message):
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pyfa eval: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_missing_package_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    assert cli.run(parser.parse_args(["eval"])) == 1
    assert "needs the package safetensors" in capsys.readouterr().err
