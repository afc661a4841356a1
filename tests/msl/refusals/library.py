"""Refused: functions of the standard library called as they are not."""

from __future__ import annotations

from tests.msl.refusals.refusal import body

REFUSALS = (
    body("simd_sum of bool", "simd_sum", "  bool b = y > 0;\n  y = simd_sum(b); //!"),
    body("simd_sum of long", "simd_sum", "  long b = i;\n  y = simd_sum(b); //!"),
    body("simd_max of ulong", "simd_max", "  ulong b = i;\n  y = simd_max(b); //!"),
    body("simd_shuffle of ulong", "simd_shuffle", "  ulong b = i;\n  y = simd_shuffle(b, 1); //!"),
    body("simd_and of float", "simd_and", "  y = simd_and(y); //!"),
    body("simd_prefix of bool", "simd_prefix_inclusive_sum", "  y = simd_prefix_inclusive_sum(y > 0); //!"),
    body("quad_sum of bool", "quad_sum", "  y = quad_sum(y > 0); //!"),
    body("shuffle without lane", "simd_shuffle", "  y = simd_shuffle(y); //!"),
    body("exp of bfloat", "exp", "  bfloat b = bfloat(y);\n  y = exp(b); //!"),
    body("sqrt of bfloat", "sqrt", "  bfloat b = bfloat(y);\n  y = sqrt(b); //!"),
    body("clamp of one argument", "clamp", "  y = clamp(y); //!"),
    body("fma of two arguments", "fma", "  y = fma(y, y); //!"),
    body("dot of several widths", "dot", "  y = dot(float3(y), float4(y)); //!"),
    body("cross of two components", "cross", "  y = cross(float2(y), float2(y)).x; //!"),
    body("popcount of float", "popcount", "  y = popcount(y); //!"),
    body(
        "strong compare-exchange",
        "atomic_compare_exchange_strong_explicit",
        "  device atomic_int *a = (device atomic_int *)out;\n  int e = 0;\n"
        "  y = atomic_compare_exchange_strong_explicit(a, &e, 1, memory_order_relaxed, memory_order_relaxed); //!",
    ),
    body(
        "atomic of a plain int",
        "atomic_fetch_add_explicit",
        "  atomic_fetch_add_explicit(out, 1, memory_order_relaxed); //!",
    ),
    body(
        "atomic maximum of float",
        "atomic_fetch_max_explicit",
        "  device atomic_float *a = (device atomic_float *)x;\n"
        "  atomic_fetch_max_explicit(a, 1.0f, memory_order_relaxed); //!",
    ),
    body(
        "atomic without order",
        "atomic_store_explicit",
        "  device atomic_int *a = (device atomic_int *)out;\n  atomic_store_explicit(a, 1); //!",
    ),
    body("arithmetic of an atomic", "", "  device atomic_int *a = (device atomic_int *)out;\n  *a += 1; //!"),
    body("matrix of int", "simdgroup_matrix", "  simdgroup_matrix<int, 8, 8> m; //!\n  y = 1;"),
    body("matrix of four rows", "simdgroup_matrix", "  simdgroup_matrix<float, 4, 4> m; //!\n  y = 1;"),
    body("matrix loaded from another type", "simdgroup_load", "  simdgroup_half8x8 m;\n  simdgroup_load(m, x); //!"),
    body("matrix stored as another type", "simdgroup_store", "  simdgroup_float8x8 m;\n  simdgroup_store(m, out); //!"),
    body("barrier without flags", "threadgroup_barrier", "  threadgroup_barrier(); //!"),
    body("barrier of an unknown flag", "mem_shared", "  threadgroup_barrier(mem_flags::mem_shared); //!"),
    body("select of a number", "select", "  y = select(float2(y), float2(1), 0.5f).x; //!"),
    body("texture type", "texture2d", "  texture2d<float> t; //!"),
    body("printf", "printf", '  printf("%d", 1); //!'),
    body("standard namespace", "std", "  y = std::max(y, 1.0f); //!"),
    body("unknown fast function", "nosuch", "  y = fast::nosuch(y); //!"),
)
