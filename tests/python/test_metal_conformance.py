"""Metal programs give what the language's specification says, under every way of executing them."""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

import pyfa
from tests.msl.conformance import AREAS
from tests.python.shader_devices import CHECKED, SCHEDULES, STRICT, shader_device

PROGRAMS = [program for area in AREAS for program in area.programs]

# What threads do together may depend on who comes first; checks are for memory that they share.
TOGETHER = ("atomics", "matrices", "quadgroups", "simdgroups", "threadgroups")
SHARING = ("atomics", "matrices", "threadgroups")

# Options of a device, and the areas that are run with them.
WAYS = {
    "default": ({}, None),
    "reverse": (SCHEDULES["reverse"], ("lockstep",)),
    "strict-reverse": (STRICT | SCHEDULES["reverse"], TOGETHER),
    "strict-interleaved": (STRICT | SCHEDULES["interleaved"], TOGETHER),
    "strict-checked": (STRICT | CHECKED, SHARING),
}
CASES = [
    (way, program)
    for way, (_, areas) in WAYS.items()
    for program in PROGRAMS
    if areas is None or program.area.name in areas
]


def attempt(make, *arguments, **options):
    """What `make` returns, or raises."""
    try:
        return make(*arguments, **options)
    except pyfa.PyfaError as error:
        return error


def compile_all(area, device, programs):
    """The kernels of an area, or why one could not be made."""
    library = attempt(pyfa.metal.Library, area.source, device=device)
    if isinstance(library, Exception):
        return dict.fromkeys(map(str, programs), library)
    return {str(program): attempt(library.kernel, program.name, program.constants) for program in programs}


@pytest.fixture(scope="module")
def compiled(request):
    """The kernels of all selected programs, compiled side by side: a cold cache is slow enough."""
    wanted = defaultdict(list)
    for item in request.session.items:
        if item.path == request.path and hasattr(item, "callspec"):
            way, program = item.callspec.params["way"], item.callspec.params["program"]
            wanted[way, program.area.name].append(program)
    devices = {way: shader_device(**WAYS[way][0]) for way in {way for way, _ in wanted}}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            (way, area): pool.submit(compile_all, programs[0].area, devices[way], programs)
            for (way, area), programs in wanted.items()
        }


@pytest.mark.parametrize(("way", "program"), CASES, ids=[f"{way}-{program}" for way, program in CASES])
def test_program(way, program, compiled):
    kernel = compiled[way, program.area.name].result()[str(program)]
    if isinstance(kernel, Exception):
        raise kernel
    program.check(kernel)


def test_programs_are_many_and_named_apart():
    assert len(PROGRAMS) >= 150
    assert len({str(program) for program in PROGRAMS}) == len(PROGRAMS)
