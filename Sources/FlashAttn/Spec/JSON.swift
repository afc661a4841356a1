/// JSON, as far as this library writes it.
indirect enum JSON: Sendable {
  case null
  case bool(Bool)
  case int(Int)
  case real(Double)
  case string(String)
  case array([JSON])
  /// In the order given.
  case object([(String, JSON)])

  static func sizes(_ size: Size3) -> JSON { .array([.int(size.x), .int(size.y), .int(size.z)]) }

  var text: String {
    var output = ""
    write(to: &output)
    return output
  }

  private func write(to output: inout String) {
    switch self {
    case .null: output += "null"
    case .bool(let value): output += value ? "true" : "false"
    case .int(let value): output += "\(value)"
    case .real(let value): output += value.isFinite ? "\(value)" : "null"
    case .string(let value): Self.write(value, to: &output)
    case .array(let items):
      output += "["
      for (index, item) in items.enumerated() {
        if index > 0 { output += ", " }
        item.write(to: &output)
      }
      output += "]"
    case .object(let members):
      output += "{"
      for (index, member) in members.enumerated() {
        if index > 0 { output += ", " }
        Self.write(member.0, to: &output)
        output += ": "
        member.1.write(to: &output)
      }
      output += "}"
    }
  }

  private static func write(_ text: String, to output: inout String) {
    output += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": output += "\\\""
      case "\\": output += "\\\\"
      case "\n": output += "\\n"
      case "\r": output += "\\r"
      case "\t": output += "\\t"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        output += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: output.unicodeScalars.append(scalar)
      }
    }
    output += "\""
  }
}

extension ConstantValue {
  var json: JSON {
    switch self {
    case .bool(let value): .bool(value)
    case .char(let value): .int(Int(value))
    case .uchar(let value): .int(Int(value))
    case .short(let value): .int(Int(value))
    case .ushort(let value), .half(let value), .bfloat(let value): .int(Int(value))
    case .int(let value): .int(Int(value))
    case .uint(let value): .int(Int(value))
    case .long(let value): .int(Int(value))
    case .ulong(let value): .string("\(value)")
    case .float(let value): .real(Double(value))
    }
  }
}
