"""What the documentation site takes from elsewhere: the table of kernels, the C headers, pages that are found.

MkDocs calls these functions by name; `make docs` runs it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from kernel_table import table  # noqa: E402  # beside this file

from pyfa._declarations import interface_headers  # noqa: E402

KERNELS = "<!-- the table of kernels -->"
HEADERS = "<!-- the C headers -->"
# Pages for those who come from another library.
ADAPTERS = ("compat", "transformers")


def on_config(config: Any) -> Any:
    """Give pages that the navigation does not list a place: adapters a section, others among the guides."""
    docs = Path(config.docs_dir)
    listed = set(re.findall(r"[\w./-]+\.md", str(config.nav)))
    found = {str(page.relative_to(docs)) for page in [*docs.glob("*.md"), *docs.glob("compat/*.md")]} - listed
    adapters = sorted(page for page in found if page.startswith(ADAPTERS))
    if adapters:
        config.nav.insert(1, {"Coming from": adapters})
    guides = next(section["Guides"] for section in config.nav if "Guides" in section)
    guides.extend(sorted(found - set(adapters)))
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write what pages ask for."""
    if KERNELS in markdown:
        markdown = markdown.replace(KERNELS, table())
    if HEADERS in markdown:
        markdown = markdown.replace(HEADERS, _headers())
    return markdown


def _headers() -> str:
    files = interface_headers(ROOT / "Sources" / "CFlashAttn" / "include")
    return "\n\n".join(f"## {file.name}\n\n```c\n{file.read_text(encoding='utf-8').rstrip()}\n```" for file in files)
