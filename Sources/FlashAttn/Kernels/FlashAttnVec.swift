/// Attention of single queries over a dense cache.
public enum FlashAttnVec {
  public typealias Problem = DecodeProblem

  /// The passes that compute `problem`.
  public static func plan(_ problem: Problem, tuning: Tuning = Tuning()) throws(FAError) -> Plan {
    var problem = problem
    problem.nwg = problem.nwg ?? tuning.decode.workGroups(.vec, keys: problem.keyLengths.max() ?? 0)
    return try DecodeSpec.plan(spec, problem)
  }

  static let spec = DecodeSpec.spec(
    "flash_attn_vec", KVFormat.dense,
    variants: [(DType.f32, ""), (.f16, "_f16kv"), (.bf16, "_bf16kv")].flatMap { dtype, suffix in
      KVFormat.headDims.map { Variant(kernel: "flash_attn_vec\(suffix)_dk\($0)", dtype: dtype, headDim: $0) }
    },
    slots: .dense,
    block: ParamBlock(slot: 0, name: "params", type: "fa_vec_params") { problem, _ in
      fa_vec_params(
        heads: UInt32(problem.heads), kv_heads: UInt32(problem.kvHeads), head_dim: UInt32(problem.headDim),
        kv_len: UInt32(problem.keyLengths[0]), capacity: UInt32(problem.capacity), scale: problem.scale,
        mask_type: problem.maskType, window: problem.window, softcap: problem.softcap, nwg: UInt32(problem.splits))
    })
}
