import XCTest

@testable import SoftMetal

/// Texts that are refused: each with a word of the message and the place it points to.
final class MSLRefusalTests: XCTestCase {
  private struct Case {
    let text: String
    let word: String
    let line: Int
    let column: Int?

    init(_ text: String, _ word: String, _ line: Int = 1, _ column: Int? = nil) {
      self.text = text
      self.word = word
      self.line = line
      self.column = column
    }
  }

  private func check(_ cases: [Case], _ version: MTLLanguageVersion = .version3_2) {
    for item in cases {
      do {
        let module = try MSLSamples.module(item.text, version)
        for function in module.functions {
          _ = try module.translate(
            function.name, constants: [], flavour: ShaderFlavour(lockstep: false, checked: false))
        }
        XCTFail("accepted: \(item.text)")
      } catch let error as ShaderError {
        XCTAssertTrue(error.message.contains(item.word), "\(item.text): \(error.message)")
        XCTAssertEqual(error.line, item.line, "\(item.text): \(error.message)")
        XCTAssertEqual(error.file, "program_source")
        if let column = item.column { XCTAssertEqual(error.column, column, "\(item.text): \(error.message)") }
      } catch {
        XCTFail("\(error)")
      }
    }
  }

  private func kernel(_ parameters: String, _ body: String = "") -> String {
    "kernel void k(\(parameters)) { \(body) }"
  }

  func testMalformedText() {
    check([
      Case("kernel void k() {", "never closed", 1, 17),
      Case("\n\nvoid f( {\n}", "'(' is never closed", 3, 7),
      Case("int f() { return 1; } }", "extraneous closing '}'", 1, 23),
      Case("int f() { return (1]; }", "expected ')'", 1, 18),
      Case("int x /* never", "unterminated /* comment", 1, 7),
      Case("constant char *c = \"abc", "missing terminating \"", 1, 20),
      Case("constant char c = 'a\n;", "missing terminating '", 1, 19),
      Case("constant char *c = R\"x(abc)y\";", "unterminated raw string", 1, 20),
      Case("int @ x;", "unexpected character '@'", 1, 5),
      Case("int \u{1} x;", "unexpected character 0x1"),
      Case("int x # y;", "stray '#'"),
      Case("#define X 1\n", "preprocessed"),
      Case("# 99999999999999999999 \"a\"\n", "line number"),
      Case(String(repeating: "(", count: 300), "nested deeper than 256"),
      Case("constant int x = 1", "expected ';'"),
      Case("struct S { int a; } kernel void k() {}", "expected ';'"),
    ])
  }

  func testMalformedAttributes() {
    check([
      Case(kernel("device int *p [[buffer 0]]"), "expected ',' or ']]'"),
      Case(kernel("device int *p [[0]]"), "expected a name"),
      Case(kernel("device int *p [[buffer]]"), "in parentheses"),
      Case(kernel("device int *p [[buffer()]]"), "in parentheses"),
      Case(kernel("device int *p [[bufer(0)]]"), "unknown attribute 'bufer'"),
      Case(kernel("device int *p [[buffer(x)]]"), "expected an integer constant"),
      Case(kernel("device int *p [[buffer(1.5)]]"), "expected an integer constant"),
      Case(kernel("uint i [[thread_position_in_grid(0)]]"), "takes no argument"),
      Case("kernel [[max_total_threads_per_threadgroup]] void k() {}", "in parentheses"),
      Case("kernel [[max_total_threads_per_threadgroup(0)]] void k() {}", "positive"),
      Case("kernel [[max_total_threads_per_threadgroup(n)]] void k() {}", "positive"),
      Case("[[host_name(k)]] kernel void k() {}", "expected a string"),
      Case("[[host_name(\"\")]] kernel void k() {}", "without escapes"),
      Case("[[host_name(\"a\\n\")]] kernel void k() {}", "without escapes"),
    ])
  }

