import Dispatch
import SoftMetal
import XCTest

final class CommandBufferTests: XCTestCase {
  func testLife() throws {
    let test = try TestDevice()
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    XCTAssertEqual(commands.status, .notEnqueued)
    XCTAssertTrue(commands.retainedReferences)
    XCTAssertTrue(commands.commandQueue === test.queue)
    XCTAssertTrue(commands.device === test.device)
    XCTAssertEqual(commands.gpuStartTime, 0)
    XCTAssertEqual(commands.gpuEndTime, 0)
    commands.label = "c"
    XCTAssertEqual(commands.label, "c")
    commands.enqueue()
    XCTAssertEqual(commands.status, .enqueued)
    commands.enqueue()
    let out = try test.buffer([0])
    let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
    encoder.setComputePipelineState(try test.pipeline("slow"))
    encoder.setBuffer(out, offset: 0, index: 0)
    encoder.dispatchOne()
    encoder.endEncoding()
    commands.commit()
    XCTAssertGreaterThanOrEqual(commands.status.rawValue, MTLCommandBufferStatus.committed.rawValue)
    commands.waitUntilScheduled()
    XCTAssertGreaterThanOrEqual(commands.status.rawValue, MTLCommandBufferStatus.scheduled.rawValue)
    commands.waitUntilCompleted()
    XCTAssertEqual(commands.status, .completed)
    XCTAssertNil(commands.error)
    XCTAssertEqual(out.uint(0), 1)
    XCTAssertGreaterThan(commands.kernelStartTime, 0)
    XCTAssertGreaterThanOrEqual(commands.kernelEndTime, commands.kernelStartTime)
    XCTAssertGreaterThan(commands.gpuEndTime - commands.gpuStartTime, 0.015)
    XCTAssertLessThan(commands.gpuEndTime - commands.gpuStartTime, 10)
  }

