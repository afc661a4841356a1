/// The value of a function constant, of any scalar type of the shading language.
public enum ConstantValue: Hashable, Sendable {
  case bool(Bool)
  case char(Int8)
  case uchar(UInt8)
  case short(Int16)
  case ushort(UInt16)
  case int(Int32)
  case uint(UInt32)
  case long(Int64)
  case ulong(UInt64)
  /// Bits of an IEEE 754 half.
  case half(UInt16)
  /// Bits of a bfloat16.
  case bfloat(UInt16)
  case float(Float)

  /// The half nearest to `value`, ties to even.
  public init(half value: Double) { self = .half(SmallFloat.half.bits(of: value)) }

  /// The bfloat16 nearest to `value`, ties to even.
  public init(bfloat value: Double) { self = .bfloat(SmallFloat.bfloat.bits(of: value)) }

  var metalType: MTLDataType {
    switch self {
    case .bool: .bool
    case .char: .char
    case .uchar: .uchar
    case .short: .short
    case .ushort: .ushort
    case .int: .int
    case .uint: .uint
    case .long: .long
    case .ulong: .ulong
    case .half: .half
    case .bfloat: .bfloat
    case .float: .float
    }
  }

  func withUnsafeBytes(_ body: (UnsafeRawPointer) -> Void) {
    func pass(_ value: some BitwiseCopyable) { Swift.withUnsafeBytes(of: value) { $0.baseAddress.map(body) } }
    switch self {
    case .bool(let value): pass(value)
    case .char(let value): pass(value)
    case .uchar(let value): pass(value)
    case .short(let value): pass(value)
    case .ushort(let value), .half(let value), .bfloat(let value): pass(value)
    case .int(let value): pass(value)
    case .uint(let value): pass(value)
    case .long(let value): pass(value)
    case .ulong(let value): pass(value)
    case .float(let value): pass(value)
    }
  }
}

/// One function constant a pipeline is specialised with.
public struct FunctionConstant: Hashable, Sendable {
  public let index: Int
  public let value: ConstantValue

  public init(_ index: Int, _ value: ConstantValue) {
    self.index = index
    self.value = value
  }
}

/// What tells pipelines apart: the kernel and its constants, in the order of their indices whatever order they came in.
struct PipelineKey: Hashable, CustomStringConvertible {
  let kernel: String
  let constants: [FunctionConstant]
  /// Hash of the two: keys are looked up more often than they are made.
  private let digest: Int
  #if !canImport(Metal)
    /// A pipeline keeps the options of its making.
    var execution: SoftMetalOptions?
  #endif

  init(_ kernel: String, _ constants: [FunctionConstant]) throws(FAError) {
    self.kernel = kernel
    let ascending = zip(constants, constants.dropFirst()).allSatisfy { $0.index < $1.index }
    self.constants = ascending ? constants : constants.sorted { $0.index < $1.index }
    var hasher = Hasher()
    hasher.combine(kernel)
    hasher.combine(self.constants)
    digest = hasher.finalize()
    for (one, next) in zip(self.constants, self.constants.dropFirst()) where one.index == next.index {
      throw .invalid("pipeline", "constants", expected: "each index once", got: "\(one.index) twice for \(kernel)")
    }
    if let outside = self.constants.first(where: { !(0...65535).contains($0.index) }) {
      throw .invalid("pipeline", "constants", expected: "an index in 0...65535", got: "\(outside.index) for \(kernel)")
    }
  }

  func hash(into hasher: inout Hasher) { hasher.combine(digest) }

  var values: MTLFunctionConstantValues {
    let values = MTLFunctionConstantValues()
    for constant in constants {
      constant.value.withUnsafeBytes {
        values.setConstantValue($0, type: constant.value.metalType, index: constant.index)
      }
    }
    return values
  }

  var description: String { ([kernel] + constants.map { "\($0.index)=\($0.value)" }).joined(separator: " ") }
}
