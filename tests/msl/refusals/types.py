"""Refused: types, conversions, operators, address spaces."""

from __future__ import annotations

from tests.msl.refusals.refusal import body, text

REFUSALS = (
    body("double", "double", "  double d = y; //!\n  y = d;"),
    body("long long", "long long", "  long long d = 1; //!\n  y = d;"),
    body("long double literal", "", "  y = 1.0L; //!"),
    body("bfloat to half", "", "  bfloat b = 1.0bf;\n  half h = b; //!\n  y = h;"),
    body("half to bfloat", "", "  half h = 1;\n  bfloat b = h; //!\n  y = b;"),
    body("float to bfloat", "bfloat", "  bfloat b = y; //!\n  y = b;"),
    body("float returned as bfloat", "bfloat", "  y = f(y);", "bfloat f(float x) {\n  return x; //!\n}"),
    body("float passed as bfloat", "bfloat", "  y = f(y); //!", "bfloat f(bfloat x) { return x; }"),
    body("float added to a bfloat", "bfloat", "  bfloat b = 1.0bf;\n  b += y; //!\n  y = b;"),
    body("half plus bfloat", "bfloat", "  half h = 1;\n  bfloat b = 1.0bf;\n  y = h + b; //!"),
    body("half compared with bfloat", "bfloat", "  half h = 1;\n  bfloat b = 1.0bf;\n  y = h < b; //!"),
    body("half or bfloat", "bfloat", "  half h = 1;\n  bfloat b = 1.0bf;\n  auto z = i ? h : b; //!\n  y = z;"),
    body("half and bfloat in a function", "max", "  half h = 1;\n  bfloat b = 1.0bf;\n  y = max(h, b); //!"),
    body("half vector times bfloat", "", "  half2 h = 1;\n  bfloat b = 1.0bf;\n  y = (h * b).x; //!"),
    body(
        "float to bfloat in a template",
        "bfloat",
        "  y = f<bfloat>(y);",
        "template <class T> T f(float x) {\n  T t = x; //!\n  return t;\n}",
    ),
    body("array of a length that varies", "array", "  int n = int(y);\n  float a[n]; //!\n  a[0] = 1;\n  y = a[0];"),
    body(
        "array of a parameter's length",
        "array",
        "  y = f(3);",
        "float f(int n) {\n  float a[n]; //!\n  a[0] = 1;\n  return a[0];\n}",
    ),
    body(
        "threadgroup array of a function constant's length",
        "must be a constant expression; a function constant is none",
        "  threadgroup float a[2][n]; //!\n  a[1][0] = y;\n  y = a[1][0];",
        "constant int n [[function_constant(0)]];",
    ),
    body(
        "threadgroup array of a length computed of a function constant",
        "must be a constant expression",
        "  threadgroup float a[m]; //!\n  a[0] = y;\n  y = a[0];",
        "constant int n [[function_constant(0)]];\nconstant int m = 2 * n;",
    ),
    body(
        "threadgroup array of a length that varies",
        "must be a constant expression",
        "  int n = int(y);\n  threadgroup float a[n]; //!\n  a[0] = y;\n  y = a[0];",
    ),
    body("array without a length", "", "  float a[]; //!\n  y = 1;"),
    body("int vector to float vector", "int", "  int4 v = 1;\n  float4 w = v; //!\n  y = w.x;"),
    body("float vector to half vector", "", "  float2 v = y;\n  half2 w = v; //!\n  y = w.x;"),
    body("vectors of several widths", "", "  float4 v = y;\n  float3 w = y;\n  y = (v + w).x; //!"),
    body("vectors of several types", "", "  float4 v = y;\n  int4 w = 1;\n  y = (v * w).x; //!"),
    body("wide vector to narrow", "", "  float4 v = y;\n  float3 w = v; //!\n  y = w.x;"),
    body("vector to scalar", "", "  float4 v = y;\n  y = v; //!"),
    body("vector condition", "", "  float4 v = y;\n  y = (v > 0.0f ? v : -v).x; //!"),
    body("vector in if", "", "  float2 v = y;\n  if (v > 0.0f) y = 1; //!"),
    body("too few components", "", "  float4 v = float4(1, 2, 3); //!\n  y = v.x;"),
    body("too many components", "", "  float2 v = float2(1, 2, 3); //!\n  y = v.x;"),
    body("component that is not there", "", "  float2 v = y;\n  y = v.z; //!"),
    body("mixed component names", "", "  float4 v = y;\n  y = v.xg.x; //!"),
    body("component twice in an assignment", "", "  float4 v = y;\n  v.xx = float2(1, 2); //!\n  y = v.x;"),
    body("as_type of another size", "", "  y = as_type<float>(ushort(3)); //!"),
    body("remainder of floats", "float", "  y = y % 2.0f; //!"),
    body("shift of a float", "", "  y = y << 1; //!"),
    body("bits of a float", "", "  y = y & 1; //!"),
    body("pointer from integer", "", "  device float *p = i; //!\n  y = *p;"),
    body("local pointer without address space", "address space", "  float *p = &y; //!\n  *p = 1;"),
    body("pointer parameter without address space", "address space", "  f(&y);", "void f(float *p) { *p = 1; } //!"),
    body("device pointer for a thread pointer", "", "  f(x); //!", "void f(thread float *p) { *p = 1; }"),
    body(
        "threadgroup pointer for a device pointer",
        "",
        "  threadgroup float g[4];\n  device float *p = g; //!\n  y = *p;",
    ),
    body("thread pointer for a device pointer", "", "  device float *p = &y; //!\n  *p = 1;"),
    body("cast to another address space", "", "  threadgroup float *p = (threadgroup float *)x; //!\n  *p = 1;"),
    body(
        "pointer of another space from a condition",
        "",
        "  threadgroup float g[4];\n  device float *p = i > 0 ? x : g; //!\n  y = *p;",
    ),
    body("reference to another address space", "", "  thread float &r = x[i]; //!\n  r = y;"),
    body(
        "pointer returned as one to another space",
        "",
        "  threadgroup float g[4];\n  y = *f(g);",
        "device float *f(threadgroup float *p) { return p; } //!",
    ),
    body(
        "member that points to another space",
        "",
        "  threadgroup float g[4];\n  s v;\n  v.p = &g[i % 4]; //!\n  y = *v.p;",
        "struct s { device float *p; };",
    ),
    body(
        "expression of another space passed to a template",
        "",
        "  y = f(&(x + i)[1] - 1); //!",
        "template <typename T> T f(threadgroup T *p) { return *p; }",
    ),
    body(
        "overloads for other spaces",
        "",
        "  y = f(&y); //!",
        "float f(device float *p) { return *p; }\nfloat f(threadgroup float *p) { return *p; }",
    ),
    body(
        "cast of an element's address to another space",
        "",
        "  threadgroup float2 g[4];\n  g[0] = y;\n  y = *(device float *)(&g[0]); //!",
    ),
    text(
        "other space in one instantiation",
        "",
        "template <typename P> void f(P p) {\n  device float *q = p; //!\n  *q = 1;\n}\n"
        "template <typename T> kernel void k(device T *x [[buffer(0)]], threadgroup T *g [[threadgroup(0)]]) {\n"
        "  f(x);\n  f(g);\n}\n"
        'template [[host_name("k_float")]] kernel void k<float>(device float *, threadgroup float *);\n',
    ),
    body("variable in device memory", "device", "  device float d; //!\n  d = y;"),
    body("threadgroup variable with a value", "threadgroup", "  threadgroup float g = 1; //!\n  y = g;"),
    body(
        "threadgroup variable in a function",
        "threadgroup",
        "  f();",
        "void f() {\n  threadgroup float g[4]; //!\n  g[0] = 1;\n}",
    ),
    body("assignment to a const", "const", "  const float c = 1;\n  c = y; //!"),
    body("assignment to a const parameter", "", "  f(y);", "void f(const float c) {\n  c = 1; //!\n}"),
    body("assignment to program-scope constant", "c", "  c = 2; //!", "constant float c = 1;"),
    text(
        "assignment through constant pointer",
        "",
        "kernel void k(constant float *x [[buffer(0)]]) {\n  x[0] = 1; //!\n}\n",
    ),
    text(
        "assignment through const device pointer",
        "",
        "kernel void k(device const float *x [[buffer(0)]]) {\n  x[0] = 1; //!\n}\n",
    ),
    text(
        "const dropped",
        "",
        "kernel void k(device const float *x [[buffer(0)]]) {\n  device float *p = x; //!\n  p[0] = 1;\n}\n",
    ),
    text(
        "program-scope variable",
        "",
        "int counter = 0; //!\nkernel void k(device int *x [[buffer(0)]]) { *x = counter; }\n",
    ),
    text(
        "constant without a value", "c", "constant int c; //!\nkernel void k(device int *x [[buffer(0)]]) { *x = c; }\n"
    ),
    body(
        "method of another address space",
        "",
        "  threadgroup s g;\n  g.v = 1;\n  y = g.get(); //!",
        "struct s { float v; float get() device { return v; } };",
    ),
)
