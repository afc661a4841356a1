"""``python -m pyfa``: what each command prints, to a pipe and to a terminal, and how it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyfa
from pyfa import _cli
from pyfa._bench import contenders, record
from pyfa._bench.problem import Problem

COMMAND = (sys.executable, "-m", "pyfa")
SMALL = ("1x2x9x64", "--rounds", "1", "--block", "0.001")


def run(*arguments, **environment):
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )
    return done.returncode, done.stdout, done.stderr


def on_terminal(*arguments):
    """Run a command whose output is a terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "200", "TERM": "xterm-256color"}
    with subprocess.Popen([*COMMAND, *arguments], stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how a terminal says that nobody writes any more
                break
            if not part:
                break
            text += part
    os.close(ours)
    assert process.returncode == 0
    return text.decode()


# ------------------------------------------------------------------------------------------------------------ all of it


def test_help_names_every_command_and_has_examples():
    status, text, _ = run("--help")
    assert status == 0
    for command in _cli.MODULES:
        assert f"\n    {command} " in text
    assert "examples:" in text
    assert "Exit status" in text


@pytest.mark.parametrize("command", ["info", "explain", "bench", "eval", "metal"])
def test_help_of_commands(command, capsys):
    with pytest.raises(SystemExit) as ended:
        _cli.main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m pyfa {command}")
    assert "examples:" in text or command == "metal"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain", "1x8x128"], "expected four extents BxHxLxD such as 1x8x128x64, got '1x8x128'"),
        (["explain", "1x8x0x64"], "expected four extents"),
        (["explain", "1x8x128x64", "--dtype", "f64"], "invalid choice: 'f64'"),
        (["explain", "1x8x9x64", "--window", "3"], "expected LEFT,RIGHT such as 1023,0"),
        (["explain", "1x8x9x64", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["explain", "1x8x9x64", "--cache", "f16", "--mask", "bool"], "a cache has no --mask"),
        (["explain", "1x8x9x64", "--cache", "f16", "--window", "3,2"], "expected LEFT,0"),
        (["bench", "1x3x9x64,1x2x9x64"], "heads that divide 3, got 1x2x9x64"),
        (["bench", "--dtypes", "f32,f8"], "expected f32, f16, bf16, got 'f8'"),
        (["bench", "--peers", "jax"], "expected numpy, torch, onnxruntime, got 'jax'"),
        (["bench", "--rounds", "0"], "expected a number above 0, got '0'"),
        (["bench", "1x2x9x64", "--compare", "a", "b"], "measures nothing"),
    ],
)
def test_usage_errors(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        _cli.main(words)
    assert ended.value.code == 2
    text = " ".join(capsys.readouterr().err.split())
    assert said in text
    assert text.startswith(f"usage: python -m pyfa {words[0]}")


def test_a_reader_that_goes_away():
    """The list of kernels is longer than a pipe holds, and nobody reads it."""
    process = subprocess.Popen([*COMMAND, "info", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(120) == 1


# ----------------------------------------------------------------------------------------------------------------- info


def test_info_tells_cache_and_environment(tmp_path):
    (tmp_path / "one").write_bytes(b"12345")
    status, text, errors = run("info", "--json", SOFTMETAL_CACHE=str(tmp_path), PYFA_PROVIDER="shader")
    assert (status, errors) == (0, "")
    found = json.loads(text)
    assert found["environment"] == pyfa.info()["environment"] | {
        "SOFTMETAL_CACHE": str(tmp_path),
        "PYFA_PROVIDER": "shader",
    }
    assert found["library_bytes"] == pyfa.library_path.stat().st_size
    if found["device"]["backend"] == "SoftMetal":
        assert found["shader_cache"] == {"directory": str(tmp_path), "files": 1, "bytes": 5}
        assert found["device"]["provider"] == "shader"


@pytest.mark.skipif(pyfa.default_device().info().backend != "SoftMetal", reason="Metal has a cache of its own")
@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_shader_cache_is_where_shaders_are_kept(variable, tmp_path):
    """The library decides where; a compiled kernel tells."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("SOFTMETAL_CACHE", "XDG_CACHE_HOME")
    }
    environment[variable] = str(tmp_path)
    script = """
import numpy as np, pyfa
source = "#include <metal_stdlib>\\nkernel void f(device float *x [[buffer(0)]]) { x[0] = 1; }"
library = pyfa.metal.Library(source, device=pyfa.Device("shader"))
library.kernel("f")({0: np.zeros(1, np.float32)}, threadgroups=1, threads=1)
print(pyfa.info()["shader_cache"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    directory = tmp_path / ("softmetal" if variable == "XDG_CACHE_HOME" else ".cache/softmetal")
    assert f"'directory': '{directory}'" in done.stdout
    assert "'files': 0" not in done.stdout
    assert any(directory.iterdir())


def test_info_on_a_terminal():
    text = on_terminal("info")
    assert "\x1b[" in text
    assert "flash_attn_prefill_f32_d64" in text


# -------------------------------------------------------------------------------------------------------------- explain


def test_explain_is_what_the_function_says(capsys):
    assert _cli.main(["explain", "1x8x128x64", "1x2x300x64", "--causal", "--dtype", "f16", "--softcap", "50"]) == 0
    q, k = np.zeros((1, 8, 128, 64), np.float16), np.zeros((1, 2, 300, 64), np.float16)
    assert capsys.readouterr().out.rstrip() == str(pyfa.explain(q, k, k, causal=True, softcap=50.0))


def test_explain_options(capsys):
    words = ["explain", "1x128x8x64", "1x300x2x64", "--layout", "blhd", "--mask", "bool", "--window", "100,-1"]
    words += ["--sinks", "--lse", "--scale", "0.5", "--q-offset", "7", "--dtype", "bf16", "--json"]
    assert _cli.main(words) == 0
    problem = json.loads(capsys.readouterr().out)["problem"]
    expected = {"layout": "blhd", "mask": "bool", "window": [100, -1], "sinks": True, "scale": 0.5, "q_offset": 7}
    assert problem == problem | expected | {"dtype": "bf16", "q_len": 128, "kv_len": 300, "heads": 8, "kv_heads": 2}


def test_explain_provider(capsys):
    assert _cli.main(["explain", "1x8x9x64", "--provider", "shader", "--json"]) == 0
    with pyfa.Device("shader") as device:
        assert json.loads(capsys.readouterr().out)["provider"] == device.info().provider


def test_explain_a_cache(capsys):
    words = ["explain", "1x4x1x64", "1x2x40x64", "--cache", "tq8", "--window", "15,0", "--sinks", "--json"]
    assert _cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["operation"] == "kv_cache_attend"
    assert found["problem"]["keys"] == "tq8"
    assert found["passes"][0]["kernel"].startswith("flash_attn_decode")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain", "1x8x9x33"], "pyfa: attention: head_dim: expected"),
        (["explain", "1x8x9x64", "1x3x9x64"], "pyfa: attention: k: expected a number of heads"),
        (["explain", "1x8x9x64", "--cache", "tq9"], "pyfa: KVCache: codec: expected one of"),
    ],
)
def test_explain_what_cannot_be(words, said, capsys):
    assert _cli.main(words) == 1
    assert said in capsys.readouterr().err


def test_explain_on_a_terminal():
    text = on_terminal("explain", "1x8x9x64", "--mask", "bool")
    assert "┃" in text
    assert "flash_attn_prefill_f32_d64_boolmask" in text


# ---------------------------------------------------------------------------------------------------------------- bench


def test_bench_writes_and_compares(tmp_path):
    before, after, plot = (tmp_path / name for name in ("before.json", "after.json", "plot.png"))
    words = ["bench", *SMALL, "--dtypes", "f32,bf16", "--peers", "numpy", "--causal", "--json"]
    status, text, errors = run(*words, str(before), "--plot", str(plot))
    assert (status, errors) == (0, "")
    lines = text.splitlines()
    assert sum("1x2x9x64 f32 causal" in line for line in lines) == 1
    assert sum("1x2x9x64 bf16 causal" in line for line in lines) == 1
    assert sum(" numpy " in line for line in lines) == 2
    assert "roof: memory " in text
    assert plot.read_bytes().startswith(b"\x89PNG")
    data = json.loads(before.read_text())
    assert [entry["problem"]["dtype"] for entry in data["results"]] == ["f32", "bf16"]
    for entry in data["results"]:
        assert len(entry["times"]) == 2
        assert entry["flops"] == 4 * 2 * 64 * 45
        for name, time in entry["times"].items():
            assert time["ms"] > 0
            assert entry["difference"][name] <= record.TOLERANCE[entry["problem"]["dtype"]]

    data["results"] = data["results"][:1]
    for time in data["results"][0]["times"].values():
        time["ms"] /= 2
    after.write_text(json.dumps(data))
    status, text, errors = run("bench", "--compare", str(before), str(after))
    assert (status, errors) == (0, "")
    rows = [line for line in text.splitlines() if line.startswith("1x2x9x64")]
    assert len(rows) == 2
    assert all(row.endswith(" 2.00") for row in rows)
    assert f"only in {before}: 2" in text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "results": [{}]}'])
def test_bench_compares_only_its_own_files(content, tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert _cli.main(["bench", "--compare", str(path), str(path)]) == 1
    assert f"pyfa bench: {path}: expected a file that `bench --json` wrote" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--compare", "absent", "absent"], ["--file", "absent.json"], ["--json", "a/b/c"]])
def test_bench_with_files_that_are_not_there(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _cli.main(["bench", *words]) == 1
    assert "pyfa bench: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_bench_of_both_providers(capsys):
    assert _cli.main(["bench", *SMALL, "--providers", "native,shader"]) == 0
    text = capsys.readouterr().out
    for name in ("native", "shader"):
        with pyfa.Device(name) as device:
            assert f"pyfa {device.info().provider} " in text


def test_bench_reads_problems(tmp_path, capsys):
    path = tmp_path / "problems.toml"
    path.write_text('[[problem]]\nname = "one"\nq = [1, 4, 3, 64]\nk = "1x2x9x64"\ndtype = "f16"\nwindow = [4, 0]\n')
    if sys.version_info < (3, 11) and importlib.util.find_spec("tomli") is None:
        pytest.skip("no TOML")
    assert _cli.main(["bench", "--file", str(path), *SMALL[1:]]) == 0
    assert "one 1x4x3x64,1x2x9x64 f16 window 4,0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "problems.json: "),
        ("[]", "expected a list of problems"),
        ("[3]", "problem 1: expected a table, got 3"),
        ('[{"k": [1, 2, 3, 64]}]', "problem 1: expected a shape q, got none"),
        ('[{"q": [1, 2, 3]}]', "problem 1: q: expected 4 integers, got [1, 2, 3]"),
        ('[{"q": [1, 2, 0, 64]}]', "problem 1: q: expected positive extents"),
        ('[{"q": [1, 2, 3, 64], "colour": 1}]', "got colour"),
        ('[{"q": [1, 2, 3, 64], "causal": 1}]', "causal: expected a bool, got 1"),
        ('[{"q": [1, 2, 3, 64], "dtype": "f8"}]', "expected a dtype of f32, f16, bf16, got 'f8'"),
        ('[{"q": [1, 2, 3, 64]}, {"q": [1, 2, 3, 64], "mask": "odd"}]', "problem 2: expected a mask of"),
    ],
)
def test_bench_refuses_a_file(content, said, tmp_path, capsys):
    path = tmp_path / "problems.json"
    path.write_text(content)
    with pytest.raises(SystemExit) as ended:
        _cli.main(["bench", "--file", str(path)])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_bench_names_what_a_peer_needs(capsys, monkeypatch):
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda name: None if name == "onnx" else name)
    assert _cli.main(["bench", *SMALL, "--peers", "numpy,onnxruntime"]) == 1
    assert "pyfa bench: peer onnxruntime needs onnx: pip install onnx\n" in capsys.readouterr().err


def test_bench_tells_a_wrong_result(capsys, monkeypatch):
    monkeypatch.setattr(contenders, "definition", lambda problem, _arrays: np.full(problem.q, 7, np.float32))
    assert _cli.main(["bench", *SMALL]) == 1
    text = capsys.readouterr().out
    assert " WRONG" in text
    assert "wrong result: pyfa " in text


OPTIONS = [
    {},
    {"causal": True},
    {"window": (3, 1)},
    {"window": (3, 2), "causal": True},
    {"window": (-1, 2)},
    {"mask": "bool"},
    {"mask": "additive", "causal": True},
    {"softcap": 2.0},
    {"sinks": True, "causal": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_contenders_agree(options, dtype):
    """All that are installed compute the same, and what they skip they give a reason for."""
    problem = Problem((2, 4, 7, 64), (2, 2, 11, 64), dtype, **options)
    peers = [name for name in contenders.PEERS if not contenders.missing(name)]
    result = record.measure(problem, {"it": pyfa.default_device()}, peers, 1, 1e-4)
    assert not result.wrong, result.difference
    assert {"pyfa it", "numpy"} <= set(result.times)
    assert set(result.times) | set(result.skipped) == {"pyfa it", *peers}


def test_work_of_a_problem():
    q, k = (1, 2, 4, 8), (1, 1, 6, 8)
    assert Problem(q, k).flops == 4 * 2 * 8 * 24
    assert Problem(q, k, causal=True).flops == 4 * 2 * 8 * (3 + 4 + 5 + 6)
    assert Problem(q, k, causal=True, window=(1, 5)).flops == 4 * 2 * 8 * 8
    assert Problem(q, k, "f16", mask="bool").bytes == 2 * (2 * 64 + 2 * 48) + 24
    assert Path(record.__file__).with_name("peak.c").is_file()
