"""``python -m pyfa metal``: what it prints, what it saves and its exit statuses."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from pyfa.__main__ import main

softmetal = pytest.mark.skipif(sys.platform == "darwin", reason="a GPU has no schedules and no checks")

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"
SCALE = """constant float factor [[function_constant(3)]];
constant uint extra [[function_constant(4)]];
constant uint more = is_function_constant_defined(extra) ? extra : 0;
kernel void scale(device float *x [[buffer(0)]], constant uint &count [[buffer(1)]],
                  uint i [[thread_position_in_grid]]) {
  if (i < count) x[i] = x[i] * factor + more;
}
kernel void fill(device VALUE *x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = VALUE(7); }
"""
RACE = """kernel void shift(device float *x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i + 1] = x[i];
}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a file into the current directory, which is a new one."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


@pytest.fixture
def scale(file):
    return file("scale.metal", HEAD + SCALE)


@pytest.fixture
def metal(capsys):
    """Runs a command and returns its status, output and errors."""

    def command(*words):
        try:
            status = main(["metal", *map(str, words)])
        except SystemExit as end:
            status = end.code
        return (status, *capsys.readouterr())

    return command


RUN = ("--grid", 8, "--threads", 4)
SCALED = (*RUN, "--constant", "factor=2", "--buffer", "0=arange:float:8", "--buffer", "1=value:uint:6")

# --------------------------------------------------------------------------------------------------------------- check


def test_check_lists_kernels_constants_and_arguments(metal, scale):
    status, out, err = metal("check", scale, "-D", "VALUE=half")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "scale.metal: kernel fill",
        "  buffer 0 x (read_write)",
        "scale.metal: kernel scale",
        "  constant 3 factor: float, required",
        "  constant 4 extra: uint",
        "  arguments are unknown without factor",
    ]


@pytest.mark.parametrize("constant", ["3=2.5", "factor=2.5"])
def test_check_with_a_constant_knows_the_arguments(metal, scale, constant):
    status, out, _ = metal("check", scale, "-D", "VALUE=half", "--constant", constant)
    assert status == 0
    assert "  buffer 1 count (read)" in out.splitlines()


def test_check_json(metal, scale, file):
    bad = file("bad.metal", HEAD + "kernel void f(device int *x [[buffer(0)]]) { x[0] = y; }\n")
    status, out, _ = metal("check", scale, bad, "-D", "VALUE=int", "--json")
    assert status == 1
    good, bad = json.loads(out)["files"]
    assert good["ok"]
    assert [kernel["name"] for kernel in good["kernels"]] == ["fill", "scale"]
    assert good["kernels"][1]["constants"][0] == {"index": 3, "name": "factor", "type": "float", "required": True}
    assert good["kernels"][1]["arguments"] is None
    assert good["kernels"][0]["arguments"][0]["slot"] == 0
    assert not bad["ok"]
    assert (bad["errors"][0]["file"], bad["errors"][0]["line"]) == ("bad.metal", 3)
    assert bad["errors"][0]["column"] > 40
    assert "'y'" in bad["errors"][0]["text"]


def test_check_names_file_line_and_column(metal, file):
    bad = file('a "b" \\ c.metal', HEAD + "kernel void f(device double *x [[buffer(0)]]) {}\n")
    status, out, _ = metal("check", bad)
    assert status == 1
    assert out.splitlines()[0].startswith(f"{bad}:3:22: error: 'double'")


def test_check_goes_on_after_a_file_with_errors(metal, scale, file):
    status, out, _ = metal("check", file("bad.metal", "int ;;(\n"), scale, "-D", "VALUE=half")
    assert status == 1
    assert "bad.metal:1:" in out
    assert "scale.metal: kernel scale" in out


def test_check_sees_mistakes_that_a_constant_brings(metal, file):
    constants = "constant bool p [[function_constant(0)]];\nconstant bool q [[function_constant(1)]];\n"
    arguments = (
        "device int *x [[buffer(0), function_constant(p)]],\n  device int *y [[buffer(0), function_constant(q)]]"
    )
    name = file("both.metal", f"{HEAD}{constants}kernel void f({arguments}) {{}}\n")
    status, out, _ = metal("check", name, "--constant", "p=true", "--constant", "q=false")
    assert status == 0
    assert "  buffer 0 x (" in out
    status, out, _ = metal("check", name, "--constant", "p=true", "--constant", "q=true")
    assert status == 1
    assert out.splitlines()[-1].startswith("both.metal:6:")
    assert "unknown without" not in out


