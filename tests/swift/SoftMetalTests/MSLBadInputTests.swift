import XCTest

@testable import SoftMetal

/// Texts, names and paths that nobody writes by accident: each works or is refused, and nothing of it is ever run.
final class MSLBadInputTests: XCTestCase {
  private static let source = "kernel void k(device int *x [[buffer(0)]]) { x[0] = VALUE; }"

  private var scratch: Scratch!

  override func setUpWithError() throws { scratch = try Scratch() }
  override func tearDown() { scratch = nil }

  /// Words that a shell or a compiler's driver would take for something else.
  private func hostile(_ mark: String) -> [String] {
    [
      "a b", "'", "\"", "\\", "$(touch \(mark))", "`touch \(mark)`", "; touch \(mark);", "| touch \(mark)", "&", "*",
      "~", "#", "%s%n", "-o", "@file", "é", "\u{1F600}", "(", "{", "<", "\t", "!!", "${HOME}", "\\\"", "??/",
    ]
  }

  private func assertUntouched(_ mark: String, _ what: String) {
    XCTAssertNil(Files.facts(mark), "\(what) was run")
  }

  func testPaths() throws {
    let mark = "\(scratch.path)/mark"
    // A name in a path has no slashes.
    let local = try XCTUnwrap(mark.split(separator: "/").last.map(String.init))
    let words = hostile(local)
    for (index, start) in stride(from: 0, to: words.count, by: 8).enumerated() {
      let word = words[start..<min(start + 8, words.count)].joined()
      let directory = "\(scratch.path)/\(index)\(word)"
      try Files.makePrivateDirectory(directory)
      let script = "\(index)\(word)/clang"
      let compiler = try scratch.script(script, "exec \"$CLANG\" \"$@\"")
      let bench = try ShaderBench { environment in
        environment.cache = "\(directory)/cache"
        environment.compiler = compiler
      }
      let buffer = try bench.buffer([Int32(0)])
      let source = Self.source.replacingOccurrences(of: "VALUE", with: "7")
      try bench.complete(bench.pipeline(source), [buffer], threads: 1)
      XCTAssertEqual(buffer.elements(Int32.self), [7], word)
      // Errors name the source, not where its copy happens to lie.
      assertLibraryError(.compileFailure, "program_source:3:", "nothing") {
        try bench.library("kernel void k(device int *x [[buffer(0)]]) { *x = nothing; }")
      }
      assertUntouched("\(directory)/\(local)", word)
      assertUntouched("\(scratch.path)/\(local)", word)
    }
    assertUntouched(local, "a path")
  }

  func testMacros() throws {
    let mark = "\(scratch.path)/mark"
    let bench = try ShaderBench { $0.cache = scratch.cache }
    for word in hostile(mark) {
      let options = MTLCompileOptions()
      options.preprocessorMacros = [word: "1" as AnyObject]
      assertLibraryError(.compileFailure, "preprocessorMacros", "a name of letters") {
        try bench.library(Self.source, options)
      }
      // As a value it is text of the shader's, which may or may not make sense there.
      options.preprocessorMacros = ["VALUE": "\(word) 1" as AnyObject]
      do {
        _ = try bench.library(Self.source, options)
      } catch {
        XCTAssertEqual((error as? MTLLibraryError)?.code, .compileFailure, word)
      }
      assertUntouched(mark, word)
    }
  }

  func testFileNamesInTheText() throws {
    let mark = "\(scratch.path)/mark"
    let bench = try ShaderBench { $0.cache = scratch.cache }
    var markers = ""
    for word in hostile(mark) where word != "\t" {
      let quoted = word.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"")
      XCTAssertThrowsError(try bench.library("#include \"\(word)\"\n"), word) { error in
        XCTAssertEqual((error as? MTLLibraryError)?.code, .compileFailure, word)
      }
      markers += "#line 1 \"\(quoted)\"\n"
    }
    _ = try bench.library(markers + Self.source.replacingOccurrences(of: "VALUE", with: "1"))
    assertUntouched(mark, "a file's name")
  }

  func testRecursiveIncludes() throws {
    let bench = try ShaderBench { $0.cache = scratch.cache }
    for include in ["#include __FILE__", "#include \"program_source\"", "#include \"source.metal\""] {
      assertLibraryError(.compileFailure, "program_source:", "error:") { try bench.library("\(include)\n") }
    }
    for include in ["/dev/stdin", "/proc/self/environ", "../../../../../../etc/passwd"] {
      assertLibraryError(.compileFailure, "program_source:3:", "error:", "file not found") {
        try bench.library("#include \"\(include)\"\n")
      }
    }
  }

  func testTextsThatAreNotUTF8() throws {
    let bench = try ShaderBench { $0.cache = scratch.cache }
    for bytes: [UInt8] in [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xf8, 0x88, 0x80, 0x80, 0x80], [0]] {
      let text = String(decoding: bytes, as: UTF8.self)
      // Harmless in a comment, refused or a strange name elsewhere.
      _ = try bench.library("// \(text)\n\(Self.source.replacingOccurrences(of: "VALUE", with: "1"))")
      XCTAssertThrowsError(try bench.library("kernel void k(device int *x) { *x = \(text); }"))
    }
  }

  func testUnbalancedTemplates() throws {
    let bench = try ShaderBench { $0.cache = scratch.cache }
    for text in [
      "template <typename T", "template <typename T>>", "template <", "template <>",
      "template <typename T> > void f();",
      "kernel void k(device vec<int, 2 *x) {}", "kernel void k(device vec<vec<int, 2> *x) {}",
      "template <int n = (1 > 2)> struct s {}; kernel void k(device s<1 *x) {}",
      "template [[host_name(\"h\")]] kernel void k<int(device int *);",
    ] {
      XCTAssertThrowsError(try bench.library(text), text) { error in
        XCTAssertEqual((error as? MTLLibraryError)?.code, .compileFailure, text)
      }
    }
  }
}
