import Dispatch
import SoftMetal
import XCTest

final class ConcurrencyTests: XCTestCase {
  private static let threads = 4

  private func onThreads(_ body: @escaping @Sendable (Int) throws -> Void) {
    let done = expectation(description: "done")
    done.expectedFulfillmentCount = Self.threads
    for thread in 0..<Self.threads {
      Thread.detachNewThread {
        do { try body(thread) } catch { XCTFail("\(error)") }
        done.fulfill()
      }
    }
    wait(for: [done], timeout: 60)
  }

  /// Each thread with queues, libraries, pipelines and parallel regions of its own, on one device.
  func testThreadsShareADevice() throws {
    let test = try TestDevice()
    onThreads { thread in
      let queue = try XCTUnwrap(test.device.makeCommandQueue())
      for round in 0..<50 {
        let library = try test.device.makeLibrary(source: TestDevice.source, options: nil)
        let squares = try test.device.makeComputePipelineState(
          function: try XCTUnwrap(library.makeFunction(name: "squares")))
        let count = 100 + thread * 31 + round
        let out = try XCTUnwrap(test.device.makeBuffer(length: count * 4))
        let commands = try XCTUnwrap(queue.makeCommandBuffer())
        let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
        encoder.setComputePipelineState(squares)
        encoder.setBuffer(out, offset: 0, index: 0)
        encoder.setUInt(UInt32(count), index: 1)
        encoder.dispatchOne()
        encoder.endEncoding()
        commands.commit()
        commands.waitUntilCompleted()
        XCTAssertNil(commands.error)
        XCTAssertEqual(out.uints, (0..<UInt32(count)).map { $0 * $0 })
      }
    }
  }

  /// All threads on one queue: each waits for its own buffers and helps with the others'.
  func testThreadsShareAQueue() throws {
    let test = try TestDevice()
    nonisolated(unsafe) let total = try test.buffer([0])
    let counter = Counter()
    onThreads { thread in
      for round in 0..<100 {
        let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
        let mine = try test.buffer([0])
        try test.encodeAdd(UInt32(round), to: mine, in: commands)
        try test.encodeAdd(1, to: total, in: commands)
        commands.addCompletedHandler { _ in counter.add() }
        commands.commit()
        if (thread + round) % 3 == 0 { continue }
        commands.waitUntilCompleted()
        XCTAssertEqual(mine.uint(0), UInt32(round))
      }
    }
    try test.run { _ in }
    XCTAssertEqual(counter.calls, Self.threads * 100)
    XCTAssertEqual(total.uint(0), (0..<Self.threads * 100).reduce(UInt32(0)) { sum, _ in sum &* 3 &+ 1 })
  }

  func testThreadsWaitForTheSameBuffer() throws {
    let test = try TestDevice()
    let out = try test.buffer([0])
    for _ in 0..<5 {
      let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
      let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
      encoder.setComputePipelineState(try test.pipeline("slow"))
      encoder.setBuffer(out, offset: 0, index: 0)
      encoder.dispatchOne()
      encoder.endEncoding()
      commands.commit()
      nonisolated(unsafe) let shared = commands
      onThreads { _ in
        shared.waitUntilCompleted()
        XCTAssertEqual(shared.status, .completed)
      }
    }
  }

  /// No time is asserted: it shows that many short command buffers pass in every style of waiting.
  func testShortCommandBuffers() throws {
    let test = try TestDevice()
    let values = try test.buffer([0])
    let add = try test.pipeline("add")
    var expected: UInt32 = 0
    var last: (any MTLCommandBuffer)?
    let start = DispatchTime.now()
    for round: UInt32 in 0..<5000 {
      let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
      let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
      encoder.setComputePipelineState(add)
      encoder.setBuffer(values, offset: 0, index: 0)
      encoder.setUInt(round, index: 1)
      encoder.dispatchOne()
      encoder.endEncoding()
      commands.commit()
      if round / 500 % 2 == 0 { commands.waitUntilCompleted() }
      expected = expected &* 3 &+ round
      last = commands
    }
    last?.waitUntilCompleted()
    XCTAssertEqual(values.uint(0), expected)
    let nanoseconds = DispatchTime.now().uptimeNanoseconds - start.uptimeNanoseconds
    print("5000 command buffers: \(Double(nanoseconds) / 5e6) µs each")
  }
}
