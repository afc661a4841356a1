import SoftMetal
import XCTest

/// What aborts on a Mac becomes the command buffer's error.
final class MisuseTests: XCTestCase {
  /// Dispatches `iota` with everything it needs, after `encode` had its say.
  private func iota(
    _ test: TestDevice, _ out: any MTLBuffer, _ encode: (any MTLComputeCommandEncoder) -> Void
  ) throws -> any MTLCommandBuffer {
    try test.run { encoder in
      encoder.setComputePipelineState(try test.pipeline("iota"))
      encoder.setBuffer(out, offset: 0, index: 0)
      encoder.setUInt(4, index: 1)
      encode(encoder)
      encoder.dispatchThreads(MTLSizeMake(4, 1, 1), threadsPerThreadgroup: one)
    }
  }

  private func check(
    _ code: MTLCommandBufferError.Code, _ parts: String..., line: UInt = #line,
    encode: (TestDevice, any MTLComputeCommandEncoder) -> Void
  ) throws {
    let test = try TestDevice()
    let out = try test.buffer([9, 9, 9, 9])
    let commands = try iota(test, out) { encode(test, $0) }
    XCTAssertEqual(commands.status, .error, line: line)
    let error = try XCTUnwrap(commands.error as? MTLCommandBufferError, line: line)
    XCTAssertEqual(error.code, code, error.description, line: line)
    for part in parts { XCTAssertTrue(error.description.contains(part), "'\(part)' in: \(error)", line: line) }
    XCTAssertEqual(out.uints, [9, 9, 9, 9], "nothing after the error is executed", line: line)
  }

  func testBindings() throws {
    try check(.invalidResource, "Compute Function(iota): missing Buffer binding at index 1 for count") { _, encoder in
      encoder.setBuffer(nil, offset: 0, index: 1)
    }
    try check(.invalidResource, "Compute Function(iota)", "count from buffer(1)", "space for 2 bytes", "length(4)") {
      _, encoder in
      encoder.setBytes([UInt16(4)], length: 2, index: 1)
    }
    try check(.invalidResource, "iota", "out from buffer(0) with offset(14) and length(16)") { test, encoder in
      encoder.setBuffer(test.device.makeBuffer(length: 16), offset: 14, index: 0)
    }
    try check(.invalidResource, "Compute Function(iota)", "index 0", "write access", "out") { _, encoder in
      encoder.setUInt(1, index: 0)
    }
    try check(.invalidResource, "setBuffer: index 0 (out of iota)", "offset(16)", "length(16)") { test, encoder in
      encoder.setBuffer(test.device.makeBuffer(length: 16), offset: 16, index: 0)
    }
    try check(.invalidResource, "offset(-4)") { test, encoder in
      encoder.setBuffer(test.device.makeBuffer(length: 16), offset: -4, index: 0)
    }
    try check(.invalidResource, "setBufferOffset", "offset(99)") { _, encoder in encoder.setBufferOffset(99, index: 0) }
    try check(.invalidResource, "setBufferOffset: index 1 (count of iota)", "no buffer") { _, encoder in
      encoder.setBufferOffset(0, index: 1)
    }
    try check(.invalidResource, "setBufferOffset: index 8", "no buffer") { _, encoder in
      encoder.setBufferOffset(0, index: 8)
    }
    try check(.invalidResource, "setBuffer: index 3", "another device") { _, encoder in
      encoder.setBuffer(SoftMetalDevice().makeBuffer(length: 16), offset: 0, index: 3)
    }
    try check(.invalidResource, "useResource", "another device") { _, encoder in
      if let foreign = SoftMetalDevice().makeBuffer(length: 16) { encoder.useResource(foreign, usage: .read) }
    }
    try check(.invalidResource, "memoryBarrier", "another device") { _, encoder in
      if let foreign = SoftMetalDevice().makeBuffer(length: 16) { encoder.memoryBarrier(resources: [foreign]) }
    }
  }

