"""Programs that Metal's compiler rejects, or that ask for what SoftMetal says it lacks.

A line that ends in ``//!`` is the one that the message must name, and the message must have the given words.
"""

from __future__ import annotations

from tests.msl.refusals import attributes, library, program, types
from tests.msl.refusals.refusal import Refusal

REFUSALS: tuple[Refusal, ...] = (*attributes.REFUSALS, *library.REFUSALS, *program.REFUSALS, *types.REFUSALS)