  func testSlots() {
    check([
      Case(kernel("device int *p [[buffer(31)]]"), "expected 0 to 30, got 31"),
      Case(kernel("device int *p [[buffer(-1)]]"), "got -1"),
      Case(kernel("device int *p [[buffer(2)]],\n device int *q [[buffer(1 + 1)]]"), "more than one", 2),
      Case(kernel("threadgroup int *p [[threadgroup(0)]], threadgroup int *q [[threadgroup(0)]]"), "more than one"),
      Case(kernel("device int *p [[threadgroup(0)]]"), "'threadgroup' does not fit"),
      Case(kernel("threadgroup int *p [[buffer(0)]]"), "'buffer' does not fit"),
      Case(kernel((0...31).map { "device int *p\($0)" }.joined(separator: ", ")), "no slot is left"),
      Case(kernel("device int *p [[buffer(0), function_constant(nowhere)]]"), "unknown constant 'nowhere'"),
      Case(kernel("device int *p [[buffer(0), function_constant(1 + 1)]]"), "expected the name of a constant"),
      Case(
        "constant int n [[function_constant(0)]]; " + kernel("device int *p [[function_constant(n)]]"),
        "expected a bool"),
      Case("constant bool b = true; " + kernel("device int *p [[function_constant(b)]]"), "neither"),
    ])
  }

  func testParameters() {
    check([
      Case(kernel("uint i"), "expected an attribute"),
      Case(kernel("float x [[buffer(0)]]"), "pointer or a reference"),
      Case(kernel("constant T *x [[buffer(0)]],"), "expected a parameter"),
      Case(kernel("float *x [[buffer(0)]]"), "address space"),
      Case(kernel("thread float *x [[buffer(0)]]"), "address space"),
      Case(kernel("device float *device *x [[buffer(0)]]"), "pointers to pointers"),
      Case(kernel("device float *x[4] [[buffer(0)]]"), "arrays of buffers"),
      Case(kernel("device int *x = nullptr"), "default value"),
      Case(kernel("device void &x"), "reference to void"),
    ])
  }

  func testKernels() {
    check([
      Case("kernel float k() { return 1; }", "must return void", 1, 8),
      Case("kernel void *k() { }", "must return void"),
      Case("kernel void main() {}", "main"),
      Case("kernel void k() {}\nkernel void k(device int *p) {}", "two kernels are called 'k'", 2),
      Case("kernel void k() {}\n[[host_name(\"k\")]] kernel void l() {}", "two kernels", 2),
      Case("struct S { kernel void k() {} };", "member of a class"),
      Case(
        "template <typename T> kernel void f() {}\ntemplate kernel void f<int>();\ntemplate kernel void f<float>();",
        "host_name", 3),
      Case(
        "template <typename T> kernel void f() {} template [[host_name(\"a\")]] kernel void f<int>();"
          + "template [[host_name(\"a\")]] kernel void f<float>();", "two kernels are called 'a'"),
      Case("template [[host_name(\"a\")]] kernel void f<int>();", "expected the instantiation of a kernel template"),
      Case("template <typename T> kernel void f(device T *p) {} template kernel void f(device int *);", "spell out"),
      Case("template <> kernel void f<int>() {}", "specialised"),
    ])
  }

  func testBuiltInInputs() {
    check([
      Case(kernel("int i [[thread_position_in_grid]]"), "type 'int' is not valid"),
      Case(kernel("int2 i [[threads_per_grid]]"), "type 'int2'"),
      Case(kernel("float i [[grid_size]]"), "type 'float'"),
      Case(kernel("uint4 i [[thread_position_in_grid]]"), "type 'uint4'"),
      Case(kernel("ulong i [[thread_position_in_threadgroup]]"), "type 'ulong'"),
      Case(kernel("uint2 i [[thread_index_in_simdgroup]]"), "expected ushort or uint"),
      Case(kernel("short i [[simdgroup_index_in_threadgroup]]"), "type 'short'"),
      Case(kernel("uint2 i [[thread_index_in_threadgroup]]"), "type 'uint2'"),
      Case("using T = int; " + kernel("T i [[thread_position_in_grid]]"), "type 'int'"),
      Case(kernel("constant uint &i [[thread_position_in_grid]]"), "expected no pointer"),
      Case(kernel("uint i [[thread_position_in_grid]], uint j [[thread_position_in_grid]]"), "more than one"),
      Case(kernel("uint2 i [[thread_position_in_grid]], uint3 j [[threadgroups_per_grid]]"), "3 components"),
      Case(kernel("uint2 i [[thread_position_in_grid]], ushort2 j [[threads_per_grid]]"), "ushort2"),
      Case(kernel("uint i [[thread_position_in_threadgroup]], ushort j [[threads_per_threadgroup]]"), "ushort"),
      Case(
        kernel("uint i [[thread_position_in_threadgroup]], ushort j [[thread_index_in_threadgroup]]"), "must be a uint"),
      Case(kernel("uint i [[thread_index_in_simdgroup]], ushort j [[simdgroups_per_threadgroup]]"), "ushort"),
    ])
  }

