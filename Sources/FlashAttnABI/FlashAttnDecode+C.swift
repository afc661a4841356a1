import CFlashAttn
import FlashAttn

private let operation = "flash_attn_decode"

extension FlashAttnDecode.Problem {
  fileprivate init(_ given: fa_flash_attn_decode_problem) throws(FAError) {
    self.init(
      dtype: try FlashAttnABI.dtype(given.dtype, operation), keys: try kvFormat(given.keys, operation, "keys"),
      values: try kvFormat(given.values, operation, "values"), heads: Int(given.heads), kvHeads: Int(given.kv_heads),
      headDim: Int(given.head_dim), capacity: Int(given.capacity),
      keyLengths: try counts(given.kv_lens, given.batch, operation, "kv_lens"), scale: given.scale)
    queryLength = Int(given.q_len)
    if given.ring_starts != nil { ringStarts = try counts(given.ring_starts, given.batch, operation, "ring_starts") }
    softcap = given.softcap
    causal = given.causal != 0
    window = given.window != 0 ? Int(given.window) : nil
    sinks = given.has_sinks != 0
    lse = given.has_lse != 0
    halfNorms = given.half_norms != 0
    rotatesQuery = given.rotate_query != 0
    undoesRotation = given.undo_rotation != 0
    seed = given.seed
    scaleFactor = given.scale_factor_d512
    splits = given.splits != 0 ? Int(given.splits) : nil
    nsg = given.nsg != 0 ? Int(given.nsg) : nil
  }
}

@c @implementation
public func fa_flash_attn_decode(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_decode_problem>!,
  _ buffers: UnsafePointer<fa_flash_attn_decode_buffers>!
) -> fa_status {
  call { () throws(FAError) in
    let device = try FlashAttnABI.encoder(encoder, operation).device
    let plan = try FlashAttnDecode.plan(FlashAttnDecode.Problem(load(problem, operation, "problem")), on: device)
    let given = try load(buffers, operation, "buffers")
    try encode(
      plan, encoder, registry, operation,
      [
        ("q", given.q), ("k", given.k), ("k_norms", given.k_norms), ("v", given.v), ("v_norms", given.v_norms),
        ("o", given.o), ("sinks", given.sinks), ("lse", given.lse), ("partials", given.partials),
        ("partial_states", given.partial_states),
      ])
  }
}

@c @implementation
public func fa_flash_attn_decode_explain(
  _ device: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_decode_problem>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  explain(device, out, CFA_SLOT_DECODE_EXPLAIN, operation) { device throws(FAError) in
    try FlashAttnDecode.explain(FlashAttnDecode.Problem(load(problem, operation, "problem")), on: device)
  }
}

@c @implementation
public func fa_flash_attn_decode_scratch_bytes(
  _ device: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_decode_problem>!,
  _ partials: UnsafeMutablePointer<UInt64>!, _ partial_states: UnsafeMutablePointer<UInt64>!
) -> fa_status {
  call { () throws(FAError) in
    let device = try FlashAttnABI.device(device, operation)
    let plan = try FlashAttnDecode.plan(FlashAttnDecode.Problem(load(problem, operation, "problem")), on: device)
    guard partials != nil, partial_states != nil else { throw .null(operation, "out") }
    partials.pointee = UInt64(plan.byteCount(of: "partials"))
    partial_states.pointee = UInt64(plan.byteCount(of: "partial_states"))
  }
}
