import CFlashAttn
import FlashAttn

private let operation = "flash_attn_prefill_mask"

extension FlashAttnPrefillMask.Problem {
  fileprivate init(_ given: fa_flash_attn_prefill_mask_problem) throws(FAError) {
    self.init(
      dtype: try FlashAttnABI.dtype(given.dtype, operation), queryLength: Int(given.q_len),
      keyLength: Int(given.kv_len))
    queryOffset = Int(given.q_offset)
    window = given.window == -1 ? nil : Int(given.window)
    causal = given.causal != 0
  }
}

@c @implementation
public func fa_flash_attn_prefill_mask(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_mask_problem>!,
  _ mask: OpaquePointer!
) -> fa_status {
  call { () throws(FAError) in
    let encoder = try FlashAttnABI.encoder(encoder, operation)
    let registry = try FlashAttnABI.registry(registry, operation)
    try FlashAttnPrefillMask.encode(
      FlashAttnPrefillMask.Problem(load(problem, operation, "problem")), mask: try buffer(mask, operation, "mask"),
      into: encoder, registry: registry)
  }
}

@c @implementation
public func fa_flash_attn_prefill_mask_explain(
  _ device: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_mask_problem>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  explain(device, out, CFA_SLOT_MASK_EXPLAIN, operation) { device throws(FAError) in
    try FlashAttnPrefillMask.explain(FlashAttnPrefillMask.Problem(load(problem, operation, "problem")), on: device)
  }
}