  func testFunctionConstants() {
    check([
      Case("constant int c [[function_constant(0)]] = 1;", "initialiser", 1, 41),
      Case("struct S { int a; }; constant S c [[function_constant(0)]];", "scalar or vector, got 'S'"),
      Case("constant int c[2] [[function_constant(0)]];", "one scalar or vector"),
      Case("constant int a [[function_constant(0)]], b;", "one scalar or vector"),
      Case("constant float4x4 c [[function_constant(0)]];", "scalar or vector"),
      Case("constant int *c [[function_constant(0)]];", "one scalar or vector"),
      Case("constant int c [[function_constant(65536)]];", "65536"),
      Case("constant int c [[function_constant(-1)]];", "-1"),
      Case("constant int c [[function_constant(x)]];", "no index"),
      Case("constant int c [[function_constant]];", "no index"),
      Case("constant int a [[function_constant(1)]];\nconstant int b [[function_constant(1)]];", "'a' and 'b'", 2),
      Case(
        "constant int a [[function_constant(1)]];\nconstant int a [[function_constant(2)]];", "two function constants",
        2),
      Case("const int c [[function_constant(0)]];", "constant address space"),
      Case("template <int N> constant int c [[function_constant(0)]];", "not as a template"),
    ])
  }

  func testWhatMetalHasNot() {
    let body: [(String, String)] = [
      ("double d = 1;", "'double'"), ("long long x;", "'long long'"), ("x = 1ll;", "'long long'"),
      ("x = 1ull;", "'long long'"), ("x = 1.0L;", "'long double'"), ("goto end;", "'goto'"), ("throw 1;", "exceptions"),
      ("try { } catch (...) { }", "exceptions"), ("auto p = new int;", "'new'"), ("delete p;", "'delete'"),
      ("thread_local int x;", "'thread_local'"), ("typeid(x);", "'typeid'"), ("dynamic_cast<T>(x);", "'dynamic_cast'"),
      ("float *p;", "address space"), ("float &r = x;", "address space"), ("x = (half *)y;", "address space"),
      ("v.xx = w;", "component twice"), ("device int d;", "device address space"), ("sm_t0 x;", "reserved"),
      ("threadgroup int x = 1;", "initialiser"), ("threadgroup int x{1};", "initialiser"),
    ]
    check(body.map { Case(kernel("", "\n" + $0.0), $0.1, 2) })
    check([
      Case("struct S { virtual void f(); };", "virtual", 1, 12),
      Case("int counter = 0;", "constant address space", 1, 5),
      Case("constexpr int n = 1;", "constant address space"),
      Case("static const float x = 1;", "constant address space"),
      Case("void f() { threadgroup int x[4]; }", "must be declared in a kernel"),
      Case("threadgroup int x[4];", "program scope"),
      Case("device int x;", "program scope"),
    ])
  }

  func testLambdasNeedANewEnoughLanguage() throws {
    let text = kernel("device int *p", "auto f = [&](int i) { return p[i]; }; p[p[0]] = f(1);")
    check([Case(text, "lambda expressions need Metal 3.2", 1, 41)], .version3_1)
    XCTAssertNoThrow(try MSLSamples.module(text))
    XCTAssertNoThrow(
      try MSLSamples.module(kernel("device int *p", "p[0] = (p)[1]; [[maybe_unused]] int a[2]; a[0] = 1;"), .version3_0)
    )
  }

