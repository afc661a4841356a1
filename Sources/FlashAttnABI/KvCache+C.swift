import CFlashAttn
import FlashAttn

private func cache(_ handle: OpaquePointer?, _ operation: String) throws(FAError) -> KVCache {
  try Handles.get(handle, as: KVCache.self, operation, "cache")
}

extension KVCache.Configuration {
  fileprivate init(_ given: fa_kv_cache_config, _ operation: String) throws(FAError) {
    self.init(
      kvHeads: Int(given.kv_heads), headDim: Int(given.head_dim), capacity: Int(given.capacity),
      keys: try kvFormat(given.keys, operation, "keys"), values: try kvFormat(given.values, operation, "values"))
    batch = Int(given.batch)
    if given.max_capacity != 0 { maximumCapacity = Int(given.max_capacity) }
    if given.window != 0 { window = Int(given.window) }
    ring = given.ring != 0
    halfNorms = given.half_norms != 0
    seed = given.seed
  }

  fileprivate var c: fa_kv_cache_config {
    fa_kv_cache_config(
      batch: Int64(batch), kv_heads: Int64(kvHeads), head_dim: Int64(headDim), capacity: Int64(capacity),
      max_capacity: Int64(maximumCapacity ?? 0), window: Int64(window ?? 0), seed: seed,
      keys: fa_kv_format(rawValue: keys.rawValue), values: fa_kv_format(rawValue: values.rawValue),
      ring: ring ? 1 : 0, half_norms: halfNorms ? 1 : 0)
  }
}

extension KVCache.Queries {
  fileprivate init(_ given: fa_kv_cache_queries, _ operation: String) throws(FAError) {
    self.init(q: try HostTensor(given.q, "q", operation), o: try HostTensor(given.o, "o", operation))
    if given.sinks.data != nil { sinks = try HostTensor(given.sinks, "sinks", operation) }
    if given.lse.data != nil { lse = try HostTensor(given.lse, "lse", operation) }
    take(given)
  }

  fileprivate init(
    _ given: fa_kv_cache_queries, _ buffers: fa_kv_cache_buffers, _ operation: String
  ) throws(FAError) {
    self.init(q: try tensor(buffers.q, "q", operation), o: try tensor(buffers.o, "o", operation))
    if buffers.sinks != nil { sinks = try tensor(buffers.sinks, "sinks", operation) }
    if buffers.lse != nil { lse = try tensor(buffers.lse, "lse", operation) }
    take(given)
  }

  private mutating func take(_ given: fa_kv_cache_queries) {
    causal = given.causal != 0
    window = given.window != 0 ? Int(given.window) : nil
    softcap = given.softcap
    scale = given.has_scale != 0 ? given.scale : nil
  }
}

private func tensor(_ handle: OpaquePointer?, _ name: String, _ operation: String) throws(FAError) -> HostTensor {
  try HostTensor(buffer(handle, operation, name), operation, name)
}

@c @implementation
public func fa_kv_cache_create(
  _ device: OpaquePointer!, _ config: UnsafePointer<fa_kv_cache_config>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  let operation = "kv_cache_create"
  return call { () throws(FAError) in
    let device = try FlashAttnABI.device(device, operation)
    let configuration = try KVCache.Configuration(load(config, operation, "config"), operation)
    try store(handleOf: { () throws(FAError) in try KVCache(configuration, on: device) }, out, operation)
  }
}

@c @implementation
public func fa_kv_cache_retain(_ cache: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.retain(cache, .kvCache, "kv_cache_retain") }
}

@c @implementation
public func fa_kv_cache_release(_ cache: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.release(cache, .kvCache, "kv_cache_release") }
}

@c @implementation
public func fa_kv_cache_copy(_ cache: OpaquePointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!) -> fa_status {
  let operation = "kv_cache_copy"
  return call { () throws(FAError) in
    let cache = try FlashAttnABI.cache(cache, operation)
    try store(handleOf: { () throws(FAError) in try cache.copy() }, out, operation)
  }
}

@c @implementation
public func fa_kv_cache_get_info(_ cache: OpaquePointer!, _ out: UnsafeMutablePointer<fa_kv_cache_info>!) -> fa_status {
  let operation = "kv_cache_get_info"
  return call { () throws(FAError) in
    let cache = try FlashAttnABI.cache(cache, operation)
    try store(
      fa_kv_cache_info(
        config: cache.configuration.c, capacity: Int64(cache.capacity), byte_count: UInt64(cache.byteCount),
        bytes_per_token: UInt64(cache.bytesPerToken)), out, operation)
  }
}

@c @implementation
public func fa_kv_cache_get_ranges(
  _ cache: OpaquePointer!, _ begins: UnsafeMutablePointer<Int64>!, _ ends: UnsafeMutablePointer<Int64>!, _ count: Int32
) -> fa_status {
  let operation = "kv_cache_get_ranges"
  return call { () throws(FAError) in
    let ranges = try FlashAttnABI.cache(cache, operation).ranges
    guard count == ranges.count else {
      throw .refused(operation, "count", expected: "the batch, \(ranges.count)", got: "\(count)")
    }
    guard let begins = begins, let ends = ends else { throw .null(operation, begins == nil ? "begins" : "ends") }
    for (index, range) in ranges.enumerated() {
      begins[index] = Int64(range.lowerBound)
      ends[index] = Int64(range.upperBound)
    }
  }
}

