import CFlashAttn
import FlashAttn

extension FlashAttnPrefill.Problem {
  init(_ given: fa_flash_attn_prefill_problem) throws(FAError) {
    let operation = "flash_attn_prefill"
    self.init(
      dtype: try FlashAttnABI.dtype(given.dtype, operation), heads: Int(given.heads), kvHeads: Int(given.kv_heads),
      headDim: Int(given.head_dim), queryLength: Int(given.q_len), keyLength: Int(given.kv_len), scale: given.scale)
    batch = Int(given.batch)
    causal = given.causal != 0
    queryOffset = given.has_q_offset != 0 ? Int(given.q_offset) : nil
    lse = given.has_lse != 0
    switch given.layout {
    case FA_LAYOUT_BHLD: layout = .headMajor
    case FA_LAYOUT_BLHD: layout = .seqMajor
    case FA_LAYOUT_STRIDED:
      layout = .strided(
        q: Strides(given.q_strides), k: Strides(given.k_strides), v: Strides(given.v_strides),
        o: Strides(given.o_strides))
    default: throw .refused(operation, "layout", expected: "0 to 2", got: "\(given.layout.rawValue)")
    }
    switch given.mask {
    case FA_MASK_NONE: return
    case FA_MASK_ADDITIVE: mask = .additive
    case FA_MASK_BOOL: mask = .bool
    default: throw .refused(operation, "mask", expected: "0 to 2", got: "\(given.mask.rawValue)")
    }
    maskStrides =
      if given.mask_rank == 0 { Strides(given.mask_strides) } else { try maskStrides(rank: Int(given.mask_rank)) }
  }
}

extension Strides {
  fileprivate init(_ given: (Int64, Int64, Int64)) {
    self.init(batch: Int(given.0), head: Int(given.1), row: Int(given.2))
  }
}

@c @implementation
public func fa_flash_attn_prefill(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_problem>!,
  _ buffers: UnsafePointer<fa_flash_attn_prefill_buffers>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "flash_attn_prefill"
    let encoder = try FlashAttnABI.encoder(encoder, operation)
    let registry = try FlashAttnABI.registry(registry, operation)
    let problem = try FlashAttnPrefill.Problem(load(problem, operation, "problem"))
    let given = try load(buffers, operation, "buffers")
    func optional(_ handle: OpaquePointer?, _ name: String) throws(FAError) -> Buffer? {
      if handle == nil { nil } else { try FlashAttnABI.buffer(handle, operation, name) }
    }
    try FlashAttnPrefill.encode(
      problem, q: try buffer(given.q, operation, "q"), k: try buffer(given.k, operation, "k"),
      v: try buffer(given.v, operation, "v"), o: try buffer(given.o, operation, "o"),
      mask: try optional(given.mask, "mask"), lse: try optional(given.lse, "lse"), into: encoder, registry: registry)
  }
}

@c @implementation
public func fa_flash_attn_prefill_explain(
  _ device: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_problem>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  call { () throws(FAError) in
    let operation = "flash_attn_prefill"
    let device = try FlashAttnABI.device(device, operation)
    let problem = try FlashAttnPrefill.Problem(load(problem, operation, "problem"))
    let report = try FlashAttnPrefill.explain(problem, on: device)
    try store(cfa_keep_string(CFA_SLOT_PREFILL_EXPLAIN, report, report.utf8.count), out, operation)
  }
}
