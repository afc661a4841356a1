/// Attention of query rows against keys, tile by tile: softmax(scale · q kᵀ + mask) v.
public enum FlashAttnPrefill {
  /// What the prefill kernels read and write; nil for what the problem does without.
  public struct Buffers: Sendable {
    public var q: Buffer?
    /// Nil only if there are no keys; likewise v.
    public var k: Buffer?
    public var v: Buffer?
    public var o: Buffer?
    public var mask: Buffer?
    /// Block bytes [NQ, NK], [B, NQ, NK] or [B, H, NQ, NK], or that many bytes.
    public var blk: Buffer?
    public var sinks: Buffer?
    public var lse: Buffer?
    public var alibi: Buffer?

    public init(
      q: Buffer?, k: Buffer?, v: Buffer?, o: Buffer?, mask: Buffer? = nil, blk: Buffer? = nil, sinks: Buffer? = nil,
      lse: Buffer? = nil, alibi: Buffer? = nil
    ) {
      self.q = q
      self.k = k
      self.v = v
      self.o = o
      self.mask = mask
      self.blk = blk
      self.sinks = sinks
      self.lse = lse
      self.alibi = alibi
    }

    /// In the order of the operands.
    var list: [Buffer?] { [q, k, v, o, mask, blk, sinks, lse, alibi] }
  }

  /// The passes that compute `problem`.
  public static func plan(_ problem: Problem) throws(FAError) -> Plan { try spec.plan(problem) }

  /// Encodes `problem`; every argument is checked first.
  ///
  /// - Parameter registry: the device's own if nil.
  public static func encode(
    _ problem: Problem, _ buffers: Buffers, into encoder: CommandEncoder, registry: KernelRegistry? = nil
  ) throws(FAError) {
    let device = encoder.device
    try device.plans.prefill.plan(problem, for: spec.name) { () throws(FAError) in try plan(problem) }
      .encode(into: encoder, registry: registry ?? device.registry, buffers: buffers.list)
  }

  static let spec = PrefillSpec.spec(
    "flash_attn_prefill", variants: variants,
    rules: [
      Rule { problem, operation throws(FAError) in
        if let nsg = problem.nsg { throw .invalid(operation, "nsg", expected: "none for this kernel", got: "\(nsg)") }
      }
    ])

  /// Head dimensions × dtypes × mask kinds.
  private static let variants: [Variant] = [32, 64, 80, 96, 128, 192, 256, 512].flatMap { headDim in
    [DType.f32, .f16, .bf16].flatMap { dtype in
      [(MaskKind.additive, ""), (.bool, "_boolmask")].map { mask, suffix in
        Variant(
          kernel: "flash_attn_prefill_\(dtype)_d\(headDim)\(suffix)", dtype: dtype, headDim: headDim, mask: mask,
          tile: tile(dtype, headDim))
      }
    }
  }

  /// As much as threadgroup memory and registers have room for.
  private static func tile(_ dtype: DType, _ headDim: Int) -> Tile {
    switch (headDim, dtype) {
    case (512, _): Tile(BQ: 8, BK: 8, threads: Size3(32))
    case (256, .f32): Tile(BQ: 32, BK: 8, threads: Size3(32, 4))
    default: Tile(BQ: 32, BK: 16, threads: Size3(32, 4))
    }
  }
}