def test_includes_are_found_beside_the_file_and_in_directories(metal, file):
    file("sub/near.h", '#include "deep.h"\nconstant int near = deep + 1;\n')
    file("sub/deep.h", "constant int deep = 1;\n")
    file("far/far.h", '#include "deep.h"\nconstant int far_away = deep;\n')
    text = '#include "near.h"\n#include "far.h"\n' + HEAD + "kernel void f(device int *x [[buffer(0)]]) {\n"
    name = file("sub/main.metal", text + "  x[0] = near + far_away;\n}\n")
    assert metal("check", name, "-I", "far", "-I", "sub")[0] == 0
    status, out, _ = metal("check", name)
    assert status == 1
    assert out == f"{name}:2:1: error: 'far.h' file not found\n"
    bad = file("sub/bad.metal", text + "  x[0] = near + far_away + nothing;\n}\n")
    status, out, _ = metal("check", bad, "-I", "far", "-I", "sub")
    assert status == 1
    assert out.startswith(f"{bad}:6:28: error: ")


def test_mistakes_in_an_included_file_are_its_own(metal, file):
    file("inc/bad.h", "\nconstant int x = ;\n")
    status, out, _ = metal("check", file("main.metal", '#include "bad.h"\n'), "-I", "inc")
    assert status == 1
    assert out.startswith("inc/bad.h:2:")


def test_a_file_that_includes_itself_ends(metal, file):
    name = file(
        "self.metal", '#include "self.metal"\n' + HEAD + "kernel void f(device int *x [[buffer(0)]]) { x[0] = 1; }"
    )
    assert metal("check", name)[0] == 0


def test_the_librarys_own_headers_keep_line_numbers(metal, file):
    name = file("main.metal", '#include "flash_attn_params.h"\n#error here\n')
    status, out, _ = metal("check", name)
    assert status == 1
    assert out.startswith("main.metal:2:2: error: here")


@pytest.mark.parametrize("command", [("check",), ("run",)])
def test_files_that_cannot_be_read(metal, file, command):
    rest = ("f", *RUN) if command == ("run",) else ()
    cases = {
        "nothing.metal": "nothing.metal: error: No such file",
        file("latin.metal", b"// ok\n// caf\xe9\n"): "latin.metal:2:7: error: expected UTF-8, got byte 0xe9",
        file("nul.metal", b"a\0b"): "nul.metal:1:2: error: expected text, got a NUL",
        ".": ".: error: Is a directory",
    }
    for name, message in cases.items():
        status, out, err = metal(*command, name, *rest)
        assert status == 1
        assert (out + err).startswith(message)


def test_a_byte_order_mark_is_no_mistake(metal, file):
    assert metal("check", file("bom.metal", b"\xef\xbb\xbf" + HEAD.encode()))[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-D", "1x"), "argument -D: expected NAME"),
        (("-D", "A B=1"), "argument -D: expected NAME"),
        (("--constant", "factor"), "expected INDEX=VALUE or NAME=VALUE, got 'factor'"),
        (("--constant", "factor="), "expected INDEX=VALUE or NAME=VALUE"),
        (("--constant", "factor=much"), "factor: expected a number of type float, got 'much'"),
        (("--constant", "extra=-1"), "extra: expected a number of type uint"),
        (("--constant", "absent=1"), "expected a function constant of a kernel, got absent"),
        (("--nothing",), "unrecognized arguments: --nothing"),
    ],
)
def test_check_refuses_options(metal, scale, words, message):
    status, out, err = metal("check", scale, "-D", "VALUE=half", *words)
    assert (status, out) == (2, "")
    assert message in err


# ----------------------------------------------------------------------------------------------------------------- run


def test_run_prints_time_and_what_was_written(metal, scale):
    status, out, err = metal("run", scale, "scale", "-D", "VALUE=half", *SCALED)
    assert (status, err) == (0, "")
    time, *rest = out.splitlines()
    assert time.startswith("scale: ")
    assert time.endswith(" ms")
    assert rest == ["buffer 0 x: float32[8] 0.0 2.0 4.0 6.0 8.0 10.0 6.0 7.0, min 0.0, max 10.0"]