  func testDescriptor() throws {
    let test = try TestDevice()
    let descriptor = MTLCommandBufferDescriptor()
    descriptor.retainedReferences = false
    descriptor.errorOptions = .encoderExecutionStatus
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer(descriptor: descriptor))
    XCTAssertFalse(commands.retainedReferences)
    XCTAssertEqual(commands.errorOptions, .encoderExecutionStatus)
    test.queue.label = "q"
    XCTAssertEqual(test.queue.label, "q")
  }

  func testRetainsWhatItUses() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    weak var watched: (any MTLBuffer)?
    do {
      let term = try test.buffer([42])
      watched = term
      let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
      encoder.setComputePipelineState(try test.pipeline("add"))
      encoder.setBuffer(values, offset: 0, index: 0)
      encoder.setBuffer(term, offset: 0, index: 1)
      encoder.dispatchOne()
      encoder.endEncoding()
    }
    XCTAssertNotNil(watched)
    commands.commit()
    commands.waitUntilCompleted()
    XCTAssertEqual(values.uint(0), 42)
    XCTAssertNil(watched, "released when executed")
  }

  /// What `values[0] * 3 + term` gives for these terms in this order.
  private func folded(_ terms: [UInt32]) -> UInt32 { terms.reduce(0) { $0 &* 3 &+ $1 } }

  func testCommitOrder() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let terms = (1...40).map(UInt32.init)
    var last: (any MTLCommandBuffer)?
    for term in terms {
      let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
      try test.encodeAdd(term, to: values, in: commands)
      commands.commit()
      last = commands
    }
    last?.waitUntilCompleted()
    XCTAssertEqual(values.uint(0), folded(terms))
  }

  func testEnqueueOrderCounts() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let first = try XCTUnwrap(test.queue.makeCommandBuffer())
    let second = try XCTUnwrap(test.queue.makeCommandBuffer())
    try test.encodeAdd(1, to: values, in: first)
    try test.encodeAdd(2, to: values, in: second)
    first.enqueue()
    second.commit()
    // The second must wait for the first's commit.
    usleep(5000)
    XCTAssertEqual(second.status, .committed)
    XCTAssertEqual(values.uint(0), 0)
    first.commit()
    second.waitUntilCompleted()
    XCTAssertEqual(values.uint(0), folded([1, 2]))
  }

  func testWaiterHelpsABufferCommittedByAnotherThread() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let first = try XCTUnwrap(test.queue.makeCommandBuffer())
    let second = try XCTUnwrap(test.queue.makeCommandBuffer())
    try test.encodeAdd(1, to: values, in: first)
    try test.encodeAdd(2, to: values, in: second)
    first.enqueue()
    second.commit()
    nonisolated(unsafe) let later = first
    DispatchQueue.global().asyncAfter(deadline: .now() + 0.01) { later.commit() }
    second.waitUntilCompleted()
    XCTAssertEqual(values.uint(0), folded([1, 2]))
  }

  func testHandlersRunOnceAndInOrder() throws {
    let test = try TestDevice()
    let journal = Journal()
    for round in 0..<20 {
      let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
      commands.addScheduledHandler { journal.note("scheduled \(round) \($0.status.rawValue)") }
      commands.addCompletedHandler { journal.note("completed \(round) \($0.status.rawValue)") }
      commands.addCompletedHandler { _ in journal.note("again \(round)") }
      commands.commit()
      commands.waitUntilCompleted()
    }
    XCTAssertEqual(
      journal.entries, (0..<20).flatMap { ["scheduled \($0) 3", "completed \($0) 4", "again \($0)"] })
  }

  func testNobodyNeedsToWait() throws {
    let test = try TestDevice()
    // First make the queue believe that its client always waits.
    for _ in 0..<50 { try test.run { _ in } }
    let counter = Counter()
    let done = expectation(description: "done")
    done.expectedFulfillmentCount = 100
    for _ in 0..<100 {
      let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
      commands.addCompletedHandler { _ in
        counter.add()
        done.fulfill()
      }
      commands.commit()
    }
    wait(for: [done], timeout: 120)
    XCTAssertEqual(counter.calls, 100)
  }

  func testStatusCanBePolled() throws {
    let test = try TestDevice()
    for _ in 0..<20 { try test.run { _ in } }
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    commands.commit()
    let deadline = DispatchTime.now() + 10
    while commands.status != .completed, DispatchTime.now() < deadline { usleep(100) }
    XCTAssertEqual(commands.status, .completed)
  }

  func testHandlersMayWaitAndCommit() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let done = expectation(description: "done")
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    nonisolated(unsafe) let shared = values
    commands.addCompletedHandler { commands in
      // Its own buffer, and one behind it in the same queue.
      commands.waitUntilCompleted()
      guard let next = test.queue.makeCommandBuffer() else { return }
      try? test.encodeAdd(7, to: shared, in: next)
      next.commit()
      next.waitUntilCompleted()
      if next.status == .completed { done.fulfill() }
    }
    commands.commit()
    wait(for: [done], timeout: 120)
    XCTAssertEqual(values.uint(0), 7)
  }

  func testCapturedBuffersMayDieInHandlers() throws {
    let test = try TestDevice()
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    do {
      nonisolated(unsafe) let other = try XCTUnwrap(test.queue.makeCommandBuffer())
      commands.addCompletedHandler { _ in other.label = "unused" }
    }
    commands.commit()
    commands.waitUntilCompleted()
    XCTAssertEqual(commands.status, .completed)
  }

  func testAsyncForms() async throws {
    let test = try TestDevice()
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    let counter = Counter()
    commands.addCompletedHandler { _ in counter.add() }
    commands.commit()
    await commands.scheduled()
    await commands.completed()
    XCTAssertEqual(commands.status, .completed)
    XCTAssertEqual(counter.calls, 1)
    await commands.completed()
    await commands.scheduled()
  }

  func testLimitBlocksUntilOneIsDone() throws {
    let test = try TestDevice()
    let queue = try XCTUnwrap(test.device.makeCommandQueue(maxCommandBufferCount: 2))
    var first: (any MTLCommandBuffer)? = queue.makeCommandBuffer()
    let second = try XCTUnwrap(queue.makeCommandBuffer())
    let journal = Journal()
    let made = expectation(description: "made")
    Thread.detachNewThread {
      let third = queue.makeCommandBuffer()
      journal.note("made")
      third?.commit()
      third?.waitUntilCompleted()
      made.fulfill()
    }
    usleep(20_000)
    XCTAssertEqual(journal.entries, [])
    second.commit()
    wait(for: [made], timeout: 120)
    // A buffer that dies uncommitted makes room as well.
    let fourth = queue.makeCommandBuffer()
    XCTAssertNotNil(first)
    first = nil
    XCTAssertNotNil(queue.makeCommandBuffer())
    XCTAssertNotNil(fourth)
  }

  func testDefaultLimitIs64() throws {
    let test = try TestDevice()
    let buffers = (0..<64).compactMap { _ in test.queue.makeCommandBuffer() }
    XCTAssertEqual(buffers.count, 64)
    let journal = Journal()
    let made = expectation(description: "made")
    Thread.detachNewThread {
      _ = test.queue.makeCommandBuffer()
      journal.note("made")
      made.fulfill()
    }
    usleep(20_000)
    XCTAssertEqual(journal.entries, [])
    buffers[0].commit()
    wait(for: [made], timeout: 120)
  }

  func testCommittedBuffersOutliveTheirClient() throws {
    let counter = Counter()
    let done = expectation(description: "done")
    do {
      let test = try TestDevice()
      let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
      commands.addCompletedHandler { _ in
        counter.add()
        done.fulfill()
      }
      commands.commit()
    }
    wait(for: [done], timeout: 120)
    XCTAssertEqual(counter.calls, 1)
  }
}
