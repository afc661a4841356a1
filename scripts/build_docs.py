"""Write the documentation as HTML: guides (docs/**/*.md), the Python API, the C interface. Works offline.

Usage: python scripts/build_docs.py OUTPUT_DIRECTORY
"""

import html
import re
import shutil
import sys
import warnings
from pathlib import Path

import pdoc
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
HEADERS = ("flash_attn.h", "flash_attn_decode.h", "flash_attn_params.h")
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title} - pyfa</title>
<style>
  body {{ max-width: 52rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }}
  pre {{ overflow-x: auto; padding: .75rem; background: #f4f4f6; }}
  table {{ border-collapse: collapse; }} th, td {{ border: 1px solid #ccc; padding: .25rem .5rem; }}
</style>
<nav><a href="{home}">pyfa</a></nav>
{body}
</html>
"""


def main() -> int:
    """Return 0 when everything was written."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    output = Path(sys.argv[1]).resolve()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)

    pages = [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    titles = {page.relative_to(ROOT): write_page(page, output) for page in pages}
    for name in HEADERS:
        text = (ROOT / "Sources" / "CFlashAttn" / "include" / name).read_text(encoding="utf-8")
        write(output / f"{name}.html", name, f"<h1>{name}</h1><pre>{html.escape(text)}</pre>", output)
    write_python(output / "python")
    write_index(output, titles)
    copied = copy_images(output)
    print(f"{len(titles)} pages, {copied} images, the C interface and the Python API: {output / 'index.html'}")
    return 0


def write_page(source: Path, output: Path) -> str:
    """Render one Markdown file and return its title."""
    text = source.read_text(encoding="utf-8")
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    title = heading.group(1) if heading else source.stem
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    # Links between the files go to their pages.
    body = re.sub(r'href="(?!\w+:)([^"#]+)\.md', r'href="\1.html', body)
    write(output / source.relative_to(ROOT).with_suffix(".html"), title, body, output)
    return title


def write(path: Path, title: str, body: str, output: Path) -> None:
    """Write one page with a link home."""
    path.parent.mkdir(parents=True, exist_ok=True)
    home = "../" * len(path.relative_to(output).parts[:-1]) + "index.html"
    path.write_text(PAGE.format(title=html.escape(title), home=home, body=body), encoding="utf-8")


def write_python(directory: Path) -> None:
    """Render the Python API from its docstrings."""
    # Public things say they live in `pyfa`; where pdoc then does not find a name there, it shows it as written.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pdoc\.")
    pdoc.render.configure(docformat="numpy", show_source=False)
    # The demonstration is a program, not an interface.
    pdoc.pdoc("pyfa", "!pyfa.demo", output_directory=directory)


def copy_images(output: Path) -> int:
    """Copy the pictures that pages show and return how many there are."""
    images = [path for path in (ROOT / "docs").rglob("*") if path.suffix in {".png", ".svg"}]
    for image in images:
        target = output / image.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
    return len(images)


def write_index(output: Path, titles: dict[Path, str]) -> None:
    """Write the table of contents."""
    rows = [
        f'<li><a href="{path.with_suffix(".html")}">{html.escape(title)}</a></li>' for path, title in titles.items()
    ]
    rows += ['<li><a href="python/pyfa.html">Python API</a></li>']
    rows += [f'<li><a href="{name}.html">C: {name}</a></li>' for name in HEADERS]
    write(output / "index.html", "Documentation", f"<h1>pyfa</h1><ul>{''.join(rows)}</ul>", output)


if __name__ == "__main__":
    sys.exit(main())