  func testSlotsAndSizes() throws {
    for index in [31, -1, Int.max] {
      try check(.internal, "setBuffer: index \(index)", "0 to 30") { test, encoder in
        encoder.setBuffer(test.device.makeBuffer(length: 16), offset: 0, index: index)
      }
      try check(.internal, "setBytes: index \(index)") { _, encoder in encoder.setUInt(1, index: index) }
      try check(.internal, "setBufferOffset: index \(index)") { _, encoder in encoder.setBufferOffset(0, index: index) }
      try check(.internal, "setThreadgroupMemoryLength: index \(index)") { _, encoder in
        encoder.setThreadgroupMemoryLength(16, index: index)
      }
    }
    let bytes = [UInt8](repeating: 0, count: 5000)
    try check(.internal, "setBytes: index 1", "4097") { _, encoder in encoder.setBytes(bytes, length: 4097, index: 1) }
    try check(.internal, "setBytes: index 1", "got 0") { _, encoder in encoder.setBytes(bytes, length: 0, index: 1) }
    try check(.internal, "setBuffers", "expected 2", "got 1 and 2") { _, encoder in
      encoder.setBuffers([nil], offsets: [0, 0], range: 4..<6)
    }
    try check(.internal, "index 31") { _, encoder in
      encoder.setBuffers([nil, nil], offsets: [0, 0], range: 30..<32)
    }
  }

  func testThreadgroupMemory() throws {
    try check(.internal, "length(4) must be a multiple of 16 bytes") { _, encoder in
      encoder.setThreadgroupMemoryLength(4, index: 0)
    }
    try check(.internal, "length(-16)") { _, encoder in encoder.setThreadgroupMemoryLength(-16, index: 0) }
    try check(.internal, "length(32784)") { _, encoder in encoder.setThreadgroupMemoryLength(32784, index: 0) }
    try check(.internal, "iota", "threadgroup memory", "32784") { _, encoder in
      encoder.setThreadgroupMemoryLength(16384, index: 0)
      encoder.setThreadgroupMemoryLength(16400, index: 30)
    }
    // Together with the kernel's own.
    let test = try TestDevice()
    let out = try test.buffer(Array(repeating: 0, count: 16))
    for (bytes, fits) in [(31744, true), (31760, false)] {
      let commands = try test.run { encoder in
        encoder.setComputePipelineState(try test.pipeline("shape"))
        encoder.setBuffer(out, offset: 0, index: 0)
        encoder.setThreadgroupMemoryLength(bytes, index: 2)
        encoder.dispatchOne()
      }
      XCTAssertEqual(commands.status, fits ? .completed : .error)
    }
  }

  func testGrids() throws {
    func groups(_ w: Int, _ h: Int, _ d: Int) -> (TestDevice, any MTLComputeCommandEncoder) -> Void {
      { $1.dispatchThreadgroups(MTLSizeMake(w, h, d), threadsPerThreadgroup: one) }
    }
    func threads(_ w: Int, _ h: Int, _ d: Int) -> (TestDevice, any MTLComputeCommandEncoder) -> Void {
      { $1.dispatchThreadgroups(one, threadsPerThreadgroup: MTLSizeMake(w, h, d)) }
    }
    try check(
      .internal, "Compute Function(iota)", "threadsPerThreadgroup", "must be <= 1024", encode: threads(1025, 1, 1))
    try check(.internal, "must be <= 1024", encode: threads(64, 64, 1))
    try check(.internal, "must be <= 1024", encode: threads(Int.max, Int.max, 2))
    try check(.internal, "(513) must be <= 512. (kernel threadgroup size limit)", encode: threads(513, 1, 1))
    try check(.internal, "threadsPerThreadgroup", "must not be 0", encode: threads(1, 0, 1))
    try check(.internal, "must not be 0", encode: threads(-1, 1, 1))
    try check(.internal, "threadgroupsPerGrid.width(0)", "must not be 0", encode: groups(0, 1, 1))
    try check(.internal, "must not be 0", encode: groups(1, 1, -5))
    try check(.internal, "at most 4294967295", encode: groups(1 << 32, 1, 1))
    try check(.internal, "at most 4294967295") { _, encoder in
      encoder.dispatchThreadgroups(MTLSizeMake(1 << 31, 1, 1), threadsPerThreadgroup: MTLSizeMake(2, 1, 1))
    }
    try check(.internal, "threadsPerGrid", "must not be 0") { _, encoder in
      encoder.dispatchThreads(MTLSizeMake(1, 1, 0), threadsPerThreadgroup: one)
    }
  }

