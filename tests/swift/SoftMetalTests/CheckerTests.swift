import CSoftMetal
import XCTest

/// One dispatch of 64 threads that no shader makes: 512 bytes each of two buffers and of threadgroup memory. An access's
/// "line" says who it was in a report.
private final class Sequence {
  let checker: OpaquePointer
  let device = UnsafeMutableRawPointer.allocate(byteCount: 1024, alignment: 64)
  let shared = UnsafeMutableRawPointer.allocate(byteCount: 1024, alignment: 64)
  let initialised = UnsafeMutablePointer<UInt8>.allocate(capacity: 512)
  private var value: UInt8 = 0

  init(history: OpaquePointer? = nil, lockstep: Bool = false, limit: UInt64 = 0, memory: Sequence? = nil) {
    checker = sm_checker_create("k", 64, lockstep ? 1 : 0, limit, history)
    device.initializeMemory(as: UInt8.self, repeating: 0, count: 1024)
    shared.initializeMemory(as: UInt8.self, repeating: 0, count: 1024)
    initialised.initialize(repeating: 1, count: 512)
    sm_checker_add_buffer(checker, 3, (memory ?? self).device, 512, initialised)
    sm_checker_add_threadgroup(checker, 0, shared, 256)
    sm_checker_add_threadgroup(checker, -1, shared + 512, 256)
  }
  deinit {
    sm_checker_destroy(checker)
    device.deallocate()
    shared.deallocate()
    initialised.deallocate()
  }

  func start(_ x: UInt32 = 0) { sm_checker_start_threadgroup(checker, x, 0, 0) }
  func end() { sm_checker_end_threadgroup(checker) }

  @discardableResult
  func read(_ lane: UInt32, _ at: UnsafeMutableRawPointer, _ bytes: Int = 4, line: UInt32) -> Bool {
    sm_checker_access(checker, lane, at, UInt64(bytes), UInt32(SM_CHECKER_READ), line) != 0
  }
  /// Writes something new, or `value`.
  @discardableResult
  func write(
    _ lane: UInt32, _ at: UnsafeMutableRawPointer, _ bytes: Int = 4, value given: UInt8? = nil, line: UInt32
  ) -> Bool {
    let goesOn = sm_checker_access(checker, lane, at, UInt64(bytes), UInt32(SM_CHECKER_WRITE), line) != 0
    value &+= 1
    if goesOn { memset(at, Int32(given ?? value), bytes) }
    return goesOn
  }
  func atomic(_ lane: UInt32, _ at: UnsafeMutableRawPointer, writes: Bool = true, line: UInt32) {
    let kind = SM_CHECKER_ATOMIC | (writes ? SM_CHECKER_WRITE | SM_CHECKER_UPDATE : SM_CHECKER_READ)
    _ = sm_checker_access(checker, lane, at, 4, UInt32(kind), line)
  }
  func barrier(_ flags: Int = SM_CHECKER_DEVICE | SM_CHECKER_THREADGROUP) {
    sm_checker_threadgroup_barrier(checker, UInt32(flags))
  }
  func simdBarrier(_ simdgroup: UInt32 = 0, _ flags: Int = SM_CHECKER_DEVICE | SM_CHECKER_THREADGROUP) {
    sm_checker_simdgroup_barrier(checker, simdgroup, UInt32(flags))
  }
  func fence(_ lane: UInt32, acquire: Bool = true, release: Bool = true) {
    sm_checker_fence(checker, lane, UInt32(SM_CHECKER_DEVICE), acquire ? 1 : 0, release ? 1 : 0)
  }
  var report: [String] {
    String(cString: sm_checker_report(checker)).split(separator: "\n").map(String.init)
  }
}

final class CheckerTests: XCTestCase {
  /// The body runs in one threadgroup. `pairs`: the lines of the races expected, none if it is empty.
  private func check(
    _ pairs: [(Int, Int)], lockstep: Bool = false, line: UInt = #line, _ body: (Sequence) -> Void
  ) {
    let sequence = Sequence(lockstep: lockstep)
    sequence.start()
    body(sequence)
    sequence.end()
    let report = sequence.report
    XCTAssertEqual(report.count, pairs.count, "\(report)", line: line)
    for (text, pair) in zip(report, pairs) {
      XCTAssert(text.hasPrefix("shader check: data race on "), text, line: line)
      XCTAssert(text.contains("test:\(pair.0) by ") && text.contains("test:\(pair.1) by "), text, line: line)
    }
  }

  func testReadOfAnotherLanesWrite() {
    check([(1, 2)]) { s in
      s.write(0, s.shared, line: 1)
      s.read(1, s.shared, line: 2)
    }
  }