def test_run_repeats_from_the_same_contents(metal, scale):
    status, out, _ = metal("run", scale, "scale", "-D", "VALUE=half", *SCALED, "--repeat", 3, "--constant", "4=1")
    assert status == 0
    assert "in the middle of 3" in out
    assert "float32[8] 1.0 3.0 5.0 7.0 9.0 11.0 6.0 7.0" in out


def test_run_loads_and_saves(metal, scale, rng):
    x = rng.standard_normal((5, 8), dtype=np.float32)
    np.save("x.npy", np.asfortranarray(x))
    words = ("--threadgroups", "2,1,1", "--threads", 20, "--constant", "factor=-3", "--buffer", "1=value:uint:40")
    status, _, _ = metal("run", scale, "scale", "-DVALUE=int", *words, "--buffer", "0=x.npy", "--output", "0=y")
    assert status == 0
    np.testing.assert_array_equal(np.load("y"), x * np.float32(-3))
    np.testing.assert_array_equal(np.load("x.npy"), x)


TYPES = {
    "char": np.int8,
    "uchar": np.uint8,
    "short": np.int16,
    "ushort": np.uint16,
    "int": np.int32,
    "uint": np.uint32,
    "half": np.float16,
    "bfloat": ml_dtypes.bfloat16,
    "float": np.float32,
}


@pytest.mark.parametrize("name", TYPES)
def test_run_has_metals_types(metal, scale, name):
    words = (*RUN, "--buffer", f"0=zeros:{name}:2,4", "--output", "0=out.npy")
    status, out, _ = metal("run", scale, "fill", "-D", f"VALUE={name}", *words)
    assert status == 0
    assert np.dtype(TYPES[name]).name + "[2,4] 7" in out
    saved = np.load("out.npy")
    saved = saved.view(TYPES[name]) if name == "bfloat" else saved
    np.testing.assert_array_equal(saved, np.full((2, 4), 7, TYPES[name]), strict=True)
    if name == "bfloat":
        again = metal("run", scale, "fill", "-DVALUE=bfloat", *RUN, "--buffer", "0=out.npy")
        assert "bfloat16[2,4] 7" in again[1]


def test_run_counts_nan(metal, file):
    name = file("nan.metal", HEAD + "kernel void f(device float *x [[buffer(0)]]) { x[1] = NAN; }\n")
    _, out, _ = metal("run", name, "f", "--grid", 1, "--threads", 1, "--buffer", "0=arange:float:3")
    assert "0.0 nan 2.0, min 0.0, max 2.0, 1 NaN" in out


def test_run_gives_threadgroup_memory(metal, file):
    body = "t[i] = x[i];\n  threadgroup_barrier(mem_flags::mem_threadgroup);\n  x[i] = t[7 - i];"
    head = "kernel void turn(device int *x [[buffer(0)]], threadgroup int *t [[threadgroup(0)]],\n"
    name = file("turn.metal", f"{HEAD}{head}  uint i [[thread_index_in_threadgroup]]) {{\n  {body}\n}}\n")
    words = ("--threadgroups", 1, "--threads", 8, "--buffer", "0=arange:int:8", "--threadgroup-memory", "0=32")
    status, out, _ = metal("run", name, "turn", *words)
    assert status == 0
    assert "int32[8] 7 6 5 4 3 2 1 0, min 0, max 7" in out


STEP = """kernel void step(device int *x [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup int t[8];
  if (i == 0) for (int k = 0; k < 8; k++) t[k] = k;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  int own = t[i];
  t[i + 1] = own;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = t[i];
}
"""


@softmetal
def test_run_takes_mode_and_schedule(metal, file):
    """In lockstep all lanes read before any writes; strictly, one lane after another."""
    name = file("step.metal", HEAD + STEP)
    words = ("run", name, "step", "--threadgroups", 1, "--threads", 7, "--buffer", "0=zeros:int:7", "--mode")
    for order in ("forward", "reverse", "random:1"):
        assert "int32[7] 0 0 1 2 3 4 5, " in metal(*words, "lockstep", "--schedule", order)[1]
    assert "int32[7] 0 0 0 0 0 0 0, " in metal(*words, "strict", "--schedule", "forward")[1]
    assert "int32[7] 0 0 1 2 3 4 5, " in metal(*words, "strict", "--schedule", "reverse")[1]
    seeds = (1, 1, 2, 3)
    random = [metal(*words, "strict", "--schedule", f"random:{seed}")[1].split("x:")[1] for seed in seeds]
    assert random[0] == random[1]
    assert len(set(random)) > 1


