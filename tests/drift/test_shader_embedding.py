"""The shaders in the library are the files in the tree."""

import subprocess

import cffi
import pytest


@pytest.fixture(scope="module")
def embedded(root, clang, tmp_path_factory):
    """Compile shaders.c by itself: the library keeps its table to itself."""
    sources = root / "Sources" / "CFlashAttn"
    shared = tmp_path_factory.mktemp("shaders") / "shaders.so"
    flags = ["-std=c17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{sources / 'include'}"]
    subprocess.run([clang, *flags, "-o", str(shared), str(sources / "shaders.c")], check=True)
    ffi = cffi.FFI()
    ffi.cdef(
        "typedef struct { const char *name; const char *text; } cfa_shader_file;"
        "const cfa_shader_file *cfa_shader_files(uint32_t *count);"
    )
    library = ffi.dlopen(str(shared))
    count = ffi.new("uint32_t *")
    table = library.cfa_shader_files(count)
    return [(ffi.string(table[i].name).decode(), ffi.string(table[i].text)) for i in range(count[0])]


def test_embedded_files_are_the_directory(root, embedded):
    files = [path for path in (root / "shaders").rglob("*") if path.is_file()]
    files.append(root / "Sources/CFlashAttn/include/flash_attn_params.h")
    # Compared as sorted lists: a name that comes twice would shadow a file.
    assert sorted(name for name, _ in embedded) == sorted(path.name for path in files)
    texts = dict(embedded)
    for path in files:
        assert texts[path.name] == path.read_bytes(), path.name
