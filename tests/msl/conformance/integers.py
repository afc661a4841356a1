"""Integer arithmetic and the integer functions of the standard library."""

# ruff: noqa: ARG001 -- what is expected is told every input, needed or not

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area("integers")
X = np.int32([0, 1, -1, 5, -5, 2**31 - 1, -(2**31), 123456789, -987654321, 255])
Y = np.int32([1, -1, 7, -3, 2**31 - 1, 2**31 - 1, -1, 987654321, -123456789, 17])
U, W = X.view(np.uint32), Y.view(np.uint32)
BYTES = np.uint8([0, 1, 100, 200, 255, 128]), np.uint8([255, 1, 200, 100, 255, 127])
CHARS = np.int8([0, -1, 100, -100, -128, 127]), np.int8([-128, 1, 100, -100, -1, 127])


def wide(*arrays):
    return [array.astype(np.int64) for array in arrays]


def saturate(values, dtype):
    limits = np.iinfo(dtype)
    return np.clip(values, limits.min, limits.max).astype(dtype)


@area.each("uint4", "r = uint4(u + w, u - w, u * w, -u);", u=U, w=W)
def unsigned_arithmetic_wraps(u, w):
    return np.stack([u + w, u - w, u * w, ~u + np.uint32(1)], 1)


@area.each("int2", "r = int2(x / y, x % y);", x=np.int32([7, -7, 7, -7, 0]), y=np.int32([2, 2, -2, -2, 5]))
def division_truncates(x, y):
    return np.int32([[3, 1], [-3, -1], [-3, 1], [3, -1], [0, 0]])


@area.each(
    "uint4",
    "r = uint4(u << (s & 31), u >> s, uint(int(u) >> s), 1u << s);",
    u=U,
    s=np.uint32([0, 1, 31, 8, 16, 4, 3, 30, 2, 5]),
)
def shifts(u, s):
    return np.stack([u << s, u >> s, (u.view(np.int32) >> s.view(np.int32)).view(np.uint32), np.uint32(1) << s], 1)


@area.each("uint2", "r = uint2(u << s, u >> s);", u=U, s=np.uint32([32, 33, 63, 40, 48, 36, 35, 62, 34, 37]))
def shift_counts_are_modulo_the_width(u, s):
    return np.stack([u << (s & 31), u >> (s & 31)], 1)


@area.each("ulong2", "r = ulong2(ulong(u) * ulong(w), ulong(u) + (ulong(w) << 32));", u=U, w=W)
def long_arithmetic(u, w):
    u, w = u.astype(np.uint64), w.astype(np.uint64)
    return np.stack([u * w, u + (w << np.uint64(32))], 1)


@area.each("uint2", "r = uint2(abs(x), abs(short(x)));", x=X[X > -(2**31)])
def absolute(x):
    return np.abs(np.stack([x, x.astype(np.int16)], 1)).astype(np.uint32)


@area.each(
    "uint4",
    "r = uint4(absdiff(x, y), absdiff(u, w), absdiff(char(x), char(y)), absdiff(uchar(x), uchar(y)));",
    x=X,
    y=Y,
    u=U,
    w=W,
)
def absolute_difference(x, y, u, w):
    pairs = [(x, y), (u, w), (x.astype(np.int8), y.astype(np.int8)), (x.astype(np.uint8), y.astype(np.uint8))]
    return np.stack([np.abs(a.astype(np.int64) - b.astype(np.int64)) for a, b in pairs], 1).astype(np.uint32)


@area.each("int2", "r = int2(addsat(x, y), subsat(x, y));", x=X, y=Y)
def saturating_int(x, y):
    a, b = wide(x, y)
    return np.stack([saturate(a + b, np.int32), saturate(a - b, np.int32)], 1)


@area.each("uint2", "r = uint2(addsat(x, y), subsat(x, y));", x=U, y=W)
def saturating_uint(x, y):
    a, b = wide(x, y)
    return np.stack([saturate(a + b, np.uint32), saturate(a - b, np.uint32)], 1)


@area.each("uchar2", "r = uchar2(addsat(x, y), subsat(x, y));", x=BYTES[0], y=BYTES[1])
def saturating_uchar(x, y):
    a, b = wide(x, y)
    return np.stack([saturate(a + b, np.uint8), saturate(a - b, np.uint8)], 1)


