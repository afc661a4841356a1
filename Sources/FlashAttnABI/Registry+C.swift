import CFlashAttn
import FlashAttn

func registry(_ handle: OpaquePointer?, _ operation: String) throws(FAError) -> KernelRegistry {
  try Handles.get(handle, as: KernelRegistry.self, operation, "registry")
}

/// Function constants from C, each checked against the range of its type.
func constants(
  _ pointer: UnsafePointer<fa_constant>?, _ count: Int32, _ operation: String
) throws(FAError) -> [FunctionConstant] {
  var constants: [FunctionConstant] = []
  for constant in try elements(pointer, count, operation, "constant") {
    constants.append(FunctionConstant(Int(constant.index), try value(constant, operation)))
  }
  return constants
}

private func value(_ constant: fa_constant, _ operation: String) throws(FAError) -> ConstantValue {
  let argument = "constant \(constant.index)"
  func integer<Value: FixedWidthInteger>(_ make: (Value) -> ConstantValue) throws(FAError) -> ConstantValue {
    guard let value = Value(exactly: constant.integer) else {
      throw .refused(operation, argument, expected: "\(Value.min) to \(Value.max)", got: "\(constant.integer)")
    }
    return make(value)
  }
  switch constant.type {
  case FA_CONSTANT_BOOL: return .bool(constant.integer != 0)
  case FA_CONSTANT_CHAR: return try integer(ConstantValue.char)
  case FA_CONSTANT_UCHAR: return try integer(ConstantValue.uchar)
  case FA_CONSTANT_SHORT: return try integer(ConstantValue.short)
  case FA_CONSTANT_USHORT: return try integer(ConstantValue.ushort)
  case FA_CONSTANT_INT: return try integer(ConstantValue.int)
  case FA_CONSTANT_UINT: return try integer(ConstantValue.uint)
  case FA_CONSTANT_LONG: return .long(constant.integer)
  case FA_CONSTANT_ULONG: return .ulong(UInt64(bitPattern: constant.integer))
  case FA_CONSTANT_HALF: return ConstantValue(half: constant.real)
  case FA_CONSTANT_BFLOAT: return ConstantValue(bfloat: constant.real)
  case FA_CONSTANT_FLOAT: return .float(Float(constant.real))
  default:
    throw .refused(operation, argument, expected: "a type from 0 to 11", got: "\(constant.type.rawValue)")
  }
}

@c @implementation
public func fa_registry_create(_ device: OpaquePointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!) -> fa_status {
  call { () throws(FAError) in
    let device = try FlashAttnABI.device(device, "registry_create")
    try store(handleOf: { device.makeRegistry() }, out, "registry_create")
  }
}

@c @implementation
public func fa_registry_retain(_ registry: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.retain(registry, .registry, "registry_retain") }
}

@c @implementation
public func fa_registry_release(_ registry: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.release(registry, .registry, "registry_release") }
}

@c @implementation
public func fa_registry_register(
  _ registry: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ source: UnsafePointer<CChar>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "registry_register"
    let registry = try FlashAttnABI.registry(registry, operation)
    try registry.register(source: try text(source, operation, "source"), named: try text(name, operation, "name"))
  }
}

@c @implementation
public func fa_registry_prepare(
  _ registry: OpaquePointer!, _ kernel: UnsafePointer<CChar>!, _ constants: UnsafePointer<fa_constant>!,
  _ constant_count: Int32
) -> fa_status {
  call { () throws(FAError) in
    let operation = "registry_prepare"
    let registry = try FlashAttnABI.registry(registry, operation)
    _ = try registry.pipeline(
      try text(kernel, operation, "kernel"),
      constants: try FlashAttnABI.constants(constants, constant_count, operation))
  }
}

@c @implementation
public func fa_registry_is_cached(
  _ registry: OpaquePointer!, _ kernel: UnsafePointer<CChar>!, _ constants: UnsafePointer<fa_constant>!,
  _ constant_count: Int32, _ out: UnsafeMutablePointer<Int32>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "registry_is_cached"
    let registry = try FlashAttnABI.registry(registry, operation)
    let cached = try registry.isCached(
      try text(kernel, operation, "kernel"),
      constants: try FlashAttnABI.constants(constants, constant_count, operation))
    try store(cached ? 1 : 0, out, operation)
  }
}

@c @implementation
public func fa_registry_cached_count(_ registry: OpaquePointer!, _ out: UnsafeMutablePointer<UInt64>!) -> fa_status {
  call { () throws(FAError) in
    let registry = try FlashAttnABI.registry(registry, "registry_cached_count")
    try store(UInt64(registry.cachedCount), out, "registry_cached_count")
  }
}

@c @implementation
public func fa_registry_functions(
  _ registry: OpaquePointer!, _ source: UnsafePointer<CChar>!, _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "registry_functions"
    let registry = try FlashAttnABI.registry(registry, operation)
    let list = try registry.functionsJSON(ofSource: try text(source, operation, "source"))
    try store(cfa_keep_string(CFA_SLOT_REGISTRY_FUNCTIONS, list, list.utf8.count), out, operation)
  }
}

@c @implementation
public func fa_registry_arguments(
  _ registry: OpaquePointer!, _ kernel: UnsafePointer<CChar>!, _ constants: UnsafePointer<fa_constant>!,
  _ constant_count: Int32, _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "registry_arguments"
    let registry = try FlashAttnABI.registry(registry, operation)
    let pipeline = try registry.pipeline(
      try text(kernel, operation, "kernel"),
      constants: try FlashAttnABI.constants(constants, constant_count, operation))
    let list = pipeline.argumentsJSON
    try store(cfa_keep_string(CFA_SLOT_REGISTRY_ARGUMENTS, list, list.utf8.count), out, operation)
  }
}
