/// Attention of single queries over a cache of 5-, 6- or 8-bit codes, a byte each, version 1.
public enum FlashAttnVecTqHb {
  public typealias Problem = DecodeProblem

  /// The passes that compute `problem`.
  public static func plan(_ problem: Problem, tuning: Tuning = Tuning()) throws(FAError) -> Plan {
    var problem = problem
    let keys = problem.keyLengths.max() ?? 0
    problem.nwg = problem.nwg ?? tuning.decode.workGroups(.tqHb, keys: keys)
    problem.nsg = problem.nsg ?? tuning.decode.simdgroups(keys: keys)
    return try DecodeSpec.plan(spec, problem)
  }

  static let spec = DecodeSpec.spec(
    "flash_attn_vec_tq_hb", KVFormat.bytesOfVersion1,
    variants: KVFormat.headDims.map { Variant(kernel: "flash_attn_vec_tq_hb_dk\($0)", dtype: .f32, headDim: $0) },
    slots: .codes,
    block: ParamBlock(slot: 0, name: "params", type: "fa_vec_tq_hb_params") { problem, _ in
      fa_vec_tq_hb_params(
        heads: UInt32(problem.heads), kv_heads: UInt32(problem.kvHeads), head_dim: UInt32(problem.headDim),
        kv_len: UInt32(problem.keyLengths[0]), capacity: UInt32(problem.capacity), scale: problem.scale,
        mask_type: problem.maskType, window: problem.window, softcap: problem.softcap, nwg: UInt32(problem.splits),
        ring_start: UInt32(problem.starts[0]), scale_factor_d512: problem.scaleFactor,
        codebook_bits: UInt32(problem.format.bits), fuse_fwht_pre: problem.rotatesQuery ? 1 : 0,
        nsg: UInt32(problem.nsg ?? 1))
    },
    blocks: [Signs.block(slot: 12, seed: \.seed)],
    constants: [
      ConstantRule(index: 50, name: "codebook_bits") { problem, _ in .int(Int32(problem.format.bits)) },
      Signs.constant(\.seed),
    ])
}
