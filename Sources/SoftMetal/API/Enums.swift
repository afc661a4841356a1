public enum MTLStorageMode: UInt, Sendable {
  case shared = 0
  case managed = 1
  case `private` = 2
  case memoryless = 3
}

public enum MTLCPUCacheMode: UInt, Sendable {
  case defaultCache = 0
  case writeCombined = 1
}

public enum MTLHazardTrackingMode: UInt, Sendable {
  case `default` = 0
  case untracked = 1
  case tracked = 2
}

public enum MTLPurgeableState: UInt, Sendable {
  case keepCurrent = 1
  case nonVolatile = 2
  case volatile = 3
  case empty = 4
}

public enum MTLDispatchType: UInt, Sendable {
  case serial = 0
  case concurrent = 1
}

public enum MTLCommandBufferStatus: UInt, Sendable {
  case notEnqueued = 0
  case enqueued = 1
  case committed = 2
  case scheduled = 3
  case completed = 4
  case error = 5
}

public enum MTLFunctionType: UInt, Sendable {
  case vertex = 1
  case fragment = 2
  case kernel = 3
  case visible = 5
  case intersection = 6
  case mesh = 7
  case object = 8
}

public enum MTLLibraryType: Int, Sendable {
  case executable = 0
  case dynamic = 1
}

public enum MTLLibraryOptimizationLevel: Int, Sendable {
  case `default` = 0
  case size = 1
}

public enum MTLMathMode: Int, Sendable {
  case safe = 0
  case relaxed = 1
  case fast = 2
}

public enum MTLMathFloatingPointFunctions: Int, Sendable {
  case fast = 0
  case precise = 1
}

/// The major version in the upper, the minor in the lower 16 bits.
public enum MTLLanguageVersion: UInt, Sendable {
  case version1_1 = 0x1_0001
  case version1_2 = 0x1_0002
  case version2_0 = 0x2_0000
  case version2_1 = 0x2_0001
  case version2_2 = 0x2_0002
  case version2_3 = 0x2_0003
  case version2_4 = 0x2_0004
  case version3_0 = 0x3_0000
  case version3_1 = 0x3_0001
  case version3_2 = 0x3_0002
  case version4_0 = 0x4_0000
}

public enum MTLBindingType: Int, Sendable {
  case buffer = 0
  case threadgroupMemory = 1
  case texture = 2
  case sampler = 3
}

public enum MTLBindingAccess: UInt, Sendable {
  case readOnly = 0
  case readWrite = 1
  case writeOnly = 2
}

public enum MTLArgumentBuffersTier: UInt, Sendable {
  case tier1 = 0
  case tier2 = 1
}

/// An open enumeration: a family this module does not know is kept as its number, so `init(rawValue:)` never gives nil.
public enum MTLGPUFamily: RawRepresentable, Hashable, Sendable {
  case apple1, apple2, apple3, apple4, apple5, apple6, apple7, apple8, apple9, apple10
  case mac2
  case common1, common2, common3
  case metal3, metal4
  case _unknown(Int)

  private static let known: [Int: MTLGPUFamily] = [
    1001: .apple1, 1002: .apple2, 1003: .apple3, 1004: .apple4, 1005: .apple5,
    1006: .apple6, 1007: .apple7, 1008: .apple8, 1009: .apple9, 1010: .apple10,
    2002: .mac2,
    3001: .common1, 3002: .common2, 3003: .common3,
    5001: .metal3, 5002: .metal4,
  ]

  public init?(rawValue: Int) { self = Self.known[rawValue] ?? ._unknown(rawValue) }

  public var rawValue: Int {
    switch self {
    case .apple1: 1001
    case .apple2: 1002
    case .apple3: 1003
    case .apple4: 1004
    case .apple5: 1005
    case .apple6: 1006
    case .apple7: 1007
    case .apple8: 1008
    case .apple9: 1009
    case .apple10: 1010
    case .mac2: 2002
    case .common1: 3001
    case .common2: 3002
    case .common3: 3003
    case .metal3: 5001
    case .metal4: 5002
    case ._unknown(let value): value
    }
  }
}
