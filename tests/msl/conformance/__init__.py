"""Small Metal programs by area, each with what it must give."""

from tests.msl.conformance import (
    atomics,
    builtins,
    common,
    control,
    conversions,
    function_constants,
    integers,
    language,
    layout,
    math,
    matrices,
    quadgroups,
    simdgroups,
    small_floats,
    threadgroups,
    vectors,
)
from tests.msl.program import Area

MODULES = (
    atomics,
    builtins,
    common,
    control,
    conversions,
    function_constants,
    integers,
    language,
    layout,
    math,
    matrices,
    quadgroups,
    simdgroups,
    small_floats,
    threadgroups,
    vectors,
)
AREAS = tuple(value for module in MODULES for value in vars(module).values() if isinstance(value, Area))
