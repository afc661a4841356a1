import XCTest

@testable import SoftMetal

/// Properties of translations. Whether a compiler takes them, and what they compute, is tested with the executor.
final class MSLTranslationTests: XCTestCase {
  private func text(
    _ source: String, _ name: String = "k", _ values: [ConstantValue] = [], lockstep: Bool = false
  ) throws -> String {
    try MSLSamples.module(source)
      .translate(name, constants: values, flavour: ShaderFlavour(lockstep: lockstep, checked: false)).text
  }

  private func body(_ statements: String, _ parameters: String = "", before: String = "", lockstep: Bool = false) throws
    -> String
  {
    try text("\(before) kernel void k(\(parameters)) { \(statements) }", lockstep: lockstep)
      .split(whereSeparator: \.isWhitespace).joined(separator: " ")
  }

  func testLiterals() throws {
    let cases = [
      ("1.0", "1.0f"), ("1.", "1.f"), (".5", ".5f"), ("1e3", "1e3f"), ("1.5f", "1.5f"), ("0.5h", "((half)0.5f)"),
      ("2h", "((half)2.0f)"), ("1.0bf", "((bfloat)1.0f)"), ("0x1p3", "0x1p3f"), ("12", "12"), ("0xefu", "0xefu"),
      ("7UL", "7UL"), ("0xbf", "0xbf"), ("1.0_km", "1.0_km"), ("1'0.5", "1'0.5f"), ("0x1fh", "0x1fh"),
    ]
    for (literal, expected) in cases { XCTAssertEqual(Literals.translate(literal), expected, literal) }
  }

  func testAddressSpacesGo() throws {
    let text = try body(
      "constant float *a = c; device int *b = (device int *)p; threadgroup half *d; thread float &e = f;",
      "constant float *c, device char *p",
      before: "constant float table[1] = {1}; struct S { float g() const device; };")
    for space in ["constant", "device", "threadgroup", "thread "] { XCTAssertFalse(text.contains("\(space) "), text) }
    XCTAssertTrue(text.contains("const float *a = c; int *b = ( int *)p;"))
  }

  func testMethodsThatDifferInAddressSpaces() throws {
    let text = try text(
      """
      struct S { float v; S(float x) : v(x) {} S(float x) constant : v(x) {}
        float get() const thread { return v; } float get() const device { return v; } float get() constant { return v; }
        void put(float x) thread { v = x; } void put(float y) threadgroup { v = y; } };
      template <typename T> struct E {}; template <typename T> struct E<device T *> { int q; };
      template <typename U> struct E<thread U *> { int q; };
      float f(device float *p) { return *p; } float f(threadgroup float *q) { return *q; }
      kernel void k(device float *p) { S s(1); E<device int *> e; *p = s.get() + f(p); }
      """)
    XCTAssertEqual(text.components(of: " get()"), 1)
    XCTAssertEqual(text.components(of: " put("), 1)
    XCTAssertEqual(text.components(of: "S(float x)"), 1)
    XCTAssertEqual(text.components(of: "struct E<"), 1)
    XCTAssertEqual(text.components(of: "float f("), 1)
    XCTAssertTrue(text.contains("get() const"))
  }

  func testMethodsDefinedOutsideOfTheirClasses() throws {
    let text = try text(
      """
      struct A { int operator()(int x) thread; template <typename T> struct I { T get(T x) thread; }; };
      struct B { int operator()(int x) thread; };
      int A::operator()(int x) thread { return x; } int B::operator()(int x) thread { return 2 * x; }
      template <typename T> T A::I<T>::get(T x) thread { return x; }
      kernel void k(device int *p) { A a; B b; *p = a(1) + b(2); }
      """)
    XCTAssertEqual(text.components(of: "::operator()(int x)"), 2)
  }

  func testOverloadsThatDoDifferentThings() throws {
    let source = """
      float f(device float *p) { return *p; } float f(threadgroup float *q) { return 2 * *q; }
      kernel void k(device float *p) { *p = f(p); } kernel void other(device float *p) { *p = 1; }
      """
    XCTAssertThrowsError(try text(source)) { XCTAssertTrue("\($0)".contains("one address space")) }
    XCTAssertNoThrow(try text(source, "other"))
  }

  func testSwizzles() throws {
    let text = try body("float4 v; v.xy = v.zw; v.wzyx += 1; float3 u = v.rgb; v.x = 1; q->xyz; v.xy().zw; f.xyz();")
    XCTAssertTrue(text.contains("v.template sm_set<0, 1>() = v.template sm_get<2, 3>();"))
    XCTAssertTrue(text.contains("v.template sm_set<3, 2, 1, 0>() += 1;"))
    XCTAssertTrue(text.contains("u = v.template sm_get<0, 1, 2>(); v.x = 1; q->template sm_get<0, 1, 2>();"))
    XCTAssertTrue(text.contains("f.xyz();"))
  }