  func testWriteOverAnotherLanesRead() {
    check([(2, 3)]) { s in
      s.write(1, s.shared, line: 1)
      s.simdBarrier()
      s.read(0, s.shared, line: 2)
      s.write(1, s.shared, line: 3)
    }
  }

  func testOwnAccessesAreInOrder() {
    check([]) { s in
      s.write(5, s.shared, line: 1)
      s.read(5, s.shared, line: 2)
      s.write(5, s.shared, line: 3)
    }
  }

  func testSimdgroupBarrierOrdersItsSimdgroup() {
    check([]) { s in
      s.write(0, s.shared, line: 1)
      s.simdBarrier()
      s.read(31, s.shared, line: 2)
    }
  }

  func testSimdgroupBarrierDoesNotOrderOthers() {
    check([(1, 2)]) { s in
      s.write(0, s.shared, line: 1)
      s.simdBarrier(0)
      s.simdBarrier(1)
      s.read(32, s.shared, line: 2)
    }
  }

  func testThreadgroupBarrierOrdersAll() {
    check([]) { s in
      s.write(0, s.shared, line: 1)
      s.barrier()
      for lane: UInt32 in 0..<64 { s.read(lane, s.shared, line: 2) }
      s.barrier()
      s.write(63, s.shared, line: 3)
    }
  }

  func testBarrierOfNothingOrdersNothing() {
    check([(1, 2)]) { s in
      s.write(0, s.shared, line: 1)
      s.barrier(SM_CHECKER_NONE)
      s.read(1, s.shared, line: 2)
    }
  }

  func testBarrierOrdersItsKindOfMemoryOnly() {
    check([(1, 3), (2, 6)]) { s in
      s.write(0, s.shared, line: 1)
      s.write(0, s.device, line: 2)
      s.barrier(SM_CHECKER_DEVICE)
      s.read(40, s.shared, line: 3)
      s.read(40, s.device, line: 4)
      s.write(0, s.device + 4, line: 2)
      s.barrier(SM_CHECKER_THREADGROUP)
      s.read(40, s.shared, line: 5)
      s.read(40, s.device + 4, line: 6)
    }
  }

  func testBytesAreToldApart() {
    check([(3, 4)]) { s in
      for byte: UInt32 in 0..<32 { s.write(byte, s.shared + Int(byte), 1, line: 1) }
      for byte: UInt32 in 0..<8 { s.write(byte, s.shared + 64 + 2 * Int(byte), 2, line: 2) }
      s.write(0, s.shared + 101, 1, line: 3)
      s.write(1, s.shared + 98, 4, line: 4)
    }
  }

  func testEveryReaderCounts() {
    // The writer collides with one of very many readers, wherever that one came in the order.
    for reader: UInt32 in [1, 17, 31, 32, 47, 63] {
      check([(2, 3)]) { s in
        s.write(0, s.shared, line: 1)
        s.barrier()
        s.read(0, s.shared, line: 4)
        s.read(reader, s.shared, line: 2)
        s.read(0, s.shared, line: 4)
        s.write(0, s.shared, line: 3)
      }
    }
  }

  func testReadersOfManyLinesAreKept() {
    let sequence = Sequence()
    sequence.start()
    sequence.write(0, sequence.shared, line: 1)
    sequence.barrier()
    for line: UInt32 in 2..<40 {
      for lane: UInt32 in 0..<64 { sequence.read(lane, sequence.shared, line: line) }
    }
    sequence.write(9, sequence.shared, line: 50)
    sequence.end()
    // With lanes of the writer's simdgroup and with the other simdgroup.
    XCTAssertEqual(sequence.report.count, 2 * 38)
  }

  func testWriteAfterBarrierHidesNoLaterRace() {
    check([(2, 3)]) { s in
      s.write(0, s.shared, line: 1)
      s.simdBarrier()
      s.write(1, s.shared, line: 2)
      s.read(40, s.shared, line: 3)
    }
  }

  func testEqualWritesDoNoHarm() {
    check([]) { s in
      for lane: UInt32 in 0..<64 { s.write(lane, s.shared, 8, value: 7, line: 1) }
      s.barrier()
      s.read(3, s.shared, 8, line: 2)
    }
    check([(1, 1)]) { s in
      s.write(0, s.shared, 8, value: 7, line: 1)
      s.write(1, s.shared, 8, value: 8, line: 1)
    }
  }

  func testThreadgroupsDoNotShare() {
    let sequence = Sequence()
    for group: UInt32 in 0..<3 {
      sequence.start(group)
      sequence.write(group, sequence.shared, line: 1)
      sequence.end()
    }
    XCTAssertEqual(sequence.report, [])
  }

