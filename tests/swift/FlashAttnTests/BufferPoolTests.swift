import FlashAttn
import XCTest

final class BufferPoolTests: XCTestCase {
  private var pool: BufferPool!

  override func setUpWithError() throws { pool = BufferPool(device: try Device(tuning: Tuning())) }

  func testBuffersHaveTheirOwnSize() throws {
    let buffer = try pool.makeBuffer(.f32, [100])
    XCTAssertEqual(buffer.byteCount, 400)
    XCTAssertEqual(buffer.metal.buffer.length, 512)
    XCTAssertEqual(pool.inUseCount, 1)
  }

  func testRecycledBlockComesBackZeroed() throws {
    let first = try pool.makeBuffer(.u8, [300])
    try first.fill(9)
    let block = first.metal.buffer
    try pool.recycle(first)
    XCTAssertEqual(pool.free.count, 1)
    XCTAssertEqual(pool.free.bytes, 512)
    let second = try pool.makeBuffer(.u8, [500])
    XCTAssertTrue(second.metal.buffer === block)
    XCTAssertEqual(try second.elements(as: UInt8.self), Array(repeating: 0, count: 500))
    try second.fill(9)
    try pool.recycle(second)
    let third = try pool.makeBuffer(.u8, [500], zeroed: false)
    XCTAssertEqual(try third.elements(as: UInt8.self).first, 9)
  }

  func testRecycledBufferAndItsViewsAreDead() throws {
    let buffer = try pool.makeBuffer(.u8, [16])
    let view = try buffer.view(byteOffset: 4, shape: [4])
    try pool.recycle(buffer)
    for dead in [buffer, view] {
      XCTAssertEqual(thrown { try dead.fill(1) }.message, "expected a live buffer, got one given back to its pool")
      XCTAssertEqual(thrown { _ = try dead.view(byteOffset: 0, shape: [1]) }.code, .invalidArgument)
    }
    XCTAssertEqual(thrown { try pool.recycle(buffer) }.message, "expected a live buffer, got one given back already")
  }

  func testResetGivesEveryBlockBackOnce() throws {
    let kept = try pool.makeBuffers([(.u8, [16]), (.u8, [16]), (.u8, [16])])
    try pool.recycle(kept[0])
    pool.reset()
    XCTAssertEqual(pool.inUseCount, 0)
    XCTAssertEqual(pool.free.count, 3)
    let blocks = try (0..<4).map { _ in try pool.makeBuffer(.u8, [16]).metal.buffer }
    XCTAssertEqual(Set(blocks.map { ObjectIdentifier($0) }).count, 4, "two live buffers share a block")
  }

  func testForeignBufferIsRefused() throws {
    let other = BufferPool(device: try Device(tuning: Tuning()))
    let buffer = try other.makeBuffer(.u8, [16])
    XCTAssertEqual(thrown { try pool.recycle(buffer) }.message, "expected a buffer of this pool, got another's")
    try buffer.fill(1)
    XCTAssertEqual(other.inUseCount, 1)
  }

  func testClearFreesOnlyWhatIsFree() throws {
    let kept = try pool.makeBuffer(.u8, [16])
    try pool.recycle(try pool.makeBuffer(.u8, [16]))
    pool.clear()
    XCTAssertEqual(pool.free.count, 0)
    try kept.fill(1)
  }

  func testThreadsGetBlocksOfTheirOwn() throws {
    let pool = try XCTUnwrap(pool)
    DispatchQueue.concurrentPerform(iterations: 8) { thread in
      for _ in 0..<200 {
        guard let buffer = try? pool.makeBuffer(.u8, [256], zeroed: false) else { return XCTFail("no buffer") }
        try? buffer.fill(UInt8(thread))
        let bytes = try? buffer.elements(as: UInt8.self)
        XCTAssertEqual(bytes, Array(repeating: UInt8(thread), count: 256))
        try? pool.recycle(buffer)
      }
    }
    XCTAssertEqual(pool.inUseCount, 0)
  }
}