  func testMembersNamedLikeSwizzles() throws {
    let text = try body("S s; s.xy = s.xy.yx; (&s)->xy; f(s)[0].xy;", before: "struct S { float2 xy; };")
    XCTAssertTrue(text.contains("::sm_set_xy(s, 0) = ::sm_get_xy(s, 0).template sm_get<1, 0>();"), text)
    XCTAssertTrue(text.contains("::sm_get_xy(*((&s)), 0)"), text)
    XCTAssertTrue(text.contains("::sm_get_xy(f(s)[0], 0)"), text)
    XCTAssertTrue(text.contains("auto sm_get_xy("))
  }

  func testCasts() throws {
    XCTAssertTrue(try body("half h = static_cast<half>(b);").contains("sm_static_cast<half>(b)"))
  }

  func testThreadgroupVariables() throws {
    let text = try body(
      "threadgroup vec<float, 4> a[8][2], b; threadgroup float *p = &b.x; alignas(16) threadgroup int c;")
    XCTAssertTrue(
      text.contains("typedef vec < float , 4 > sm_t0[ 8 ] [ 2 ]; sm_t0 &a = sm_threadgroup<sm_t0, 0>();"), text)
    XCTAssertTrue(text.contains("sm_t1 &b = sm_threadgroup<sm_t1, 1>();"), text)
    XCTAssertTrue(text.contains("sm_t2 &c = sm_threadgroup<sm_t2, 2>();"), text)
    XCTAssertTrue(text.contains("float *p = &b.x;"), text)
  }

  func testFunctionConstants() throws {
    let source = MSLSamples.everything
    let text = try text(source, "scale_f32", [MSLSamples.value(602, -3), MSLSamples.value(601, true)])
    XCTAssertTrue(text.contains("static constexpr int width = ((int)0xfffffffdul);"), text)
    XCTAssertTrue(text.contains("static constexpr bool has_bias = true;"))
    XCTAssertTrue(text.replacing(" ", with: "").contains("add_bias=true?has_bias:false;"))
    XCTAssertTrue(text.contains("k.buffer(7)"))
    let without = try self.text(source, "scale_f32", [MSLSamples.value(602, 1)])
    XCTAssertTrue(without.replacing(" ", with: "").contains("add_bias=false?has_bias:false;"))
    XCTAssertTrue(without.contains("nullptr"))
    let open = try MSLSamples.module(source).translateForCheck()
    XCTAssertTrue(open.contains("extern const int width;"))
    XCTAssertEqual(open.components(of: "static void sm_check"), 3)
  }

  func testValuesKeepTheirBits() {
    XCTAssertEqual(ConstantText.text(.float, [0, 0, 0xc0, 0x7f]), "__builtin_bit_cast(float, 0x7fc00000u)")
    XCTAssertEqual(ConstantText.text(.half, [0, 0x3c]), "__builtin_bit_cast(half, (unsigned short)0x3c00)")
    XCTAssertEqual(ConstantText.text(.bool, [2]), "true")
    XCTAssertEqual(ConstantText.text(.uchar2, [1, 255]), "uchar2(((uchar)0x1ul), ((uchar)0xfful))")
    XCTAssertEqual(ConstantText.text(.long, []), "((long)0x0ul)")
  }

  func testOnlyWhatIsNeededIsTranslated() throws {
    let text = try text(
      "int unused() { return 1; } int used() { return 2; } kernel void other() { unused(); } kernel void k() { used(); }"
    )
    XCTAssertFalse(text.contains("unused"))
    XCTAssertFalse(text.contains("other"))
    XCTAssertTrue(text.contains("int used() { return 2; }"))
  }

  func testLinesSurvive() throws {
    let source =
      "# 1 \"program_source\"\nint unused() {\n return 1;\n}\n\nkernel void k(device int *p)\n{\n *p = here;\n}\n"
    let lines = try text(source).split(separator: "\n", omittingEmptySubsequences: false)
    let marker = try XCTUnwrap(lines.lastIndex { $0.hasPrefix("#line") && $0.hasSuffix("\"program_source\"") })
    let number = try XCTUnwrap(Int(lines[marker].split(separator: " ")[1]))
    let here = try XCTUnwrap(lines.firstIndex { $0.contains("here") })
    XCTAssertEqual(number + here - marker - 1, 7)
  }