  func testCollectivesOrderInLockstepOnly() {
    let body: (Sequence) -> Void = { s in
      s.write(0, s.shared, line: 1)
      sm_checker_collective(s.checker, 0)
      s.read(1, s.shared, line: 2)
    }
    check([(1, 2)], body)
    check([], lockstep: true, body)
  }

  func testAtomicsDoNotRace() {
    check([]) { s in
      for lane: UInt32 in 0..<64 { s.atomic(lane, s.device, line: 1) }
      s.atomic(5, s.device, writes: false, line: 2)
    }
  }

  func testAtomicRacesWithPlain() {
    check([(1, 2)]) { s in
      s.atomic(0, s.device, line: 1)
      s.read(1, s.device, line: 2)
    }
    check([(1, 3), (2, 3)]) { s in
      s.write(0, s.device, line: 1)
      s.read(0, s.device, line: 2)
      s.atomic(1, s.device, line: 3)
    }
    check([]) { s in
      s.atomic(0, s.device, writes: false, line: 1)
      s.read(1, s.device, line: 2)
    }
  }

  /// The last threadgroup to come sums up what the others have left.
  private func lastOne(fences: Bool) -> [String] {
    let s = Sequence()
    for group: UInt32 in 0..<4 {
      s.start(group)
      for lane: UInt32 in 0..<64 { s.write(lane, s.device + 64 * Int(group) + Int(lane), 1, line: 1) }
      s.barrier()
      if fences { s.fence(0) }
      s.atomic(0, s.device + 500, line: 2)
      if fences { s.fence(0) }
      s.barrier()
      if group == 3 { for lane: UInt32 in 0..<64 { s.read(lane, s.device + 4 * Int(lane), line: 3) } }
      s.end()
    }
    return s.report
  }

  func testFencesOrderThreadgroups() {
    XCTAssertEqual(lastOne(fences: true), [])
    let report = lastOne(fences: false)
    XCTAssertEqual(report.count, 1)
    XCTAssert(
      report.first?.contains("of threadgroup 0,0,0 and read at test:3 by thread 0 of threadgroup 3,0,0") == true)
  }

  func testFenceOrdersOnlyWhatCameBefore() {
    let s = Sequence()
    s.start(0)
    s.write(0, s.device, line: 1)
    s.fence(0, acquire: false)
    s.atomic(0, s.device + 500, line: 2)
    s.write(0, s.device + 8, line: 3)
    s.end()
    s.start(1)
    s.atomic(0, s.device + 500, line: 4)
    s.fence(0, release: false)
    s.read(0, s.device, line: 5)
    s.read(0, s.device + 8, line: 6)
    s.end()
    XCTAssertEqual(s.report.count, 1)
    XCTAssert(s.report[0].contains("test:3") && s.report[0].contains("test:6"), s.report[0])
  }

  func testThreadgroupsRaceOnDeviceMemory() {
    let s = Sequence()
    s.start(0)
    s.read(0, s.device, line: 1)
    s.barrier()
    s.end()
    s.start(1)
    s.write(0, s.device, line: 2)
    s.end()
    XCTAssertEqual(
      s.report,
      [
        "shader check: data race on device memory: write at test:2 by thread 0 of threadgroup 1,0,0 and read at "
          + "test:1 by thread 0 of threadgroup 0,0,0 (byte 0 of buffer 3); once"
      ])
  }

  private func twoDispatches(_ between: (OpaquePointer, Sequence) -> Void) throws -> [String] {
    let history = try XCTUnwrap(sm_check_history_create())
    defer { sm_check_history_destroy(history) }
    let first = Sequence(history: history)
    first.start()
    first.write(0, first.device + 16, line: 1)
    first.end()
    XCTAssertEqual(first.report, [])
    between(history, first)
    let second = Sequence(history: history, memory: first)
    second.start()
    second.barrier()
    second.read(0, first.device + 16, line: 2)
    second.end()
    return second.report
  }

  func testDispatchesOfAnEncoderRace() throws {
    XCTAssertEqual(
      try twoDispatches { _, _ in },
      [
        "shader check: data race on device memory: write at test:1 by thread 0 of threadgroup 0,0,0 in another "
          + "dispatch, of \"k\" and read at test:2 by thread 0 of threadgroup 0,0,0 of \"k\" (byte 16 of buffer 3; no memoryBarrier "
          + "between the dispatches); once"
      ])
  }

