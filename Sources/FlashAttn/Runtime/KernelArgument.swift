/// One thing that a kernel takes, as a pipeline's reflection has it.
public struct KernelArgument: Hashable, Sendable {
  public enum Kind: String, Sendable { case buffer, threadgroup }
  public enum Access: String, Sendable {
    case read, write
    case readWrite = "read_write"
  }

  /// Empty where the platform does not tell.
  public let name: String
  public let kind: Kind
  public let slot: Int
  public let access: Access

  /// Buffers, then threadgroup memory, each by slot.
  static func all(_ reflection: MTLComputePipelineReflection?) -> [KernelArgument] {
    let all = (reflection?.bindings ?? []).compactMap(KernelArgument.init)
    return [Kind.buffer, .threadgroup].flatMap { kind in
      all.filter { $0.kind == kind }.sorted { $0.slot < $1.slot }
    }
  }

  private init?(_ binding: any MTLBinding) {
    switch binding.type {
    case .buffer: kind = .buffer
    case .threadgroupMemory: kind = .threadgroup
    default: return nil
    }
    name = binding.name
    slot = binding.index
    access =
      switch binding.access {
      case .readOnly: .read
      case .writeOnly: .write
      default: .readWrite
      }
  }
}

extension Pipeline {
  public var argumentsJSON: String {
    let rows = arguments.map { argument in
      JSON.object([
        ("name", .string(argument.name)), ("kind", .string(argument.kind.rawValue)), ("slot", .int(argument.slot)),
        ("access", .string(argument.access.rawValue)),
      ])
    }
    return JSON.array(rows).text
  }
}

extension KernelRegistry {
  /// `functions(ofSource:)` with the constants that each can be given.
  public func functionsJSON(ofSource name: String) throws(FAError) -> String {
    let rows = try functions(ofSource: name).map { function in
      let constants = function.functionConstantsDictionary.values.sorted { $0.index < $1.index }.map { constant in
        JSON.object([
          ("index", .int(constant.index)), ("name", .string(constant.name)),
          ("type", .string(constant.type.shaderName)), ("required", .bool(constant.required)),
        ])
      }
      return JSON.object([("name", .string(function.name)), ("constants", .array(constants))])
    }
    return JSON.array(rows).text
  }
}

extension MTLDataType {
  private static let scalars: [(first: MTLDataType, name: String)] = [
    (.bool, "bool"), (.char, "char"), (.uchar, "uchar"), (.short, "short"), (.ushort, "ushort"), (.int, "int"),
    (.uint, "uint"), (.long, "long"), (.ulong, "ulong"), (.half, "half"), (.bfloat, "bfloat"), (.float, "float"),
  ]

  /// What shader text calls a scalar or vector; a scalar's vectors follow it in the enumeration.
  var shaderName: String {
    for scalar in Self.scalars where (scalar.first.rawValue..<scalar.first.rawValue + 4).contains(rawValue) {
      return rawValue == scalar.first.rawValue ? scalar.name : "\(scalar.name)\(rawValue - scalar.first.rawValue + 1)"
    }
    return "type \(rawValue)"
  }
}
