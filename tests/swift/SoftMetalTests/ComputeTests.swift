import CSoftMetal
import SoftMetal
import XCTest

final class ComputeTests: XCTestCase {
  func testDispatchThreadgroups() throws {
    let test = try TestDevice()
    let out = try test.buffer(Array(repeating: 99, count: 10))
    let commands = try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("iota"))
      encoder.setBuffer(out, offset: 8, index: 0)
      encoder.setUInt(5, index: 1)
      encoder.dispatchThreadgroups(one, threadsPerThreadgroup: MTLSizeMake(32, 1, 1))
    }
    XCTAssertEqual(commands.status, .completed)
    XCTAssertNil(commands.error)
    XCTAssertEqual(out.uints, [99, 99, 0, 1, 2, 3, 4, 99, 99, 99])
  }

  private func shape(
    _ test: TestDevice, offset: Int = 0, _ encode: (any MTLComputeCommandEncoder) -> Void
  ) throws -> [UInt32] {
    let out = try test.buffer(Array(repeating: 99, count: 16))
    let commands = try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("shape"))
      encoder.setBuffer(out, offset: offset, index: 0)
      encode(encoder)
    }
    XCTAssertNil(commands.error)
    return Array(out.uints[(offset / 4)...])
  }

  func testGrids() throws {
    let test = try TestDevice()
    XCTAssertEqual(
      try shape(test) { $0.dispatchThreadgroups(MTLSizeMake(2, 3, 4), threadsPerThreadgroup: MTLSizeMake(8, 4, 2)) }[
        ..<9],
      [2, 3, 4, 16, 12, 8, 8, 4, 2])
    // Ragged edges: the last threadgroup of each dimension is smaller.
    XCTAssertEqual(
      try shape(test) { $0.dispatchThreads(MTLSizeMake(17, 4, 3), threadsPerThreadgroup: MTLSizeMake(8, 4, 2)) }[..<9],
      [3, 1, 2, 17, 4, 3, 8, 4, 2])
    XCTAssertEqual(
      try shape(test) { $0.dispatchThreads(MTLSizeMake(3, 1, 1), threadsPerThreadgroup: MTLSizeMake(1024, 1, 1)) }[
        ..<9],
      [1, 1, 1, 3, 1, 1, 1024, 1, 1])
    XCTAssertEqual(
      try shape(test) { $0.dispatchThreads(MTLSizeMake(1 << 31, 1, 1), threadsPerThreadgroup: one) }[..<4],
      [1 << 31, 1, 1, 1 << 31])
  }

  func testBindingsPersistWithinAnEncoder() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let commands = try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.setBuffers([values, nil], offsets: [0, 0], range: 0..<2)
      for term: UInt32 in [1, 2, 3] {
        encoder.setUInt(term, index: 1)
        encoder.dispatchOne()
      }
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.dispatchOne()
    }
    XCTAssertNil(commands.error)
    XCTAssertEqual(values.uint(0), ((0 * 3 + 1) * 3 + 2) * 9 + 3 * 3 + 3)

    // They do not carry over to the next encoder.
    let next = try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.setUInt(1, index: 1)
      encoder.dispatchOne()
    }
    assertError(next, .invalidResource, "add", "index 0", "values")
  }

  func testSetBytesIsCopiedAtTheCall() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    var term: UInt32 = 5
    try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.setBuffer(values, offset: 0, index: 0)
      encoder.setBytes(&term, length: 4, index: 1)
      encoder.dispatchOne()
      term = 1000
    }
    XCTAssertEqual(values.uint(0), 5)
  }

  func testManySetBytes() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let large = [UInt32](repeating: 2, count: 1024)
    var expected: UInt32 = 0
    let commands = try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.setBuffer(values, offset: 0, index: 0)
      for _ in 0..<50 {
        encoder.setBytes(large, length: 4096, index: 1)
        encoder.dispatchOne()
        expected = expected &* 3 &+ 2
      }
    }
    XCTAssertNil(commands.error)
    XCTAssertEqual(values.uint(0), expected)
  }

  func testBufferOffset() throws {
    let test = try TestDevice()
    let values = try test.buffer([1, 2, 3])
    try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.setBuffer(values, offset: 0, index: 0)
      encoder.setUInt(10, index: 1)
      encoder.setBufferOffset(8, index: 0)
      encoder.dispatchOne()
    }
    XCTAssertEqual(values.uints, [1, 2, 19])
  }

  func testKernelSeesTheRestOfTheBufferAndItsOwnBindingsOnly() throws {
    let test = try TestDevice()
    let stray = try test.buffer([1])
    let seen = try shape(test, offset: 16) {
      $0.setBuffer(stray, offset: 0, index: 7)
      $0.setThreadgroupMemoryLength(48, index: 2)
      $0.dispatchOne()
    }
    XCTAssertEqual(seen[9], 48)
    XCTAssertEqual(seen[10], 48)
    XCTAssertEqual(seen[11], 0)
    XCTAssertEqual(try shape(test) { $0.dispatchOne() }[9], 0)
  }

  func testIndirectDispatch() throws {
    let test = try TestDevice()
    let arguments = try test.buffer([77, 2, 3, 4])
    let grid = try shape(test) {
      $0.dispatchThreadgroups(
        indirectBuffer: arguments, indirectBufferOffset: 4, threadsPerThreadgroup: MTLSizeMake(8, 1, 1))
    }
    XCTAssertEqual(grid[..<9], [2, 3, 4, 16, 3, 4, 8, 1, 1])
    // The grid is read when the command is executed: here after a kernel made it.
    let made = try test.buffer([0, 1, 1])
    let out = try test.buffer(Array(repeating: 0, count: 16))
    try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.setBuffer(made, offset: 0, index: 0)
      encoder.setUInt(6, index: 1)
      encoder.dispatchOne()
      encoder.memoryBarrier(scope: .buffers)
      encoder.setComputePipelineState(try test.pipeline("shape"))
      encoder.setBuffer(out, offset: 0, index: 0)
      encoder.dispatchThreadgroups(indirectBuffer: made, indirectBufferOffset: 0, threadsPerThreadgroup: one)
    }
    XCTAssertEqual(out.uint(0), 6)
    // An empty grid runs nothing.
    let empty = try test.buffer([1, 0, 1])
    XCTAssertEqual(
      try shape(test) {
        $0.dispatchThreadgroups(indirectBuffer: empty, indirectBufferOffset: 0, threadsPerThreadgroup: one)
      }[0], 99)
    let vast = try test.buffer([1 << 30, 1, 1])
    let commands = try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("shape"))
      encoder.setBuffer(out, offset: 0, index: 0)
      encoder.dispatchThreadgroups(
        indirectBuffer: vast, indirectBufferOffset: 0, threadsPerThreadgroup: MTLSizeMake(8, 1, 1))
    }
    assertError(commands, .internal, "32 bits")
  }

  func testConcurrentEncoder() throws {
    let test = try TestDevice()
    let out = try test.buffer(Array(repeating: 0, count: 4))
    let fence = try XCTUnwrap(test.device.makeFence())
    fence.label = "f"
    XCTAssertEqual(fence.label, "f")
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    let pass = MTLComputePassDescriptor()
    pass.dispatchType = .concurrent
    let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder(descriptor: pass))
    XCTAssertEqual(encoder.dispatchType, .concurrent)
    XCTAssertTrue(encoder.device === test.device)
    encoder.setComputePipelineState(try test.pipeline("iota"))
    encoder.setBuffer(out, offset: 0, index: 0)
    encoder.setUInt(2, index: 1)
    encoder.dispatchThreads(MTLSizeMake(2, 1, 1), threadsPerThreadgroup: one)
    encoder.memoryBarrier(resources: [out])
    encoder.useResources([out], usage: [.read, .write])
    encoder.setComputePipelineState(try test.pipeline("add"))
    encoder.dispatchOne()
    encoder.updateFence(fence)
    encoder.endEncoding()
    let second = try XCTUnwrap(commands.makeComputeCommandEncoder())
    second.waitForFence(fence)
    second.endEncoding()
    commands.commit()
    commands.waitUntilCompleted()
    XCTAssertNil(commands.error)
    XCTAssertEqual(out.uints, [2, 1, 0, 0])
  }

  func testParallelRegionsAndScratch() throws {
    let test = try TestDevice()
    for count: UInt32 in [1, 2, 1000, 300, 700_000] {
      let out = try XCTUnwrap(test.device.makeBuffer(length: Int(count) * 4))
      let commands = try test.run { encoder in
        encoder.setComputePipelineState(try test.pipeline("squares"))
        encoder.setBuffer(out, offset: 0, index: 0)
        encoder.setUInt(count, index: 1)
        encoder.dispatchOne()
      }
      XCTAssertNil(commands.error)
      XCTAssertEqual((0..<Int(count)).first { out.uint($0) != UInt32(truncatingIfNeeded: $0 * $0) }, nil)
    }
  }

  func testKernelErrorEndsTheBuffer() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let commands = try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.setBuffer(values, offset: 0, index: 0)
      encoder.setUInt(1, index: 1)
      encoder.dispatchOne()
      encoder.setComputePipelineState(try test.pipeline("broken"))
      encoder.dispatchOne()
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.dispatchOne()
    }
    assertError(commands, .internal, "broken", "head size 7 is not supported")
    XCTAssertEqual(values.uint(0), 1)
    // The queue goes on.
    let next = try XCTUnwrap(test.queue.makeCommandBuffer())
    try test.encodeAdd(5, to: values, in: next)
    next.commit()
    next.waitUntilCompleted()
    XCTAssertNil(next.error)
    XCTAssertEqual(values.uint(0), 8)
  }
}

