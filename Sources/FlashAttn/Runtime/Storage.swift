import Synchronization

/// Where blocks come from.
struct Allocator: @unchecked Sendable {
  let metal: any MTLDevice
  let residency: Residency?

  /// The most bytes one block can have.
  var limit: Int { metal.maxBufferLength }

  /// A zero-filled block that host and device both see.
  func makeBlock(_ bytes: Int, _ operation: String) throws(FAError) -> Block {
    guard bytes <= limit else {
      throw FAError(
        .allocationFailed, operation, "shape", "expected at most \(limit) bytes, the device's limit, got \(bytes)")
    }
    guard let buffer = metal.makeBuffer(length: bytes, options: .storageModeShared) else {
      throw FAError(.allocationFailed, operation, "shape", "the device could not allocate \(bytes) bytes")
    }
    return adopt(buffer)
  }

  func adopt(_ buffer: any MTLBuffer) -> Block { Block(buffer, residency: residency) }
}

/// One Metal allocation, resident from its making to its end.
final class Block: @unchecked Sendable {
  let metal: any MTLBuffer
  private let residency: Residency?

  fileprivate init(_ metal: any MTLBuffer, residency: Residency?) {
    self.metal = metal
    self.residency = residency
    residency?.add(metal)
  }

  deinit { residency?.remove(metal) }
}

/// The memory behind a buffer and all of its views: a block, for as long as no pool takes it back.
final class Storage: Sendable {
  let block: Block
  /// Where the caller's bytes begin in the block; not 0 when a wrap was widened to whole pages.
  let start: Int
  let byteCount: Int
  let isReadOnly: Bool
  private let recycled = Atomic<Bool>(false)

  init(_ block: Block, start: Int = 0, byteCount: Int, isReadOnly: Bool = false) {
    self.block = block
    self.start = start
    self.byteCount = byteCount
    self.isReadOnly = isReadOnly
  }

  var metal: any MTLBuffer { block.metal }

  /// Whether the host can touch the bytes.
  var isHostVisible: Bool { metal.storageMode != .private }

  /// True from the moment a pool took the block back.
  var isRecycled: Bool { recycled.load(ordering: .acquiring) }

  /// Marks the block as taken back; false if it was already.
  func recycle() -> Bool { !recycled.exchange(true, ordering: .acquiringAndReleasing) }
}
