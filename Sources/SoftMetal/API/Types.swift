// Metal's plain types. Like the C structs they are on a Mac, they conform to nothing but Sendable.

public typealias CFTimeInterval = Double

public struct MTLSize: Sendable {
  public var width: Int
  public var height: Int
  public var depth: Int

  public init() { self.init(width: 0, height: 0, depth: 0) }
  public init(width: Int, height: Int, depth: Int) {
    self.width = width
    self.height = height
    self.depth = depth
  }
}

public struct MTLOrigin: Sendable {
  public var x: Int
  public var y: Int
  public var z: Int

  public init() { self.init(x: 0, y: 0, z: 0) }
  public init(x: Int, y: Int, z: Int) {
    self.x = x
    self.y = y
    self.z = z
  }
}

public struct MTLRegion: Sendable {
  public var origin: MTLOrigin
  public var size: MTLSize

  public init() { self.init(origin: MTLOrigin(), size: MTLSize()) }
  public init(origin: MTLOrigin, size: MTLSize) {
    self.origin = origin
    self.size = size
  }
}

public func MTLSizeMake(_ width: Int, _ height: Int, _ depth: Int) -> MTLSize {
  MTLSize(width: width, height: height, depth: depth)
}

public func MTLOriginMake(_ x: Int, _ y: Int, _ z: Int) -> MTLOrigin { MTLOrigin(x: x, y: y, z: z) }

public struct MTLSizeAndAlign: Sendable {
  public var size: Int
  public var align: Int

  public init() { self.init(size: 0, align: 0) }
  public init(size: Int, align: Int) {
    self.size = size
    self.align = align
  }
}

/// What an indirect dispatch reads from its buffer.
public struct MTLDispatchThreadgroupsIndirectArguments: Sendable {
  public var threadgroupsPerGrid: (UInt32, UInt32, UInt32)

  public init() { self.init(threadgroupsPerGrid: (0, 0, 0)) }
  public init(threadgroupsPerGrid: (UInt32, UInt32, UInt32)) { self.threadgroupsPerGrid = threadgroupsPerGrid }
}

/// Bits 0–3: CPU cache mode, 4–7: storage mode, 8–9: hazard tracking mode. Each is a field, not flags.
public struct MTLResourceOptions: OptionSet, Sendable {
  public let rawValue: UInt
  public init(rawValue: UInt) { self.rawValue = rawValue }

  public static let cpuCacheModeWriteCombined = Self(rawValue: 0x1)
  public static let storageModeShared = Self([])
  public static let storageModeManaged = Self(rawValue: 0x10)
  public static let storageModePrivate = Self(rawValue: 0x20)
  public static let storageModeMemoryless = Self(rawValue: 0x30)
  public static let hazardTrackingModeUntracked = Self(rawValue: 0x100)
  public static let hazardTrackingModeTracked = Self(rawValue: 0x200)
}

public struct MTLBarrierScope: OptionSet, Sendable {
  public let rawValue: UInt
  public init(rawValue: UInt) { self.rawValue = rawValue }

  public static let buffers = Self(rawValue: 1)
  public static let textures = Self(rawValue: 2)
  public static let renderTargets = Self(rawValue: 4)
}

public struct MTLResourceUsage: OptionSet, Sendable {
  public let rawValue: UInt
  public init(rawValue: UInt) { self.rawValue = rawValue }

  public static let read = Self(rawValue: 1)
  public static let write = Self(rawValue: 2)
  public static let sample = Self(rawValue: 4)
}

public struct MTLPipelineOption: OptionSet, Sendable {
  public let rawValue: UInt
  public init(rawValue: UInt) { self.rawValue = rawValue }

  public static let bindingInfo = Self(rawValue: 1)
  public static let bufferTypeInfo = Self(rawValue: 2)
  public static let failOnBinaryArchiveMiss = Self(rawValue: 4)
}

public struct MTLCommandBufferErrorOption: OptionSet, Sendable {
  public let rawValue: UInt
  public init(rawValue: UInt) { self.rawValue = rawValue }

  public static let encoderExecutionStatus = Self(rawValue: 1)
}