  func testBarriersOrderDispatches() throws {
    XCTAssertEqual(try twoDispatches { history, _ in sm_check_history_barrier(history) }, [])
    XCTAssertEqual(
      try twoDispatches { history, first in sm_check_history_barrier_range(history, first.device, 512) }, [])
    XCTAssertEqual(
      try twoDispatches { history, first in sm_check_history_barrier_range(history, first.device + 20, 400) }.count, 1)
  }

  func testOutOfBounds() throws {
    let s = Sequence()
    s.start(2)
    XCTAssertFalse(s.read(7, s.device + 510, line: 1))
    XCTAssertFalse(s.write(8, s.shared + 256, line: 2))
    XCTAssertFalse(s.write(9, s.shared + 508, line: 3))
    XCTAssertFalse(s.read(9, try XCTUnwrap(UnsafeMutableRawPointer(bitPattern: 40)), 8, line: 4))
    XCTAssertTrue(s.read(7, s.device + 508, line: 5))
    s.end()
    let prefix = "shader check: out-of-bounds "
    XCTAssertEqual(
      s.report,
      [
        prefix + "read at test:1 by thread 7 of threadgroup 2,0,0: 4 bytes at offset 510 of buffer 3, which has 512 "
          + "bytes; once",
        prefix
          + "write at test:2 by thread 8 of threadgroup 2,0,0: 4 bytes at offset 256 of threadgroup memory 0, "
          + "which has 256 bytes; once",
        prefix + "write at test:3 by thread 9 of threadgroup 2,0,0: 4 bytes at offset -4 of the shader's threadgroup "
          + "variables, which have 256 bytes; once",
        prefix
          + "read at test:4 by thread 9 of threadgroup 2,0,0: 8 bytes at offset 40 of a null pointer or of a "
          + "buffer that is not bound; once",
      ])
  }

  func testNeverWritten() {
    let s = Sequence()
    for group: UInt32 in 0..<2 {
      s.start(group)
      if group == 0 { s.write(0, s.shared + 4, 8, line: 1) }
      s.read(0, s.shared + 8, line: 2)
      s.end()
    }
    XCTAssertEqual(
      s.report,
      [
        "shader check: uninitialised read at test:2 by thread 0 of threadgroup 1,0,0: byte 8 of threadgroup memory 0 was "
          + "never written in this threadgroup; once"
      ])
  }

  func testDeviceBytesTheHostHasNotWritten() {
    let s = Sequence()
    for byte in 20..<24 { s.initialised[byte] = 0 }
    s.start()
    s.read(0, s.device + 16, line: 1)
    s.read(0, s.device + 20, line: 2)
    s.write(0, s.device + 20, line: 3)
    s.read(0, s.device + 20, line: 4)
    s.end()
    XCTAssertEqual((16..<24).map { s.initialised[$0] }, [UInt8](repeating: 1, count: 8))
    XCTAssertEqual(s.report.count, 1)
    XCTAssert(s.report[0].contains("read at test:2") && s.report[0].contains("byte 20 of buffer 3"), s.report[0])
  }

  func testPaddingMayStayUnwritten() {
    let s = Sequence()
    s.start()
    s.write(0, s.shared, 12, line: 1)  // three floats of a float3
    s.read(0, s.shared, 16, line: 2)
    s.write(0, s.shared + 16, 1, line: 1)  // struct { uchar; float; half }
    s.write(0, s.shared + 20, 6, line: 1)
    s.read(0, s.shared + 16, 12, line: 3)
    s.write(0, s.shared + 32, 8, line: 1)  // half a float4
    s.read(0, s.shared + 32, 16, line: 4)
    s.end()
    XCTAssertEqual(s.report.count, 1)
    XCTAssert(s.report[0].contains("test:4") && s.report[0].contains("byte 40 of"), s.report[0])
  }

  func testMisaligned() {
    let s = Sequence()
    s.start()
    sm_checker_misaligned(s.checker, 3, s.device + 4, 16, 1)
    sm_checker_misaligned(s.checker, 4, s.device + 8, 16, 1)
    s.atomic(0, s.device + 2, line: 2)
    s.end()
    let text = "shader check: misaligned access at test:"
    XCTAssertEqual(
      s.report,
      [
        text + "1 by thread 3 of threadgroup 0,0,0: byte 4 of buffer 3 is not aligned to 16 bytes; 2 times",
        text + "2 by thread 0 of threadgroup 0,0,0: byte 2 of buffer 3 is not aligned to 4 bytes; once",
      ])
  }

  func testWithoutRoomTheReportSaysSo() {
    let s = Sequence(limit: 4096)
    s.start()
    s.write(0, s.device, line: 1)
    s.end()
    XCTAssertEqual(s.report.count, 1)
    XCTAssert(s.report[0].contains("ran out of room"), s.report[0])
  }
}
