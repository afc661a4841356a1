"""Refused: the preprocessor, brackets, declarations, statements, and C++ that Metal leaves out."""

from __future__ import annotations

from tests.msl.refusals.refusal import Refusal, body, text, whole

UNENDED = "#include <metal_stdlib>\nkernel void k(device int *x [[buffer(0)]]) {\n  *x = 1; /* never ended //!\n}\n"

REFUSALS = (
    whole(
        "bracket never closed",
        "",
        "#include <metal_stdlib>\nkernel void k(device int *x [[buffer(0)]]) { //!\n  *x = 1;\n",
    ),
    whole(
        "parenthesis never closed",
        "",
        "#include <metal_stdlib>\nkernel void k(device int *x [[buffer(0)]]) {\n  *x = (1 + 2; //!\n}\n",
    ),
    text("bracket never opened", "", "kernel void k(device int *x [[buffer(0)]]) {\n  *x = 1;\n}\n} //!\n"),
    text("attribute never closed", "", "kernel void k(device int *x [[buffer(0)) { //!\n  *x = 1;\n}\n"),
    Refusal("comment never ended", "comment", UNENDED),
    body("missing semicolon", "", "  y = 1 //!"),
    body("undefined name", "undefined_name", "  y = undefined_name; //!"),
    body("undefined function", "undefined_function", "  y = undefined_function(y); //!"),
    body("undefined type", "undefined_type", "  undefined_type t; //!\n  y = 1;"),
    body("unknown member", "b", "  s v = {1};\n  y = v.b; //!", "struct s { float a; };"),
    body("private member", "a", "  s v;\n  y = v.a; //!", "class s { float a; };"),
    body("name twice", "y", "  int y = 1; //!"),
    body("function twice", "f", "  y = f();", "float f() { return 1; }\nfloat f() { return 2; } //!"),
    body("too few arguments", "f", "  y = f(y); //!", "float f(float a, float b) { return a + b; }"),
    body("too many arguments", "f", "  y = f(y, y, y); //!", "float f(float a, float b) { return a + b; }"),
    body("argument of another type", "f", "  y = f(y); //!", "struct s { int a; };\nfloat f(s a) { return a.a; }"),
    body("result that is missing", "", "  y = f();", "float f() {\n  return; //!\n}"),
    body(
        "result of another type", "", "  y = f().x;", "struct s { int a; };\nfloat2 f() {\n  s v;\n  return v; //!\n}"
    ),
    body("void for a value", "", "  y = f(); //!", "void f() {}"),
    body("call of a number", "", "  y = y(1); //!"),
    body("break outside", "break", "  break; //!"),
    body("case twice", "case", "  switch (i) {\n    case 1: y = 1;\n    case 1: y = 2; //!\n  }"),
    body("else alone", "", "  else y = 1; //!"),
    body("template without match", "f", "  y = f(y, 1); //!", "template <typename T> T f(T a, T b) { return a + b; }"),
    body("static_assert", "seven is not eight", '  static_assert(7 == 8, "seven is not eight"); //!'),
    body("constant expression that is none", "", "  constexpr int n = int(y); //!\n  y = n;"),
    body("division by zero in a constant", "", "  constexpr int n = 1 / 0; //!\n  y = n;"),
    body("goto", "goto", "  goto end; //!\nend:\n  y = 1;"),
    body("exceptions", "", "  throw 1; //!"),
    body("catching", "", "  try { y = 1; } catch (int) { y = 2; } //!"),
    body("new", "", "  auto p = new float; //!\n  y = *p;"),
    body("delete", "", "  delete x; //!"),
    body("typeid", "", "  auto &t = typeid(y); //!"),
    body("thread_local", "thread_local", "  thread_local int n = 0; //!\n  y = n;"),
    body(
        "virtual function", "virtual", "  s v;\n  y = v.f();", "struct s {\n  virtual float f() { return 1; } //!\n};"
    ),
    body("inline assembly", "", '  asm("nop"); //!'),
    text("error directive", "this must not be", "#error this must not be //!\n"),
    text("include that is not there", "no_such_file.h", '#include "no_such_file.h" //!\n'),
    text("system include that is not there", "iostream", "#include <iostream> //!\n"),
    text("unknown directive", "", "#inclose <metal_stdlib> //!\n"),
    text("endif alone", "#endif", "kernel void k(device int *x [[buffer(0)]]) { *x = 1; }\n#endif //!\n"),
    text("if never ended", "", "#if 1 //!\nkernel void k(device int *x [[buffer(0)]]) { *x = 1; }\n"),
    text(
        "macro of too many arguments",
        "twice",
        "#define twice(x) ((x) + (x))\nkernel void k(device int *x [[buffer(0)]]) {\n  *x = twice(1, 2); //!\n}\n",
    ),
    text(
        "line numbers after macros",
        "nowhere",
        "#define LONG(a) \\\n  a + \\\n  a\nkernel void k(device int *x [[buffer(0)]]) {\n  *x = LONG(1);\n"
        "  /* a comment\n     of lines */\n  *x = nowhere; //!\n}\n",
    ),
    text(
        "line numbers after an include",
        "nowhere",
        '#include "mma.h"\n#include "unroll.h"\nkernel void k(device int *x [[buffer(0)]]) {\n  *x = nowhere; //!\n}\n',
    ),
)
