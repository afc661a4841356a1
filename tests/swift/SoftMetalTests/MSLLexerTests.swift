import XCTest

@testable import SoftMetal

final class MSLLexerTests: XCTestCase {
  private func texts(_ source: String) throws -> [String] { try Lexer(Array(source.utf8)).tokens.map(\.text) }

  private func source(_ text: String) throws -> Source { try Source(text: text, languageVersion: .version3_2) }

  func testTokens() throws {
    XCTAssertEqual(try texts("a+=b->c[1]::d;"), ["a", "+=", "b", "->", "c", "[", "1", "]", "::", "d", ";"])
    XCTAssertEqual(
      try texts("x<<=2; y>>=3; z ... p->*q"), ["x", "<<=", "2", ";", "y", ">>=", "3", ";", "z", "...", "p", "->*", "q"])
    XCTAssertEqual(
      try texts("0.5h 1.0bf .5 1e-3f 0x1.8p+1 1'000u 2.0_km"),
      ["0.5h", "1.0bf", ".5", "1e-3f", "0x1.8p+1", "1'000u", "2.0_km"])
    XCTAssertEqual(
      try texts("\"a\\\"b\" 'c' u8\"d\" R\"x(\" )\" )x\""), ["\"a\\\"b\"", "'c'", "u8\"d\"", "R\"x(\" )\" )x\""])
    XCTAssertEqual(try texts("a // b\n/* c\n */ d"), ["a", "d"])
    XCTAssertEqual(try texts("größe"), ["größe"])
  }

  func testAngleBracketsCloseOneByOne() throws {
    XCTAssertEqual(try texts("vec<vec<T, 2>> >= >>="), ["vec", "<", "vec", "<", "T", ",", "2", ">", ">", ">=", ">>="])
  }

  func testLineMarkers() throws {
    let source = try source("# 7 \"a.h\" 1\nint x;\n\nint y;\n#line 3 \"b\"\n  z\n")
    let places = source.tokens.map { source.map.place(of: $0.start) }
    XCTAssertEqual(places.map(\.file), ["a.h", "a.h", "a.h", "a.h", "a.h", "a.h", "b"])
    XCTAssertEqual(places.map(\.line), [7, 7, 7, 9, 9, 9, 3])
    XCTAssertEqual(places[1].column, 5)
    XCTAssertEqual(places[6].column, 3)
  }

  func testDirectives() throws {
    let source = try source("# 1 \"a\"\n#pragma unroll\n#pragma METAL fp math_mode(safe)\nx")
    XCTAssertEqual(source.directives.count, 3)
    XCTAssertThrowsError(try self.source("#define A 1\n"))
    XCTAssertThrowsError(try self.source("x #pragma unroll\n"))
  }

  func testAttributes() throws {
    let source = try source("f [[buffer(0), function_constant(has_mask)]] [[clang::optnone]] a[b[0]]")
    XCTAssertEqual(source.attributes.count, 2)
    XCTAssertEqual(source.attributes[0].items.map(\.name), ["buffer", "function_constant"])
    XCTAssertFalse(source.attributes[0].isKept)
    XCTAssertTrue(source.attributes[1].isKept)
  }

  func testTemplateArguments() throws {
    func end(_ text: String) throws -> Int? { try source(text).angleEnd(1) }
    XCTAssertEqual(try end("f<a, b<c>> x;"), 9)
    XCTAssertEqual(try end("f<(a > b), sizeof(T) < 8> x;"), 15)
    XCTAssertEqual(try end("e<N < 4> x;"), 6)
    XCTAssertNil(try end("a < b; c > d"))
  }

  /// Whatever the bytes, there is an answer.
  func testAnyTextHasAnAnswer() {
    let pieces = [
      "kernel", "void", "f", "(", ")", "{", "}", "[", "]", "[[", "]]", "<", ">", ";", ":", "::", ",", "template",
      "struct",
      "operator", "=", "threadgroup", "constant", "device", "*", "&", "\"", "'", "#", "\n", "1", "0x", "1e", "\\", "/*",
      "function_constant", "buffer", "host_name", "\"x\"", "enum", "using", "typedef", "namespace", "decltype", "auto",
      ".", "->", "xy", "uint", "thread_position_in_grid", "++", "?", "if", "for", "case", "R\"", "é", "\0", "@",
    ]
    var state: UInt64 = 1
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    var accepted = 0
    for _ in 0..<4000 {
      let text = (0..<(1 + next(24))).map { _ in pieces[next(pieces.count)] }.joined(separator: next(3) == 0 ? "" : " ")
      guard let module = try? ShaderModule(preprocessed: text) else { continue }
      accepted += 1
      _ = try? module.translateForCheck()
      _ = try? module.translateForProbe()
      for function in module.functions {
        _ = module.constants(usedBy: function.name)
        _ = try? module.translate(function.name, constants: [], flavour: ShaderFlavour(lockstep: true, checked: false))
      }
    }
    XCTAssertGreaterThan(accepted, 0)
  }

  /// The same with real shader text that was cut, doubled and shuffled.
  func testDamagedShadersHaveAnAnswer() {
    let words = Array(MSLSamples.everything.split(separator: " ", omittingEmptySubsequences: false))
    var state: UInt64 = 7
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    for _ in 0..<600 {
      var damaged = words
      for _ in 0..<(1 + next(4)) {
        let place = next(damaged.count)
        switch next(3) {
        case 0: damaged.remove(at: place)
        case 1: damaged.insert(words[next(words.count)], at: place)
        default: damaged.swapAt(place, next(damaged.count))
        }
      }
      guard let module = try? ShaderModule(preprocessed: damaged.joined(separator: " ")) else { continue }
      for function in module.functions {
        _ = try? module.translate(function.name, constants: [], flavour: ShaderFlavour(lockstep: true, checked: true))
      }
    }
  }

  func testDeepAndLongTextsEnd() throws {
    let time = ContinuousClock().measure {
      for piece in [
        "(", "{", "[", "template <", "f<", "-", "!", "a ? ", "namespace a {", "struct a {", "operator ", "a.xy",
      ] {
        _ = try? ShaderModule(preprocessed: String(repeating: piece, count: 50_000))
      }
    }
    XCTAssertLessThan(time, .seconds(60))
    let minus = "constant int c [[function_constant(" + String(repeating: "-", count: 100_000) + "1)]];"
    XCTAssertThrowsError(try ShaderModule(preprocessed: minus))
    // Constants and structs made of one another cost no more than their text.
    let chain = (0..<60).map { "constant int c\($0) = c\($0 + 1) + c\($0 + 1);" }.joined()
    let nest = "struct s0 { int x; };" + (1..<40).map { "struct s\($0) { s\($0 - 1) a, b; s\($0 - 1) c; };" }.joined()
    let module = try ShaderModule(
      preprocessed: chain + nest + "constant int c60 = 0; kernel void k(constant s39 &s [[buffer(c0)]]) {}")
    XCTAssertEqual(module.functions.count, 1)
  }

  func testTimeIsLinear() throws {
    func time(_ count: Int) throws -> Duration {
      let function = "float f_N(device const float *x, int i) { return x[i] * 2.0 + f_N(x, i - 1); }\n"
      let text = (0..<count).map { function.replacing("N", with: "\($0)") }.joined() + "kernel void k() {}"
      return try ContinuousClock().measure {
        let module = try ShaderModule(preprocessed: text)
        _ = try module.translate("k", constants: [], flavour: ShaderFlavour(lockstep: true, checked: false))
      }
    }
    let short = try time(1000)
    let long = try time(8000)
    XCTAssertLessThan(long, short * 40)
  }
}