  func testPromisedThreadgroupSize() throws {
    let test = try TestDevice()
    let out = try test.buffer([9, 9, 9, 9])
    let descriptor = MTLComputePipelineDescriptor()
    descriptor.computeFunction = test.library.makeFunction(name: "iota")
    descriptor.threadGroupSizeIsMultipleOfThreadExecutionWidth = true
    let (pipeline, _) = try test.device.makeComputePipelineState(descriptor: descriptor, options: [])
    let commands = try iota(test, out) {
      $0.setComputePipelineState(pipeline)
      $0.dispatchThreadgroups(one, threadsPerThreadgroup: MTLSizeMake(48, 1, 1))
    }
    assertError(commands, .internal, "(48) must be a multiple of 32")
  }

  func testIndirect() throws {
    for offset in [2, 8, -4, Int.min] {
      try check(.invalidResource, "indirectBufferOffset(\(offset))", "16") { test, encoder in
        guard let arguments = test.device.makeBuffer(length: 16) else { return }
        encoder.dispatchThreadgroups(
          indirectBuffer: arguments, indirectBufferOffset: offset, threadsPerThreadgroup: one)
      }
    }
    try check(.invalidResource, "another device") { _, encoder in
      guard let foreign = SoftMetalDevice().makeBuffer(length: 16) else { return }
      encoder.dispatchThreadgroups(indirectBuffer: foreign, indirectBufferOffset: 0, threadsPerThreadgroup: one)
    }
  }

  func testPipeline() throws {
    let test = try TestDevice()
    let other = try TestDevice()
    assertError(try test.run { $0.dispatchOne() }, .internal, "dispatchThreadgroups: no compute pipeline state is set")
    assertError(
      try test.run { $0.setComputePipelineState(try other.pipeline("iota")) }, .invalidResource, "another device")
  }

  func testFences() throws {
    let test = try TestDevice()
    let fence = try XCTUnwrap(test.device.makeFence())
    let foreign = try XCTUnwrap(SoftMetalDevice().makeFence())
    assertError(
      try test.run {
        $0.updateFence(fence)
        $0.waitForFence(fence)
      }, .internal, "same encoder")
    assertError(try test.run { $0.waitForFence(foreign) }, .invalidResource, "another device")
  }

  func testErrorsNameTheEncoder() throws {
    let test = try TestDevice()
    let commands = try test.run {
      $0.label = "attention"
      $0.pushDebugGroup("layer 3")
      $0.pushDebugGroup("head 1")
      $0.popDebugGroup()
      $0.insertDebugSignpost("here")
      $0.dispatchOne()
    }
    assertError(commands, .internal, "attention/layer 3: dispatchThreadgroups")
    assertError(try test.run { $0.popDebugGroup() }, .internal, "popDebugGroup")
    let other = try XCTUnwrap(test.queue.makeCommandBuffer())
    other.pushDebugGroup("a")
    other.popDebugGroup()
    other.popDebugGroup()
    other.commit()
    other.waitUntilCompleted()
    assertError(other, .internal, "popDebugGroup")
  }

  func testFirstErrorStays() throws {
    let test = try TestDevice()
    let commands = try test.run {
      $0.setBufferOffset(0, index: 40)
      $0.dispatchOne()
    }
    assertError(commands, .internal, "index 40")
  }
}