final class BlitTests: XCTestCase {
  private func blit(
    _ test: TestDevice, _ encode: (any MTLBlitCommandEncoder) -> Void
  ) throws -> any MTLCommandBuffer {
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    let encoder = try XCTUnwrap(commands.makeBlitCommandEncoder())
    encode(encoder)
    encoder.endEncoding()
    commands.commit()
    commands.waitUntilCompleted()
    return commands
  }

  func testCopyAndFill() throws {
    let test = try TestDevice()
    let source = try test.buffer([1, 2, 3, 4])
    let target = try test.buffer([9, 9, 9, 9])
    let managed = try XCTUnwrap(test.device.makeBuffer(length: 16, options: .storageModeManaged))
    let commands = try blit(test) {
      $0.copy(from: source, sourceOffset: 4, to: target, destinationOffset: 8, size: 8)
      $0.fill(buffer: target, range: 0..<4, value: 0xab)
      $0.synchronize(resource: managed)
    }
    XCTAssertNil(commands.error)
    XCTAssertEqual(target.uints, [0xabab_abab, 9, 2, 3])
  }

  func testMisuse() throws {
    let test = try TestDevice()
    let buffer = try test.buffer([1, 2, 3, 4])
    let foreign = try XCTUnwrap(SoftMetalDevice().makeBuffer(length: 16))
    let cases: [(String, (any MTLBlitCommandEncoder) -> Void)] = [
      ("size(0)", { $0.copy(from: buffer, sourceOffset: 0, to: buffer, destinationOffset: 8, size: 0) }),
      ("size(-4)", { $0.copy(from: buffer, sourceOffset: 0, to: buffer, destinationOffset: 8, size: -4) }),
      ("offset(2)", { $0.copy(from: buffer, sourceOffset: 2, to: buffer, destinationOffset: 8, size: 4) }),
      ("size(6)", { $0.copy(from: buffer, sourceOffset: 0, to: buffer, destinationOffset: 8, size: 6) }),
      (
        "destination: offset(12)",
        { $0.copy(from: buffer, sourceOffset: 0, to: buffer, destinationOffset: 12, size: 8) }
      ),
      ("source: offset(-4)", { $0.copy(from: buffer, sourceOffset: -4, to: buffer, destinationOffset: 0, size: 4) }),
      (
        "length(16)",
        { $0.copy(from: buffer, sourceOffset: Int.max - 3, to: buffer, destinationOffset: 0, size: Int.max - 3) }
      ),
      ("another device", { $0.copy(from: foreign, sourceOffset: 0, to: buffer, destinationOffset: 0, size: 4) }),
      ("fill", { $0.fill(buffer: buffer, range: 0..<0, value: 1) }),
      ("fill", { $0.fill(buffer: buffer, range: 1..<5, value: 1) }),
      ("fill", { $0.fill(buffer: buffer, range: 0..<20, value: 1) }),
      ("managed", { $0.synchronize(resource: buffer) }),
    ]
    for (text, encode) in cases {
      let commands = try blit(test) {
        encode($0)
        $0.fill(buffer: buffer, range: 0..<16, value: 7)
      }
      assertError(commands, .invalidResource, text)
      XCTAssertEqual(buffer.uints, [1, 2, 3, 4], text)
    }
  }
}
