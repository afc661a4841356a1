"""What the library says it dispatches is what the shader text declares."""

import re

import pytest

from tests.drift.conftest import without_comments

DTYPES = {"float": "f32", "half": "f16", "bfloat": "bf16"}

PARAMETER = re.compile(r"(\w+)\s*\[\[buffer\((\d+)\)(?:,\s*function_constant\((\w+)\))?\]\]")
CONSTANT = re.compile(r"constant (\w+) (\w+) \[\[function_constant\((\d+)\)\]\]")
HOST_NAME = re.compile(r'\[\[host_name\("(\w+)"\)\]\]')
INSTANCE = re.compile(r'\[\[host_name\("(\w+)"\)\]\]\s+kernel\s+decltype\((\w+)<([^>]*)>\)\s+\2<\3>;')


@pytest.fixture
def shader(root, room):
    return without_comments((root / "shaders" / room["shader"]).read_text(encoding="utf-8"))


def pytest_generate_tests(metafunc):
    if "room" in metafunc.fixturenames:
        import json

        from pyfa import _ffi

        rooms = json.loads(_ffi.string(_ffi.lib.fa_manifest_json()))["rooms"]
        metafunc.parametrize("room", rooms, ids=[room["name"] for room in rooms])


def guard_index(shader, guard):
    """Index of the function constant behind a guard: one itself, or one that is computed from it."""
    if not guard:
        return None
    constants = {name: int(index) for _, name, index in CONSTANT.findall(shader)}
    if guard in constants:
        return constants[guard]
    definition = re.search(rf"constant bool {guard} =([^;]*);", shader).group(1)
    used = {constants[word] for word in re.findall(r"\w+", definition) if word in constants}
    assert len(used) == 1, f"{guard} is computed from {used}"
    return used.pop()


def test_rooms_are_the_shaders(root, manifest):
    assert {room["shader"] for room in manifest["rooms"]} == {path.name for path in (root / "shaders").glob("*.metal")}


def test_host_names(room, shader):
    declared = HOST_NAME.findall(shader)
    assert len(declared) == len(set(declared))
    assert {variant["kernel"] for variant in room["variants"]} == set(declared)


def test_slots(room, shader):
    declared = {
        int(slot): (name.lower(), guard_index(shader, guard)) for name, slot, guard in PARAMETER.findall(shader)
    }
    told = {
        item["slot"]: (item["name"].lower(), None if item["when"] == "always" else item["when"])
        for item in room["operands"]
    } | {item["slot"]: (item["name"].lower(), item["constant"]) for item in room["blocks"]}
    assert told == declared


def test_blocks_are_structs_of_the_header(room, shader):
    from pyfa._ffi import ffi

    for block in room["blocks"]:
        assert ffi.sizeof(block["type"]) == block["bytes"]
        assert re.search(rf"constant {block['type']} ?& ?{block['name']}\b", shader)


def test_read_only_operands_are_const(room, shader):
    for operand in room["operands"]:
        declaration = re.search(rf"device (const )?\w+ ?\* ?\w+\s*\[\[buffer\({operand['slot']}\)", shader)
        assert (declaration.group(1) is not None) == (operand["access"] == "read"), operand["name"]


def test_function_constants(room, shader):
    declared = {int(index): name for _, name, index in CONSTANT.findall(shader)}
    assert {constant["index"]: constant["name"] for constant in room["constants"]} == declared


def test_variants_are_what_the_instances_say(room, shader):
    """dtype, head dimension, mask kind and tile of each host name are its template arguments."""
    instances = {host: (function, arguments) for host, function, arguments in INSTANCE.findall(shader)}
    for variant in room["variants"]:
        function, arguments = instances[variant["kernel"]]
        parameters = re.search(rf"template <([^>]*)>\s*\[\[kernel[^\n]*\]\] void {function}\(", shader).group(1)
        names = [re.search(r"(\w+)(?: = (\w+))?$", part.strip()) for part in parameters.split(",")]
        given = [argument.strip() for argument in arguments.split(",")]
        value = {name.group(1): name.group(2) for name in names}
        value |= {name.group(1): argument for name, argument in zip(names, given, strict=False)}
        assert variant["dtype"] == DTYPES[value["T"]]
        assert variant["head_dim"] == int(value["D"])
        assert variant["mask"] == ("additive" if value["M"] == value["T"] else "bool")
        assert variant["tile"] == {
            "BQ": int(value["BQ"]),
            "BK": int(value["BK"]),
            "threads": [32, int(value["WM"]), 1],
        }


def test_native_kernels_stand_in_for_kernels_of_the_manifest(root, manifest):
    text = without_comments((root / "Sources/CFlashAttnCPU/cpu_kernels.def").read_text(encoding="utf-8"))
    rows = re.findall(r'^FA_PREFILL\((\w+), (\d+), (\w+), "(\w*)", (\d+), (\d+)\)', text, flags=re.MULTILINE)
    assert len(rows) == len(re.findall(r"^FA_\w+\(", text, flags=re.MULTILINE)), "a row of a kind unknown here"
    room = next(room for room in manifest["rooms"] if room["name"] == "flash_attn_prefill")
    variants = {variant["kernel"]: variant for variant in room["variants"]}
    for dtype, head_dim, mask, suffix, bq, bk in rows:
        variant = variants[f"flash_attn_prefill_{dtype}_d{head_dim}{suffix}"]
        assert (variant["dtype"], variant["head_dim"]) == (dtype, int(head_dim))
        assert variant["mask"] == {"additive": "additive", "boolean": "bool"}[mask]
        assert (variant["tile"]["BQ"], variant["tile"]["BK"]) == (int(bq), int(bk))
    assert rows
