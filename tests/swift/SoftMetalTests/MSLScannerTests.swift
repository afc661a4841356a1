import XCTest

@testable import SoftMetal

final class MSLScannerTests: XCTestCase {
  private func declarations(_ text: String) throws -> [Declaration] {
    try DeclarationScanner(Source(text: text, languageVersion: .version3_2)).declarations
  }

  private func names(_ text: String) throws -> [[String]] { try declarations(text).map(\.names) }

  func testKinds() throws {
    let found = try declarations(
      """
      using namespace metal; using T4 = vec<float, 4>; typedef float row[4]; namespace m = metal;
      struct S { int a; float f() const { return a; } }; struct F; enum E : uchar { A, B = 3 };
      constant float x = 1, y[2] = {1, 2}; inline int g(int a = f(1)); template <> int h<2>() { return 1; }
      template struct V<int>; static_assert(sizeof(int) == 4, "no"); typedef struct { int q; } Q;
      """)
    XCTAssertEqual(
      found.map(\.kind),
      [
        .other, .alias, .alias, .alias, .type, .variable, .function, .other, .enumeration, .variable, .function,
        .function, .instantiation, .other, .type, .variable,
      ])
    XCTAssertEqual(found[8].names, ["E", "A", "B"])
    XCTAssertEqual(found[9].names, ["x", "y"])
    XCTAssertEqual(found[14].names, ["Q"])
    XCTAssertEqual(found[6].parent, 4)
    XCTAssertEqual(found[6].scope, ["S"])
  }

  func testScopes() throws {
    let found = try declarations(
      "namespace a::b { inline namespace c { int f(); } } extern \"C\" { int g(); } namespace { int h(); }")
    XCTAssertEqual(found.map(\.scope), [["a::b", "c"], [""], [""]])
    XCTAssertEqual(found[0].qualified("f"), "::a::b::c::f")
    XCTAssertEqual(found[1].qualified("g"), "::g")
  }

  func testNames() throws {
    XCTAssertEqual(
      try names("thread T& operator=(const T& o); bool operator()(int a) { return a; }"), [["operator"], ["operator"]])
    XCTAssertEqual(try names("typedef void (*callback)(int);"), [["callback"]])
    XCTAssertEqual(try names("template <typename T> void Box<T>::put(T x) { }"), [["put", "Box"]])
    XCTAssertEqual(try names("struct alignas(16) Wide { float4 x; } one, *two;").first, ["Wide", "one", "two"])
    XCTAssertEqual(try names("enable_if_t<(N > 3), int> f() { return 1; }"), [["f"]])
    XCTAssertEqual(try names("__attribute__((always_inline)) inline float f(float x) { return x; }"), [["f"]])
    XCTAssertEqual(try names("constant uint n{3};"), [["n"]])
  }

  func testConstructorsWithInitialisers() throws {
    let found = try declarations("struct S { int a; int b; S(int x) : a{x}, b(x) { a = 1; } S() = default; int c; };")
    XCTAssertEqual(found.map(\.names), [["S"], ["a"], ["b"], ["S"], ["S"], ["c"]])
    XCTAssertNotNil(found[3].body)
    XCTAssertNil(found[4].body)
  }

  func testConstantExpressions() throws {
    let module = try MSLSamples.module(
      "constant int a = 3, b = a * 2; enum { e = 5, f }; struct s { int x[b]; float3 y; }; using u = s;")
    let symbols = module.program.symbols
    func value(_ text: String) throws -> Int? {
      let whole = try MSLSamples.module(
        "constant int a = 3, b = a * 2; enum { e = 5, f }; struct s { int x[b]; float3 y; }; using u = s;"
          + " constant int z = \(text);")
      return Evaluator(whole.program.symbols).value("z")
    }
    XCTAssertEqual(try value("1 + 2 * 3"), 7)
    XCTAssertEqual(try value("(1 + 2) * 3 - -4"), 13)
    XCTAssertEqual(try value("a < b ? b << 1 : 0"), 12)
    XCTAssertEqual(try value("0x10u | 1"), 17)
    XCTAssertEqual(try value("010 + 1'000"), 1008)
    XCTAssertEqual(try value("64 >> 2"), 16)
    XCTAssertEqual(try value("e + f"), 11)
    XCTAssertEqual(try value("sizeof(u)"), 48)
    XCTAssertEqual(try value("int(a) + (int)b + static_cast<int>(a)"), 12)
    XCTAssertEqual(try value("!a || ~0 == -1"), 1)
    XCTAssertNil(try value("1 / 0"))
    XCTAssertNil(try value("9223372036854775807 + 1"))
    XCTAssertNil(try value("unknown + 1"))
    XCTAssertNil(try value("z"))
    XCTAssertEqual(Evaluator(symbols).value("b"), 6)
  }

  func testSizes() throws {
    let types: [(String, Int?)] = [
      ("float", 4), ("half", 2), ("bfloat", 2), ("bool", 1), ("long", 8), ("uint64_t", 8), ("float3", 16),
      ("packed_float3", 12), ("half4", 8), ("float4x4", 64), ("half2x3", 16), ("metal::uint2", 8), ("vec<half, 4>", 8),
      ("atomic_uint", 4), ("unsigned short", 2), ("struct { int a; char b; }", nil), ("outer", 40), ("choice", 8),
      ("open", nil),
      ("tiny", 1), ("empty", 1), ("named", 12), ("unnamed", 32), ("alias", 12), ("holder", 72), ("mixed", 24),
      ("pair<float>", 8), ("pair<half, 3>", 6), ("pair<pair<char, 2>>", 4), ("triple", 16), ("array<half, 6>", 12),
      ("endless<0>", nil), ("nest::deep", 4), ("struct named", 12), ("marked", 32),
    ]
    for (type, size) in types where !type.contains("{") {
      let module = try MSLSamples.module(
        "struct inner { char a; int b[2]; }; struct outer { inner i[2]; half h; long q; static constant int n = 1; };"
          + "union choice { int a; float2 b; }; enum tiny : uchar { t }; struct empty {}; struct open { texture x; };"
          + "typedef struct named { packed_float3 v; } named; typedef struct { float3 v; half h[4]; } unnamed;"
          + "using alias = named; struct holder { struct part { int n; float2 f; } parts[2], one; named n; part *p; };"
          + "struct mixed { int kind; union { float f; long l; }; struct { char c; } s; enum { e } g; void f() {} };"
          + "template <typename T, int N = 2> struct pair { T v[N]; }; using triple = pair<float, 4>;"
          + "template <int N> struct endless { endless<N + 1> a, b; };"
          + "namespace nest { typedef struct deep { int d; } deep; }"
          + "struct marked { float4 p [[position]]; int i [[user(x)]]; };"
          + "kernel void k(constant \(type) &p [[buffer(0)]]) {}")
      let translation = try module.translate(
        "k", constants: [], flavour: ShaderFlavour(lockstep: false, checked: false))
      XCTAssertEqual(translation.arguments.map(\.minBytes), [UInt64(size ?? 0)], type)
    }
  }
}
