/// Three sizes of a grid or a threadgroup.
public struct Size3: Hashable, Sendable {
  public var x: Int
  public var y: Int
  public var z: Int

  public init(_ x: Int, _ y: Int = 1, _ z: Int = 1) {
    self.x = x
    self.y = y
    self.z = z
  }

  /// Nil on overflow.
  var product: Int? { Extent.product([x, y, z]) }

  var metal: MTLSize { MTLSize(width: x, height: y, depth: z) }
}

/// How a kernel uses a buffer argument.
public enum Access: UInt32, Sendable, CaseIterable {
  case read = 0
  case write, readWrite

  var writes: Bool { self != .read }
}

/// One argument of a dispatch.
public struct Argument: Sendable {
  public enum Value: Sendable {
    /// A buffer's window, moved on by `offset` bytes.
    case buffer(Buffer, offset: Int)
    /// A constant block, copied when encoded; at most `mostInlineBytes`.
    case bytes([UInt8])
  }

  /// Metal's limit.
  static let mostInlineBytes = 4096

  public let slot: Int
  public let value: Value
  public let access: Access

  public static func buffer(_ slot: Int, _ buffer: Buffer, offset: Int = 0, access: Access) -> Argument {
    Argument(slot: slot, value: .buffer(buffer, offset: offset), access: access)
  }

  public static func bytes(_ slot: Int, _ bytes: [UInt8]) -> Argument {
    Argument(slot: slot, value: .bytes(bytes), access: .read)
  }

  /// A constant block with the layout of `value`.
  public static func value(_ slot: Int, _ value: some BitwiseCopyable) -> Argument {
    bytes(slot, withUnsafeBytes(of: value) { Array($0) })
  }
}

/// What a dispatch computes, for tools that read a capture.
public enum OpKind: UInt32, Sendable, CaseIterable {
  case other = 0
  case sdpa, softmax, rmsNorm, elementwiseMul, elementwiseAdd

  /// Whether a scheduler may move it among its neighbours.
  public var isReorderable: Bool { self != .sdpa && self != .softmax }
}

/// Whether a grid counts threadgroups or threads.
public enum GridUnit: UInt32, Sendable, CaseIterable {
  case threadgroups = 0
  case threads
}

/// One kernel run with everything bound.
public struct Dispatch: Sendable {
  public var kernel: String
  public var pipeline: Pipeline
  public var arguments: [Argument]
  public var grid: Size3
  /// Threads of a threadgroup.
  public var threads: Size3
  public var unit = GridUnit.threadgroups
  /// Dynamic threadgroup memory by slot, in bytes; 0 leaves a slot unset.
  public var threadgroupBytes: [Int] = []
  public var op = OpKind.other
  public var label: String?
  /// Put a barrier in front if an earlier dispatch conflicts.
  public var tracked = false

  public init(
    kernel: String, pipeline: Pipeline, arguments: [Argument], grid: Size3, threads: Size3
  ) {
    self.kernel = kernel
    self.pipeline = pipeline
    self.arguments = arguments
    self.grid = grid
    self.threads = threads
  }

  /// Whether an argument is written: as the caller says, or as the kernel does whatever the caller says.
  func writes(_ argument: Argument) -> Bool { argument.access.writes || pipeline.writes(argument.slot) }

  /// Everything Metal would abort on, refused before anything is encoded.
  func validate(on device: Device) throws(FAError) {
    guard grid.x > 0, grid.y > 0, grid.z > 0, let groups = grid.product, groups <= UInt32.max else {
      throw .invalid(kernel, "grid", expected: "positive sizes of a product below 2^32", got: grid.text)
    }
    let limit = pipeline.metal.maxTotalThreadsPerThreadgroup
    guard threads.x > 0, threads.y > 0, threads.z > 0, let total = threads.product, total <= limit else {
      throw .invalid(kernel, "threads", expected: "1 to \(limit) threads in a threadgroup", got: threads.text)
    }
    let memoryLimit = device.metal.maxThreadgroupMemoryLength
    var memory = pipeline.metal.staticThreadgroupMemoryLength
    for bytes in threadgroupBytes {
      guard bytes >= 0, bytes.isMultiple(of: 16), bytes <= memoryLimit else {
        throw .invalid(
          kernel, "threadgroup_bytes", expected: "multiples of 16 up to \(memoryLimit)", got: "\(threadgroupBytes)")
      }
      memory += bytes
    }
    guard memory <= memoryLimit else {
      throw .invalid(
        kernel, "threadgroup_bytes", expected: "at most \(memoryLimit) bytes with the kernel's own", got: "\(memory)")
    }
    var seen: UInt32 = 0
    for argument in arguments { try validate(argument, seen: &seen, on: device) }
  }

  private func validate(_ argument: Argument, seen: inout UInt32, on device: Device) throws(FAError) {
    func name() -> String { "slot \(argument.slot)" }
    guard (0...30).contains(argument.slot) else {
      throw .invalid(kernel, "arguments", expected: "a slot in 0...30", got: "\(argument.slot)")
    }
    guard seen & (1 << argument.slot) == 0 else {
      throw .invalid(kernel, name(), expected: "one argument", got: "two")
    }
    seen |= 1 << argument.slot
    switch argument.value {
    case .bytes(let bytes):
      guard (1...Argument.mostInlineBytes).contains(bytes.count) else {
        throw .invalid(kernel, name(), expected: "1 to \(Argument.mostInlineBytes) bytes", got: "\(bytes.count)")
      }
    case .buffer(let buffer, let offset):
      try buffer.checkUsable(kernel, name())
      if writes(argument) { try buffer.checkWritable(kernel, name()) }
      guard offset >= 0, offset < buffer.byteCount else {
        throw .invalid(kernel, name(), expected: "an offset within \(buffer.byteCount) bytes", got: "\(offset)")
      }
      guard buffer.storage.metal.device === device.metal else {
        throw .invalid(kernel, name(), expected: "a buffer of the encoder's device", got: "one of another device")
      }
    }
  }
}

extension Size3 {
  var text: String { "(\(x), \(y), \(z))" }
}