@softmetal
def test_run_leaves_to_the_environment_what_it_is_not_told(metal, file, monkeypatch):
    name = file("step.metal", HEAD + STEP)
    words = ("run", name, "step", "--threadgroups", 1, "--threads", 7, "--buffer", "0=zeros:int:7")
    monkeypatch.setenv("SOFTMETAL_MODE", "strict")
    assert "int32[7] 0 0 0 0 0 0 0, " in metal(*words, "--schedule", "forward")[1]
    assert "int32[7] 0 0 1 2 3 4 5, " in metal(*words, "--schedule", "forward", "--mode", "lockstep")[1]


@softmetal
def test_run_prints_findings_one_a_line(metal, file):
    name = file("shift.metal", HEAD + RACE)
    words = ("run", name, "shift", "--threadgroups", 2, "--threads", 4, "--buffer", "0=arange:float:8")
    assert metal(*words)[0] == 0
    status, out, _ = metal(*words, "--check")
    assert status == 1
    assert len(out.splitlines()) >= 2
    assert all(line.startswith("shader check: ") and "shift.metal:4" in line for line in out.splitlines())
    assert "out-of-bounds write" in out
    assert "data race" in out


def test_run_reports_a_compilers_error(metal, file):
    status, _, err = metal("run", file("bad.metal", HEAD + "int f() { return y; }\n"), "f", *RUN)
    assert status == 1
    assert err.startswith("bad.metal:3:18: error: ")


def test_run_without_a_required_constant(metal, scale):
    words = (*RUN, "--buffer", "0=arange:float:8", "--buffer", "1=value:uint:6")
    status, _, err = metal("run", scale, "scale", "-DVALUE=int", *words)
    assert status == 1
    assert "'factor' (index 3)" in err
    assert err.startswith("scale.metal: error: ")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing.npy", "nothing.npy: error: No such file"),
        ("text.npy", "text.npy: error: "),
        ("empty.npy", "empty.npy: error: "),
        ("two.npz", "two.npz: error: expected one array"),
        ("objects.npy", "objects.npy: error: Object arrays"),
        ("double.npy", "expected a dtype that Metal has"),
        ("arange:float:999999999999,999999999999", "buffer 0: error: "),
    ],
)
def test_run_with_arrays_that_cannot_be(metal, scale, file, spec, message):
    file("text.npy", "no array\n")
    file("empty.npy", "")
    np.savez("two.npz", a=np.zeros(1), b=np.zeros(1))
    np.save("objects.npy", np.array([{}], object))
    np.save("double.npy", np.zeros(8))
    status, out, err = metal("run", scale, "fill", "-DVALUE=float", *RUN, "--buffer", f"0={spec}")
    assert (status, out) == (1, "")
    assert message in err


