import FlashAttn
import XCTest

#if canImport(Glibc)
  import Glibc
#endif

final class BufferTests: XCTestCase {
  private var device: Device!

  override func setUpWithError() throws { device = try Device(tuning: Tuning()) }

  func testNewBufferIsZero() throws {
    let buffer = try device.makeBuffer(.f32, [3, 5])
    XCTAssertEqual(buffer.byteCount, 60)
    XCTAssertEqual(buffer.count, 15)
    XCTAssertEqual(try buffer.elements(as: Float.self), Array(repeating: 0, count: 15))
  }

  func testViewsCompose() throws {
    let buffer = try device.makeBuffer(.f32, [16], copying: (0..<16).map(Float.init))
    let middle = try buffer.view(byteOffset: 16, shape: [8])
    let inner = try middle.view(byteOffset: 8, shape: [2, 2])
    XCTAssertEqual(inner.byteOffset, 24)
    XCTAssertEqual(try inner.elements(as: Float.self), [6, 7, 8, 9])
    try inner.write([Float(-1)])
    XCTAssertEqual(try buffer.elements(as: Float.self)[6], -1)
    XCTAssertEqual(try buffer.view(byteOffset: 0, shape: [64], dtype: .u8).count, 64)
  }

  func testViewOutOfBoundsIsRefused() throws {
    let buffer = try device.makeBuffer(.f32, [16])
    let view = try buffer.view(byteOffset: 16, shape: [8])
    for (offset, shape) in [(36, [1]), (0, [9]), (-4, [1]), (2, [1]), (Int.max, [1]), (0, [Int.max, 4])] {
      let error = thrown { _ = try view.view(byteOffset: offset, shape: shape) }
      XCTAssertEqual(error.code, .invalidArgument, "\(offset) \(shape)")
      XCTAssertEqual(error.operation, "buffer_view")
    }
  }

  func testShapesAreChecked() throws {
    for shape in [[], [0], [-1], [1 << 62, 8], Array(repeating: 1, count: 9)] {
      let error = thrown { _ = try device.makeBuffer(.f32, shape) }
      XCTAssertEqual(error.code, .invalidArgument, "\(shape)")
      XCTAssertEqual(error.argument, "shape")
    }
    XCTAssertEqual(thrown { _ = try device.makeBuffer(.f32, [1 << 60]) }.code, .allocationFailed)
  }

  func testElementSizeIsChecked() throws {
    let buffer = try device.makeBuffer(.f16, [4])
    XCTAssertEqual(thrown { _ = try buffer.elements(as: Float.self) }.argument, "type")
    XCTAssertEqual(try buffer.elements(as: UInt16.self), [0, 0, 0, 0])
  }

  func testReadAndWriteStayInside() throws {
    let buffer = try device.makeBuffer(.u8, [4])
    let bytes: [UInt8] = [1, 2, 3]
    try bytes.withUnsafeBytes { try buffer.write($0, at: 1) }
    XCTAssertEqual(try buffer.elements(as: UInt8.self), [0, 1, 2, 3])
    for offset in [2, 5, -1, Int.max] {
      let error = thrown { try bytes.withUnsafeBytes { try buffer.write($0, at: offset) } }
      XCTAssertEqual(error.argument, "byte_offset", "\(offset)")
    }
    XCTAssertEqual(try buffer.elements(as: UInt8.self), [0, 1, 2, 3])
    try buffer.fill(7)
    XCTAssertEqual(try buffer.elements(as: UInt8.self), [7, 7, 7, 7])
  }

  func testWrapSharesMemory() throws {
    let page = Device.pageBytes
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: page, alignment: page)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 3)
    let buffer = try device.wrap(memory, .u8, [page])
    XCTAssertEqual(try buffer.elements(as: UInt8.self).last, 3)
    try buffer.fill(4)
    XCTAssertEqual(memory[page - 1], 4)
    let readOnly = try device.wrap(memory, .u8, [page], isReadOnly: true)
    XCTAssertEqual(thrown { try readOnly.fill(5) }.message, "expected a writable buffer, got a read-only one")
    XCTAssertEqual(memory[0], 4)
  }

  func testWrapChecksItsMemory() throws {
    let page = Device.pageBytes
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: page, alignment: page)
    defer { memory.deallocate() }
    let odd = UnsafeMutableRawBufferPointer(rebasing: memory[1..<9])
    XCTAssertEqual(thrown { _ = try device.wrap(odd, .f32, [1]) }.argument, "data")
    XCTAssertEqual(thrown { _ = try device.wrap(memory, .u8, [page + 1]) }.argument, "byte_count")
  }

  func testMappedFileIsReadOnly() throws {
    let path = "/tmp/pyfa-map-\(getpid())"
    let values = (0..<4096).map { Float($0) }
    let file = try XCTUnwrap(fopen(path, "w"))
    _ = values.withUnsafeBytes { fwrite($0.baseAddress, 1, $0.count, file) }
    fclose(file)
    defer { unlink(path) }
    let buffer = try device.mapFile(path, offset: 4100, .f32, [8])
    XCTAssertEqual(try buffer.elements(as: Float.self), (1025..<1033).map(Float.init))
    XCTAssertTrue(buffer.isReadOnly)
    XCTAssertEqual(thrown { try buffer.fill(0) }.code, .invalidArgument)
    XCTAssertEqual(thrown { _ = try device.mapFile(path, offset: 16384 - 4, .f32, [2]) }.argument, "shape")
    XCTAssertEqual(thrown { _ = try device.mapFile(path, offset: 2, .f32, [2]) }.argument, "offset")
    XCTAssertEqual(thrown { _ = try device.mapFile(path + "-none", offset: 0, .f32, [2]) }.code, .io)
  }

  func testWrappedMetalBufferIsTheSameMemory() throws {
    let metal = try XCTUnwrap(device.metal.makeBuffer(length: 64, options: .storageModeShared))
    let buffer = try device.wrap(metal: metal, .f32, [16])
    try buffer.write([Float(2)])
    XCTAssertEqual(metal.contents().load(as: Float.self), 2)
    XCTAssertEqual(thrown { _ = try device.wrap(metal: metal, .f32, [17]) }.argument, "shape")
    let hidden = try XCTUnwrap(device.metal.makeBuffer(length: 64, options: .storageModePrivate))
    let private_ = try device.wrap(metal: hidden, .f32, [16])
    XCTAssertEqual(thrown { _ = try private_.elements(as: Float.self) }.code, .invalidArgument)
  }
}
