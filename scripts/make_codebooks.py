"""Compute the code tables of the KV codec and write shaders/include/codebook.h; with ``--check``, only compare.

Version 2 tables are the Lloyd-Max quantisers of a standard normal variable: every centroid is the mean of its cell,
and cells meet half-way between centroids. Newton's method finds them; Lloyd's own iteration would need 10^5 steps at
8 bits. Version 1 tables are facts, kept in codebooks_v1.json.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import pathlib
import sys
import zlib

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / "shaders" / "include" / "codebook.h"
FACTS = pathlib.Path(__file__).with_name("codebooks_v1.json")

WIDTHS = range(2, 9)
TOLERANCE = 1e-12
"""How far a centroid may be from its cell's mean before it is rounded to float."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


def density(x: Array) -> Array:
    """Return the density of the standard normal distribution."""
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def cells(centroids: Array) -> tuple[Array, Array, Array]:
    """Return borders, probabilities and means of the cells of a table's positive half.

    Quadrature of the distance from a cell's middle keeps all digits, where the difference of two densities would not.
    """
    borders = np.concatenate([[0.0], 0.5 * (centroids[1:] + centroids[:-1])])
    middle, half = 0.5 * (borders[1:] + borders[:-1]), 0.5 * (borders[1:] - borders[:-1])
    distance = half[:, None] * _NODES
    mass = density(middle[:, None] + distance) * _WEIGHTS * half[:, None]
    probability = mass.sum(axis=1)
    mean = middle + (mass * distance).sum(axis=1) / probability
    tail = 0.5 * math.erfc(borders[-1] / math.sqrt(2))
    probability = np.append(probability, tail)
    mean = np.append(mean, density(borders[-1:]) / tail)
    return borders, probability, mean


def residual(centroids: Array) -> float:
    """Return the largest distance between a centroid and its cell's mean."""
    return float(np.abs(centroids - cells(centroids)[2]).max())


@functools.cache
def solve(bits: int) -> tuple[float, ...]:
    """Return the positive half of the Lloyd-Max table of 2^bits values, in float64."""
    count = 2 ** (bits - 1)
    # The best density of centroids is the cube root of the variable's: again a normal one, sqrt(3) as wide.
    quantiles = 0.5 + (np.arange(count) + 0.5) / (2 * count)
    centroids = math.sqrt(3) * np.array([_normal_quantile(q) for q in quantiles])
    for _ in range(50):
        borders, probability, mean = cells(centroids)
        if np.abs(centroids - mean).max() < TOLERANCE / 10:
            return tuple(map(float, centroids))
        # How a mean moves with its cell's lower and upper border; a border moves half as far as a neighbour does.
        height = density(borders)
        lower = 0.5 * height * (mean - borders) / probability
        upper = np.append(0.5 * height[1:] * (borders[1:] - mean[:-1]) / probability[:-1], 0.0)
        lower[0] = 0.0  # the border at 0 stays
        jacobian = np.diag(1.0 - lower - upper) - np.diag(lower[1:], -1) - np.diag(upper[:-1], 1)
        centroids = centroids - np.linalg.solve(jacobian, centroids - mean)
    raise ArithmeticError(f"no table of {bits} bits after 50 steps: residual {residual(centroids):.3g}")


def _normal_quantile(probability: float) -> float:
    """Return the value below which a standard normal variable is with the given probability, by bisection."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if 0.5 * math.erfc(-middle / math.sqrt(2)) < probability else (low, middle)
    return low


def mirrored(half: Array) -> Array:
    """Return the whole of a symmetric table, ascending, from its positive half."""
    return np.concatenate([-half[::-1], half])


def mean_squared_error(centroids: Array) -> float:
    """Return the mean squared error of coding a standard normal variable, integrated cell by cell."""
    half = centroids[len(centroids) // 2 :].astype(np.float64)
    _, probability, mean = cells(half)
    # E (x - c)^2 = E x^2 - 2 c E x + c^2 over each cell, and E x^2 sums to 1 over both halves.
    return float(1.0 + 2.0 * (probability * half * (half - 2.0 * mean)).sum())


@functools.cache
def tables() -> dict[str, npt.NDArray[np.float32]]:
    """Return the centroids of every table by name, ascending."""
    found = {f"tq{bits}": mirrored(np.array(solve(bits))).astype(np.float32) for bits in WIDTHS}
    for bits, half in json.loads(FACTS.read_text(encoding="utf-8")).items():
        found["tq4_v1" if bits == "4" else f"tq_hb{bits}"] = mirrored(np.array(half)).astype(np.float32)
    return found


def boundaries(centroids: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the floats nearest to the middles between neighbouring centroids."""
    wide = centroids.astype(np.float64)
    return (0.5 * (wide[1:] + wide[:-1])).astype(np.float32)


def checksum(centroids: npt.NDArray[np.float32]) -> int:
    """Return the CRC-32 of a table's centroids as little-endian floats."""
    return zlib.crc32(centroids.astype("<f4").tobytes())


def header() -> str:
    """Return the text of codebook.h."""
    lines = [
        "// Code tables of the KV codec (docs/codec.md). Written by scripts/make_codebooks.py; do not edit.",
        "//",
        "// Centroids ascend; boundary i is the float nearest to the middle between centroids i and i + 1. The code of",
        "// a value is the number of boundaries below it. FA_CRC32_* are checksums of the centroids as little-endian",
        "// floats.",
        "#ifndef FA_CODEBOOK_H",
        "#define FA_CODEBOOK_H",
        "",
        "#ifdef __METAL_VERSION__",
        "#define FA_TABLE constant",
        "#else",
        "#define FA_TABLE static const",
        "#endif",
        "",
        "// clang-format off: eight columns",
    ]
    for name, centroids in tables().items():
        lines += ["", f"#define FA_CRC32_{name.upper()} 0x{checksum(centroids):08x}u"]
        for kind, values in (("centroids", centroids), ("boundaries", boundaries(centroids))):
            lines.append(f"FA_TABLE float fa_{name}_{kind}[{len(values)}] = {{")
            texts = [_literal(value) for value in values]
            lines += ["    " + ", ".join(texts[i : i + 8]) + "," for i in range(0, len(texts), 8)]
            lines.append("};")
    return "\n".join([*lines, "// clang-format on", "", "#endif", ""])


def _literal(value: np.float32) -> str:
    """Return a float as C writes it: nine digits tell any float from its neighbours."""
    text = f"{float(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def main() -> int:
    """Rewrite or check the header; return 1 if a check finds it out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        same = HEADER.read_text(encoding="utf-8") == header()
        if not same:
            sys.stderr.write("shaders/include/codebook.h is out of date; run scripts/make_codebooks.py\n")
        return int(not same)
    HEADER.write_text(header(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