/// The life of command buffers and encoders, lived wrongly.
final class LifecycleMisuseTests: XCTestCase {
  func testCommitTwice() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    try test.encodeAdd(1, to: values, in: commands)
    commands.commit()
    commands.waitUntilCompleted()
    XCTAssertEqual(commands.status, .completed)
    commands.commit()
    assertError(commands, .internal, "commit an already committed command buffer")
    commands.waitUntilCompleted()
    XCTAssertEqual(values.uint(0), 1)
  }

  func testOpenEncoderAtCommit() throws {
    let test = try TestDevice()
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
    commands.commit()
    commands.waitUntilCompleted()
    assertError(commands, .internal, "commit command buffer with uncommitted encoder")
    encoder.endEncoding()
  }

  func testEncoderReleasedWithoutEnd() throws {
    let test = try TestDevice()
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    var encoder = commands.makeComputeCommandEncoder()
    XCTAssertNotNil(encoder)
    encoder = nil
    commands.commit()
    commands.waitUntilCompleted()
    assertError(commands, .internal, "Command encoder released without endEncoding")
  }

  func testSecondEncoder() throws {
    let test = try TestDevice()
    let values = try test.buffer([5])
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    let first = try XCTUnwrap(commands.makeComputeCommandEncoder())
    let second = try XCTUnwrap(commands.makeBlitCommandEncoder())
    second.fill(buffer: values, range: 0..<4, value: 1)
    second.endEncoding()
    first.endEncoding()
    commands.commit()
    commands.waitUntilCompleted()
    assertError(commands, .internal, "makeBlitCommandEncoder", "already encoding")
    XCTAssertEqual(values.uint(0), 5)
  }

  func testEncodingAfterEnd() throws {
    let test = try TestDevice()
    let calls: [(String, (any MTLComputeCommandEncoder) throws -> Void)] = [
      ("endEncoding", { $0.endEncoding() }), ("dispatchThreadgroups", { $0.dispatchOne() }),
      ("setBytes", { $0.setUInt(1, index: 0) }), ("memoryBarrier", { $0.memoryBarrier(scope: .buffers) }),
      ("setComputePipelineState", { $0.setComputePipelineState(try test.pipeline("add")) }),
    ]
    for (name, call) in calls {
      let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
      let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
      encoder.endEncoding()
      try call(encoder)
      commands.commit()
      commands.waitUntilCompleted()
      assertError(commands, .internal, "\(name): the encoder has already ended")
    }
  }

  func testEncodingAfterCommit() throws {
    let test = try TestDevice()
    let event = try XCTUnwrap(test.device.makeSharedEvent())
    let calls: [(String, (any MTLCommandBuffer) -> Void)] = [
      ("makeComputeCommandEncoder", { $0.makeComputeCommandEncoder()?.endEncoding() }),
      ("makeBlitCommandEncoder", { $0.makeBlitCommandEncoder()?.endEncoding() }),
      ("encodeSignalEvent", { $0.encodeSignalEvent(event, value: 1) }), ("enqueue", { $0.enqueue() }),
      ("pushDebugGroup", { $0.pushDebugGroup("x") }), ("Completed handler", { $0.addCompletedHandler { _ in } }),
      ("Scheduled handler", { $0.addScheduledHandler { _ in } }),
    ]
    for (name, call) in calls {
      let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
      commands.commit()
      call(commands)
      commands.waitUntilCompleted()
      assertError(commands, .internal, name, "commit")
    }
    XCTAssertEqual(event.signaledValue, 0)
  }

  func testEventsWhileEncoding() throws {
    let test = try TestDevice()
    let event = try XCTUnwrap(test.device.makeEvent())
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
    commands.encodeSignalEvent(event, value: 1)
    encoder.endEncoding()
    commands.commit()
    commands.waitUntilCompleted()
    assertError(commands, .internal, "encodeSignalEvent", "already encoding")
  }

  func testForeignEvent() throws {
    let test = try TestDevice()
    let foreign = try XCTUnwrap(SoftMetalDevice().makeEvent())
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    commands.encodeWaitForEvent(foreign, value: 1)
    commands.commit()
    commands.waitUntilCompleted()
    assertError(commands, .invalidResource, "encodeWaitForEvent", "another device")
  }

  func testWaitBeforeCommit() throws {
    let test = try TestDevice()
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    commands.waitUntilCompleted()
    commands.commit()
    commands.waitUntilCompleted()
    assertError(commands, .internal, "waitUntilCompleted: the command buffer is not committed")
  }

  func testUnretainedBufferThatDied() throws {
    let test = try TestDevice()
    for keep in [true, false] {
      let commands = try XCTUnwrap(test.queue.makeCommandBufferWithUnretainedReferences())
      XCTAssertFalse(commands.retainedReferences)
      var values: (any MTLBuffer)? = try test.buffer([1])
      try test.encodeAdd(1, to: XCTUnwrap(values), in: commands)
      if !keep { values = nil }
      commands.commit()
      commands.waitUntilCompleted()
      if keep {
        XCTAssertNil(commands.error)
        XCTAssertEqual(values?.uint(0), 4)
      } else {
        assertError(commands, .invalidResource, "released before")
      }
    }
  }
}
