import CFlashAttn
import FlashAttn

private func pool(_ handle: OpaquePointer?, _ operation: String) throws(FAError) -> BufferPool {
  try Handles.get(handle, as: BufferPool.self, operation, "pool")
}

@c @implementation
public func fa_pool_create(_ device: OpaquePointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!) -> fa_status {
  call { () throws(FAError) in
    let device = try FlashAttnABI.device(device, "pool_create")
    try store(handleOf: { BufferPool(device: device) }, out, "pool_create")
  }
}

@c @implementation
public func fa_pool_retain(_ pool: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.retain(pool, .pool, "pool_retain") }
}

@c @implementation
public func fa_pool_release(_ pool: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.release(pool, .pool, "pool_release") }
}

@c @implementation
public func fa_pool_alloc(
  _ pool: OpaquePointer!, _ dtype: fa_dtype, _ shape: UnsafePointer<Int64>!, _ rank: Int32, _ zeroed: Int32,
  _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "pool_alloc"
    let pool = try FlashAttnABI.pool(pool, operation)
    let dtype = try FlashAttnABI.dtype(dtype, operation)
    let shape = try FlashAttnABI.shape(shape, rank, operation)
    try store(
      handleOf: { () throws(FAError) in try pool.makeBuffer(dtype, shape, zeroed: zeroed != 0) }, out, operation)
  }
}

@c @implementation
public func fa_pool_recycle(_ pool: OpaquePointer!, _ buffer: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in
    try FlashAttnABI.pool(pool, "pool_recycle").recycle(try FlashAttnABI.buffer(buffer, "pool_recycle"))
  }
}

@c @implementation
public func fa_pool_reset(_ pool: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try FlashAttnABI.pool(pool, "pool_reset").reset() }
}

@c @implementation
public func fa_pool_clear(_ pool: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try FlashAttnABI.pool(pool, "pool_clear").clear() }
}

@c @implementation
public func fa_pool_get_info(_ pool: OpaquePointer!, _ out: UnsafeMutablePointer<fa_pool_info>!) -> fa_status {
  call { () throws(FAError) in
    let pool = try FlashAttnABI.pool(pool, "pool_get_info")
    let free = pool.free
    try store(
      fa_pool_info(
        in_use_count: UInt64(pool.inUseCount), free_count: UInt64(free.count), free_bytes: UInt64(free.bytes)), out,
      "pool_get_info")
  }
}