  func testPragmas() throws {
    func pragma(_ text: String) -> String? { Pragmas.translate(text) { $0 == "N" } }
    XCTAssertEqual(pragma("unroll"), "#pragma unroll")
    XCTAssertEqual(pragma("unroll(4)"), "#pragma unroll(4)")
    XCTAssertEqual(pragma("unroll(N)"), "#pragma unroll(N)")
    XCTAssertNil(pragma("unroll(MACRO)"))
    XCTAssertEqual(pragma("clang loop unroll(full)"), "#pragma clang loop unroll(full)")
    XCTAssertEqual(pragma("METAL fp contract(off)"), "#pragma clang fp contract(off)")
    XCTAssertNotNil(pragma("METAL fp math_mode(safe)"))
    XCTAssertNil(pragma("METAL internals : enable"))
    XCTAssertNil(pragma("mark - kernels"))
  }

  func testAttributesGo() throws {
    let text = try text(
      "[[kernel]] void k(device int *p [[buffer(0)]], uint i [[thread_position_in_grid]]) { [[maybe_unused]] int a; }")
    XCTAssertFalse(text.contains("[[buffer"))
    XCTAssertTrue(text.contains("SM_KERNEL_FUNCTION void k"))
    XCTAssertTrue(text.contains("[[maybe_unused]]"))
    XCTAssertTrue(text.contains("::k(k.buffer(0), k.thread_position_in_grid());"))
  }

  // MARK: Lockstep

  private func locks(
    _ statements: String, _ parameters: String = "threadgroup float *s, device float *d", before: String = ""
  ) throws -> String {
    try body(statements, parameters, before: before, lockstep: true)
  }

  func testStoresAreLocked() throws {
    let cases = [
      ("s[0] = 1;", "SM_LOCK(); s[0] = 1;"), ("*s = 1;", "SM_LOCK(); *s = 1;"),
      ("s[1] += d[0];", "SM_LOCK(); s[1] += d[0];"),
      ("s[0]++;", "SM_LOCK(); s[0]++;"), ("--s[0];", "SM_LOCK(); --s[0];"),
      ("if (d[0]) s[0] = 1; else s[1] = 2;", "if (d[0]) { SM_LOCK(); s[0] = 1; } else { SM_LOCK(); s[1] = 2; }"),
      ("threadgroup float t; t = 1;", "SM_LOCK(); t = 1;"),
      ("((threadgroup int *)s)[0] = 1;", "SM_LOCK(); (( int *)s)[0] = 1;"),
      ("auto q = s + 1; q[0] = 2;", "SM_LOCK(); q[0] = 2;"),
      ("d[0] = s[0] = 1;", "SM_LOCK(); d[0] = s[0] = 1;"),
      ("float old = s[0]++;", "SM_LOCK(); float old = s[0]++;"),
      ("switch (1) { case 1: s[0] = 1; }", "case 1: SM_LOCK(); s[0] = 1;"),
      ("auto f = [&](int i) { s[i] = 1; };", "{ SM_LOCK(); s[i] = 1; }"),
      ("box b; b.at[0] = 1;", "SM_LOCK(); b.at[0] = 1;"),
      ("box b; b.at->x = 1;", "SM_LOCK(); b.at->x = 1;"),
    ]
    for (statement, expected) in cases {
      let text = try locks(statement, before: "struct box { threadgroup float *at; };")
      XCTAssertTrue(text.contains(expected), "\(statement): \(text)")
      XCTAssertEqual(text.components(of: "SM_LOCK"), expected.components(of: "SM_LOCK"), statement)
    }
  }

  func testOtherStatementsAreNotLocked() throws {
    let cases = [
      "d[0] = s[0];", "float x = s[0];", "threadgroup float *t = s;", "threadgroup float *t = (threadgroup float *)s;",
      "s += 4;", "float y; y = s[1] + 1;", "if (s[0] == 1) { d[1] = 2; }", "threadgroup float &r = s[0];",
      "float a[2] = {s[0], 1};",
    ]
    for statement in cases { XCTAssertFalse(try locks(statement).contains("SM_LOCK"), statement) }
    XCTAssertFalse(try body("s[0] = 1;", "threadgroup float *s").contains("SM_LOCK"))
  }

  func testMethodsAndTemplatesAreLocked() throws {
    let before = """
      struct W { threadgroup float *at; float own; void put() { at[0] = 1; own = 2; } void far() threadgroup { own = 3; } };
      template <typename P> void store(P to, float x) { to[0] = x; }
      """
    let text = try locks("W w; w.put(); store(s, 1);", before: before)
    XCTAssertTrue(text.contains("{ SM_LOCK(); at[0] = 1; own = 2; }"), text)
    XCTAssertTrue(text.contains("{ SM_LOCK(); own = 3; }"), text)
    XCTAssertTrue(text.contains("{ SM_LOCK(); to[0] = x; }"), text)
  }
}

extension String {
  /// How often another text occurs.
  fileprivate func components(of other: String) -> Int { ranges(of: other).count }
}
