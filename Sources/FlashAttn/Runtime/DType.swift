/// The element type of a buffer.
public enum DType: UInt32, Sendable, CaseIterable, CustomStringConvertible {
  case f32 = 0
  case f16, bf16, u8, u16, u32, i32
  /// One byte; anything but 0 is true.
  case bool

  /// Bytes of one element.
  public var byteCount: Int {
    switch self {
    case .f32, .u32, .i32: 4
    case .f16, .bf16, .u16: 2
    case .u8, .bool: 1
    }
  }

  public var description: String {
    switch self {
    case .f32: "f32"
    case .f16: "f16"
    case .bf16: "bf16"
    case .u8: "u8"
    case .u16: "u16"
    case .u32: "u32"
    case .i32: "i32"
    case .bool: "bool"
    }
  }
}
