import CFlashAttn
import FlashAttn

extension FlashAttnPrefill.Problem {
  init(_ given: fa_flash_attn_prefill_problem, _ operation: String) throws(FAError) {
    self.init(
      dtype: try FlashAttnABI.dtype(given.dtype, operation), heads: Int(given.heads), kvHeads: Int(given.kv_heads),
      headDim: Int(given.head_dim), queryLength: Int(given.q_len), keyLength: Int(given.kv_len), scale: given.scale)
    batch = Int(given.batch)
    kvCapacity = given.kv_capacity != 0 ? Int(given.kv_capacity) : nil
    softcap = given.softcap
    causal = given.causal != 0
    queryOffset = given.has_q_offset != 0 ? Int(given.q_offset) : nil
    if given.has_window != 0 { window = Window(left: Int(given.window.0), right: Int(given.window.1)) }
    blk = given.has_blk != 0
    blkStrides = (Int(given.blk_strides.0), Int(given.blk_strides.1))
    sinks = given.has_sinks != 0
    lse = given.has_lse != 0
    nsg = given.nsg != 0 ? Int(given.nsg) : nil
    alibi = given.has_alibi != 0
    alibiStride = Int(given.alibi_stride)
    sequences = try FlashAttnPrefill.Sequences(given, operation)
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
      if given.mask_rank == 0 {
        Strides(given.mask_strides)
      } else {
        try maskStrides(rank: Int(given.mask_rank), for: operation)
      }
  }
}

extension FlashAttnPrefill.Sequences {
  /// Nil where all are alike.
  fileprivate init?(_ given: fa_flash_attn_prefill_problem, _ operation: String) throws(FAError) {
    self.init()
    let batch = given.batch
    if given.q_starts != nil {
      queryStarts = try counts(given.q_starts, batch, extra: 1, most: mostPackedSequences, operation, "q_starts")
    }
    if given.k_starts != nil {
      keyStarts = try counts(given.k_starts, batch, extra: 1, most: mostPackedSequences, operation, "k_starts")
    }
    if given.kv_lens != nil {
      keyLengths = try counts(given.kv_lens, batch, most: mostPackedSequences, operation, "kv_lens")
    }
    if given.block_table != nil {
      pages = FlashAttnPrefill.Pages(
        count: Int(given.pages), size: Int(given.page_size),
        table: try blockTable(given.block_table, batch, given.pages_per_sequence, operation),
        columns: Int(given.pages_per_sequence))
    }
    if queryStarts == nil, keyStarts == nil, keyLengths == nil, pages == nil { return nil }
  }
}

extension Strides {
  init(_ given: (Int64, Int64, Int64)) {
    self.init(batch: Int(given.0), head: Int(given.1), row: Int(given.2))
  }
}

extension FlashAttnPrefill.Buffers {
  fileprivate init(_ given: fa_flash_attn_prefill_buffers, _ operation: String) throws(FAError) {
    self.init(
      q: try optionalBuffer(given.q, operation, "q"), k: try optionalBuffer(given.k, operation, "k"),
      v: try optionalBuffer(given.v, operation, "v"), o: try optionalBuffer(given.o, operation, "o"),
      mask: try optionalBuffer(given.mask, operation, "mask"), blk: try optionalBuffer(given.blk, operation, "blk"),
      sinks: try optionalBuffer(given.sinks, operation, "sinks"), lse: try optionalBuffer(given.lse, operation, "lse"),
      alibi: try optionalBuffer(given.alibi, operation, "alibi"))
  }
}

/// Runs the body of one of the rooms that take this problem and these buffers.
private func encodePrefill(
  _ encoder: OpaquePointer?, _ registry: OpaquePointer?, _ problem: UnsafePointer<fa_flash_attn_prefill_problem>?,
  _ buffers: UnsafePointer<fa_flash_attn_prefill_buffers>?, _ operation: String,
  _ body: (FlashAttnPrefill.Problem, FlashAttnPrefill.Buffers, CommandEncoder, KernelRegistry) throws(FAError) -> Void
) -> fa_status {
  call { () throws(FAError) in
    let encoder = try FlashAttnABI.encoder(encoder, operation)
    let registry = try FlashAttnABI.registry(registry, operation)
    try body(
      FlashAttnPrefill.Problem(load(problem, operation, "problem"), operation),
      FlashAttnPrefill.Buffers(load(buffers, operation, "buffers"), operation), encoder, registry)
  }
}

@c @implementation
public func fa_flash_attn_prefill(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_problem>!,
  _ buffers: UnsafePointer<fa_flash_attn_prefill_buffers>!
) -> fa_status {
  encodePrefill(encoder, registry, problem, buffers, "flash_attn_prefill") {
    (problem, buffers, encoder, registry) throws(FAError) in
    try FlashAttnPrefill.encode(problem, buffers, into: encoder, registry: registry)
  }
}

@c @implementation
public func fa_flash_attn_prefill_explain(
  _ device: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_problem>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  let operation = "flash_attn_prefill"
  return explain(device, out, CFA_SLOT_PREFILL_EXPLAIN, operation) { device throws(FAError) in
    try FlashAttnPrefill.explain(FlashAttnPrefill.Problem(load(problem, operation, "problem"), operation), on: device)
  }
}

@c @implementation
public func fa_flash_attn_prefill_d512(
  _ encoder: OpaquePointer!, _ registry: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_problem>!,
  _ buffers: UnsafePointer<fa_flash_attn_prefill_buffers>!
) -> fa_status {
  encodePrefill(encoder, registry, problem, buffers, "flash_attn_prefill_d512") {
    (problem, buffers, encoder, registry) throws(FAError) in
    try FlashAttnPrefillD512.encode(problem, buffers, into: encoder, registry: registry)
  }
}

@c @implementation
public func fa_flash_attn_prefill_d512_explain(
  _ device: OpaquePointer!, _ problem: UnsafePointer<fa_flash_attn_prefill_problem>!,
  _ out: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> fa_status {
  let operation = "flash_attn_prefill_d512"
  return explain(device, out, CFA_SLOT_D512_EXPLAIN, operation) { device throws(FAError) in
    try FlashAttnPrefillD512.explain(
      FlashAttnPrefill.Problem(load(problem, operation, "problem"), operation), on: device)
  }
}
