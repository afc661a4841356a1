"""Who may know whom: Package.swift, the imports of Swift files, the includes of C and C++ files."""

import re

import pytest

from tests.drift.conftest import ROOT, without_comments

# Target: the targets it may read. Nothing points upward, and what is not here may not be read.
ALLOWED = {
    "CFlashAttn": set(),
    "CSoftMetal": set(),
    "CFlashAttnCPU": {"CFlashAttn", "CSoftMetal"},
    "SoftMetal": {"CSoftMetal"},
    "FlashAttn": {"CFlashAttn", "CFlashAttnCPU", "SoftMetal"},
    "FlashAttnABI": {"CFlashAttn", "FlashAttn"},
}
# Modules of the system. Foundation is not among them: it would triple the library and its start-up.
SYSTEM_MODULES = {"Darwin", "Dispatch", "Glibc", "Musl", "Synchronization"}
SYSTEM_MODULES_OF = {"FlashAttn": {"Metal"}, "FlashAttnABI": {"Metal"}}

IMPORT = re.compile(
    r"^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:public |package |internal |fileprivate |private )?import "
    r"(?:struct |class |enum |protocol |func |var |let |typealias )?(\w+)",
    re.MULTILINE,
)
INCLUDE = re.compile(r'^\s*#\s*(?:include|import)\s*"([^"]+)"', re.MULTILINE)
NATIVE = ("*.c", "*.cpp", "*.h", "*.hpp", "*.def", "*.inc")


def sources(target, *patterns):
    return sorted(path for pattern in patterns for path in (ROOT / "Sources" / target).rglob(pattern))


def test_package_has_these_targets_and_dependencies():
    text = (ROOT / "Package.swift").read_text(encoding="utf-8")
    rows = {}
    for name, rest in re.findall(r'Row\(name: "(\w+)"([^\n]*)\),\n', text):
        rows[name] = set(re.findall(r'"(\w+)"', rest))
    assert rows == ALLOWED


def test_sources_have_these_targets():
    assert {path.name for path in (ROOT / "Sources").iterdir() if path.is_dir()} == set(ALLOWED)


@pytest.mark.parametrize("target", [name for name in ALLOWED if not name.startswith("C")])
def test_swift_imports(target):
    allowed = ALLOWED[target] | SYSTEM_MODULES | SYSTEM_MODULES_OF.get(target, set())
    files = sources(target, "*.swift")
    assert files
    found = {(path.name, module) for path in files for module in IMPORT.findall(path.read_text(encoding="utf-8"))}
    assert {(name, module) for name, module in found if module not in allowed} == set()


@pytest.mark.parametrize("target", [name for name in ALLOWED if name.startswith("C")])
def test_native_includes(target):
    files = sources(target, *NATIVE)
    assert files
    own = ROOT / "Sources" / target
    # Facts that shaders and C++ share stand with the shaders.
    public = [ROOT / "shaders" / "include", *(ROOT / "Sources" / name / "include" for name in ALLOWED[target])]
    foreign = []
    for path in files:
        for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
            beside = (path.parent / name).resolve()
            places = [beside, own / "include" / name, own / name, *(folder / name for folder in public)]
            home = next((place for place in places if place.is_file()), None)
            if home is None or not any(home.is_relative_to(folder) for folder in (own, *public)):
                foreign.append((path.name, name))
    assert foreign == []


@pytest.mark.parametrize("target", ["SoftMetal", "CSoftMetal"])
def test_software_metal_knows_nothing_of_attention(target):
    word = re.compile(r"attention|attn|softmax|\bfa_|\bcfa_|pyfa", re.IGNORECASE)
    found = {}
    for path in sources(target, "*.swift", *NATIVE):
        hits = word.findall(without_comments(path.read_text(encoding="utf-8")))
        if hits:
            found[path.name] = sorted(set(hits))
    assert found == {}


def test_python_declares_nothing_of_the_interface():
    # flash_attn.h is parsed; a second declaration in Python could only differ from it.
    declaration = re.compile(r"struct c?fa_|enum fa_|\bfa_\w+\s*\*?\w*\([^)]*\);")
    for path in sorted((ROOT / "pyfa").rglob("*.py")):
        assert not declaration.search(path.read_text(encoding="utf-8")), path.name
