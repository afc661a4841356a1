import CSoftMetal
import SoftMetal
import XCTest

final class FunctionConstantTests: XCTestCase {
  private static let types: [(MTLDataType, bytes: Int)] = [
    (.bool, 1), (.char, 1), (.uchar, 1), (.short, 2), (.ushort, 2), (.int, 4), (.uint, 4), (.long, 8), (.ulong, 8),
    (.half, 2), (.bfloat, 2), (.float, 4), (.float2, 8), (.float3, 16), (.float4, 16), (.bool4, 4), (.half3, 8),
    (.ulong4, 32), (.uchar3, 4),
  ]

  /// A device whose only kernel writes down the type and bytes of its constant 9.
  private func makeEcho(_ type: MTLDataType) throws -> (TestEcho, any MTLLibrary) {
    let source = "constant \(type) value [[function_constant(9)]]; kernel void echo(device uchar *out [[buffer(0)]]) {}"
    let echo = TestEcho(device: SoftMetalDevice())
    let row = NativeRows.kernel(
      "echo", [("out", 0, SM_READ_WRITE, 40, -1)], constants: [("value", 9, type, true)],
      run: { dispatch in
        guard let d = dispatch?.pointee, d.constant_count == 1, let constant = d.constants?.pointee else { return nil }
        d.buffers.0.data.storeBytes(of: constant.index, as: UInt32.self)
        d.buffers.0.data.storeBytes(of: constant.type, toByteOffset: 4, as: UInt32.self)
        withUnsafeBytes(of: constant.value) { bytes in
          if let base = bytes.baseAddress { (d.buffers.0.data + 8).copyMemory(from: base, byteCount: bytes.count) }
        }
        return nil
      })
    echo.device.registerNativeKernels([row], count: 1, source: source)
    return (echo, try echo.device.makeLibrary(source: source, options: nil))
  }

  private struct TestEcho {
    let device: SoftMetalDevice

    func run(_ function: any MTLFunction) throws -> (index: UInt32, type: UInt32, bytes: [UInt8]) {
      let pipeline = try device.makeComputePipelineState(function: function)
      let out = try XCTUnwrap(device.makeBuffer(length: 40))
      let commands = try XCTUnwrap(XCTUnwrap(device.makeCommandQueue()).makeCommandBuffer())
      let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
      encoder.setComputePipelineState(pipeline)
      encoder.setBuffer(out, offset: 0, index: 0)
      encoder.dispatchOne()
      encoder.endEncoding()
      commands.commit()
      commands.waitUntilCompleted()
      XCTAssertNil(commands.error)
      return (out.uint(0), out.uint(1), Array(UnsafeRawBufferPointer(start: out.contents() + 8, count: 32)))
    }
  }

  func testAllTypesByIndexAndByName() throws {
    for (type, bytes) in Self.types {
      let (echo, library) = try makeEcho(type)
      var pattern = (0..<UInt8(bytes)).map { 0x11 &* ($0 + 1) | 1 }
      let expected = pattern + Array(repeating: 0, count: 32 - bytes)
      for byName in [false, true] {
        let values = MTLFunctionConstantValues()
        if byName {
          values.setConstantValue(pattern, type: type, withName: "value")
        } else {
          values.setConstantValue(pattern, type: type, index: 9)
        }
        // Copied at the call: what happens to the memory then does not matter.
        pattern = pattern.map { ~$0 }
        let function = try library.makeFunction(name: "echo", constantValues: values)
        pattern = pattern.map { ~$0 }
        XCTAssertTrue(function.functionConstantsDictionary.isEmpty)
        let seen = try echo.run(function)
        XCTAssertEqual(seen.index, 9)
        XCTAssertEqual(seen.type, UInt32(type.rawValue), "\(type)")
        XCTAssertEqual(seen.bytes, expected, "\(type) by \(byName ? "name" : "index")")
      }
    }
  }

  func testRange() throws {
    let (echo, library) = try makeEcho(.ushort)
    let values = MTLFunctionConstantValues()
    values.setConstantValues([UInt16(70), 80, 90, 100], type: .ushort, range: 7..<11)
    XCTAssertEqual(try echo.run(library.makeFunction(name: "echo", constantValues: values)).bytes.prefix(2), [90, 0])
  }

