"""What the documentation shows is so: its Python runs, its reference is complete, its code is the project's."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

import pyfa

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# What a page may need that is not always installed.
OPTIONAL = ("torch", "mlx", "transformers", "flash_attn", "flashinfer", "jax")
REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "api").glob("*.md")))


def blocks(page):
    """Each block of Python on a page, after as many empty lines as make its errors name the page's own lines."""
    text = page.read_text(encoding="utf-8")
    return ["\n" * text[: match.start(1)].count("\n") + match.group(1) for match in PYTHON.finditer(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_a_page_run(page, tmp_path, monkeypatch):
    """One after the other, in one namespace."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for code in blocks(page):
        for library in re.findall(r"^\s*(?:import|from) (\w+)", code, re.MULTILINE):
            if library in OPTIONAL and importlib.util.find_spec(library) is None:
                pytest.skip(f"{library} is not installed")
        exec(compile(code, str(page), "exec"), names)


def test_there_are_examples():
    assert sum(len(blocks(page)) for page in PAGES) >= 10


@pytest.mark.parametrize("name", pyfa.__all__)
def test_reference_has(name):
    if name in ("metal", "ops", "__version__", "library_path"):
        assert f"`pyfa.{name}`" in REFERENCE
    else:
        assert re.search(rf"^::: pyfa\.[\w.]*\b{name}$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("name", pyfa.ops.__all__)
def test_reference_has_operation(name):
    assert re.search(rf"^::: pyfa\.ops\.[\w.]*\b{name}$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("identifier", re.findall(r"^::: (\S+)$", REFERENCE, re.MULTILINE))
def test_reference_names_what_there_is(identifier):
    module, _, name = identifier.rpartition(".")
    assert getattr(importlib.import_module(module), name).__doc__


def test_struct_of_the_worked_kernel():
    page = (DOCS / "adding_a_kernel.md").read_text(encoding="utf-8")
    (struct,) = re.findall(r"^```c\n(typedef struct .*?)^```", page, re.DOTALL | re.MULTILINE)
    header = (ROOT / "Sources" / "CFlashAttn" / "include" / "flash_attn_params.h").read_text(encoding="utf-8")
    assert struct in header


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_included_files_exist(page):
    for name in re.findall(r'^--8<-- "([^"]+)"', page.read_text(encoding="utf-8"), re.MULTILINE):
        assert (ROOT / name).is_file()


def test_symbols_of_the_swift_catalogue():
    """What the pages name in double backticks is a public declaration."""
    sources = ROOT / "Sources" / "FlashAttn"
    text = "\n".join(page.read_text(encoding="utf-8") for page in (sources / "FlashAttn.docc").glob("*.md"))
    code = "\n".join(file.read_text(encoding="utf-8") for file in sources.rglob("*.swift"))
    symbols = set(re.findall(r"(?<!`)``([A-Z]\w*)(?:/[^`]+)?``(?!`)", text)) - {"FlashAttn"}
    assert len(symbols) > 10
    for symbol in symbols:
        assert re.search(rf"public (?:final )?(?:struct|class|enum|protocol) {symbol}\b", code), symbol
