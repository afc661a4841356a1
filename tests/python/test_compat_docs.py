"""The examples of the pages on other libraries run, each page in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted((DOCS / "compat").glob("*.md"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run_and_print_what_they_say(page, capsys):
    if page.stem == "torch":
        pytest.importorskip("torch")
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    for said in re.findall(r"print\(.*\)  # (.+)", "".join(blocks)):
        assert said in printed


def test_every_page_is_listed():
    overview = (DOCS / "compat.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if f"](compat/{page.name})" not in overview] == []
