import FlashAttn
import XCTest

final class EncoderTests: XCTestCase {
  func testDispatchesRunAndAreCounted() throws {
    let (device, registry) = try TestKernels.device()
    let buffer = try device.makeBuffer(.f32, [100])
    Counters.reset()
    let encoder = try CommandEncoder(device: device)
    encoder.label = "count"
    XCTAssertEqual(encoder.label, "count")
    try encoder.dispatch(try TestKernels.dispatch(buffer, step: 3, registry: registry))
    try encoder.barrier()
    try encoder.dispatch(try TestKernels.dispatch(buffer, factor: 2, step: 1, registry: registry))
    try encoder.commitAndWait()
    XCTAssertEqual(try buffer.elements(as: Float.self), Array(repeating: 7, count: 100))
    let counters = Counters.current
    XCTAssertEqual(counters.dispatches, 2)
    XCTAssertEqual(counters.barriers, 1)
    XCTAssertEqual(counters.commandBuffers, 1)
    XCTAssertEqual(counters.waits, 1)
    let time = try encoder.gpuTime()
    XCTAssertGreaterThanOrEqual(time.end, time.start)
    XCTAssertGreaterThan(time.start, 0)
  }

  func testTrackedDispatchesGetTheirBarriers() throws {
    let (device, registry) = try TestKernels.device()
    let buffer = try device.makeBuffer(.f32, [64])
    let left = try buffer.view(byteOffset: 0, shape: [32])
    let right = try buffer.view(byteOffset: 128, shape: [32])
    Counters.reset()
    let encoder = try CommandEncoder(device: device)
    try encoder.dispatch(try TestKernels.dispatch(left, step: 1, registry: registry, tracked: true))
    try encoder.dispatch(try TestKernels.dispatch(right, step: 1, registry: registry, tracked: true))
    XCTAssertEqual(Counters.current.automaticBarriers, 0, "neighbours that only touch do not conflict")
    XCTAssertEqual(encoder.trackedRangeCount, 2)
    try encoder.dispatch(try TestKernels.dispatch(buffer, factor: 10, step: 0, registry: registry, tracked: true))
    XCTAssertEqual(Counters.current.automaticBarriers, 1)
    XCTAssertEqual(encoder.trackedRangeCount, 1)
    try encoder.commitAndWait()
    XCTAssertEqual(try buffer.elements(as: Float.self), Array(repeating: 10, count: 64))
  }

  func testAutomaticBarriersCanBeSwitchedOff() throws {
    var tuning = Tuning()
    tuning.automaticBarriers = false
    let (device, registry) = try TestKernels.device(tuning)
    let buffer = try device.makeBuffer(.f32, [8])
    Counters.reset()
    let encoder = try CommandEncoder(device: device)
    for _ in 0..<2 {
      try encoder.dispatch(try TestKernels.dispatch(buffer, step: 1, registry: registry, tracked: true))
    }
    XCTAssertEqual(Counters.current.barriers, 0)
    try encoder.commitAndWait()
  }

  func testSwitchesOfTheTuningKeepTheAnswer() throws {
    for path in [\Tuning.serialDispatch, \.unretainedReferences, \.profile, \.residencySets] {
      var tuning = Tuning()
      tuning[keyPath: path] = true
      let (device, registry) = try TestKernels.device(tuning)
      let buffer = try device.makeBuffer(.f32, [8])
      let encoder = try CommandEncoder(device: device)
      for step in 1...3 {
        try encoder.dispatch(
          try TestKernels.dispatch(buffer, factor: 2, step: Int32(step), registry: registry, tracked: true))
      }
      encoder.label = "profiled"
      try encoder.commitAndWait()
      XCTAssertEqual(try buffer.elements(as: Float.self).first, 11)
      if tuning.profile { XCTAssertEqual(Profile.drain().map(\.label), ["profiled"]) }
    }
  }

