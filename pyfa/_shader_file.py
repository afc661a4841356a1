"""A shader's file as one text: its quoted includes in place, and where each line came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]+)"')
# Stands for a file in `#line`, so that any file name will do and any directory gives the same text.
_ALIAS = re.compile(r"\bpyfa_shader_file_(\d+)\b")
_MISSING = re.compile(r"program_source:\d+:\d+: (error: '([^']+)' file not found)")


class ShaderFileError(Exception):
    """A file that cannot be read; the message is a compiler's line."""


@dataclass
class ShaderFile:
    """A file and what it includes.

    Parameters
    ----------
    path : str
        The file.
    directories : sequence of str
        Where to look for an included file that is not beside the one that includes it. What is not there either is
        left to the library, which has its own headers.

    Raises
    ------
    ShaderFileError
        A file that is not there, or no text.
    """

    path: str
    directories: Sequence[str] = ()
    text: str = field(init=False, default="")
    _files: list[str] = field(init=False, default_factory=list)
    _left: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        lines: list[str] = []
        self._append(Path(self.path), self.path, lines, set())
        self.text = "\n".join(lines) + "\n"

    def restore(self, message: str) -> str:
        """Name the files that a message of the library means."""
        message = _MISSING.sub(lambda match: f"{self._left.get(match[2], f'{self.path}:1:1')}: {match[1]}", message)
        message = _ALIAS.sub(lambda match: self._name(int(match[1]), match[0]), message)
        return message.replace("program_source", self.path)

    def _name(self, number: int, otherwise: str) -> str:
        return self._files[number] if number < len(self._files) else otherwise

    def _append(self, path: Path, name: str, lines: list[str], seen: set[Path]) -> None:
        """Add a file's lines; like the library's own headers, a file is included once."""
        content = _read(path, name)
        seen.add(path.resolve())
        alias = f"pyfa_shader_file_{len(self._files)}"
        self._files.append(name)
        lines.append(f'#line 1 "{alias}"')
        for number, line in enumerate(content.split("\n"), 1):
            match = _INCLUDE.match(line)
            if match is None:
                lines.append(line)
                continue
            found = self._find(match[1], path)
            if found is None:
                self._left.setdefault(match[1], f"{name}:{number}:1")
                lines.append(line)
            elif found.resolve() not in seen:
                self._append(found, str(found), lines, seen)
            lines.append(f'#line {number + 1} "{alias}"')

    def _find(self, name: str, origin: Path) -> Path | None:
        places = (origin.parent, *map(Path, self.directories))
        return next((place / name for place in places if (place / name).is_file()), None)


def _read(path: Path, name: str) -> str:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        what = (error.strerror if isinstance(error, OSError) else None) or error
        raise ShaderFileError(f"{name}: error: {what}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"expected UTF-8, got byte 0x{data[error.start]:02x}"
        raise ShaderFileError(f"{_place(name, data, error.start)}: error: {what}") from None
    if "\0" in text:
        raise ShaderFileError(f"{_place(name, data, data.index(0))}: error: expected text, got a NUL")
    return text


def _place(name: str, data: bytes, offset: int) -> str:
    return f"{name}:{data.count(10, 0, offset) + 1}:{offset - data.rfind(10, 0, offset)}"
