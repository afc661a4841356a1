import CFlashAttn
import FlashAttn

private let operation = "flash_attn_prefill_blk"

extension FlashAttnPrefillBlk.Problem {
  fileprivate init(_ given: fa_flash_attn_prefill_blk_problem) throws(FAError) {
    self.init(
      dtype: try FlashAttnABI.dtype(given.dtype, operation), queryLength: Int(given.q_len),
      keyLength: Int(given.kv_len), tileRows: Int(given.tile_rows), tileKeys: Int(given.tile_keys))
    batch = Int(given.batch)
    heads = Int(given.heads)
    maskStrides =
      if given.mask_rank == 0 { Strides(given.mask_strides) } else { try maskStrides(rank: Int(given.mask_rank)) }
  }
}

@c @implementation
public func fa_flash_attn_prefill_blk(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_blk_problem>!,
  _ mask: OpaquePointer!, _ blk: OpaquePointer!
) -> fa_status {
  call { () throws(FAError) in
    let encoder = try FlashAttnABI.encoder(encoder, operation)
    let registry = try FlashAttnABI.registry(registry, operation)
    try FlashAttnPrefillBlk.encode(
      FlashAttnPrefillBlk.Problem(load(problem, operation, "problem")),
      mask: try buffer(mask, operation, "mask"), blk: try buffer(blk, operation, "blk"), into: encoder,
      registry: registry)
  }
}

@c @implementation
public func fa_flash_attn_prefill_blk_explain(
  _ device: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_blk_problem>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  explain(device, out, CFA_SLOT_BLK_EXPLAIN, operation) { device throws(FAError) in
    try FlashAttnPrefillBlk.explain(FlashAttnPrefillBlk.Problem(load(problem, operation, "problem")), on: device)
  }
}

@c @implementation
public func fa_flash_attn_prefill_blk_bytes(
  _ q_len: Int64, _ kv_len: Int64, _ tile_rows: Int64, _ tile_keys: Int64, _ out: UnsafeMutablePointer<UInt64>!
) -> fa_status {
  call { () throws(FAError) in
    let bytes = try FlashAttnPrefillBlk.byteCount(
      queryLength: Int(q_len), keyLength: Int(kv_len), tileRows: Int(tile_rows), tileKeys: Int(tile_keys))
    try store(UInt64(bytes), out, operation)
  }
}
