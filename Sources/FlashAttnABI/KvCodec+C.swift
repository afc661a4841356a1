import CFlashAttn
import FlashAttn

func kvFormat(_ value: fa_kv_format, _ operation: String, _ argument: String = "format") throws(FAError) -> KVFormat {
  guard let format = KVFormat(rawValue: value.rawValue) else {
    let ids = KVFormat.allCases.map { "\($0.rawValue)" }.joined(separator: ", ")
    throw .refused(operation, argument, expected: "one of \(ids)", got: "\(value.rawValue)")
  }
  return format
}

/// Encodes a plan with the buffers of handles; null stands for none.
func encode(
  _ plan: Plan, _ encoder: OpaquePointer?, _ registry: OpaquePointer?, _ operation: String,
  _ handles: [(String, OpaquePointer?)]
) throws(FAError) {
  let encoder = try FlashAttnABI.encoder(encoder, operation)
  let registry = try FlashAttnABI.registry(registry, operation)
  let buffers = try NamedBuffers(handles) { (name, handle) throws(FAError) in
    try optionalBuffer(handle, operation, name)
  }
  try plan.encode(into: encoder, registry: registry, named: buffers)
}

private let names = Dictionary(uniqueKeysWithValues: KVFormat.allCases.map { ($0, ConstantText($0.description)) })

@c @implementation
public func fa_kv_format_get_info(
  _ format: fa_kv_format, _ head_dim: Int64, _ out: UnsafeMutablePointer<fa_kv_format_info>!
) -> fa_status {
  let operation = "kv_format_get_info"
  return call { () throws(FAError) in
    let format = try kvFormat(format, operation)
    guard (1...65536).contains(head_dim), head_dim.isMultiple(of: 8) else {
      throw .refused(operation, "head_dim", expected: "a multiple of 8 from 8 to 65536", got: "\(head_dim)")
    }
    let info = fa_kv_format_info(
      name: names[format]?.pointer, version: Int32(format.version), bits: Int32(format.bits),
      dtype: fa_dtype(rawValue: format.dtype.rawValue), table_crc32: format.tableChecksum,
      width: Int64(format.width(Int(head_dim))), norms: Int64(format.norms(Int(head_dim))))
    try store(info, out, operation)
  }
}

@c @implementation
public func fa_fwht_standalone(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_fwht_problem>!,
  _ data: OpaquePointer!
) -> fa_status {
  let operation = "fwht_standalone"
  return call { () throws(FAError) in
    let given = try load(problem, operation, "problem")
    let transforms: [FwhtStandalone.Form] = [.standalone, .signPremult, .signUndo]
    let index = Int(given.transform.rawValue)
    guard transforms.indices.contains(index) else {
      throw .refused(operation, "transform", expected: "0 to 2", got: "\(index)")
    }
    var problem = FwhtStandalone.Problem(transforms[index], headDim: Int(given.head_dim), rows: Int(given.rows))
    problem.seed = given.seed
    try encode(FwhtStandalone.plan(problem), encoder, registry, operation, [("data", data)])
  }
}

@c @implementation
public func fa_kv_encode(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_kv_encode_problem>!,
  _ src: OpaquePointer!, _ data: OpaquePointer!, _ norms: OpaquePointer!
) -> fa_status {
  let operation = "kv_encode"
  return call { () throws(FAError) in
    let given = try load(problem, operation, "problem")
    var problem = KvEncode.Problem(
      dtype: try dtype(given.dtype, operation), format: try kvFormat(given.format, operation),
      kvHeads: Int(given.kv_heads), headDim: Int(given.head_dim), tokens: Int(given.tokens),
      capacity: Int(given.capacity), positions: try counts(given.positions, given.batch, operation, "positions"))
    problem.ring = given.ring != 0
    problem.halfNorms = given.half_norms != 0
    problem.seed = given.seed
    if given.strides != (0, 0, 0) { problem.strides = Strides(given.strides) }
    try encode(
      KvEncode.plan(problem), encoder, registry, operation, [("src", src), ("data", data), ("norms", norms)])
  }
}

@c @implementation
public func fa_kv_decode(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_kv_decode_problem>!,
  _ data: OpaquePointer!, _ norms: OpaquePointer!, _ out: OpaquePointer!
) -> fa_status {
  let operation = "kv_decode"
  return call { () throws(FAError) in
    let given = try load(problem, operation, "problem")
    var problem = KvDecode.Problem(
      dtype: try dtype(given.dtype, operation), format: try kvFormat(given.format, operation),
      kvHeads: Int(given.kv_heads), headDim: Int(given.head_dim), tokens: Int(given.tokens),
      capacity: Int(given.capacity))
    problem.batch = Int(given.batch)
    problem.position = Int(given.position)
    problem.ring = given.ring != 0
    problem.halfNorms = given.half_norms != 0
    problem.scaleFactor = given.scale_factor_d512 == 0 ? 1 : given.scale_factor_d512
    problem.seed = given.seed
    problem.undoesRotation = given.undo_rotation != 0
    try encode(
      KvDecode.plan(problem), encoder, registry, operation, [("data", data), ("norms", norms), ("out", out)])
  }
}

@c @implementation
public func fa_hadamard_quantize_kv(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_hadamard_quantize_kv_problem>!,
  _ src: OpaquePointer!, _ packed: OpaquePointer!, _ norms: OpaquePointer!, _ rms_scratch: OpaquePointer!
) -> fa_status {
  let operation = "hadamard_quantize_kv"
  return call { () throws(FAError) in
    let given = try load(problem, operation, "problem")
    var problem = HadamardQuantizeKv.Problem(
      format: try kvFormat(given.format, operation), kvHeads: Int(given.kv_heads), headDim: Int(given.head_dim),
      capacity: Int(given.capacity))
    problem.tokens = Int(given.tokens)
    problem.position = Int(given.position)
    problem.ring = given.ring != 0
    problem.scaleFactor = given.scale_factor_d512
    problem.probes = rms_scratch != nil
    try encode(
      HadamardQuantizeKv.plan(problem), encoder, registry, operation,
      [("src", src), ("packed", packed), ("norms", norms), ("rms_scratch", rms_scratch)])
  }
}

@c @implementation
public func fa_tq_dequantize_kv(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_tq_dequantize_kv_problem>!,
  _ packed: OpaquePointer!, _ norms: OpaquePointer!, _ out: OpaquePointer!
) -> fa_status {
  let operation = "tq_dequantize_kv"
  return call { () throws(FAError) in
    let given = try load(problem, operation, "problem")
    var problem = TqDequantizeKv.Problem(
      format: try kvFormat(given.format, operation), kvHeads: Int(given.kv_heads), headDim: Int(given.head_dim),
      capacity: Int(given.capacity))
    problem.position = Int(given.position)
    problem.scaleFactor = given.scale_factor_d512
    try encode(
      TqDequantizeKv.plan(problem), encoder, registry, operation,
      [("packed", packed), ("norms", norms), ("out", out)])
  }
}
