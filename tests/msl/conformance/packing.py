"""Numbers packed into the bits of an integer, and the way back."""

from __future__ import annotations

import numpy as np

from tests.msl.program import Area, columns, ulps

area = Area("packing")
WORDS = np.uint32([0, ~0 & 0xFFFFFFFF, 0x80818200, 0x7F80FF01, 0x12345678, 0xC0000000, 0x3FF003FF, 0xFEDCBA98])
RANGE = np.linspace(-1.25, 1.25, 41).astype(np.float32)
X = np.stack([RANGE, np.roll(RANGE, 7), -RANGE, np.roll(RANGE, 3)], 1)

# Name, bits of each field from the lowest up, whether they are signed.
FORMATS = (
    ("unorm4x8", (8, 8, 8, 8), False),
    ("snorm4x8", (8, 8, 8, 8), True),
    ("unorm2x16", (16, 16), False),
    ("snorm2x16", (16, 16), True),
    ("unorm10a2", (10, 10, 10, 2), False),
)


def unpacked(words, fields, signed):
    """The true values of all fields."""
    columns, shift = [], 0
    for bits in fields:
        field = (words.astype(np.int64) >> shift) & ((1 << bits) - 1)
        if signed:
            field = np.where(field >> (bits - 1), field - (1 << bits), field)
            columns.append(np.maximum(field / (2.0 ** (bits - 1) - 1), -1.0))
        else:
            columns.append(field / (2.0**bits - 1))
        shift += bits
    return np.stack(columns, 1)


def packed(values, fields, signed):
    """The words with the fields nearest to the values."""
    words, shift = np.zeros(len(values), np.int64), 0
    for column, bits in enumerate(fields):
        most = np.float32((1 << (bits - signed)) - 1)
        field = np.rint(np.clip(values[:, column], -1.0 if signed else 0.0, 1.0).astype(np.float32) * most)
        words |= (field.astype(np.int64) & ((1 << bits) - 1)) << shift
        shift += bits
    return words.astype(np.uint32)


for name, fields, signed in FORMATS:
    n = len(fields)
    area.each(f"float{n}", f"r = unpack_{name}_to_float(w);", w=WORDS, compare=ulps(1), name=f"{name}_to_float")(
        lambda w, fields=fields, signed=signed: unpacked(w, fields, signed)
    )
    area.each(f"half{n}", f"r = unpack_{name}_to_half(w);", w=WORDS, compare=ulps(1), name=f"{name}_to_half")(
        lambda w, fields=fields, signed=signed: unpacked(w, fields, signed)
    )
    area.each("uint", f"r = pack_float_to_{name}(x);", x=np.ascontiguousarray(X[:, :n]), name=f"{name}_from_float")(
        lambda x, fields=fields, signed=signed: packed(x, fields, signed)
    )
    area.each(
        "uint",
        f"r = pack_half_to_{name}(x);",
        x=np.ascontiguousarray(X[:, :n]).astype(np.float16),
        name=f"{name}_from_half",
    )(lambda x, fields=fields, signed=signed: packed(x.astype(np.float32), fields, signed))


@area.each(
    "packed_float3",
    "r = unpack_unorm565_to_float(w) + float3(unpack_unorm565_to_half(w)) * 0.0f;",
    w=WORDS.astype(np.uint16),
    compare=ulps(1),
)
def unpack_565_has_the_first_component_on_top(w):
    return np.stack([(w >> 11) / 31.0, (w >> 5 & 63) / 63.0, (w & 31) / 31.0], 1)


@area.each("uint2", "r = uint2(pack_float_to_unorm565(x), pack_half_to_unorm565(half3(x)));", x=X[:, :3].copy())
def pack_565(x):
    def word(x):
        y = np.clip(x, 0, 1).astype(np.float32)
        r, g, b = (np.rint(y[:, k] * np.float32(most)).astype(np.uint32) for k, most in enumerate((31, 63, 31)))
        return r << 11 | g << 5 | b

    return np.stack([word(x), word(x.astype(np.float16))], 1)


@area.each("float4", "r = unpack_unorm4x8_srgb_to_float(w);", w=WORDS, compare=columns(*[ulps(8)] * 3, ulps(1)))
def unpack_srgb(w):
    v = unpacked(w, (8, 8, 8, 8), False)
    colour = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return np.concatenate([colour[:, :3], v[:, 3:]], 1)


@area.each(
    "uint4",
    "r = uint4(pack_float_to_srgb_unorm4x8(unpack_unorm4x8_srgb_to_float(w)),\n"
    "    pack_half_to_srgb_unorm4x8(half4(1, 0, NAN, 2)),\n"
    "    pack_float_to_unorm4x8(float4(NAN, INFINITY, -INFINITY, 1)), 0);",
    w=WORDS,
)
def srgb_round_trip_and_what_is_out_of_range(w):
    one = np.full_like(w, 0xFF0000FF)
    return np.stack([w, one, np.full_like(w, 0xFF00FF00), np.zeros_like(w)], 1)
