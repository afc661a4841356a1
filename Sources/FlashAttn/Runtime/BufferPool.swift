/// Recycles allocations in power-of-two sizes.
///
/// A buffer given back, and every view of it, is refused from then on; its block is handed out anew under another
/// identity, so two live buffers never share memory.
public final class BufferPool: Sendable {
  private struct State {
    /// Free blocks by the exponent of their size.
    var free: [Int: [Block]] = [:]
    var inUse: [ObjectIdentifier: Storage] = [:]
  }

  private let allocator: Allocator
  private let state = Locked(State())

  public convenience init(device: Device) { self.init(device.allocator) }

  init(_ allocator: Allocator) { self.allocator = allocator }

  /// A buffer of exactly this shape, from a free block where there is one.
  ///
  /// - Parameter zeroed: false leaves a recycled block's old bytes in place.
  public func makeBuffer(_ dtype: DType, _ shape: [Int], zeroed: Bool = true) throws(FAError) -> Buffer {
    let operation = "pool_alloc"
    let bytes = try Extent.byteCount(shape, dtype, operation: operation)
    let exponent = Self.exponent(bytes)
    let recycled = state.withLock { $0.free[exponent]?.popLast() }
    let block: Block
    if let recycled {
      block = recycled
      if zeroed { block.metal.contents().initializeMemory(as: UInt8.self, repeating: 0, count: bytes) }
    } else {
      block = try allocator.makeBlock(max(bytes, min(1 << exponent, allocator.limit)), operation)
    }
    let storage = Storage(block, byteCount: bytes)
    state.withLock { $0.inUse[ObjectIdentifier(storage)] = storage }
    return Buffer(storage: storage, dtype: dtype, shape: shape, byteCount: bytes)
  }

  /// Several buffers at once; none is made if one cannot be.
  public func makeBuffers(_ requests: [(dtype: DType, shape: [Int])]) throws(FAError) -> [Buffer] {
    var buffers: [Buffer] = []
    do throws(FAError) {
      for request in requests { buffers.append(try makeBuffer(request.dtype, request.shape)) }
    } catch {
      for buffer in buffers { try recycle(buffer) }
      throw error
    }
    return buffers
  }

  /// Gives a buffer's block back. No submitted work may still use it.
  public func recycle(_ buffer: Buffer) throws(FAError) {
    let storage = buffer.storage
    guard !storage.isRecycled else {
      throw .invalid("pool_recycle", "buffer", expected: "a live buffer", got: "one given back already")
    }
    let owned = state.withLock { state in
      guard state.inUse.removeValue(forKey: ObjectIdentifier(storage)) != nil, storage.recycle() else { return false }
      state.free[Self.exponent(storage.metal.length), default: []].append(storage.block)
      return true
    }
    guard owned else {
      throw .invalid("pool_recycle", "buffer", expected: "a buffer of this pool", got: "another's")
    }
  }

  /// Gives every block back. No submitted work may still use any.
  public func reset() {
    state.withLock { state in
      for storage in state.inUse.values where storage.recycle() {
        state.free[Self.exponent(storage.metal.length), default: []].append(storage.block)
      }
      state.inUse.removeAll()
    }
  }

  /// Frees the blocks that are not in use.
  public func clear() { state.withLock { $0.free.removeAll() } }

  public var inUseCount: Int { state.withLock { $0.inUse.count } }

  /// Number of free blocks, and their bytes.
  public var free: (count: Int, bytes: Int) {
    state.withLock { state in
      state.free.values.joined().reduce(into: (0, 0)) { total, block in
        total.0 += 1
        total.1 += block.metal.length
      }
    }
  }

  /// The least exponent e with 2^e ≥ bytes; blocks of less than 256 bytes are not worth telling apart.
  private static func exponent(_ bytes: Int) -> Int {
    bytes <= 256 ? 8 : Int.bitWidth - (bytes - 1).leadingZeroBitCount
  }
}
