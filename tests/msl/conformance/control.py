"""Statements: branches, loops, switches, early return, short circuits, recursion."""

from __future__ import annotations

import numpy as np

from tests.msl.program import Area

area = Area(
    "control",
    """
int count_calls(thread int &calls, int value) { calls++; return value; }
uint factorial(uint n) { return n < 2 ? 1u : n * factorial(n - 1); }
bool is_odd(uint n);
bool is_even(uint n) { return n == 0 ? true : is_odd(n - 1); }
bool is_odd(uint n) { return n == 0 ? false : is_even(n - 1); }
int classify(int x) {
  if (x < 0) return -1;
  if (x == 0) return 0;
  return 1;
}
""",
)
N = np.arange(-8, 24, dtype=np.int32)


@area.each("int", "if (n < 0) r = -1; else if (n < 5) { r = n; if (n == 3) r = 33; } else r = 100 + classify(n);", n=N)
def branches(n):
    return np.where(n < 0, -1, np.where(n < 5, np.where(n == 3, 33, n), 101)).astype(np.int32)


@area.each(
    "int",
    "r = 0; for (int a = 0, b = 10; a < b; a++, b -= 2) { if (a == n) continue; if (a * b > 20 && n > 5) break; "
    "r += a * b; }",
    n=N,
)
def for_loops(n):
    def run(n):
        r, a, b = 0, 0, 10
        while a < b:
            if a != n:
                if a * b > 20 and n > 5:
                    break
                r += a * b
            a, b = a + 1, b - 2
        return r

    return np.int32([run(int(v)) for v in n])


@area.each(
    "int",
    "int m = n; r = 0; while (m > 0) { if (m & 1) { m--; continue; } r++; m /= 2; } do { r += 10; } while (r < 15);",
    n=N,
)
def while_loops(n):
    def run(m):
        r = 0
        while m > 0:
            if m & 1:
                m -= 1
                continue
            r += 1
            m //= 2
        r += 10
        while r < 15:
            r += 10
        return r

    return np.int32([run(int(v)) for v in n])


@area.each(
    "int",
    "r = 0; switch (n) { case -1: r = 5; break; case 0: r += 1; case 1: r += 10; [[fallthrough]]; "
    "case 2: { r += 100; break; } "
    "default: r = -7; case 9: r--; }",
    n=N,
)
def switches(n):
    table = {-1: 5, 0: 111, 1: 110, 2: 100, 9: -1}
    return np.int32([table.get(int(v), -8) for v in n])


@area.each(
    "int",
    "r = 0; for (int a = 0; a < 5; a++) { for (int b = 0; b < 5; b++) { switch (a + b) { case 3: continue; "
    "case 6: break; "
    "default: r++; } if (b > n) break; r += 100; } }",
    n=np.int32([0, 1, 2, 3, 9]),
)
def nested_loops(n):
    def run(n):
        r = 0
        for a in range(5):
            for b in range(5):
                if a + b == 3:
                    continue
                r += a + b != 6
                if b > n:
                    break
                r += 100
        return r

    return np.int32([run(int(v)) for v in n])


@area.each(
    "int",
    "int calls = 0; bool a = n > 0 && count_calls(calls, n) > 3; bool b = n > 10 || count_calls(calls, n) > 5; "
    "int c = a ? count_calls(calls, 7) : 8; r = calls * 1000 + a * 100 + b * 10 + c;",
    n=N,
)
def short_circuits(n):
    a, b = (n > 0) & (n > 3), n > 5
    calls = (n > 0) + (n <= 10).astype(np.int32) + a
    return (calls * 1000 + a * 100 + b * 10 + np.where(a, 7, 8)).astype(np.int32)


@area.kernel(
    """
kernel void early_return(device int *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  out[i] = 1;
  if (i % 3 == 0) return;
  out[i] = 2;
  for (uint k = 0;; k++) {
    if (k == i) return;
    out[i] += 10;
  }
}""",
    ("int", 64),
    threads=64,
)
def early_return():
    i = np.arange(64)
    return np.where(i % 3 == 0, 1, 2 + 10 * i).astype(np.int32)


@area.each("uint2", "r = uint2(factorial(n), is_even(n));", n=np.arange(10, dtype=np.uint32))
def recursion(n):
    return np.uint32([[np.prod(np.arange(1, v + 1)), v % 2 == 0] for v in n])


@area.each("int", "r = n > 5 ? n > 10 ? 3 : 2 : n < 0 ? 0 : 1;", n=N)
def nested_conditionals(n):
    return np.where(n > 5, np.where(n > 10, 3, 2), np.where(n < 0, 0, 1)).astype(np.int32)


@area.each(
    "int",
    "int x = 1; { int x = 2; x += n; r = x; } r += x; for (int x = 0; x < 2; x++) r += x; "
    "if (int y = n & 1) r += y * 1000;",
    n=N,
)
def scopes(n):
    return 2 + n + 1 + 1 + (n & 1) * 1000


@area.each(
    "int",
    'r = 0; _Pragma("unroll") for (int k = 0; k < 4; k++) r += k * n;\n#pragma unroll\nfor (int k = 0; k < 4; '
    "k++) r += 1;\n#pragma unroll(2)\nfor (int k = 0; k < n; k++) r += 2;",
    n=N,
)
def unrolled_loops(n):
    return 6 * n + 4 + 2 * np.maximum(n, 0)


@area.each("int", "r = (n, n + 1, n + 2); r = -+-r; r += !n + !!n; r ^= ~0; r = (r << 1) | 1;", n=N)
def precedence(n):
    return ((n + 2 + 1) ^ ~0) << 1 | 1