@area.each(
    "char2", "r = addsat(char2(x, y), char2(y, x)) - subsat(char2(x), char2(y)) / char2(2);", x=CHARS[0], y=CHARS[1]
)
def saturating_vectors(x, y):
    a, b = wide(x, y)
    half = np.trunc(saturate(a - b, np.int8) / 2)
    return (saturate(a + b, np.int8) - half).astype(np.int64).astype(np.int8).repeat(2).reshape(-1, 2)


@area.each(
    "int4", "r = int4(hadd(x, y), rhadd(x, y), int(hadd(uint(x), uint(y))), int(rhadd(uint(x), uint(y))));", x=X, y=Y
)
def halving_add(x, y):
    a, b = wide(x, y)
    u, w = wide(x.view(np.uint32), y.view(np.uint32))
    return np.stack([(a + b) >> 1, (a + b + 1) >> 1, (u + w) >> 1, (u + w + 1) >> 1], 1).astype(np.int32)


@area.each(
    "int4",
    "r = int4(mulhi(x, y), int(mulhi(uint(x), uint(y))), mulhi(short(x), short(y)), mulhi(uchar(x), uchar(y)));",
    x=X,
    y=Y,
)
def high_half_of_products(x, y):
    a, b = wide(x, y)
    u, w = x.view(np.uint32).astype(np.uint64), y.view(np.uint32).astype(np.uint64)
    s, t = wide(x.astype(np.int16), y.astype(np.int16))
    c, d = wide(x.astype(np.uint8), y.astype(np.uint8))
    return np.stack([(a * b) >> 32, ((u * w) >> np.uint64(32)).view(np.int64), (s * t) >> 16, (c * d) >> 8], 1).astype(
        np.int32
    )


@area.each("int2", "r = int2(madhi(x, y, 5), int(madhi(uint(x), uint(y), 5u)));", x=X, y=Y)
def high_half_of_products_plus(x, y):
    a, b = wide(x, y)
    u, w = x.view(np.uint32).astype(np.uint64), y.view(np.uint32).astype(np.uint64)
    return np.stack([((a * b) >> 32) + 5, ((u * w) >> np.uint64(32)).view(np.int64) + 5], 1).astype(np.int32)


@area.each("int2", "r = int2(madsat(x, y, 7), int(madsat(uint(x), uint(y), 7u)));", x=X, y=Y)
def saturating_multiply_add(x, y):
    a, b = [int(v) for v in x], [int(v) for v in y]
    signed = [max(-(2**31), min(2**31 - 1, p * q + 7)) for p, q in zip(a, b, strict=True)]
    unsigned = [min(2**32 - 1, (p % 2**32) * (q % 2**32) + 7) for p, q in zip(a, b, strict=True)]
    return np.stack([np.int64(signed), np.int64(unsigned)], 1).astype(np.int32)


SMALL = np.int32([0, 1, -1, 1000, -1000, 2**23 - 1, -(2**23), 12345]), np.int32([5, -7, -1, 2000, 3, 255, -1, -678])


@area.each("int2", "r = int2(mul24(x, y), mad24(x, y, 9));", x=SMALL[0], y=SMALL[1])
def products_of_24_bits(x, y):
    return np.stack([x * y, x * y + 9], 1)


@area.each(
    "uint2",
    "r = uint2(rotate(x, y), rotate(uchar(x), uchar(y)));",
    x=U,
    y=np.uint32([0, 1, 31, 32, 33, 7, 8, 16, 20, 100]),
)
def rotation(x, y):
    a = np.array([(int(v) << (int(s) % 32) | int(v) >> (32 - int(s) % 32)) % 2**32 for v, s in zip(x, y, strict=True)])
    b = [((int(v) % 256) << (int(s) % 8) | (int(v) % 256) >> (8 - int(s) % 8)) % 256 for v, s in zip(x, y, strict=True)]
    return np.stack([a, np.array(b)], 1).astype(np.uint32)


