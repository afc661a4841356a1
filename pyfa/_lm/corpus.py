"""The source of Python's standard library as text: what the model learned, and what it has never seen.

Which modules are held out depends on their names alone, so every version of Python holds out the same ones.
"""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path

from pyfa._lm._errors import LanguageModelError

HELD_OUT_OF = 20
"""One module in so many is held out."""
EXCLUDED = frozenset({"site-packages", "dist-packages", "idlelib", "test", "tests", "encodings", "pydoc_data"})
"""Directories: other people's code, tests, and generated tables."""


def is_held_out(name: str) -> bool:
    """Whether a module, by its path such as ``"json/decoder.py"``, is kept from training."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % HELD_OUT_OF == 0


def modules(*, held_out: bool, root: Path | None = None) -> dict[str, bytes]:
    """Read modules of the standard library.

    Parameters
    ----------
    held_out : bool
        Those that are kept from training, or all the others.
    root : Path, optional
        Directory of the library; the running Python's by default.

    Returns
    -------
    dict of str to bytes
        Source by path, in the order of a hash of the paths: neighbours have little to do with each other.

    Raises
    ------
    LanguageModelError
        If there is no source.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    names = (path.relative_to(root) for path in root.rglob("*.py"))
    # _sysconfigdata says where this Python was built, and so do the directories config-*.
    chosen = [
        name.as_posix()
        for name in names
        if not EXCLUDED.intersection(name.parts[:-1])
        and not name.parts[0].startswith(("config-", "_sysconfigdata"))
        and is_held_out(name.as_posix()) == held_out
    ]
    chosen.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    try:
        found = {name: (root / name).read_bytes() for name in chosen}
    except OSError as error:
        raise LanguageModelError(f"the standard library's source cannot be read: {error}") from error
    if not any(found.values()):
        raise LanguageModelError(f"no source of the standard library in {root}")
    return found
