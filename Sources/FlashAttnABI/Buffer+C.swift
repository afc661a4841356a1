import CFlashAttn
import FlashAttn

func buffer(_ handle: OpaquePointer?, _ operation: String, _ argument: String = "buffer") throws(FAError) -> Buffer {
  try Handles.get(handle, as: Buffer.self, operation, argument)
}

/// The buffer of a handle, nil for null: whether there must be one is the plan's to say.
func optionalBuffer(_ handle: OpaquePointer?, _ operation: String, _ name: String) throws(FAError) -> Buffer? {
  if handle == nil { nil } else { try FlashAttnABI.buffer(handle, operation, name) }
}

@c @implementation
public func fa_buffer_create(
  _ device: OpaquePointer!, _ dtype: fa_dtype, _ shape: UnsafePointer<Int64>!, _ rank: Int32,
  _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "buffer_create"
    let device = try FlashAttnABI.device(device, operation)
    let dtype = try FlashAttnABI.dtype(dtype, operation)
    let shape = try FlashAttnABI.shape(shape, rank, operation)
    try store(handleOf: { () throws(FAError) in try device.makeBuffer(dtype, shape) }, out, operation)
  }
}

@c @implementation
public func fa_buffer_wrap(
  _ device: OpaquePointer!, _ data: UnsafeMutableRawPointer!, _ byte_count: UInt64, _ dtype: fa_dtype,
  _ shape: UnsafePointer<Int64>!, _ rank: Int32, _ read_only: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "buffer_wrap"
    let device = try FlashAttnABI.device(device, operation)
    let dtype = try FlashAttnABI.dtype(dtype, operation)
    let shape = try FlashAttnABI.shape(shape, rank, operation)
    guard let data = data else { throw .null(operation, "data") }
    let memory = UnsafeMutableRawBufferPointer(start: data, count: try byteCount(byte_count, operation, "byte_count"))
    try store(
      handleOf: { () throws(FAError) in try device.wrap(memory, dtype, shape, isReadOnly: read_only != 0) }, out,
      operation)
  }
}

@c @implementation
public func fa_buffer_wrap_metal(
  _ device: OpaquePointer!, _ mtl_buffer: UnsafeMutableRawPointer!, _ dtype: fa_dtype,
  _ shape: UnsafePointer<Int64>!, _ rank: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "buffer_wrap_metal"
    let device = try FlashAttnABI.device(device, operation)
    let dtype = try FlashAttnABI.dtype(dtype, operation)
    let shape = try FlashAttnABI.shape(shape, rank, operation)
    let metal = try metalObject(mtl_buffer, as: (any MTLBuffer).self, operation, "mtl_buffer")
    try store(handleOf: { () throws(FAError) in try device.wrap(metal: metal, dtype, shape) }, out, operation)
  }
}

@c @implementation
public func fa_buffer_map_file(
  _ device: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ offset: UInt64, _ dtype: fa_dtype,
  _ shape: UnsafePointer<Int64>!, _ rank: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "buffer_map_file"
    let device = try FlashAttnABI.device(device, operation)
    let path = try text(path, operation, "path")
    let offset = try byteCount(offset, operation, "offset")
    let dtype = try FlashAttnABI.dtype(dtype, operation)
    let shape = try FlashAttnABI.shape(shape, rank, operation)
    try store(
      handleOf: { () throws(FAError) in try device.mapFile(path, offset: offset, dtype, shape) }, out, operation)
  }
}

@c @implementation
public func fa_buffer_view(
  _ buffer: OpaquePointer!, _ byte_offset: UInt64, _ dtype: fa_dtype, _ shape: UnsafePointer<Int64>!, _ rank: Int32,
  _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "buffer_view"
    let buffer = try FlashAttnABI.buffer(buffer, operation)
    let offset = try byteCount(byte_offset, operation, "byte_offset")
    let dtype = try FlashAttnABI.dtype(dtype, operation)
    let shape = try FlashAttnABI.shape(shape, rank, operation)
    try store(
      handleOf: { () throws(FAError) in try buffer.view(byteOffset: offset, shape: shape, dtype: dtype) }, out,
      operation)
  }
}

@c @implementation
public func fa_buffer_retain(_ buffer: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.retain(buffer, .buffer, "buffer_retain") }
}

@c @implementation
public func fa_buffer_release(_ buffer: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.release(buffer, .buffer, "buffer_release") }
}

@c @implementation
public func fa_buffer_get_info(_ buffer: OpaquePointer!, _ out: UnsafeMutablePointer<fa_buffer_info>!) -> fa_status {
  call { () throws(FAError) in
    let buffer = try FlashAttnABI.buffer(buffer, "buffer_get_info")
    var info = fa_buffer_info()
    info.dtype = fa_dtype(rawValue: buffer.dtype.rawValue)
    info.rank = Int32(buffer.shape.count)
    withUnsafeMutableBytes(of: &info.shape) { bytes in
      let sizes = bytes.bindMemory(to: Int64.self)
      for (index, size) in buffer.shape.enumerated() { sizes[index] = Int64(size) }
    }
    info.byte_offset = UInt64(buffer.byteOffset)
    info.byte_count = UInt64(buffer.byteCount)
    info.read_only = buffer.isReadOnly ? 1 : 0
    try store(info, out, "buffer_get_info")
  }
}

@c @implementation
public func fa_buffer_get_contents(
  _ buffer: OpaquePointer!, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let pointer = try FlashAttnABI.buffer(buffer, "buffer_get_contents").hostPointer("buffer_get_contents")
    try store(pointer, out, "buffer_get_contents")
  }
}

@c @implementation
public func fa_buffer_read(
  _ buffer: OpaquePointer!, _ byte_offset: UInt64, _ data: UnsafeMutableRawPointer!, _ byte_count: UInt64
) -> fa_status {
  call { () throws(FAError) in
    let operation = "buffer_read"
    let buffer = try FlashAttnABI.buffer(buffer, operation)
    guard let data = data else { throw .null(operation, "data") }
    try buffer.read(
      into: UnsafeMutableRawBufferPointer(start: data, count: try byteCount(byte_count, operation, "byte_count")),
      at: try byteCount(byte_offset, operation, "byte_offset"))
  }
}

@c @implementation
public func fa_buffer_write(
  _ buffer: OpaquePointer!, _ byte_offset: UInt64, _ data: UnsafeRawPointer!, _ byte_count: UInt64
) -> fa_status {
  call { () throws(FAError) in
    let operation = "buffer_write"
    let buffer = try FlashAttnABI.buffer(buffer, operation)
    guard let data = data else { throw .null(operation, "data") }
    try buffer.write(
      UnsafeRawBufferPointer(start: data, count: try byteCount(byte_count, operation, "byte_count")),
      at: try byteCount(byte_offset, operation, "byte_offset"))
  }
}

@c @implementation
public func fa_buffer_fill(_ buffer: OpaquePointer!, _ value: UInt8) -> fa_status {
  call { () throws(FAError) in try FlashAttnABI.buffer(buffer, "buffer_fill").fill(value) }
}
