import CSoftMetal

/// Values for a function's constants, by index or by name. Bytes are copied when they are set.
public final class MTLFunctionConstantValues {
  private var values = ConstantValues()

  public init() {}

  /// `value` points to as many bytes as `type` takes in shader memory.
  public func setConstantValue(_ value: UnsafeRawPointer, type: MTLDataType, index: Int) {
    values.byIndex[index] = TypedBytes(value, type)
  }

  public func setConstantValue(_ value: UnsafeRawPointer, type: MTLDataType, withName name: String) {
    values.byName[name] = TypedBytes(value, type)
  }

  /// `values` is an array of `type`, one element for each index of `range`.
  public func setConstantValues(_ values: UnsafeRawPointer, type: MTLDataType, range: Range<Int>) {
    let stride = type.byteCount ?? 0
    for (position, index) in range.enumerated() {
      setConstantValue(values + position * stride, type: type, index: index)
    }
  }

  public func reset() { values = ConstantValues() }

  func snapshot() -> ConstantValues { values }
}

/// A value as the client gave it. A type that no constant can have brings no bytes.
struct TypedBytes: Sendable {
  let type: MTLDataType
  let bytes: [UInt8]

  init(_ value: UnsafeRawPointer, _ type: MTLDataType) {
    self.type = type
    bytes = Array(UnsafeRawBufferPointer(start: value, count: type.byteCount ?? 0))
  }
}

/// One constant that a function was specialised with.
struct ConstantValue: Sendable {
  let index: Int
  let type: MTLDataType
  let bytes: [UInt8]

  var isTrue: Bool { bytes.contains { $0 != 0 } }

  var native: sm_constant {
    var native = sm_constant()
    native.index = UInt32(truncatingIfNeeded: index)
    native.type = UInt32(truncatingIfNeeded: type.rawValue)
    withUnsafeMutableBytes(of: &native.value) { $0.copyBytes(from: bytes.prefix($0.count)) }
    return native
  }
}

struct ConstantValues: Sendable {
  var byIndex: [Int: TypedBytes] = [:]
  var byName: [String: TypedBytes] = [:]

  /// The values of the constants that `kernel` declares, by rising index; an index takes precedence over a name.
  func resolve(_ declared: [MTLFunctionConstant], kernel: String) throws(MTLLibraryError) -> [ConstantValue] {
    var resolved: [ConstantValue] = []
    for constant in declared.sorted(by: { $0.index < $1.index }) {
      let what = "makeFunction: kernel '\(kernel)': function constant '\(constant.name)' (index \(constant.index))"
      guard let given = byIndex[constant.index] ?? byName[constant.name] else {
        guard constant.required else { continue }
        throw MTLLibraryError(.compileFailure, "\(what): expected a \(constant.type.shaderName), got no value")
      }
      guard given.type == constant.type else {
        throw MTLLibraryError(
          .compileFailure, "\(what): expected a \(constant.type.shaderName), got a \(given.type.shaderName)")
      }
      resolved.append(ConstantValue(index: constant.index, type: constant.type, bytes: given.bytes))
    }
    return resolved
  }
}
