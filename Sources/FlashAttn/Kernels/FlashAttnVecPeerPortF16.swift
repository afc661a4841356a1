/// Attention of single queries over a half-precision ring, with 1 work-group, or 32 and a merging pass.
public enum FlashAttnVecPeerPortF16 {
  public typealias Problem = DecodeProblem

  /// The passes that compute `problem`.
  public static func plan(_ problem: Problem, tuning: Tuning = Tuning()) throws(FAError) -> Plan {
    var problem = problem
    problem.nwg = problem.nwg ?? ((problem.keyLengths.max() ?? 0) > DecodeSpec.chunk ? 32 : 1)
    let attend = try spec.plan(problem)
    guard problem.splits > 1 else { return attend.renamed(spec.name, ["dst": "o"]) }
    let merge = try reduce.plan(problem.merge)
    return attend.renamed(spec.name, ["dst": "tmp"]).then(merge.renamed(spec.name, ["dst": "o"]))
  }

  /// The second pass by itself, with its output called `o`.
  public static func merge(_ problem: FlashAttnVecReduce.Problem) throws(FAError) -> Plan {
    try reduce.plan(problem).renamed(reduce.name, ["dst": "o"])
  }

  static let spec: KernelSpec<Problem> = {
    var spec = DecodeSpec.spec(
      "flash_attn_vec_peer_port_f16", [.f16],
      variants: [(1, ""), (32, "_nwg32")].flatMap { nwg, suffix in
        KVFormat.headDims.map {
          Variant(
            kernel: "flash_attn_vec_peer_port_f16\(suffix)_dk\($0)_dv\($0)", dtype: .f16, form: "\(nwg)", headDim: $0)
        }
      },
      slots: .dense,
      block: ParamBlock(slot: 0, name: "params", type: "fa_vec_peer_port_params") { problem, _ in
        fa_vec_peer_port_params(
          heads: UInt32(problem.heads), kv_heads: UInt32(problem.kvHeads), head_dim: UInt32(problem.headDim),
          kv_len: UInt32(problem.keyLengths[0]), capacity: UInt32(problem.capacity), scale: problem.scale,
          mask_type: problem.maskType, window: problem.window, ring_start: UInt32(problem.starts[0]))
      },
      rules: [
        Rule { problem, operation throws(FAError) in
          guard [1, 32].contains(problem.splits) else {
            throw .invalid(operation, "nwg", expected: "1 or 32", got: "\(problem.splits)")
          }
          if problem.softcap != 0 {
            throw .unsupported(operation, "softcap", expected: "none for this kernel", got: "\(problem.softcap)")
          }
        }
      ])
    spec.form = { "\($0.splits)" }
    return spec
  }()

  static let reduce = FlashAttnVecReduce.spec(
    "flash_attn_vec_peer_port_f16_reduce", source: "flash_attn_vec_peer_port_f16", nwg: 32
  ) { "flash_attn_vec_peer_port_f16_reduce_dv\($0)_nwg32" }
}
