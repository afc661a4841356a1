import CSoftMetal
import XCTest

@testable import SoftMetal

/// What is wrong with a source is said with its own lines.
final class ShaderErrorTests: XCTestCase {
  /// The text of a source whose first line is line 1, without the lines that `ShaderBench.library` puts before it.
  private func assertMistake(
    _ source: String, _ parts: String..., file: StaticString = #filePath, line: UInt = #line
  ) throws {
    let bench = try ShaderBench()
    do {
      _ = try bench.device.makeLibrary(source: source, options: nil)
      XCTFail("nothing thrown", file: file, line: line)
    } catch let error as MTLLibraryError {
      XCTAssertEqual(error.code, .compileFailure, file: file, line: line)
      for part in parts where !error.localizedDescription.contains(part) {
        XCTFail("'\(part)' is not in: \(error.localizedDescription)", file: file, line: line)
      }
      XCTAssertFalse(error.localizedDescription.contains("warning"), file: file, line: line)
      XCTAssertFalse(error.localizedDescription.contains(".cpp"), file: file, line: line)
    }
  }

  func testMistakesInExpressions() throws {
    try assertMistake(
      "#include <metal_stdlib>\nusing namespace metal;\nkernel void k(device float *x [[buffer(0)]]) {\n  x[0] = y;\n}\n",
      "program_source:4:", "error: use of undeclared identifier 'y'")
    try assertMistake(
      "int f(int a) { return a; }\nkernel void k(device int *x [[buffer(0)]]) {\n\n  x[0] = f(x);\n}",
      "program_source:4:",
      "error:")
  }

  func testLineDirectivesCount() throws {
    try assertMistake("#line 70 \"tile.h\"\n\nkernel void k(device int *x [[buffer(0)]]) { x[0] = y; }", "tile.h:71:")
  }

  func testPreprocessorErrors() throws {
    try assertMistake("\n#error \"no such thing\"\n", "program_source:2:2: error: \"no such thing\"")
    try assertMistake("#if 1\nkernel void k() {}\n", "program_source:1:2: error: unterminated conditional directive")
    try assertMistake("\n#include \"mine.h\"\n", "program_source:2:10: error: 'mine.h' file not found")
    try assertMistake("#include <stdio.h>\n", "program_source:1:10: error: 'stdio.h' file not found")
    try assertMistake("int a;\n#include \"/etc/passwd\"\n", "program_source:2:", "error: '/etc/passwd' file not found")
    try assertMistake("#include <softmetal_device.h>\n", "program_source:1:10: error:", "file not found")
  }

  func testUnbalancedText() throws {
    try assertMistake("kernel void f() {", "program_source:1:", "error:")
    try assertMistake("kernel void f() {}\n  }", "program_source:2:3: error:")
    try assertMistake("\n/* never", "program_source:2:1: error: unterminated /* comment")
  }

  func testMistakesThatOnlyAValueMakes() throws {
    let bench = try ShaderBench()
    let source = """
      constant int n [[function_constant(0)]];
      kernel void k(device int *x [[buffer(0)]]) {
        int a[n];
        a[0] = 1;
        x[0] = a[0];
      }
      """
    func pipeline(_ n: Int32) throws -> any MTLComputePipelineState {
      try bench.pipeline(source) { $0.setConstantValue([n], type: .int, index: 0) }
    }
    XCTAssertNoThrow(try pipeline(4))
    assertLibraryError(.compileFailure, "program_source:5:", "error:") { try pipeline(-4) }
  }

  func testDiagnosticsOfTheDeviceLibraryMoveToTheirCause() {
    let output = """
      In file included from /tmp/x/kernel.cpp:1:
      /lib/device/sm_math.h:12:3: error: no member named 'z'
      /lib/device/sm_math.h:30:3: note: in instantiation of 'a'
      program_source:8:5: note: in instantiation of 'b' requested here
      program_source:3:1: warning: unused
      program_source:3:2: note: of the warning
      odd:name.h:4:6: fatal error: too many
      2 errors generated.
      """
    XCTAssertEqual(
      ShaderDiagnostics.errors(output) { $0.hasPrefix("/lib/") },
      """
      program_source:8:5: error: no member named 'z'
      program_source:8:5: note: in instantiation of 'b' requested here
      odd:name.h:4:6: error: too many
      """)
    XCTAssertNil(ShaderDiagnostics.errors("ld: cannot find -lm\nclang: error: linker failed\n") { _ in false })
  }

  func testSourceWithoutKernels() throws {
    XCTAssertEqual(try ShaderBench().device.makeLibrary(source: "", options: nil).functionNames, [])
  }
}