def test_run_says_when_it_cannot_save(metal, scale):
    words = (*RUN, "--buffer", "0=zeros:int:8", "--output", "0=no/such/place.npy")
    status, _, err = metal("run", scale, "fill", "-DVALUE=int", *words)
    assert status == 1
    assert err == "no/such/place.npy: error: No such file or directory\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("scale.metal", "absent", *RUN), "expected a kernel of scale.metal (fill, scale), got 'absent'"),
        (("scale.metal", "fill", "--threads", 4), "one of the arguments --threadgroups --grid is required"),
        (("scale.metal", "fill", *RUN, "--threadgroups", 1), "not allowed with argument --grid"),
        (("scale.metal", "fill", "--grid", 4), "the following arguments are required: --threads"),
        (("scale.metal", "fill", "--grid", "0", "--threads", 1), "argument --grid: expected X, X,Y or X,Y,Z"),
        (("scale.metal", "fill", "--grid", "1,2,3,4", "--threads", 1), "argument --grid: expected X, X,Y or X,Y,Z"),
        (("scale.metal", "fill", "--grid", "²", "--threads", 1), "argument --grid: expected X, X,Y or X,Y,Z"),
        (("scale.metal", "fill", *RUN), "expected slots 0 of fill, got none"),
        (("scale.metal", "fill", *RUN, "--buffer", "0=zeros:int:8", "--buffer", "5=value:int:1"), "got 0, 5"),
        (("scale.metal", "fill", *RUN, "--buffer", "0=zeros:int:8", "--buffer", "0=zeros:int:8"), "each slot once"),
        (("scale.metal", "fill", *RUN, "--buffer", "x=zeros:int:8"), "argument --buffer: expected SLOT="),
        (("scale.metal", "fill", *RUN, "--buffer", "0=zeros:int"), "expected zeros:TYPE:SHAPE, got 'zeros:int'"),
        (("scale.metal", "fill", *RUN, "--buffer", "0=zeros:double:8"), "expected a type of Metal"),
        (("scale.metal", "fill", *RUN, "--buffer", "0=zeros:int:0"), "expected a shape"),
        (("scale.metal", "fill", *RUN, "--buffer", "0=value:uchar:256"), "expected a number of type uchar (0 … 255)"),
        (("scale.metal", "fill", *RUN, "--buffer", "0=value:half:1e6"), "which is beyond it"),
        (("scale.metal", "fill", *RUN, "--buffer", "0=value:bool:2"), "expected true, false, 1 or 0, got '2'"),
        (("scale.metal", "fill", *RUN, "--output", "0=y.npy"), "expected a slot that --buffer gives memory, got 0"),
        (("scale.metal", "fill", *RUN, "--output", "0"), "argument --output: expected SLOT=FILE"),
        (("scale.metal", "fill", *RUN, "--threadgroup-memory", "0=x"), "expected SLOT=BYTES"),
        (("scale.metal", "fill", *RUN, "--mode", "loose"), "argument --mode: invalid choice"),
        (("scale.metal", "fill", *RUN, "--schedule", "reverse:1"), "argument --schedule: expected forward"),
        (("scale.metal", "fill", *RUN, "--schedule", "random:x"), "argument --schedule: expected forward"),
        (("scale.metal", "fill", *RUN, "--repeat", 0), "argument --repeat: expected a number of 1"),
        (("scale.metal", "fill", *RUN, "--constant", "factor=1"), "expected a constant of fill, got factor"),
    ],
)
@pytest.mark.usefixtures("scale")
def test_run_refuses_command_lines(metal, words, message):
    status, out, err = metal("run", *words, "-D", "VALUE=int")
    assert (status, out) == (2, "")
    assert message in err


# ------------------------------------------------------------------------------------------------------------- process


@pytest.mark.parametrize("words", [(), ("check",), ("run",)])
def test_help(metal, words):
    status, out, _ = metal(*words, "--help")
    assert status == 0
    assert f"usage: {' '.join(('python -m pyfa metal', *words))}" in out
    assert ("examples:" in out) == bool(words)


COMMAND = (sys.executable, "-m", "pyfa", "metal", "check", "scale.metal", "-DVALUE=int")


def test_a_pipe_gets_lines_without_colour(scale):
    done = subprocess.run(COMMAND, capture_output=True, check=False, text=True, env=os.environ | {"FORCE_COLOR": "1"})
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith(f"{scale}: kernel fill\n")


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are UTF-8 there")
def test_a_file_whose_name_is_in_no_encoding(scale):
    name = os.fsdecode(b"caf\xe9.metal")
    Path(scale).rename(name)
    words = [*COMMAND[:-2], name, COMMAND[-1]]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"caf\\udce9.metal: kernel fill\n")


def test_a_name_that_no_file_can_have(metal, scale):
    assert metal("check", "a\0b")[0] == 1
    words = (*RUN, "--buffer", "0=zeros:int:8", "--output", "0=a\0b")
    status, _, err = metal("run", scale, "fill", "-DVALUE=int", *words)
    assert status == 1
    assert "error: embedded null byte" in err


@pytest.mark.usefixtures("scale")
def test_a_reader_that_leaves_is_no_traceback():
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_terminal_gets_a_table(scale):
    pytest.importorskip("rich")
    leader, follower = pty.openpty()
    with subprocess.Popen(COMMAND, stdout=follower, env=os.environ | {"COLUMNS": "100", "TERM": "xterm"}) as process:
        os.close(follower)
        output = b""
        try:
            while data := os.read(leader, 4096):
                output += data
        except OSError:  # how Linux says that the other side is closed
            pass
    os.close(leader)
    assert process.returncode == 0
    assert "┃" in output.decode()
    assert scale in output.decode()
    assert "3 factor: float, required" in output.decode()
