import XCTest

@testable import FlashAttn

final class RegistryTests: XCTestCase {
  func testConstantsAreOneKeyInAnyOrder() throws {
    let (_, registry) = try TestKernels.device()
    let forward = [FunctionConstant(0, .int(2)), FunctionConstant(1, .int(3))]
    let one = try registry.pipeline("scale_add", constants: forward)
    let two = try registry.pipeline("scale_add", constants: forward.reversed())
    XCTAssertTrue(one.metal === two.metal)
    XCTAssertEqual(registry.cachedCount, 1)
    XCTAssertTrue(try registry.isCached("scale_add", constants: forward.reversed()))
    XCTAssertFalse(try registry.isCached("scale_add", constants: [FunctionConstant(0, .int(9)), forward[1]]))
  }

  func testConstantsAreChecked() throws {
    let (_, registry) = try TestKernels.device()
    let twice = [FunctionConstant(0, .int(1)), FunctionConstant(0, .int(2))]
    XCTAssertEqual(thrown { _ = try registry.pipeline("scale_add", constants: twice) }.argument, "constants")
    let missing = thrown { _ = try registry.pipeline("scale_add", constants: [FunctionConstant(0, .int(1))]) }
    XCTAssertEqual(missing.code, .compileFailed)
    XCTAssertTrue(missing.log.contains("shift"), missing.log)
  }

  func testUnknownKernelIsNamed() throws {
    let (_, registry) = try TestKernels.device()
    let error = thrown { _ = try registry.pipeline("no_such_kernel") }
    XCTAssertEqual(error.code, .kernelNotFound)
    XCTAssertTrue(error.description.contains("no_such_kernel"))
  }

  func testReplacingASourceDropsEveryPipelineOfIt() throws {
    let (_, registry) = try TestKernels.device()
    let constants = [FunctionConstant(0, .int(1)), FunctionConstant(1, .int(1))]
    _ = try registry.pipeline("scale_add", constants: constants)
    _ = try registry.pipeline("scale_add", constants: [FunctionConstant(0, .int(2)), constants[1]])
    try registry.register(source: "// nothing here\n", named: TestKernels.name)
    XCTAssertEqual(registry.cachedCount, 0)
    XCTAssertEqual(thrown { _ = try registry.pipeline("scale_add", constants: constants) }.code, .kernelNotFound)
    try registry.register(source: TestKernels.source, named: TestKernels.name)
    XCTAssertNoThrow(try registry.pipeline("scale_add", constants: constants))
  }

  func testBrokenSourceIsReportedWithItsLine() throws {
    let (_, registry) = try TestKernels.device()
    try registry.register(source: "kernel void broken(\n", named: "broken.metal")
    let error = thrown { _ = try registry.pipeline("broken") }
    XCTAssertEqual(error.code, .compileFailed)
    XCTAssertTrue(error.log.contains(":1:") || error.log.contains(":2:"), error.log)
    XCTAssertEqual(error.argument, "broken.metal")
    XCTAssertNoThrow(
      try registry.pipeline("scale_add", constants: [FunctionConstant(0, .int(1)), FunctionConstant(1, .int(1))]))
  }

  func testIncludesAreFlattenedOnceWithTheirLines() throws {
    let text = "int a;\n#include \"flash_attn_params.h\"\nint b;\n#include \"flash_attn_params.h\"\nint c;\n"
    let flat = try ShaderSource.flatten(text, named: "x.metal")
    XCTAssertEqual(flat.components("typedef struct fa_attn_params").count, 2)
    XCTAssertTrue(flat.contains("#line 1 \"flash_attn_params.h\""))
    XCTAssertTrue(flat.contains("#line 3 \"x.metal\"\nint b;"))
    let error = thrown { _ = try ShaderSource.flatten("\n#include \"nowhere.h\"\n", named: "x.metal") }
    XCTAssertEqual(error.log, "x.metal:2:1: error: 'nowhere.h' file not found")
  }

  func testBuiltInSourcesHaveTheirKernelsAndNoIncludeLeft() throws {
    let device = try Device(tuning: Tuning())
    for room in KernelTable.shaders {
      let source = try ShaderSource.builtIn(room.name)
      XCTAssertFalse(source.contains("#include \""), room.name)
      let library = try device.metal.makeLibrary(source: source, options: nil)
      XCTAssertEqual(library.functionNames.sorted(), room.kernels.sorted())
    }
  }

  func testManyThreadsGetOnePipeline() throws {
    let (_, registry) = try TestKernels.device()
    DispatchQueue.concurrentPerform(iterations: 16) { index in
      let constants = [FunctionConstant(0, .int(Int32(index % 4))), FunctionConstant(1, .int(0))]
      XCTAssertNotNil(try? registry.pipeline("scale_add", constants: constants))
    }
    XCTAssertEqual(registry.cachedCount, 4)
  }

  func testSmallFloatConstants() {
    XCTAssertEqual(ConstantValue(half: 1), .half(0x3C00))
    XCTAssertEqual(ConstantValue(half: -2.5), .half(0xC100))
    XCTAssertEqual(ConstantValue(half: 65504), .half(0x7BFF))
    XCTAssertEqual(ConstantValue(half: 65520), .half(0x7C00))
    XCTAssertEqual(ConstantValue(half: 6e-8), .half(1))
    XCTAssertEqual(ConstantValue(half: 2.9e-8), .half(0))
    XCTAssertEqual(ConstantValue(half: 1 + 1.0 / 2048), .half(0x3C00))
    XCTAssertEqual(ConstantValue(half: 1 + 3.0 / 2048), .half(0x3C02))
    XCTAssertEqual(ConstantValue(bfloat: 1), .bfloat(0x3F80))
    XCTAssertEqual(ConstantValue(bfloat: -.infinity), .bfloat(0xFF80))
    XCTAssertEqual(ConstantValue(bfloat: 1e39), .bfloat(0x7F80))
    XCTAssertEqual(ConstantValue(bfloat: 3.14159265), .bfloat(0x4049))
    for bits in stride(from: UInt16(0), to: 0x7F80, by: 37) {
      let value = Double(Float(bitPattern: UInt32(bits) << 16))
      XCTAssertEqual(ConstantValue(bfloat: value), .bfloat(bits))
    }
  }
}

extension String {
  /// The pieces between occurrences of `separator`.
  fileprivate func components(_ separator: String) -> [Substring] {
    var pieces: [Substring] = []
    var rest = self[...]
    while let range = rest.firstRange(of: separator) {
      pieces.append(rest[..<range.lowerBound])
      rest = rest[range.upperBound...]
    }
    return pieces + [rest]
  }
}