  func testIndexComesBeforeName() throws {
    let (echo, library) = try makeEcho(.uchar)
    let values = MTLFunctionConstantValues()
    values.setConstantValue([UInt8(2)], type: .uchar, withName: "value")
    values.setConstantValue([UInt8(1)], type: .uchar, index: 9)
    XCTAssertEqual(try echo.run(library.makeFunction(name: "echo", constantValues: values)).bytes[0], 1)
  }

  func testLaterValueAndReset() throws {
    let (echo, library) = try makeEcho(.uchar)
    let values = MTLFunctionConstantValues()
    values.setConstantValue([UInt8(1)], type: .uchar, index: 9)
    values.setConstantValue([UInt8(5)], type: .uchar, index: 9)
    XCTAssertEqual(try echo.run(library.makeFunction(name: "echo", constantValues: values)).bytes[0], 5)
    values.reset()
    assertLibraryError(.compileFailure, "kernel 'echo'", "'value' (index 9)", "expected a uchar, got no value") {
      try library.makeFunction(name: "echo", constantValues: values)
    }
  }

  func testWrongType() throws {
    let (_, library) = try makeEcho(.int)
    let wrong: [(MTLDataType, String)] = [
      (.uint, "uint"), (.bool, "bool"), (.int2, "int2"), (.long, "long"), (.float, "float"), (.struct, "struct"),
    ]
    for (type, name) in wrong {
      let values = MTLFunctionConstantValues()
      values.setConstantValue([UInt64(0)], type: type, index: 9)
      assertLibraryError(.compileFailure, "'value'", "expected a int", "got a \(name)") {
        try library.makeFunction(name: "echo", constantValues: values)
      }
    }
  }

  func testUnusedValuesAreIgnored() throws {
    let (echo, library) = try makeEcho(.uchar)
    let values = MTLFunctionConstantValues()
    values.setConstantValue([UInt8(3)], type: .uchar, index: 9)
    values.setConstantValue([Float(3)], type: .float, index: 70_000)
    values.setConstantValue([Float(3)], type: .float, index: -1)
    values.setConstantValue([Float(3)], type: .float, withName: "nobody")
    XCTAssertEqual(try echo.run(library.makeFunction(name: "echo", constantValues: values)).bytes[0], 3)
  }

  func testOptionalConstant() throws {
    let source = "kernel void k(device uint *out [[buffer(0)]]) {}"
    let device = SoftMetalDevice()
    let row = NativeRows.kernel(
      "k", [NativeRows.out], constants: [("depth", 2, .int, false)],
      run: { dispatch in
        guard let d = dispatch?.pointee else { return nil }
        d.buffers.0.data.storeBytes(of: d.constant_count, as: UInt32.self)
        return nil
      })
    device.registerNativeKernels([row], count: 1, source: source)
    let library = try device.makeLibrary(source: source, options: nil)
    let values = MTLFunctionConstantValues()
    let echo = TestEcho(device: device)
    XCTAssertEqual(try echo.run(library.makeFunction(name: "k", constantValues: values)).index, 0)
    values.setConstantValue([Int32(4)], type: .int, index: 2)
    XCTAssertEqual(try echo.run(library.makeFunction(name: "k", constantValues: values)).index, 1)
    values.setConstantValue([UInt32(4)], type: .uint, index: 2)
    assertLibraryError(.compileFailure, "depth") { try library.makeFunction(name: "k", constantValues: values) }
  }

  func testGuardedArgument() throws {
    let test = try TestDevice()
    let out = try test.buffer([0])
    let bias = try test.buffer([100])
    let bound = try test.run { encoder in
      encoder.setComputePipelineState(try test.seeded(7, bias: true))
      encoder.setBuffer(out, offset: 0, index: 0)
      encoder.setBuffer(bias, offset: 0, index: 5)
      encoder.dispatchOne()
    }
    XCTAssertNil(bound.error)
    XCTAssertEqual(out.uint(0), 107)
    // An argument that does not exist is not seen, although something is bound.
    try test.run { encoder in
      encoder.setComputePipelineState(try test.seeded(7, bias: false))
      encoder.setBuffer(out, offset: 0, index: 0)
      encoder.setBuffer(bias, offset: 0, index: 5)
      encoder.dispatchOne()
    }
    XCTAssertEqual(out.uint(0), 7)
    let missing = try test.run { encoder in
      encoder.setComputePipelineState(try test.seeded(7, bias: true))
      encoder.setBuffer(out, offset: 0, index: 0)
      encoder.dispatchOne()
    }
    assertError(missing, .invalidResource, "seeded", "index 5", "bias")
  }
}
