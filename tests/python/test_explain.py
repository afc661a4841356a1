"""pyfa.explain, pyfa.info, pyfa.manifest and the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import pyfa
from tests.python import cases, reference


@pytest.mark.parametrize("case", cases.every_pair(cases.FACTORS)[::3], ids=str)
def test_explanation_says_what_runs(case, device):
    q, k, v, options = cases.operands(case)
    report = pyfa.explain(q, k, v, **options, return_lse=case.lse, device=device)
    variant = next(v for v in cases.VARIANTS if v["kernel"] == report.passes[-1].kernel)
    mask = case.mask.split()[0]
    assert (variant["dtype"], variant["head_dim"]) == (case.dtype, case.head_dim)
    assert variant["mask"] == ("bool" if mask == "bool" else "additive")
    problem = report.problem
    assert (problem.batch, problem.heads, problem.kv_heads) == (case.batch, *case.heads)
    assert (problem.q_len, problem.kv_len, problem.head_dim) == (case.q_len, case.kv_len, case.head_dim)
    assert (problem.dtype, problem.layout, problem.mask) == (case.dtype, case.layout, mask)
    assert problem.causal is (case.causal != "full")
    assert problem.q_offset == options.get("q_offset", case.kv_len - case.q_len)
    assert problem.scale == pytest.approx(case.head_dim**-0.5)
    constants = {constant.name: constant.value for constant in report.passes[-1].constants}
    assert constants["has_mask"] is (mask != "none")
    assert constants["do_causal"] is problem.causal
    assert constants["has_lse"] is case.lse
    tile = variant["tile"]
    assert report.passes[-1].threadgroups == (-(-case.q_len // tile["BQ"]), case.heads[0], case.batch)
    assert list(report.passes[-1].threads) == tile["threads"]


def test_explanation_is_of_this_device(qkv, device):
    report, info = pyfa.explain(*qkv, device=device), device.info()
    assert (report.operation, report.device, report.backend) == ("attention", info.name, info.backend)
    assert (report.provider, report.isa) == (info.provider, info.isa)
    assert report.scratch_bytes >= 0


@pytest.mark.parametrize("head_dim", [64, 512])
@pytest.mark.parametrize("dtype", reference.DTYPES)
@pytest.mark.parametrize("length", [5, 300])
def test_every_other_kernel_has_its_reason(rng, length, dtype, head_dim, device):
    q = rng.standard_normal((1, 2, length, head_dim)).astype(reference.DTYPES[dtype])
    report = pyfa.explain(q, q, q, mask=np.ones((length, length), bool), device=device)
    chosen = {step.kernel for step in report.passes}
    others = {entry.kernel for entry in report.rejected}
    rooms = ("flash_attn_prefill", "flash_attn_prefill_d512", "flash_attn_prefill_blk")
    assert chosen.isdisjoint(others)
    assert chosen | others == {variant["kernel"] for room in rooms for variant in cases.ROOMS[room]}
    assert all(entry.reason for entry in report.rejected)
    assert len(chosen) == 1 + (length == 300)


def test_options_are_in_the_report(qkv, device):
    sinks = np.zeros(4, np.float32)
    report = pyfa.explain(*qkv, window=(3, None), softcap=2.5, sinks=sinks, device=device)
    problem = report.problem
    assert (problem.window, problem.softcap, problem.sinks) == ((3, -1), 2.5, True)
    for words in ("window (3, all) at offset 4", "softcap 2.5", "sinks"):
        assert words in str(report)
    constants = {constant.name: constant.value for constant in report.passes[0].constants}
    assert all(constants[name] for name in ("has_window", "has_softcap", "has_sinks"))


def test_report(qkv, device):
    text = str(pyfa.explain(*qkv, causal=True, mask=np.ones((5, 9), bool), device=device))
    for word in ("attention on", "B=1 H=4/2 qL=5 kL=9 D=64 f32", "causal at offset 4", "bool mask", "scale 0.125",
                 "flash_attn_prefill_f32_d64_boolmask", "do_causal[301]=True", "threadgroups of",
                 "not flash_attn_prefill_f32_d64: "):  # fmt: skip
        assert word in text


def test_nothing_is_computed(qkv, device):
    pyfa.reset_counters()
    out = np.full(qkv[0].shape, 7, np.float32)
    pyfa.explain(*qkv, out=out, device=device)
    assert (out == 7).all()
    assert pyfa.counters().dispatches == 0


@pytest.mark.skipif(sys.platform == "darwin", reason="Metal wraps whole pages only")
def test_nothing_is_copied(rng, device):
    q = rng.standard_normal((2, 40, 4, 64), dtype=np.float32).swapaxes(1, 2)
    assert pyfa.explain(q, q, q, device=device).copies == ()
    assert "copies nothing" in str(pyfa.explain(q, q, q, device=device))


def test_manifest():
    room = next(room for room in pyfa.manifest()["rooms"] if room["name"] == "flash_attn_prefill")
    assert {variant["dtype"] for variant in room["variants"]} == set(reference.DTYPES)
    assert pyfa.manifest() is not pyfa.manifest()


def test_info(device):
    info = pyfa.info(device)
    assert info["versions"]["pyfa"] == pyfa.__version__
    assert info["device"]["name"] == device.info().name
    assert info["library"] == str(pyfa.library_path)
    json.dumps(info)


def run(*arguments):
    command = [sys.executable, "-m", "pyfa", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_command_info():
    done = run("info")
    assert (done.returncode, done.stderr) == (0, "")
    for word in (pyfa.__version__, str(pyfa.library_path), "backend", *(v["kernel"] for v in cases.VARIANTS)):
        assert word in done.stdout


def test_command_info_json():
    facts = json.loads(run("info", "--json").stdout)
    assert facts["manifest"] == pyfa.manifest()
    assert facts["versions"] == pyfa.info()["versions"]


@pytest.mark.parametrize("arguments", [(), ("no-such-command",), ("info", "--no-such-option"), ("info", "extra")])
def test_command_usage(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: python -m pyfa" in done.stderr


def test_command_demo_says_what_is_missing():
    script = (
        "import sys; sys.modules['pyfa.demo'] = None; from pyfa.__main__ import main; sys.exit(main(['demo', '--any']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "pip install 'pyfa[demo]'" in done.stderr
