"""One run of the demo, from arguments to exit code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyfa.demo._errors import DemoError
from pyfa.demo.attend import ComparedAttention, PyfaAttention
from pyfa.demo.generation import PROMPT, continuations, writer
from pyfa.demo.inputs import DEFAULT_QUERIES, MIN_COSINE, model_directory, read_sentences
from pyfa.demo.model import Attention, Encoder
from pyfa.demo.report import Report
from pyfa.demo.search import Agreement, search
from pyfa.demo.text import Tokens, tokenize

if TYPE_CHECKING:
    import argparse

    from pyfa.demo.layers import Floats


@dataclass
class Corpus:
    """Texts of one run, queries behind sentences, so that both are encoded alike."""

    sentences: list[str]
    queries: list[str]
    tokens: Tokens


def run(arguments: argparse.Namespace) -> int:
    """Encode, search and compare as the arguments say.

    Parameters
    ----------
    arguments : argparse.Namespace
        As `pyfa.demo.cli.parser` makes them.

    Returns
    -------
    int
        0, or 1 if pyfa and NumPy disagree.

    Raises
    ------
    DemoError, LanguageModelError
        For input that cannot be used.
    """
    report = Report()
    sentences = read_sentences(arguments.sentences)
    queries = _queries(arguments.query)
    directory = model_directory(arguments.model)
    encoder = Encoder.load(directory)
    model = writer(arguments.weights) if arguments.generate else None
    tokens = tokenize(directory, sentences + queries, encoder.config.max_tokens)
    corpus = Corpus(sentences, queries, tokens)
    report.opening(directory, encoder.config, len(sentences), arguments.dtype)
    report.truncated([(sentences + queries)[row] for row in tokens.truncated], encoder.config.max_tokens)

    start = time.perf_counter()
    vectors = _encode(encoder, corpus, arguments.batch_size, PyfaAttention(arguments.dtype), report, "pyfa")
    report.encoded(len(tokens.ids), sum(map(len, tokens.ids)), time.perf_counter() - start)
    count = len(sentences)
    answers = search(vectors[:count], vectors[count:], arguments.top)
    report.answers(queries, sentences, answers)

    code = 0
    if arguments.compare:
        compared = ComparedAttention(encoder.config.layers, arguments.dtype)
        plain = _encode(encoder, corpus, arguments.batch_size, compared, report, "pyfa and NumPy")
        agreement = Agreement.of(vectors, plain, count)
        report.comparison(compared)
        report.agreement(agreement, MIN_COSINE)
        code = 0 if agreement.holds(MIN_COSINE) else 1
    if arguments.plot is not None:
        # matplotlib takes longer to load than the search takes to run.
        from pyfa.demo.plot import save_similarity  # noqa: PLC0415

        save_similarity(arguments.plot, sentences, vectors[:count])
        report.saved(arguments.plot)
    if model is not None:
        report.written(PROMPT, continuations(model))
    elif arguments.generate:
        report.no_weights()
    return code


def _encode(
    encoder: Encoder, corpus: Corpus, batch_size: int, attention: Attention, report: Report, label: str
) -> Floats:
    """Embed every text, in the corpus's order, under a progress bar."""
    vectors = np.zeros((len(corpus.tokens.ids), encoder.config.width), dtype=np.float32)
    with report.progress(f"encoding with {label}", len(corpus.tokens.ids)) as advance:
        for batch in corpus.tokens.batches(batch_size):
            vectors[batch.rows] = encoder(batch.ids, batch.mask, attention)
            advance(len(batch.rows))
    return vectors


def _queries(given: list[str] | None) -> list[str]:
    queries = [query.strip() for query in given or DEFAULT_QUERIES]
    if not all(queries):
        raise DemoError("--query: expected some text, got an empty one")
    return queries
