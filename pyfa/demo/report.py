"""What the demo prints."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import pyfa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pyfa._lm.generate import Continuation
    from pyfa.demo.attend import ComparedAttention
    from pyfa.demo.model import Config
    from pyfa.demo.search import Agreement, Answer


class Report:
    """Prints to a console; user text is never read as markup."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def opening(self, directory: Path, config: Config, sentences: int, dtype: str) -> None:
        """Say what is about to run."""
        self._console.print(Text(f"{sentences} sentences, model {directory}", style="dim"), soft_wrap=True)
        shape = f"{config.layers} layers x {config.heads} heads x {config.head_dim}"
        self._console.print(Text(f"attention: {shape}, {dtype}, on {_device()}", style="dim"), soft_wrap=True)

    def truncated(self, texts: Sequence[str], limit: int) -> None:
        """Name the texts that lost their end."""
        if not texts:
            return
        plural = "s were" if len(texts) > 1 else " was"
        self._console.print(f"[yellow]{len(texts)} text{plural} longer than {limit} tokens and cut there:[/]")
        for text in texts[:5]:
            self._console.print(Text(f"  {text[:70]}…", style="yellow"), no_wrap=True, overflow="ellipsis")

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar over `total` texts; the function that is given advances it."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda count: bar.advance(task, count)

    def encoded(self, texts: int, tokens: int, seconds: float) -> None:
        """Report the whole encoding, everything but loading included."""
        self._console.print(
            f"encoded {texts} texts, {tokens} tokens, in {seconds:.2f} s ({texts / seconds:.0f} texts/s)"
        )

    def answers(self, queries: Sequence[str], sentences: Sequence[str], answers: Sequence[Sequence[Answer]]) -> None:
        """List the sentences nearest to each query."""
        table = Table(title="Nearest sentences", title_justify="left", title_style="bold", pad_edge=False)
        table.add_column("query", style="cyan", ratio=2)
        table.add_column("cosine", justify="right")
        table.add_column("sentence", ratio=5)
        for query, found in zip(queries, answers, strict=True):
            for place, (row, cosine) in enumerate(found):
                style = "bold" if place == 0 else ""
                first = Text(query if place == 0 else "")
                last = place == len(found) - 1
                table.add_row(first, f"{cosine:.3f}", Text(sentences[row]), style=style, end_section=last)
        self._console.print(table)

    def comparison(self, compared: ComparedAttention) -> None:
        """Show times and differences layer by layer."""
        title = f"Attention per layer, all batches: pyfa {compared.dtype} against plain NumPy f32"
        table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, show_footer=True)
        ours, theirs = (sum(getattr(entry, name) for entry in compared.times) for name in ("pyfa", "numpy"))
        largest = max(entry.difference for entry in compared.times)
        table.add_column("layer", "all", justify="right")
        table.add_column("pyfa ms", f"{1e3 * ours:.2f}", justify="right")
        table.add_column("NumPy ms", f"{1e3 * theirs:.2f}", justify="right")
        table.add_column("speed-up", f"{theirs / ours:.1f}x", justify="right")
        table.add_column("largest difference", f"{largest:.1e}", justify="right")
        for layer, entry in enumerate(compared.times):
            speed = f"{entry.numpy / entry.pyfa:.1f}x"
            times = f"{1e3 * entry.pyfa:.2f}", f"{1e3 * entry.numpy:.2f}"
            table.add_row(str(layer), *times, speed, f"{entry.difference:.1e}")
        self._console.print(table)
        note = f"Times: median of {compared.repeats} alternating runs of each call, summed over the batches."
        self._console.print(Text(note, style="dim"))

    def agreement(self, agreement: Agreement, min_cosine: float) -> None:
        """Say whether both gave the same result."""
        good = agreement.holds(min_cosine)
        word, style = ("agree", "bold green") if good else ("DISAGREE", "bold red")
        self._console.print(Text.assemble("pyfa and NumPy ", (word, style)))
        self._console.print(f"  first answers equal: {agreement.equal_answers} of {agreement.queries}")
        self._console.print(f"  least cosine between embeddings: {agreement.min_cosine:.7f} (at least {min_cosine})")

    def written(self, prompt: bytes, texts: Mapping[str, Continuation]) -> None:
        """Show what a language model wrote with each codec, and whether it is the same."""
        title = "Text of a small language model of bytes, by codec of its cache"
        table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
        table.add_column("cache", style="cyan")
        table.add_column("bytes/token", justify="right")
        table.add_column("tokens/s", justify="right")
        table.add_column(f"after {prompt.decode()!r}", ratio=1, overflow="fold")
        for codec, text in texts.items():
            rate = (len(text.text) - 1) / text.seconds
            shown = Text(text.text.decode("utf-8", errors="backslashreplace"))
            table.add_row(codec, str(text.bytes_per_token), f"{rate:.0f}", shown, end_section=True)
        self._console.print(table)
        first, *others = texts.items()
        for codec, text in others:
            pairs = zip(text.text, first[1].text, strict=True)
            equal = next((i for i, (a, b) in enumerate(pairs) if a != b), len(text.text))
            same = "the same text" if equal == len(text.text) else f"the same for {equal} of {len(text.text)} bytes"
            self._console.print(f"  {codec} and {first[0]}: {same}")

    def no_weights(self) -> None:
        """Say that the language model does not write."""
        note = "No text from a language model: the installed package has no weights; name a file with --weights."
        self._console.print(Text(note, style="dim"))

    def saved(self, path: Path) -> None:
        """Say where the plot is."""
        self._console.print(Text(f"similarity plot: {path}"), soft_wrap=True)


def _device() -> str:
    info = pyfa.default_device().info()
    # On a Mac the provider says nothing new and there is no instruction set.
    return f"{info.name} ({info.provider} kernels, {info.isa})" if info.isa else info.name
