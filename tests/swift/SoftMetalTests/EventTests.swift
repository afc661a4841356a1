import Dispatch
import SoftMetal
import XCTest

final class EventTests: XCTestCase {
  func testSharedEventOnTheCPU() throws {
    let device: any MTLDevice = SoftMetalDevice()
    let event = try XCTUnwrap(device.makeSharedEvent())
    event.label = "e"
    XCTAssertEqual(event.label, "e")
    XCTAssertNil(event.device)
    XCTAssertEqual(event.signaledValue, 0)
    XCTAssertTrue(event.wait(untilSignaledValue: 0, timeoutMS: 0))
    XCTAssertFalse(event.wait(untilSignaledValue: 1, timeoutMS: 5))
    event.signaledValue = 5
    event.signaledValue = 3
    XCTAssertEqual(event.signaledValue, 5)
    XCTAssertTrue(event.wait(untilSignaledValue: 4, timeoutMS: 0))
    XCTAssertTrue(device.makeSharedEvent(handle: event.makeSharedEventHandle()) === event)
    let plain = try XCTUnwrap(device.makeEvent())
    XCTAssertTrue(plain.device === device)
  }

  func testNotify() throws {
    let device: any MTLDevice = SoftMetalDevice()
    let event = try XCTUnwrap(device.makeSharedEvent())
    let journal = Journal()
    let reached = expectation(description: "reached"), past = expectation(description: "past")
    event.notify(MTLSharedEventListener(), atValue: 2) { event, value in
      journal.note("\(value) \(event.signaledValue)")
      reached.fulfill()
    }
    event.signaledValue = 1
    event.signaledValue = 2
    wait(for: [reached], timeout: 120)
    XCTAssertEqual(journal.entries, ["2 2"])
    event.notify(MTLSharedEventListener.shared(), atValue: 1) { _, _ in past.fulfill() }
    wait(for: [past], timeout: 120)
  }

  func testValueSignaled() async throws {
    let device: any MTLDevice = SoftMetalDevice()
    let event = try XCTUnwrap(device.makeSharedEvent())
    Task.detached { event.signaledValue = 3 }
    await event.valueSignaled(3)
    XCTAssertEqual(event.signaledValue, 3)
  }

  /// The waiting thread executes its own queue, comes to the wait, and must not keep the other queue from running.
  func testEventsAcrossQueues() throws {
    let test = try TestDevice()
    let other = try XCTUnwrap(test.device.makeCommandQueue())
    for round in 0..<50 {
      let event: any MTLEvent =
        round % 2 == 0 ? try XCTUnwrap(test.device.makeEvent()) : try XCTUnwrap(test.device.makeSharedEvent())
      let values = try test.buffer([0])
      let waiting = try XCTUnwrap(test.queue.makeCommandBuffer())
      try test.encodeAdd(1, to: values, in: waiting)
      waiting.encodeWaitForEvent(event, value: 9)
      try test.encodeAdd(3, to: values, in: waiting)
      waiting.commit()
      let signalling = try XCTUnwrap(other.makeCommandBuffer())
      if round % 3 == 0 { usleep(500) }
      try test.encodeAdd(2, to: try test.buffer([0]), in: signalling)
      signalling.encodeSignalEvent(event, value: 9)
      signalling.commit()
      waiting.waitUntilCompleted()
      XCTAssertEqual(waiting.status, .completed)
      XCTAssertEqual(values.uint(0), 1 * 3 + 3)
      signalling.waitUntilCompleted()
    }
  }

  func testQueueWaitsForTheCPU() throws {
    let test = try TestDevice()
    let event = try XCTUnwrap(test.device.makeSharedEvent())
    let values = try test.buffer([0])
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    commands.encodeWaitForEvent(event, value: 1)
    try test.encodeAdd(4, to: values, in: commands)
    commands.encodeSignalEvent(event, value: 2)
    let behind = try XCTUnwrap(test.queue.makeCommandBuffer())
    try test.encodeAdd(5, to: values, in: behind)
    commands.commit()
    behind.commit()
    commands.waitUntilScheduled()
    usleep(5000)
    XCTAssertEqual(values.uint(0), 0)
    XCTAssertEqual(commands.status, .scheduled)
    event.signaledValue = 1
    XCTAssertTrue(event.wait(untilSignaledValue: 2, timeoutMS: 10_000))
    behind.waitUntilCompleted()
    XCTAssertEqual(values.uint(0), 4 * 3 + 5)
  }

  func testManyThreadsWaitForOneParkedQueue() throws {
    let test = try TestDevice()
    let event = try XCTUnwrap(test.device.makeSharedEvent())
    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    commands.encodeWaitForEvent(event, value: 1)
    commands.commit()
    nonisolated(unsafe) let shared = commands
    let done = expectation(description: "done")
    done.expectedFulfillmentCount = 3
    for _ in 0..<3 {
      Thread.detachNewThread {
        shared.waitUntilCompleted()
        done.fulfill()
      }
    }
    usleep(5000)
    event.signaledValue = 1
    wait(for: [done], timeout: 120)
    XCTAssertEqual(commands.status, .completed)
  }

  func testPingPong() throws {
    let test = try TestDevice()
    let other = try XCTUnwrap(test.device.makeCommandQueue())
    let event = try XCTUnwrap(test.device.makeSharedEvent())
    let values = try test.buffer([0])
    var last: (any MTLCommandBuffer)?
    var expected: UInt32 = 0
    for step: UInt64 in 0..<40 {
      let queue = step % 2 == 0 ? test.queue : other
      let commands = try XCTUnwrap(queue.makeCommandBuffer())
      commands.encodeWaitForEvent(event, value: step)
      try test.encodeAdd(UInt32(step), to: values, in: commands)
      commands.encodeSignalEvent(event, value: step + 1)
      commands.commit()
      expected = expected &* 3 &+ UInt32(step)
      last = commands
    }
    last?.waitUntilCompleted()
    XCTAssertEqual(values.uint(0), expected)
    XCTAssertEqual(event.signaledValue, 40)
  }
}
