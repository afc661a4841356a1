import CFlashAttn
import FlashAttn

func encoder(_ handle: OpaquePointer?, _ operation: String) throws(FAError) -> CommandEncoder {
  try Handles.get(handle, as: CommandEncoder.self, operation, "encoder")
}

@c @implementation
public func fa_encoder_create(_ device: OpaquePointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!) -> fa_status {
  call { () throws(FAError) in
    let device = try FlashAttnABI.device(device, "encoder_create")
    try store(handleOf: { () throws(FAError) in try CommandEncoder(device: device) }, out, "encoder_create")
  }
}

@c @implementation
public func fa_encoder_create_with_metal(
  _ device: OpaquePointer!, _ mtl_command_buffer: UnsafeMutableRawPointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "encoder_create_with_metal"
    let device = try FlashAttnABI.device(device, operation)
    let metal = try metalObject(
      mtl_command_buffer, as: (any MTLCommandBuffer).self, operation, "mtl_command_buffer")
    try store(
      handleOf: { () throws(FAError) in try CommandEncoder(device: device, commandBuffer: metal) }, out, operation)
  }
}

@c @implementation
public func fa_encoder_retain(_ encoder: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.retain(encoder, .encoder, "encoder_retain") }
}

@c @implementation
public func fa_encoder_release(_ encoder: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.release(encoder, .encoder, "encoder_release") }
}

@c @implementation
public func fa_encoder_dispatch(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ dispatch: UnsafePointer<fa_dispatch>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "encoder_dispatch"
    let encoder = try FlashAttnABI.encoder(encoder, operation)
    let registry = try FlashAttnABI.registry(registry, operation)
    try encoder.dispatch(try Dispatch(load(dispatch, operation, "dispatch"), registry))
  }
}

extension Dispatch {
  init(_ given: fa_dispatch, _ registry: KernelRegistry) throws(FAError) {
    let kernel = try text(given.kernel, "encoder_dispatch", "kernel")
    let constants = try FlashAttnABI.constants(given.constants, given.constant_count, kernel)
    var arguments: [Argument] = []
    for argument in try elements(given.arguments, given.argument_count, kernel, "argument") {
      arguments.append(try Argument(argument, kernel))
    }
    self.init(
      kernel: kernel, pipeline: try registry.pipeline(kernel, constants: constants), arguments: arguments,
      grid: Size3(Int(given.grid.0), Int(given.grid.1), Int(given.grid.2)),
      threads: Size3(Int(given.threads.0), Int(given.threads.1), Int(given.threads.2)))
    threadgroupBytes = [
      Int(given.threadgroup_bytes.0), Int(given.threadgroup_bytes.1), Int(given.threadgroup_bytes.2),
      Int(given.threadgroup_bytes.3),
    ]
    unit = try choice(given.unit.rawValue, as: GridUnit.self, kernel, "unit")
    op = try choice(given.op.rawValue, as: OpKind.self, kernel, "op")
    label = given.label.map { String(cString: $0) }
    tracked = given.tracked != 0
  }
}

extension Argument {
  init(_ given: fa_argument, _ kernel: String) throws(FAError) {
    let name = "slot \(given.slot)"
    switch given.kind {
    case FA_ARGUMENT_BUFFER:
      self = .buffer(
        Int(given.slot), try FlashAttnABI.buffer(given.buffer, kernel, name),
        offset: try byteCount(given.byte_offset, kernel, name),
        access: try choice(given.access.rawValue, as: Access.self, kernel, name))
    case FA_ARGUMENT_BYTES:
      guard let bytes = given.bytes else { throw .null(kernel, name) }
      guard (1...4096).contains(given.byte_count) else {
        throw .refused(kernel, name, expected: "1 to 4096 bytes", got: "\(given.byte_count)")
      }
      self = .bytes(Int(given.slot), Array(UnsafeRawBufferPointer(start: bytes, count: Int(given.byte_count))))
    default:
      throw .refused(kernel, name, expected: "an argument kind of 0 or 1", got: "\(given.kind.rawValue)")
    }
  }
}

@c @implementation
public func fa_encoder_barrier(_ encoder: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try FlashAttnABI.encoder(encoder, "encoder_barrier").barrier() }
}

@c @implementation
public func fa_encoder_set_label(_ encoder: OpaquePointer!, _ label: UnsafePointer<CChar>!) -> fa_status {
  call { () throws(FAError) in
    try FlashAttnABI.encoder(encoder, "encoder_set_label").label = try text(label, "encoder_set_label", "label")
  }
}

@c @implementation
public func fa_encoder_end(_ encoder: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try FlashAttnABI.encoder(encoder, "encoder_end").end() }
}

@c @implementation
public func fa_encoder_commit(_ encoder: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try FlashAttnABI.encoder(encoder, "encoder_commit").commit() }
}

@c @implementation
public func fa_encoder_wait(_ encoder: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try FlashAttnABI.encoder(encoder, "encoder_wait").wait() }
}

@c @implementation
public func fa_encoder_commit_and_wait(_ encoder: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try FlashAttnABI.encoder(encoder, "encoder_commit_and_wait").commitAndWait() }
}

@c @implementation
public func fa_encoder_gpu_time(
  _ encoder: OpaquePointer!, _ start: UnsafeMutablePointer<Double>!, _ end: UnsafeMutablePointer<Double>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "encoder_gpu_time"
    let time = try FlashAttnABI.encoder(encoder, operation).gpuTime()
    guard end != nil else { throw .null(operation, "end") }
    try store(time.start, start, operation)
    try store(time.end, end, operation)
  }
}
