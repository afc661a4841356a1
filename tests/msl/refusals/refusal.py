"""One program that must not compile."""

from __future__ import annotations

from dataclasses import dataclass

MARK = "//!"
_TOP = "#include <metal_stdlib>\nusing namespace metal;\n"


@dataclass(frozen=True)
class Refusal:
    """A source, and what the message about it must have; an empty word asks for the line alone."""

    name: str
    word: str
    source: str

    @property
    def line(self) -> int:
        """The line at fault."""
        (line,) = [number for number, text in enumerate(self.source.split("\n"), 1) if text.rstrip().endswith(MARK)]
        return line

    def __str__(self) -> str:
        return self.name


def whole(name: str, word: str, text: str) -> Refusal:
    """A source as it is."""
    return Refusal(name, word, text)


def text(name: str, word: str, text: str) -> Refusal:
    """A source below the usual first lines."""
    return Refusal(name, word, _TOP + text)


def body(name: str, word: str, statements: str, before: str = "") -> Refusal:
    """Statements in a kernel that has a buffer of floats, and one of ints to write to."""
    return Refusal(
        name,
        word,
        f"{_TOP}{before}\nkernel void k(device float *x [[buffer(0)]], device int *out [[buffer(1)]],\n"
        f"              uint i [[thread_position_in_grid]]) {{\n  float y = x[i];\n{statements}\n  x[i] = y;\n}}\n",
    )


def signature(name: str, word: str, parameters: str, before: str = "kernel void") -> Refusal:
    """A kernel without statements, its parameters on lines of their own."""
    return Refusal(name, word, f"{_TOP}{before} k(\n{parameters}\n) {{\n}}\n")