  func testAnEncoderIsCommittedOnce() throws {
    let (device, registry) = try TestKernels.device()
    let buffer = try device.makeBuffer(.f32, [8])
    let encoder = try CommandEncoder(device: device)
    XCTAssertEqual(thrown { try encoder.wait() }.message, "expected a committed one, got one that is encoding")
    try encoder.commitAndWait()
    XCTAssertEqual(thrown { try encoder.commit() }.message, "expected one not yet committed, got one committed before")
    let late = thrown { try encoder.dispatch(try TestKernels.dispatch(buffer, step: 1, registry: registry)) }
    XCTAssertEqual(late.argument, "encoder")
    XCTAssertEqual(thrown { try encoder.barrier() }.code, .invalidArgument)
    XCTAssertEqual(try buffer.elements(as: Float.self).first, 0)
  }

  func testBadDispatchesAreRefusedBeforeAnythingIsEncoded() throws {
    let (device, registry) = try TestKernels.device()
    let buffer = try device.makeBuffer(.f32, [8])
    let good = try TestKernels.dispatch(buffer, step: 1, registry: registry)
    let foreign = try Device(tuning: Tuning()).makeBuffer(.f32, [8])
    let cases: [(String, (inout Dispatch) -> Void)] = [
      ("grid", { $0.grid.x = 0 }), ("grid", { $0.grid = Size3(1 << 20, 1 << 20) }),
      ("threads", { $0.threads = Size3(1025) }), ("threads", { $0.threads.z = -1 }),
      ("threadgroup_bytes", { $0.threadgroupBytes = [24] }),
      ("threadgroup_bytes", { $0.threadgroupBytes = [32768, 16] }),
      ("arguments", { $0.arguments.append(.value(31, 1)) }), ("slot 0", { $0.arguments.append(.value(0, 1)) }),
      ("slot 2", { $0.arguments.append(.bytes(2, [])) }),
      ("slot 2", { $0.arguments.append(.bytes(2, Array(repeating: 0, count: 4097))) }),
      ("slot 2", { $0.arguments.append(.buffer(2, buffer, offset: 32, access: .read)) }),
      ("slot 2", { $0.arguments.append(.buffer(2, foreign, access: .read)) }),
    ]
    let encoder = try CommandEncoder(device: device)
    for (argument, spoil) in cases {
      var bad = good
      spoil(&bad)
      let error = thrown { try encoder.dispatch(bad) }
      XCTAssertEqual(error.argument, argument, "\(error)")
      XCTAssertEqual(error.operation, "scale_add")
    }
    try encoder.commitAndWait()
    XCTAssertEqual(try buffer.elements(as: Float.self), Array(repeating: 0, count: 8))
  }

