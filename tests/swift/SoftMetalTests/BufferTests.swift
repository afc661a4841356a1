import Foundation
import SoftMetal
import Synchronization
import XCTest

final class BufferTests: XCTestCase {
  private let device: any MTLDevice = SoftMetalDevice()
  private let page = Int(sysconf(Int32(_SC_PAGESIZE)))

  func testContentsAreZeroAndAligned() throws {
    for length in [1, 3, 64, 4096, 65_500, 65_535, 65_536, 65_537, 2 << 20, (2 << 20) + 1] {
      let buffer = try XCTUnwrap(device.makeBuffer(length: length))
      XCTAssertEqual(buffer.length, length)
      XCTAssertGreaterThanOrEqual(buffer.allocatedSize, length)
      XCTAssertEqual(UInt(bitPattern: buffer.contents()) % 64, 0)
      XCTAssertEqual(buffer.gpuAddress, UInt64(UInt(bitPattern: buffer.contents())))
      let bytes = UnsafeRawBufferPointer(start: buffer.contents(), count: length)
      XCTAssertTrue(bytes.allSatisfy { $0 == 0 }, "length \(length)")
      memset(buffer.contents(), 0xff, length)
    }
    // Memory that was used before is zeroed again.
    for _ in 0..<20 {
      let buffer = try XCTUnwrap(device.makeBuffer(length: 1000))
      XCTAssertTrue(UnsafeRawBufferPointer(start: buffer.contents(), count: 1000).allSatisfy { $0 == 0 })
      memset(buffer.contents(), 0xff, 1000)
    }
  }

  func testBytesAreCopied() throws {
    var values: [UInt32] = [1, 2, 3]
    let buffer = try XCTUnwrap(device.makeBuffer(bytes: &values, length: 12))
    values = [0, 0, 0]
    XCTAssertEqual(buffer.uints, [1, 2, 3])
  }

  func testBadLengths() {
    XCTAssertNil(device.makeBuffer(length: 0))
    XCTAssertNil(device.makeBuffer(length: -1))
    XCTAssertNil(device.makeBuffer(length: device.maxBufferLength + 1))
    XCTAssertNil(device.makeBuffer(length: Int.max))
    XCTAssertNil(device.makeBuffer(bytes: [UInt8(0)], length: 0))
    XCTAssertNil(device.makeBuffer(length: 16, options: .storageModeMemoryless))
  }

  func testHugeBuffersAreLazy() throws {
    let length = min(device.maxBufferLength, 8 << 30)
    let buffer = try XCTUnwrap(device.makeBuffer(length: length))
    buffer.contents().storeBytes(of: 7, toByteOffset: length - 4, as: UInt32.self)
    XCTAssertEqual(buffer.contents().load(fromByteOffset: length - 4, as: UInt32.self), 7)
  }

  func testOptions() throws {
    let buffer = try XCTUnwrap(
      device.makeBuffer(
        length: 16, options: [.storageModePrivate, .hazardTrackingModeUntracked, .cpuCacheModeWriteCombined]))
    XCTAssertEqual(buffer.storageMode, .private)
    XCTAssertEqual(buffer.hazardTrackingMode, .untracked)
    XCTAssertEqual(buffer.cpuCacheMode, .writeCombined)
    XCTAssertEqual(buffer.resourceOptions.rawValue, 0x121)
    XCTAssertTrue(buffer.device === device)
    XCTAssertNil(buffer.label)
    buffer.label = "k"
    XCTAssertEqual(buffer.label, "k")
    XCTAssertEqual(buffer.setPurgeableState(.volatile), .nonVolatile)
    XCTAssertEqual(buffer.setPurgeableState(.keepCurrent), .volatile)
    XCTAssertEqual(buffer.setPurgeableState(.nonVolatile), .volatile)
    buffer.didModifyRange(0..<16)
    buffer.addDebugMarker("m", range: 0..<4)
    buffer.removeAllDebugMarkers()
  }

