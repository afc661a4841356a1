/// `FlashAttnPrefill` for a head dimension of 512, with chunks of 64 keys shared by several simdgroups.
public enum FlashAttnPrefillD512 {
  public typealias Problem = FlashAttnPrefill.Problem
  public typealias Buffers = FlashAttnPrefill.Buffers

  /// The passes that compute `problem`.
  ///
  /// - Parameter tuning: chooses the number of simdgroups where the problem does not.
  public static func plan(_ problem: Problem, tuning: Tuning = Tuning()) throws(FAError) -> Plan {
    var problem = problem
    problem.nsg = problem.nsg ?? tuning.prefill.nsg
    return try spec.plan(problem)
  }

  /// Encodes `problem`; every argument is checked first.
  ///
  /// - Parameter registry: the device's own if nil.
  public static func encode(
    _ problem: Problem, _ buffers: Buffers, into encoder: CommandEncoder, registry: KernelRegistry? = nil
  ) throws(FAError) {
    let device = encoder.device
    try device.plans.prefill.plan(problem, for: spec.name) { () throws(FAError) in
      try plan(problem, tuning: device.tuning)
    }
    .encode(into: encoder, registry: registry ?? device.registry, buffers: buffers.list)
  }

  static let simdgroupCounts = [4, 8]

  static let spec = PrefillSpec.spec(
    "flash_attn_prefill_d512", variants: variants,
    constants: [ConstantRule(index: 322, name: "nsg") { problem, _ in .int(Int32(count(problem))) }],
    rules: [
      Rule { problem, operation throws(FAError) in
        guard simdgroupCounts.contains(count(problem)) else {
          throw .invalid(operation, "nsg", expected: "4 or 8", got: "\(count(problem))")
        }
      }
    ],
    tile: { tile(count($0)) },
    // The queries, the output in float32 and the scores of a chunk, for 8 rows each.
    threadgroupBytes: [28672])

  @Sendable private static func count(_ problem: Problem) -> Int { problem.nsg ?? Tuning.Prefill.defaultNSG }

  @Sendable private static func tile(_ nsg: Int) -> Tile { Tile(BQ: 8, BK: 64, threads: Size3(32, nsg)) }

  private static let variants: [Variant] = [DType.bf16, .f16].flatMap { dtype in
    [(MaskKind.additive, ""), (.bool, "_boolmask")].map { mask, suffix in
      Variant(
        kernel: "flash_attn_prefill_llamacpp_\(dtype)_d512\(suffix)", dtype: dtype, headDim: 512, mask: mask,
        tile: tile(Tuning.Prefill.defaultNSG))
    }
  }
}
