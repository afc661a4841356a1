#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#endif

extension Device {
  /// Bytes of a page of memory.
  public static let pageBytes = Int(sysconf(Int32(_SC_PAGESIZE)))

  /// A new buffer, contiguous and zero-filled, that host and device both see.
  public func makeBuffer(_ dtype: DType, _ shape: [Int]) throws(FAError) -> Buffer {
    let bytes = try Extent.byteCount(shape, dtype, operation: "buffer_create")
    let block = try allocator.makeBlock(bytes, "buffer_create")
    return Buffer(storage: Storage(block, byteCount: bytes), dtype: dtype, shape: shape, byteCount: bytes)
  }

  /// A new buffer holding a copy of `elements`.
  public func makeBuffer<Element: BitwiseCopyable>(
    _ dtype: DType, _ shape: [Int], copying elements: [Element]
  ) throws(FAError) -> Buffer {
    let buffer = try makeBuffer(dtype, shape)
    guard elements.count * MemoryLayout<Element>.stride == buffer.byteCount else {
      throw .invalid(
        "buffer_create", "elements", expected: "\(buffer.byteCount) bytes for \(shape) \(dtype)",
        got: "\(elements.count * MemoryLayout<Element>.stride)")
    }
    try buffer.write(elements)
    return buffer
  }

  /// The caller's memory as a buffer, without a copy. The caller keeps it alive and in place.
  ///
  /// On a Mac, pointer and length must be multiples of the page size. Elsewhere the pointer is aligned to its dtype.
  public func wrap(
    _ memory: UnsafeMutableRawBufferPointer, _ dtype: DType, _ shape: [Int], isReadOnly: Bool = false
  ) throws(FAError) -> Buffer {
    let operation = "buffer_wrap"
    let bytes = try Extent.byteCount(shape, dtype, operation: operation)
    guard let pointer = memory.baseAddress else {
      throw .invalid(operation, "data", expected: "a pointer", got: "null")
    }
    guard bytes <= memory.count else {
      throw .invalid(
        operation, "byte_count", expected: "at least \(bytes) for \(shape) \(dtype)", got: "\(memory.count)")
    }
    let alignment = Self.wrapsAnyAlignment ? dtype.byteCount : Self.pageBytes
    guard Int(bitPattern: pointer).isMultiple(of: alignment) else {
      throw .invalid(operation, "data", expected: "an address aligned to \(alignment) bytes", got: "\(pointer)")
    }
    guard Self.wrapsAnyAlignment || memory.count.isMultiple(of: Self.pageBytes) else {
      throw .invalid(operation, "byte_count", expected: "a multiple of \(Self.pageBytes)", got: "\(memory.count)")
    }
    let storage = try wrapStorage(pointer, memory.count, isReadOnly: isReadOnly, operation, deallocator: nil)
    return Buffer(storage: storage, dtype: dtype, shape: shape, byteCount: bytes)
  }

  func wrapStorage(
    _ pointer: UnsafeMutableRawPointer, _ bytes: Int, isReadOnly: Bool, _ operation: String,
    deallocator: (@Sendable (UnsafeMutableRawPointer, Int) -> Void)?
  ) throws(FAError) -> Storage {
    #if !canImport(Metal)
      // As long as the caller's memory and no longer: checks take its ends for bounds.
      if let soft = metal as? SoftMetalDevice {
        guard let buffer = soft.makeBuffer(wrapping: pointer, length: bytes, deallocator: deallocator) else {
          throw FAError(.allocationFailed, operation, "data", "the device could not wrap \(bytes) bytes at \(pointer)")
        }
        return Storage(allocator.adopt(buffer), byteCount: bytes, isReadOnly: isReadOnly)
      }
    #endif
    let start = Int(bitPattern: pointer) % Self.pageBytes
    let (padded, overflow) = bytes.addingReportingOverflow(start + Self.pageBytes - 1)
    guard !overflow else {
      throw .invalid(operation, "byte_count", expected: "less than 2^63", got: "\(bytes)")
    }
    let length = padded / Self.pageBytes * Self.pageBytes
    guard
      let buffer = metal.makeBuffer(
        bytesNoCopy: pointer - start, length: length, options: .storageModeShared, deallocator: deallocator)
    else {
      throw FAError(
        .allocationFailed, operation, "data", "the device could not wrap \(length) bytes at \(pointer - start)")
    }
    return Storage(allocator.adopt(buffer), start: start, byteCount: bytes, isReadOnly: isReadOnly)
  }

  /// A Metal buffer the caller already has, without a copy.
  public func wrap(metal buffer: any MTLBuffer, _ dtype: DType, _ shape: [Int]) throws(FAError) -> Buffer {
    let operation = "buffer_wrap_metal"
    let bytes = try Extent.byteCount(shape, dtype, operation: operation)
    guard buffer.device === metal else {
      throw .invalid(operation, "mtl_buffer", expected: "a buffer of \(name)", got: "one of \(buffer.device.name)")
    }
    guard bytes <= buffer.length else {
      throw .invalid(
        operation, "shape", expected: "at most \(buffer.length) bytes", got: "\(bytes) for \(shape) \(dtype)")
    }
    let storage = Storage(allocator.adopt(buffer), byteCount: buffer.length)
    return Buffer(storage: storage, dtype: dtype, shape: shape, byteCount: bytes)
  }

  /// Part of a file, read-only, paged in as it is used.
  ///
  /// - Parameter offset: bytes from the file's start; a multiple of the element size.
  public func mapFile(_ path: String, offset: Int, _ dtype: DType, _ shape: [Int]) throws(FAError) -> Buffer {
    let operation = "buffer_map_file"
    let bytes = try Extent.byteCount(shape, dtype, operation: operation)
    guard offset >= 0, offset.isMultiple(of: dtype.byteCount) else {
      throw .invalid(operation, "offset", expected: "a non-negative multiple of \(dtype.byteCount)", got: "\(offset)")
    }
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw .io(operation, "path", "cannot open \(path)") }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0 else { throw .io(operation, "path", "cannot read the size of \(path)") }
    let size = Int(status.st_size)
    guard offset <= size, bytes <= size - offset else {
      throw .invalid(
        operation, "shape", expected: "\(shape) \(dtype) at byte \(offset) to fit the \(size) bytes of \(path)",
        got: "\(bytes) bytes")
    }
    let start = offset % Self.pageBytes
    let length = (start + bytes + Self.pageBytes - 1) / Self.pageBytes * Self.pageBytes
    // Private and writable: a kernel that wrongly stores into it touches its own copy of a page, never the file.
    let mapped = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, off_t(offset - start))
    guard let mapped, mapped != MAP_FAILED else { throw .io(operation, "path", "cannot map \(path)") }
    do throws(FAError) {
      let storage = try wrapStorage(
        mapped + start, bytes, isReadOnly: true, operation,
        deallocator: { [address = UInt(bitPattern: mapped)] _, _ in
          munmap(UnsafeMutableRawPointer(bitPattern: address), length)
        })
      return Buffer(storage: storage, dtype: dtype, shape: shape, byteCount: bytes)
    } catch {
      munmap(mapped, length)
      throw error
    }
  }
}

extension FAError {
  /// A file operation that failed, with the system's reason.
  fileprivate static func io(_ operation: String, _ argument: String, _ what: String) -> FAError {
    FAError(.io, operation, argument, "\(what): \(String(cString: strerror(errno)))")
  }
}
