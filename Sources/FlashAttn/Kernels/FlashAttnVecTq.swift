/// Attention of single queries over a cache of 4-bit codes, version 1. Q comes rotated.
public enum FlashAttnVecTq {
  public typealias Problem = DecodeProblem

  /// The passes that compute `problem`.
  public static func plan(_ problem: Problem, tuning: Tuning = Tuning()) throws(FAError) -> Plan {
    var problem = problem
    problem.nwg = problem.nwg ?? tuning.decode.workGroups(.tq, keys: problem.keyLengths.max() ?? 0)
    return try DecodeSpec.plan(spec, problem)
  }

  static let spec = DecodeSpec.spec(
    "flash_attn_vec_tq", [.tq4V1],
    variants: KVFormat.headDims.map { Variant(kernel: "flash_attn_vec_tq_dk\($0)", dtype: .f32, headDim: $0) },
    slots: .codes,
    block: ParamBlock(slot: 0, name: "params", type: "fa_vec_tq_params") { problem, _ in
      fa_vec_tq_params(
        heads: UInt32(problem.heads), kv_heads: UInt32(problem.kvHeads), head_dim: UInt32(problem.headDim),
        kv_len: UInt32(problem.keyLengths[0]), capacity: UInt32(problem.capacity), scale: problem.scale,
        mask_type: problem.maskType, window: problem.window, softcap: problem.softcap, nwg: UInt32(problem.splits),
        ring_start: UInt32(problem.starts[0]), scale_factor_d512: problem.scaleFactor)
    })
}
