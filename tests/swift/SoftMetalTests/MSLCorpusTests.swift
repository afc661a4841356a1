import Foundation
import XCTest

@testable import SoftMetal

/// The fuzzer's corpus and other hostile texts: each is taken or refused, and the process goes on.
final class MSLCorpusTests: XCTestCase {
  private static let corpus = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../../fuzz/corpus").standardizedFileURL

  func testCorpus() throws {
    let files = try FileManager.default.contentsOfDirectory(at: Self.corpus, includingPropertiesForKeys: nil)
    XCTAssertGreaterThanOrEqual(files.count, 50)
    var taken: [String] = []
    for file in files {
      if FrontEndExercise.run(String(decoding: try Data(contentsOf: file), as: UTF8.self)) {
        taken.append(file.deletingPathExtension().lastPathComponent)
      }
    }
    // Both kinds are there: what is well-formed, and what is not.
    for name in ["constants", "matrices", "templates", "empty", "lambdas", "instantiations", "unicode_names"] {
      XCTAssertTrue(taken.contains(name), name)
    }
    for name in ["open_brace", "crossed_brackets", "duplicate_slots", "deep_brackets", "reserved_names", "unsupported"]
    {
      XCTAssertFalse(taken.contains(name), name)
    }
  }

  func testTruncatedTexts() {
    let text = MSLSamples.everything
    for count in stride(from: 0, to: text.utf8.count, by: 7) {
      FrontEndExercise.run(String(decoding: text.utf8.prefix(count), as: UTF8.self))
      FrontEndExercise.run(String(decoding: text.utf8.dropFirst(count), as: UTF8.self))
    }
  }

  func testRepeatedPieces() {
    let pieces = [
      "(", "[", "{", "<", ">", "[[", "a < ", "template <", "struct s {", "x::", "if (1) ", "else ", "1 + ", "!", "-",
      "\"", "#", "# 1 \"f\"\n", "/*", "? ", ": ", "namespace n {", "int a[", "constant int a = ", "v.xy = ", "; ",
    ]
    for piece in pieces {
      let many = String(repeating: piece, count: 20_000)
      FrontEndExercise.run(many)
      FrontEndExercise.run("kernel void k(device int *x) { *x = \(many) 1; }")
    }
  }

  /// What is looked for from many places must not be looked for anew from each.
  func testManyLookups() {
    let kernel = "struct s { int xy; }; kernel void k(device int *x) { threadgroup int a[4]; "
    for (before, piece, after) in [
      (kernel, "threadgroup b ", "; }"), (kernel, "threadgroup *", "b; }"), (kernel, "auto b = ", "a; }"),
      (kernel, "device b ", "; }"), (kernel + "x[0]", ".xy", "; }"), (kernel + "x", "[0].xy", "; }"),
      ("void f(thread int *p, ", "a const ", "b) {} void f(device int *p, a b) {}"), ("constant ", "x::", "int c;"),
      ("", "int f() { return f * 1; } ", kernel + "}"),
    ] {
      FrontEndExercise.run(before + String(repeating: piece, count: 20_000) + after)
    }
  }

  /// The cost of each declaration must not grow with their number.
  func testManyDeclarations() {
    let pieces = [
      "int f() { return 1; } ", "int a = 1; ", "void g(threadgroup int *s) { s[0] = 1; } ", "enum { e }; ",
      "constant int c [[function_constant(1)]]; ", "struct t { int a; }; ", "kernel void k(device int *x) {} ",
    ]
    for piece in pieces {
      for (before, after) in [("", ""), ("struct s { ", " };"), ("namespace n { ", " }"), ("void h() { ", " }")] {
        let many = (0..<600).map { piece.replacingOccurrences(of: " k(", with: " k\($0)(") }.joined()
        FrontEndExercise.run(before + many + after)
      }
    }
  }

  func testHugeTexts() {
    let function = "float f(float x) { return x * 2.5; }\n"
    let many = String(repeating: function, count: 2 << 20 / function.utf8.count)
    let kernel = "kernel void k(device float *x) { *x = 1; }\n"
    XCTAssertTrue(FrontEndExercise.run("\(kernel)// \(many.filter { $0 != "\n" })"))
    FrontEndExercise.run(String(repeating: "a", count: 2 << 20))
    FrontEndExercise.run("kernel void k(device float *x) { *x = \(String(repeating: "1 + ", count: 1 << 16)) 1; }")
  }
}
