public enum MTLDataType: UInt, Sendable {
  case none = 0
  case `struct` = 1
  case array = 2
  case float = 3, float2, float3, float4
  case float2x2 = 7, float2x3, float2x4, float3x2, float3x3, float3x4, float4x2, float4x3, float4x4
  case half = 16, half2, half3, half4
  case half2x2 = 20, half2x3, half2x4, half3x2, half3x3, half3x4, half4x2, half4x3, half4x4
  case int = 29, int2, int3, int4
  case uint = 33, uint2, uint3, uint4
  case short = 37, short2, short3, short4
  case ushort = 41, ushort2, ushort3, ushort4
  case char = 45, char2, char3, char4
  case uchar = 49, uchar2, uchar3, uchar4
  case bool = 53, bool2, bool3, bool4
  case texture = 58, sampler = 59, pointer = 60
  case long = 81, long2, long3, long4
  case ulong = 85, ulong2, ulong3, ulong4
  case bfloat = 121, bfloat2, bfloat3, bfloat4
}

extension MTLDataType {
  /// One row for each scalar type: its vectors follow it in the enumeration.
  static let scalars: [(type: MTLDataType, bytes: Int)] = [
    (.float, 4), (.half, 2), (.bfloat, 2), (.bool, 1), (.char, 1), (.uchar, 1), (.short, 2), (.ushort, 2), (.int, 4),
    (.uint, 4), (.long, 8), (.ulong, 8),
  ]

  /// Size in memory of a scalar or vector, in bytes; a vector of three takes the room of four. Nil for anything else.
  var byteCount: Int? {
    for scalar in Self.scalars where (scalar.type.rawValue..<scalar.type.rawValue + 4).contains(rawValue) {
      return scalar.bytes * [1, 2, 4, 4][Int(rawValue - scalar.type.rawValue)]
    }
    return nil
  }

  /// The type that shader text calls `name`, if it is a scalar or vector.
  init?(shaderName name: String) {
    guard let type = Self.shaderNames[name] else { return nil }
    self = type
  }

  /// The type's name in shader text.
  var shaderName: String { "\(self)" }

  private static let shaderNames: [String: MTLDataType] = {
    var names: [String: MTLDataType] = [:]
    for scalar in scalars {
      for raw in scalar.type.rawValue..<scalar.type.rawValue + 4 {
        guard let type = MTLDataType(rawValue: raw) else { continue }
        names[type.shaderName] = type
      }
    }
    let aliases: [(String, MTLDataType)] = [
      ("int8_t", .char), ("uint8_t", .uchar), ("int16_t", .short), ("uint16_t", .ushort), ("int32_t", .int),
      ("uint32_t", .uint), ("int64_t", .long), ("uint64_t", .ulong), ("unsigned", .uint),
    ]
    for (alias, type) in aliases { names[alias] = type }
    return names
  }()
}
