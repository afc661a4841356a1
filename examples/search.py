"""Find the sentence nearest in meaning. Run: python examples/search.py "what to do with old bread"."""

import sys

import numpy as np

from pyfa.demo.attend import PyfaAttention
from pyfa.demo.inputs import DEFAULT_SENTENCES, model_directory, read_sentences
from pyfa.demo.model import Encoder
from pyfa.demo.text import tokenize

query = " ".join(sys.argv[1:]) or "why do musicians listen to each other?"
sentences = read_sentences(DEFAULT_SENTENCES)

directory = model_directory(None)
encoder = Encoder.load(directory)
tokens = tokenize(directory, [*sentences, query], encoder.config.max_tokens)
vectors = np.empty((len(tokens.ids), encoder.config.width), np.float32)
for batch in tokens.batches(size=32):
    vectors[batch.rows] = encoder(batch.ids, batch.mask, PyfaAttention())

cosines = vectors[:-1] @ vectors[-1]
best = int(np.argmax(cosines))
print(f"{query}\n  {cosines[best]:.3f}  {sentences[best]}")