  func testReadOnlyMemoryIsNeverWrittenWhateverTheCallerSays() throws {
    let (device, registry) = try TestKernels.device()
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Device.pageBytes, alignment: Device.pageBytes)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    let buffer = try device.wrap(memory, .f32, [8], isReadOnly: true)
    var dispatch = try TestKernels.dispatch(buffer, step: 1, registry: registry)
    dispatch.arguments[0] = .buffer(0, buffer, access: .read)
    let encoder = try CommandEncoder(device: device)
    let error = thrown { try encoder.dispatch(dispatch) }
    XCTAssertEqual(error.description, "scale_add: slot 0: expected a writable buffer, got a read-only one")
    try encoder.commitAndWait()
    XCTAssertEqual(memory[0], 0)
  }

  func testAMissingBindingBecomesTheCommandBuffersError() throws {
    let (device, registry) = try TestKernels.device()
    var dispatch = try TestKernels.dispatch(try device.makeBuffer(.f32, [8]), step: 1, registry: registry)
    dispatch.arguments.removeFirst()
    #if !canImport(Metal)
      let encoder = try CommandEncoder(device: device)
      try encoder.dispatch(dispatch)
      let error = thrown { try encoder.commitAndWait() }
      XCTAssertEqual(error.code, .commandFailed)
      XCTAssertTrue(error.message.contains("scale_add") && error.message.contains("0"), error.message)
    #endif
  }

  func testCaptureRecordsAndReplays() throws {
    let (device, registry) = try TestKernels.device()
    let buffer = try device.makeBuffer(.f32, [8])
    let recorder = try CommandEncoder(device: device)
    try recorder.startCapture()
    XCTAssertTrue(recorder.isCapturing)
    recorder.setOpKind(.softmax)
    for _ in 0..<2 {
      try recorder.dispatch(try TestKernels.dispatch(buffer, factor: 2, step: 1, registry: registry))
      try recorder.barrier()
    }
    XCTAssertEqual(thrown { try recorder.commit() }.argument, "encoder")
    let capture = try recorder.takeCapture()
    try recorder.commitAndWait()
    XCTAssertEqual(try buffer.elements(as: Float.self).first, 0, "a capture encodes nothing")
    XCTAssertEqual(capture.nodes.count, 4)
    guard case .dispatch(let first) = capture.nodes[0], case .dispatch(let second) = capture.nodes[2] else {
      return XCTFail("nodes are out of order")
    }
    XCTAssertEqual(first.op, .softmax)
    XCTAssertFalse(first.op.isReorderable)
    XCTAssertEqual(second.op, .other)
    let player = try CommandEncoder(device: device)
    try player.replay(capture)
    try player.barrier()
    try player.replay(capture)
    try player.commitAndWait()
    XCTAssertEqual(try buffer.elements(as: Float.self).first, 15)
  }

  func testEncodesIntoTheCallersCommandBuffer() throws {
    let (device, registry) = try TestKernels.device()
    let buffer = try device.makeBuffer(.f32, [8])
    let commandBuffer = try XCTUnwrap(device.queue.makeCommandBuffer())
    let encoder = try CommandEncoder(device: device, commandBuffer: commandBuffer)
    try encoder.dispatch(try TestKernels.dispatch(buffer, step: 4, registry: registry))
    XCTAssertEqual(thrown { try encoder.commit() }.argument, "encoder")
    try encoder.end()
    commandBuffer.commit()
    commandBuffer.waitUntilCompleted()
    XCTAssertEqual(try buffer.elements(as: Float.self).first, 4)
  }

  func testAnAbandonedEncoderHarmsNothing() throws {
    let (device, registry) = try TestKernels.device()
    let buffer = try device.makeBuffer(.f32, [8])
    do {
      let encoder = try CommandEncoder(device: device)
      try encoder.dispatch(try TestKernels.dispatch(buffer, step: 1, registry: registry))
    }
    let encoder = try CommandEncoder(device: device)
    try encoder.dispatch(try TestKernels.dispatch(buffer, step: 2, registry: registry))
    try encoder.commitAndWait()
    XCTAssertEqual(try buffer.elements(as: Float.self).first, 2)
  }

  #if !canImport(Metal)
    func testNothingRecordsSoftMetal() throws {
      let (device, _) = try TestKernels.device()
      let error = thrown { try GPUTrace.record(device) {} }
      XCTAssertEqual(error.code, .unsupported)
    }
  #endif

  func testThreadsShareADevice() throws {
    let (device, registry) = try TestKernels.device()
    DispatchQueue.concurrentPerform(iterations: 8) { thread in
      do {
        let buffer = try device.makeBuffer(.f32, [64])
        for _ in 0..<50 {
          let encoder = try CommandEncoder(device: device)
          try encoder.dispatch(try TestKernels.dispatch(buffer, step: Int32(thread), registry: registry))
          try encoder.commitAndWait()
        }
        XCTAssertEqual(try buffer.elements(as: Float.self), Array(repeating: Float(50 * thread), count: 64))
      } catch {
        XCTFail("\(error)")
      }
    }
  }
}