  func testCurrentAllocatedSize() throws {
    XCTAssertEqual(device.currentAllocatedSize, 0)
    var small = device.makeBuffer(length: 100)
    var large = device.makeBuffer(length: 5 << 20)
    XCTAssertEqual(
      device.currentAllocatedSize, try XCTUnwrap(small).allocatedSize + XCTUnwrap(large).allocatedSize)
    small = nil
    XCTAssertEqual(device.currentAllocatedSize, large?.allocatedSize)
    large = nil
    XCTAssertEqual(device.currentAllocatedSize, 0)
  }

  func testNoCopySharesMemoryAndDeallocatesOnce() throws {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: page * 2, alignment: page)
    defer { memory.deallocate() }
    let counter = Counter()
    var buffer = device.makeBuffer(bytesNoCopy: memory, length: page * 2, options: []) { pointer, length in
      counter.add(Int(bitPattern: pointer) &+ length)
    }
    try XCTUnwrap(buffer).contents().storeBytes(of: 5, as: UInt32.self)
    XCTAssertEqual(memory.load(as: UInt32.self), 5)
    XCTAssertEqual(device.currentAllocatedSize, 0)
    XCTAssertEqual(counter.calls, 0)
    buffer = nil
    XCTAssertEqual(counter.calls, 1)
    XCTAssertEqual(counter.sum, Int(bitPattern: memory) &+ page * 2)
    XCTAssertNotNil(device.makeBuffer(bytesNoCopy: memory, length: page))
  }

  func testNoCopyRefusesWhatIsNotPages() {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: page * 2, alignment: page)
    defer { memory.deallocate() }
    let counter = Counter()
    let free: @Sendable (UnsafeMutableRawPointer, Int) -> Void = { counter.add($1) }
    XCTAssertNil(device.makeBuffer(bytesNoCopy: memory + 64, length: page, options: [], deallocator: free))
    XCTAssertNil(device.makeBuffer(bytesNoCopy: memory, length: page - 4, options: [], deallocator: free))
    XCTAssertNil(device.makeBuffer(bytesNoCopy: memory, length: 0, options: [], deallocator: free))
    XCTAssertNil(device.makeBuffer(bytesNoCopy: memory, length: page, options: .storageModePrivate, deallocator: free))
    XCTAssertEqual(counter.calls, 0)
  }

  func testManyThreadsAllocate() {
    let device = device
    DispatchQueue.concurrentPerform(iterations: 4) { _ in
      for i in 1...500 { XCTAssertNotNil(device.makeBuffer(length: i * 131)) }
    }
    XCTAssertEqual(device.currentAllocatedSize, 0)
  }
}

/// Counts calls from any thread.
final class Counter: Sendable {
  private let state = Mutex((calls: 0, sum: 0))
  var calls: Int { state.withLock { $0.calls } }
  var sum: Int { state.withLock { $0.sum } }
  func add(_ value: Int = 1) {
    state.withLock {
      $0.calls += 1
      $0.sum &+= value
    }
  }
}

/// Notes values in the order they come, from any thread.
final class Journal: Sendable {
  private let state = Mutex<[String]>([])
  var entries: [String] { state.withLock { $0 } }
  func note(_ entry: String) { state.withLock { $0.append(entry) } }

  func testWrappingAnyMemory() throws {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 16)
    let soft = SoftMetalDevice(), freed = Counter()
    var buffer = soft.makeBuffer(wrapping: memory + 4, length: 20) { pointer, length in
      XCTAssertEqual(length, 20)
      freed.add()
    }
    XCTAssertEqual(buffer?.contents(), memory + 4)
    XCTAssertEqual(buffer?.length, 20)
    XCTAssertEqual(freed.calls, 0)
    buffer = nil
    XCTAssertEqual(freed.calls, 1)
    XCTAssertNil(soft.makeBuffer(wrapping: memory, length: 0))
    XCTAssertNil(soft.makeBuffer(wrapping: memory, length: soft.maxBufferLength + 1))
    memory.deallocate()
  }
}
