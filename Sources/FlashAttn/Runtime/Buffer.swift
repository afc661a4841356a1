/// A typed, shaped window into device memory. Views share storage.
///
/// A buffer may be used from any thread; like all device memory, its bytes must not be touched by the host while
/// submitted work uses them.
public final class Buffer: @unchecked Sendable {
  public let dtype: DType
  /// Sizes of the dimensions, outermost first; the elements are contiguous.
  public let shape: [Int]
  /// Bytes from the start of the allocation to this window.
  public let byteOffset: Int
  /// Bytes of this window.
  public let byteCount: Int
  let storage: Storage

  init(storage: Storage, dtype: DType, shape: [Int], byteOffset: Int = 0, byteCount: Int) {
    self.storage = storage
    self.dtype = dtype
    self.shape = shape
    self.byteOffset = byteOffset
    self.byteCount = byteCount
  }

  public var isReadOnly: Bool { storage.isReadOnly }

  /// Number of elements.
  public var count: Int { byteCount / dtype.byteCount }

  /// The Metal buffer underneath, and where this window begins in it.
  public var metal: (buffer: any MTLBuffer, offset: Int) { (storage.metal, metalOffset) }

  var metalOffset: Int { storage.start + byteOffset }

  /// A window into this one. Offsets of nested views add up.
  ///
  /// - Parameters:
  ///   - byteOffset: from the start of this window; a multiple of the element size.
  ///   - dtype: this buffer's own if nil.
  public func view(byteOffset: Int, shape: [Int], dtype: DType? = nil) throws(FAError) -> Buffer {
    let operation = "buffer_view"
    try checkUsable(operation)
    let dtype = dtype ?? self.dtype
    let bytes = try Extent.byteCount(shape, dtype, operation: operation)
    guard byteOffset >= 0, byteOffset <= byteCount, bytes <= byteCount - byteOffset else {
      throw .invalid(
        operation, "shape", expected: "a window within \(byteCount) bytes",
        got: "\(shape) \(dtype), \(bytes) bytes, at byte \(byteOffset)")
    }
    guard (metalOffset + byteOffset).isMultiple(of: dtype.byteCount) else {
      throw .invalid(
        operation, "byte_offset", expected: "an address aligned to \(dtype.byteCount) bytes", got: "\(byteOffset)")
    }
    return Buffer(
      storage: storage, dtype: dtype, shape: shape, byteOffset: self.byteOffset + byteOffset, byteCount: bytes)
  }

  /// Runs `body` on this window's bytes.
  public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
    try body(UnsafeRawBufferPointer(start: hostPointer("buffer_read"), count: byteCount))
  }

  /// Runs `body` on this window's bytes, writable.
  public func withUnsafeMutableBytes<Result>(
    _ body: (UnsafeMutableRawBufferPointer) throws -> Result
  ) throws -> Result {
    try checkWritable("buffer_write")
    return try body(UnsafeMutableRawBufferPointer(start: hostPointer("buffer_write"), count: byteCount))
  }

  /// The elements, copied out.
  public func elements<Element: BitwiseCopyable>(as type: Element.Type) throws(FAError) -> [Element] {
    guard MemoryLayout<Element>.size == dtype.byteCount else {
      throw .invalid(
        "buffer_read", "type", expected: "an element of \(dtype.byteCount) bytes for \(dtype)",
        got: "\(Element.self) of \(MemoryLayout<Element>.size)")
    }
    let source = UnsafeRawBufferPointer(start: try hostPointer("buffer_read"), count: byteCount)
    return Array(unsafeUninitializedCapacity: count) { target, initialized in
      UnsafeMutableRawBufferPointer(target).copyMemory(from: source)
      initialized = source.count / MemoryLayout<Element>.size
    }
  }

  /// Copies bytes in, from byte `offset` of this window on.
  public func write(_ source: UnsafeRawBufferPointer, at offset: Int = 0) throws(FAError) {
    let operation = "buffer_write"
    try checkWritable(operation)
    let target = try hostPointer(operation)
    try checkRange(operation, offset, source.count)
    UnsafeMutableRawBufferPointer(start: target + offset, count: source.count).copyMemory(from: source)
  }

  /// Copies elements in, from the first on.
  public func write<Element: BitwiseCopyable>(_ elements: [Element]) throws(FAError) {
    let result = elements.withUnsafeBytes { bytes in
      Result { () throws(FAError) in try write(bytes) }
    }
    try result.get()
  }

  /// Copies bytes out, from byte `offset` of this window on.
  public func read(into target: UnsafeMutableRawBufferPointer, at offset: Int = 0) throws(FAError) {
    let operation = "buffer_read"
    let source = try hostPointer(operation)
    try checkRange(operation, offset, target.count)
    target.copyMemory(from: UnsafeRawBufferPointer(start: source + offset, count: target.count))
  }

  /// Sets every byte.
  public func fill(_ value: UInt8) throws(FAError) {
    try checkWritable("buffer_fill")
    try hostPointer("buffer_fill").initializeMemory(as: UInt8.self, repeating: value, count: byteCount)
  }

  /// The first byte of this window, for the host.
  public func hostPointer(_ operation: String = "buffer_contents") throws(FAError) -> UnsafeMutableRawPointer {
    try checkUsable(operation)
    guard storage.isHostVisible else {
      throw .invalid(operation, "buffer", expected: "memory the host can see", got: "private storage")
    }
    return storage.metal.contents() + metalOffset
  }

  func checkUsable(_ operation: String, _ argument: @autoclosure () -> String = "buffer") throws(FAError) {
    guard !storage.isRecycled else {
      throw .invalid(operation, argument(), expected: "a live buffer", got: "one given back to its pool")
    }
  }

  func checkWritable(_ operation: String, _ argument: @autoclosure () -> String = "buffer") throws(FAError) {
    guard !isReadOnly else {
      throw .invalid(operation, argument(), expected: "a writable buffer", got: "a read-only one")
    }
  }

  private func checkRange(_ operation: String, _ offset: Int, _ length: Int) throws(FAError) {
    guard offset >= 0, offset <= byteCount, length <= byteCount - offset else {
      throw .invalid(
        operation, "byte_offset", expected: "\(length) bytes at an offset within \(byteCount)", got: "\(offset)")
    }
  }
}
