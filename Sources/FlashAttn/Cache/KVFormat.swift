/// How a cache keeps vectors: as they are, or rotated and quantised.
public enum KVFormat: UInt32, Sendable, CaseIterable, CustomStringConvertible {
  case f32 = 0
  case f16, bf16
  /// Multiples of a scale, in 8 bits.
  case q8
  // Tables of 2 to 8 bits, packed.
  case tq2 = 12
  case tq3, tq4, tq5, tq6, tq7, tq8
  // Version 1 of the codec: 4 bits packed, or a byte for each of 5, 6 or 8 bits.
  case tq4V1 = 24
  case tqHb5 = 25
  case tqHb6 = 26
  case tqHb8 = 28

  public var description: String {
    switch self {
    case .tq4V1: "tq4_v1"
    case .tqHb5: "tq_hb5"
    case .tqHb6: "tq_hb6"
    case .tqHb8: "tq_hb8"
    case .f32: "f32"
    case .f16: "f16"
    case .bf16: "bf16"
    case .q8: "q8"
    case .tq2: "tq2"
    case .tq3: "tq3"
    case .tq4: "tq4"
    case .tq5: "tq5"
    case .tq6: "tq6"
    case .tq7: "tq7"
    case .tq8: "tq8"
    }
  }

  /// Head dimensions that caches have.
  static let headDims = [64, 128, 256, 512]
  static let dense: [KVFormat] = [.f32, .f16, .bf16]
  static let bytesOfVersion1: [KVFormat] = [.tqHb5, .tqHb6, .tqHb8]

  public var isDense: Bool { rawValue <= KVFormat.bf16.rawValue }

  /// Version of the codec.
  public var version: Int { rawValue >= KVFormat.tq4V1.rawValue ? 1 : 2 }

  /// Bits of a coordinate, or of its code.
  public var bits: Int {
    switch self {
    case .f32: 32
    case .f16, .bf16: 16
    case .q8, .tqHb8: 8
    case .tq4V1: 4
    case .tqHb5: 5
    case .tqHb6: 6
    default: Int(rawValue) - 10
    }
  }

  /// Element type of what a cache keeps.
  public var dtype: DType {
    switch self {
    case .f32: .f32
    case .f16: .f16
    case .bf16: .bf16
    default: .u8
    }
  }

  /// Elements kept of a vector.
  public func width(_ headDim: Int) -> Int {
    switch self {
    case .f32, .f16, .bf16, .q8, .tqHb5, .tqHb6, .tqHb8: headDim
    default: headDim * bits / 8
    }
  }

  /// Norms of a vector.
  public func norms(_ headDim: Int) -> Int { isDense ? 0 : version == 1 && headDim == 512 ? 2 : 1 }

  /// Bytes of a vector and its norms.
  func bytes(_ headDim: Int, halfNorms: Bool) -> Int {
    width(headDim) * dtype.byteCount + norms(headDim) * (halfNorms ? 2 : 4)
  }

  /// CRC-32 of the table that codes stand in; 0 if there is none.
  public var tableChecksum: UInt32 { cfa_table_crc32(fa_kv_format(rawValue: rawValue)) }
}

/// The signs of the codec's rotation.
enum Signs {
  /// D / 8 bytes; bit j & 7 of byte j >> 3 negates coordinate j.
  static func table(_ headDim: Int, seed: UInt64) -> [UInt8] {
    let count = headDim / 8
    guard seed != 0 else { return Array(UnsafeBufferPointer(start: cfa_default_signs(), count: count)) }
    var state = seed
    var bytes: [UInt8] = []
    // SplitMix64
    while bytes.count < count {
      state &+= 0x9E37_79B9_7F4A_7C15
      var word = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
      word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
      word ^= word >> 31
      for byte in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: word >> (8 * UInt64(byte)))) }
    }
    return Array(bytes.prefix(count))
  }

  /// The slot of another table than the default one.
  static func block<Problem: KernelProblem>(
    slot: Int, seed: @escaping @Sendable (Problem) -> UInt64
  ) -> ParamBlock<Problem> {
    ParamBlock(
      slot: slot, name: "signs", type: "uchar", guardConstant: 55, isPresent: { seed($0) != 0 },
      array: { table($0.size(of: .D), seed: seed($0)) })
  }

  static func constant<Problem: KernelProblem>(
    _ seed: @escaping @Sendable (Problem) -> UInt64
  ) -> ConstantRule<Problem> {
    ConstantRule(index: 55, name: "has_signs") { problem, _ in .bool(seed(problem) != 0) }
  }
}

extension Tile {
  /// A vector for each simdgroup.
  static let vector = Tile(BQ: 1, BK: 1, threads: Size3(32))
}

extension Rule {
  /// A format among those a kernel serves.
  static func format(_ served: [KVFormat], _ format: @escaping @Sendable (Problem) -> KVFormat) -> Rule {
    Rule { problem, operation throws(FAError) in
      guard served.contains(format(problem)) else {
        let names = served.map(\.description).joined(separator: ", ")
        throw .unsupported(operation, "format", expected: "one of \(names)", got: "\(format(problem))")
      }
    }
  }

  /// An integer that the kernels' 32-bit parameters can carry.
  static func within(
    _ argument: String, _ range: ClosedRange<Int>, _ value: @escaping @Sendable (Problem) -> Int
  ) -> Rule {
    Rule { problem, operation throws(FAError) in
      guard range.contains(value(problem)) else {
        throw .invalid(
          operation, argument, expected: "\(range.lowerBound) to \(range.upperBound)", got: "\(value(problem))")
      }
    }
  }
}
