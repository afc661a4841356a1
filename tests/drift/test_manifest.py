"""What the library says it dispatches is what the shader text declares."""

import re
import subprocess

import pytest

from tests.drift.conftest import without_comments

DTYPES = {"float": "f32", "half": "f16", "bfloat": "bf16", "uchar": "bool"}

PARAMETER = re.compile(r"(\w+)\s*\[\[buffer\((\d+)\)(?:,\s*function_constant\((\w+)\))?\]\]")
CONSTANT = re.compile(r"constant (\w+) (\w+) \[\[function_constant\((\d+)\)\]\]")
HOST_NAME = re.compile(r'\[\[host_name\(\s*"(\w+)"\)\]\]')
INSTANCE = re.compile(r'\[\[host_name\(\s*"(\w+)"\)\]\]\s+kernel\s+decltype\((\w+)<([^>]*)>\)\s+\2<\3>;')


@pytest.fixture
def shader(root, room, clang, tmp_path):
    """The shader as its compiler sees it: headers of our own included, macros expanded."""
    for source in (root / "shaders").rglob("*.*"):
        # Metal's own headers have nothing to say here.
        for name in re.findall(r"^#include <(\w+)>", source.read_text(encoding="utf-8"), flags=re.MULTILINE):
            (tmp_path / name).touch()
    own = (tmp_path, root / "shaders" / "include", root / "Sources" / "CFlashAttn" / "include")
    command = [clang, "-E", "-P", "-xc++", "-D__METAL_VERSION__=320", *(f"-I{directory}" for directory in own)]
    path = root / "shaders" / room["shader"]
    expanded = subprocess.run([*command, str(path)], check=True, capture_output=True, text=True).stdout
    # Adjacent literals are one.
    return re.sub(r'"\s+"', "", expanded)


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
        threads = r"(?:, max_total_threads_per_threadgroup\(([^\n]*)\))?"
        header = rf"template <([^>]*)>\s*\[\[kernel{threads}\]\] void {function}\("
        parameters, threads = re.search(header, shader).groups()
        names = [re.search(r"(\w+)(?: = (\w+))?$", part.strip()) for part in parameters.split(",")]
        given = [argument.strip() for argument in arguments.split(",")]
        value = {name.group(1): name.group(2) for name in names}
        value |= {name.group(1): argument for name, argument in zip(names, given, strict=False)}
        assert variant["dtype"] == DTYPES[value.get("T", value["M"])]
        if "T" in value:
            assert variant["mask"] == ("additive" if value["M"] == value["T"] else "bool")
        else:
            assert (variant["mask"], variant["head_dim"], variant["tile"]) == (None, None, None)
            continue
        wide, tile = variant["tile"]["threads"], variant["tile"]
        if "D" in value:
            assert variant["head_dim"] == int(value["D"])
            assert tile == {"BQ": int(value["BQ"]), "BK": int(value["BK"]), "threads": [32, int(value["WM"]), 1]}
        else:
            assert variant["head_dim"] == 512
            assert wide == [32, int(threads) // 32, 1]


# By the fields of a row.
NATIVE_HOST_NAMES = {
    "FA_PREFILL": "flash_attn_prefill_{0}_d{1}{3}",
    "FA_PREFILL_D512": "flash_attn_prefill_llamacpp_{0}_d512{2}",
    "FA_BLK": "flash_attn_prefill_blk_{1}",
    "FA_MASK_FILL": "flash_attn_prefill_mask_fill_{1}",
}


def test_native_kernels_stand_in_for_kernels_of_the_manifest(root, manifest):
    text = without_comments((root / "Sources/CFlashAttnCPU/cpu_kernels.def").read_text(encoding="utf-8"))
    variants = {variant["kernel"]: variant for room in manifest["rooms"] for variant in room["variants"]}
    rows = re.findall(r"^(FA_\w+)\((.*)\)", text, flags=re.MULTILINE)
    names = []
    for macro, arguments in rows:
        fields = [field.strip().strip('"') for field in arguments.split(",")]
        names.append(NATIVE_HOST_NAMES[macro].format(*fields))
        variant = variants[names[-1]]
        assert variant["dtype"] == {"boolean": "bool"}.get(fields[0], fields[0])
        if "PREFILL" in macro:
            kind = fields[2] if macro == "FA_PREFILL" else fields[1]
            assert variant["mask"] == {"additive": "additive", "boolean": "bool"}[kind]
        if macro == "FA_PREFILL":
            assert (variant["head_dim"], variant["tile"]["BQ"], variant["tile"]["BK"]) == (
                int(fields[1]), int(fields[4]), int(fields[5]),
            )  # fmt: skip
    assert len(names) == len(set(names))
    assert rows