@c @implementation
public func fa_kv_cache_set_ranges(
  _ cache: OpaquePointer!, _ begins: UnsafePointer<Int64>!, _ ends: UnsafePointer<Int64>!, _ count: Int32
) -> fa_status {
  let operation = "kv_cache_set_ranges"
  return call { () throws(FAError) in
    let cache = try FlashAttnABI.cache(cache, operation)
    try cache.setRanges(
      counts(begins, Int64(count), operation, "begins"), counts(ends, Int64(count), operation, "ends"))
  }
}

@c @implementation
public func fa_kv_cache_get_buffers(
  _ cache: OpaquePointer!, _ k: UnsafeMutablePointer<OpaquePointer?>!,
  _ k_norms: UnsafeMutablePointer<OpaquePointer?>!, _ v: UnsafeMutablePointer<OpaquePointer?>!,
  _ v_norms: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  let operation = "kv_cache_get_buffers"
  return call { () throws(FAError) in
    let buffers = try FlashAttnABI.cache(cache, operation).buffers
    guard let k = k, let k_norms = k_norms, let v = v, let v_norms = v_norms else { throw .null(operation, "out") }
    var handles: [OpaquePointer?] = []
    do throws(FAError) {
      for buffer in buffers {
        if let buffer { handles.append(try Handles.make(buffer, operation)) } else { handles.append(nil) }
      }
    } catch {
      for case let handle? in handles { try Handles.release(handle, .buffer, operation) }
      throw error
    }
    (k.pointee, k_norms.pointee, v.pointee, v_norms.pointee) = (handles[0], handles[1], handles[2], handles[3])
  }
}

@c @implementation
public func fa_kv_cache_step(
  _ cache: OpaquePointer!, _ k: UnsafePointer<fa_tensor>!, _ v: UnsafePointer<fa_tensor>!,
  _ queries: UnsafePointer<fa_kv_cache_queries>!
) -> fa_status {
  call { () throws(FAError) in
    let cache = try FlashAttnABI.cache(cache, "kv_cache_step")
    guard k != nil || v != nil || queries != nil else { throw .null("kv_cache_step", "queries") }
    var tokens: KVCache.Tokens?
    if k != nil || v != nil {
      let operation = "kv_cache_append"
      tokens = KVCache.Tokens(
        keys: try HostTensor(load(k, operation, "k"), "k", operation),
        values: try HostTensor(load(v, operation, "v"), "v", operation))
    }
    let asked = queries == nil ? nil : try KVCache.Queries(queries.pointee, "kv_cache_attend")
    try cache.step(append: tokens, attend: asked)
  }
}

@c @implementation
public func fa_kv_cache_encode(
  _ cache: OpaquePointer!, _ encoder: OpaquePointer!, _ buffers: UnsafePointer<fa_kv_cache_buffers>!,
  _ queries: UnsafePointer<fa_kv_cache_queries>!
) -> fa_status {
  let operation = "kv_cache_encode"
  return call { () throws(FAError) in
    let cache = try FlashAttnABI.cache(cache, operation)
    let encoder = try FlashAttnABI.encoder(encoder, operation)
    let given = try load(buffers, operation, "buffers")
    var tokens: KVCache.Tokens?
    if given.k != nil || given.v != nil {
      let operation = "kv_cache_append"
      tokens = KVCache.Tokens(
        keys: try tensor(given.k, "k", operation), values: try tensor(given.v, "v", operation))
    }
    guard tokens != nil || queries != nil else { throw .null(operation, "queries") }
    let asked = queries == nil ? nil : try KVCache.Queries(queries.pointee, given, "kv_cache_attend")
    try cache.encode(append: tokens, attend: asked, into: encoder)
  }
}

@c @implementation
public func fa_kv_cache_explain(
  _ cache: OpaquePointer!, _ queries: UnsafePointer<fa_kv_cache_queries>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  let operation = "kv_cache_attend"
  return call { () throws(FAError) in
    let cache = try FlashAttnABI.cache(cache, operation)
    let report = try cache.explain(KVCache.Queries(load(queries, operation, "queries"), operation))
    try store(cfa_keep_string(CFA_SLOT_KV_CACHE_EXPLAIN, report, report.utf8.count), out, operation)
  }
}

@c @implementation
public func fa_kv_cache_truncate(_ cache: OpaquePointer!, _ sequence: Int64, _ end: Int64) -> fa_status {
  let operation = "kv_cache_truncate"
  return call { () throws(FAError) in
    try FlashAttnABI.cache(cache, operation).truncate(sequence == -1 ? nil : Int(sequence), to: Int(end))
  }
}

@c @implementation
public func fa_kv_cache_dequantize(
  _ cache: OpaquePointer!, _ sequence: Int64, _ k: UnsafePointer<fa_tensor>!, _ v: UnsafePointer<fa_tensor>!
) -> fa_status {
  let operation = "kv_cache_dequantize"
  return call { () throws(FAError) in
    try FlashAttnABI.cache(cache, operation).dequantize(
      sequence == -1 ? nil : Int(sequence), keys: HostTensor(load(k, operation, "k"), "k", operation),
      values: HostTensor(load(v, operation, "v"), "v", operation))
  }
}
