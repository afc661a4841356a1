/// Values of function constants in C++, bit by bit: what the client gave is what the shader gets.
enum ConstantText {
  /// The value of a scalar or vector; bytes that are missing count as zero.
  static func text(_ type: MTLDataType, _ bytes: [UInt8]) -> String {
    for scalar in MTLDataType.scalars {
      let (width, isSmaller) = type.rawValue.subtractingReportingOverflow(scalar.type.rawValue)
      guard !isSmaller, width < 4 else { continue }
      let components = (0...Int(width)).map { component(scalar.type, scalar.bytes, bytes, $0) }
      return width == 0 ? components[0] : "\(type.shaderName)(\(components.joined(separator: ", ")))"
    }
    return "{}"
  }

  private static func component(_ type: MTLDataType, _ size: Int, _ bytes: [UInt8], _ index: Int) -> String {
    let bits = bytes.dropFirst(index * size).prefix(size).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    switch type {
    case .bool: return bits == 0 ? "false" : "true"
    case .float: return "__builtin_bit_cast(float, 0x\(String(bits, radix: 16))u)"
    case .half, .bfloat: return "__builtin_bit_cast(\(type.shaderName), (unsigned short)0x\(String(bits, radix: 16)))"
    default: return "((\(type.shaderName))0x\(String(bits, radix: 16))ul)"
    }
  }
}