  func testWhatSoftMetalHasNot() {
    check([
      Case(kernel("texture2d<float> t [[texture(0)]]"), "textures are not supported"),
      Case(kernel("device int *i [[texture(0)]]"), "'texture' is not supported"),
      Case(kernel("", "texture2d<float, access::read> t;"), "textures are not supported"),
      Case("void f(depth2d<float> d) {}", "depth textures"),
      Case("constexpr sampler s(filter::linear);", "samplers"),
      Case(kernel("", "raytracing::intersector<triangle_data> i;"), "ray tracing"),
      Case("void f(raytracing::instance_acceleration_structure a) {}", "acceleration structures"),
      Case("void f(visible_function_table<int()> t) {}", "visible function tables"),
      Case("void f(tensor<device half, dextents<int, 2>> t) {}", "tensors"),
      Case("vertex float4 v() { return 0; }", "vertex functions"),
      Case("fragment half4 f() { return 0; }", "fragment functions"),
      Case("[[vertex]] float4 v() { return 0; }", "vertex functions"),
      Case("[[mesh]] void m() {}", "mesh functions"),
      Case("[[object]] void o() {}", "object functions"),
      Case("[[visible]] int f() { return 1; }", "visible functions"),
      Case("[[stitchable]] int f() { return 1; }", "stitchable functions"),
      Case("[[intersection(triangle)]] bool f() { return true; }", "intersection functions"),
      Case(kernel("float4 c [[stage_in]]"), "'stage_in'"),
      Case(kernel("array<device float *, 4> a [[buffer(0)]]"), "arrays of resources"),
      Case("float f(float) __asm(\"air.f\");", "assembly"),
      Case(kernel("", "asm(\"nop\");"), "assembly"),
    ])
  }

  func testPointersThatChangeTheirAddressSpace() {
    let before = "void f(thread float *p) {} struct S { float v; float get() device { return v; } };\n"
    let statements = [
      "device float *q = s;", "device float *q = &y;", "threadgroup float *q = (threadgroup float *)d;",
      "threadgroup float *q = d + 1;", "f(d);", "f(&s[1]);", "threadgroup S o; o.get();", "constant float *q = d;",
    ]
    check(
      statements.map {
        Case(before + kernel("device float *d, threadgroup float *s", "float y = 1;\n" + $0), "memory", 3)
      })
  }

  /// None of these is a mistake, alike as they look.
  func testWhatIsAllowed() throws {
    let texts = [
      kernel(""), kernel("void"), "void f() {} float g(float x) { return g(x - 1); }",
      "struct S { S() = default; S(const thread S &) = delete; };",
      "struct sampler_state { int texture; int ray; int tensor; };",
      "struct ray { float3 o; }; void f(thread ray &ray) { ray.o = 1; }", "constant int n = 3, m = n * 2;",
      "constexpr constant float x = 1; template <typename T> constant constexpr bool b = true;",
      kernel("device float *p", "float a = p[0] * p[1]; a = a & 1; float2 b = float2(a * a);"),
      kernel("", "int double_ = 1; int newer = 2; x.new_ = 1;"),
      "template <typename T> struct P {}; template <typename T> struct P<device T *> {};",
      "struct A { device float *p [[id(0)]]; constant int *q; }; " + kernel("constant A &a [[buffer(0)]]"),
      kernel(
        "device float *d, threadgroup float *s", "{ device float *a = d; } { threadgroup float *a = s; auto b = a; }"),
      "template <typename T> T f(T x) { return x; } using F = float; void g() { F v = f(F(1)); }",
      "enum class E : uint { a = 1u << 3, b }; static_assert(int(E::b) == 9, \"\");",
    ]
    for text in texts {
      do {
        let module = try MSLSamples.module(text)
        _ = try module.translateForCheck()
      } catch {
        XCTFail("\(text): \(error)")
      }
    }
  }
}