@area.each("uint4", "r = uint4(clz(x), ctz(x), popcount(x), clz(ushort(x)));", x=U)
def counting_bits(x):
    texts = [f"{int(v):032b}" for v in x]
    leading = [32 - len(t.lstrip("0")) for t in texts]
    trailing = [32 - len(t.rstrip("0")) for t in texts]
    short = [16 - len(t[16:].lstrip("0")) for t in texts]
    return np.uint32([leading, trailing, [t.count("1") for t in texts], short]).T


@area.each("uint2", "r = uint2(popcount(uchar4(c)).y, ctz(c) + 10 * clz(c));", c=np.uint8([0, 1, 2, 128, 255, 96]))
def counting_bits_of_bytes(c):
    texts = [f"{int(v):08b}" for v in c]
    ends = [8 - len(t.rstrip("0")) + 10 * (8 - len(t.lstrip("0"))) for t in texts]
    return np.uint32([[t.count("1") for t in texts], ends]).T


@area.each("uint2", "r = uint2(reverse_bits(x), reverse_bits(ushort(x)));", x=U)
def reversed_bits(x):
    return np.uint32([[int(f"{int(v):032b}"[::-1], 2), int(f"{int(v) & 0xFFFF:016b}"[::-1], 2)] for v in x])


@area.each(
    "uint4",
    "r = uint4(extract_bits(x, 4, 8), uint(extract_bits(int(x), 4, 8)), extract_bits(x, 0, 32), extract_bits(x, 3, "
    "0));",
    x=U,
)
def bit_fields_read(x):
    field = (x >> 4 & 0xFF).astype(np.uint8)
    return np.stack([field, field.view(np.int8).astype(np.int32).view(np.uint32), x, 0 * x], 1).astype(np.uint32)


@area.each("uint2", "r = uint2(insert_bits(x, y, 4, 8), insert_bits(x, y, 31, 1));", x=U, y=W)
def bit_fields_written(x, y):
    return np.stack([x & ~np.uint32(0xFF0) | (y & 0xFF) << 4, x & np.uint32(0x7FFFFFFF) | y << 31], 1)


@area.each("int4", "r = int4(min(x, y), max(x, y), clamp(x, -100, 100), max(uint(x), uint(y)));", x=X, y=Y)
def least_and_greatest(x, y):
    u = np.maximum(x.view(np.uint32), y.view(np.uint32)).view(np.int32)
    return np.stack([np.minimum(x, y), np.maximum(x, y), np.clip(x, -100, 100), u], 1)


@area.each("int4", "r = int4(min3(x, y, 3), max3(x, y, 3), median3(x, y, 3), median3(x, x, y));", x=X, y=Y)
def of_three(x, y):
    three = np.full_like(x, 3)
    s = np.sort(np.stack([x, y, three]), 0)
    return np.stack([s[0], s[2], s[1], x], 1)


@area.each(
    "short4",
    "short4 a(x, y, x, y), b(3, -3, 7, 100); r = min(a, b) + max(a, b) * short4(2) - clamp(a, short4(-5), short4(5));",
    x=np.int16([1, -1, 50]),
    y=np.int16([200, -300, 0]),
)
def small_vectors(x, y):
    a, b = np.stack([x, y, x, y], 1), np.int16([3, -3, 7, 100])
    return (np.minimum(a, b) + np.maximum(a, b) * np.int16(2) - np.clip(a, -5, 5)).astype(np.int16)


@area.each(
    "uchar",
    "uchar a = x; a += 100; a *= 3; a <<= 1; a ^= 0x55; a -= 7; a |= 1; r = a--; r += a;",
    x=np.uint8([0, 1, 100, 200, 255]),
)
def assignments_to_small_integers(x):
    a = (((x.astype(np.int64) + 100) % 256 * 3) % 256 << 1) % 256
    a = ((a ^ 0x55) - 7) % 256 | 1
    return ((a + a - 1) % 256).astype(np.uint8)


@area.each(
    "int4",
    "int a = x; r.x = a++; r.x += ++a; r.y = a; r.z = (a = 5, a + 1); r.w = x > 0 ? x : -x;",
    x=np.int32([3, -4]),
)
def increments(x):
    return np.stack([x + (x + 2), x + 2, 0 * x + 6, np.abs(x)], 1)
