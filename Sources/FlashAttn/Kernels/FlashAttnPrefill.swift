/// Attention of query rows against keys, tile by tile: softmax(scale · q kᵀ + mask) v.
public enum FlashAttnPrefill {
  /// What to compute. Tensors are [B, H, L, D] or [B, L, H, D]; a row without any key to attend gives zeros.
  public struct Problem: KernelProblem {
    public enum Layout: Hashable, Sendable {
      /// [batch, heads, length, head_dim], contiguous.
      case headMajor
      /// [batch, length, heads, head_dim], contiguous.
      case seqMajor
      case strided(q: Strides, k: Strides, v: Strides, o: Strides)
    }

    /// Of q, k, v and o.
    public var dtype: DType
    public var batch = 1
    /// Query heads.
    public var heads: Int
    /// Key and value heads; divides `heads`.
    public var kvHeads: Int
    public var headDim: Int
    /// Query rows.
    public var queryLength: Int
    /// Keys.
    public var keyLength: Int
    /// Multiplies q · k, in float32.
    public var scale: Float
    /// Row i attends keys 0 … i + queryOffset.
    public var causal = false
    /// keyLength − queryLength if nil, so that the last row attends every key.
    public var queryOffset: Int?
    public var mask = MaskKind.none
    public var maskStrides = Strides(batch: 0, head: 0, row: 0)
    public var layout = Layout.headMajor
    /// Whether the logarithm of each row's sum of exponentials is wanted: float32 [B, H, qL], natural logarithm.
    public var lse = false

    public init(
      dtype: DType, heads: Int, kvHeads: Int? = nil, headDim: Int, queryLength: Int, keyLength: Int? = nil,
      scale: Float? = nil
    ) {
      self.dtype = dtype
      self.heads = heads
      self.kvHeads = kvHeads ?? heads
      self.headDim = headDim
      self.queryLength = queryLength
      self.keyLength = keyLength ?? queryLength
      self.scale = scale ?? 1 / Float(headDim).squareRoot()
    }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .B: batch
      case .H: heads
      case .Hkv: kvHeads
      case .qL: queryLength
      case .kL: keyLength
      case .D: headDim
      }
    }

    /// The causal offset as 32 bits hold it: beyond these bounds it masks everything or nothing.
    var offset: Int {
      max(-queryLength, min(keyLength, queryOffset ?? keyLength - queryLength))
    }

    /// Strides of a mask of rank 2 [q, k], 3 [batch, q, k] or 4 [batch, heads, q, k], contiguous.
    public func maskStrides(rank: Int) throws(FAError) -> Strides {
      let plane = queryLength.multipliedReportingOverflow(by: keyLength)
      let batch = plane.partialValue.multipliedReportingOverflow(by: heads)
      guard !plane.overflow, !batch.overflow else {
        throw .invalid(
          spec.name, "mask", expected: "less than 2^63 elements", got: "[\(queryLength), \(keyLength)] planes")
      }
      switch rank {
      case 2: return Strides(batch: 0, head: 0, row: keyLength)
      case 3: return Strides(batch: plane.partialValue, head: 0, row: keyLength)
      case 4: return Strides(batch: batch.partialValue, head: plane.partialValue, row: keyLength)
      default: throw .invalid(spec.name, "mask_rank", expected: "2, 3 or 4", got: "\(rank)")
      }
    }

    /// Strides of a tensor of `heads` × `length`. Where a product wraps around, the operand is refused as too large.
    private func strides(_ heads: Int, _ length: Int, _ own: (Layout) -> Strides?) -> Strides {
      if let given = own(layout) { return given }
      let batch = heads &* length &* headDim
      return layout == .seqMajor
        ? Strides(batch: batch, head: headDim, row: heads &* headDim)
        : Strides(batch: batch, head: length &* headDim, row: headDim)
    }

    var qStrides: Strides { strides(heads, queryLength) { if case .strided(let q, _, _, _) = $0 { q } else { nil } } }
    var kStrides: Strides { strides(kvHeads, keyLength) { if case .strided(_, let k, _, _) = $0 { k } else { nil } } }
    var vStrides: Strides { strides(kvHeads, keyLength) { if case .strided(_, _, let v, _) = $0 { v } else { nil } } }
    var oStrides: Strides { strides(heads, queryLength) { if case .strided(_, _, _, let o) = $0 { o } else { nil } } }
  }

  /// The passes that compute `problem`.
  public static func plan(_ problem: Problem) throws(FAError) -> Plan { try spec.plan(problem) }

  /// Encodes `problem`; every argument is checked first.
  ///
  /// - Parameters:
  ///   - registry: the device's own if nil.
  ///   - mask: present exactly if the problem has a mask.
  ///   - lse: present exactly if the problem asks for it.
  public static func encode(
    _ problem: Problem, q: Buffer, k: Buffer, v: Buffer, o: Buffer, mask: Buffer? = nil, lse: Buffer? = nil,
    into encoder: CommandEncoder, registry: KernelRegistry? = nil
  ) throws(FAError) {
    try spec.plan(problem).encode(
      into: encoder, registry: registry ?? encoder.device.registry, buffers: [q, k, v, o, mask, lse])
  }

  static let spec = KernelSpec<Problem>(
    name: "flash_attn_prefill",
    variants: variants,
    operands: [
      Operand(slot: 0, name: "q", access: .read, dtype: .io, shape: [.B, .H, .qL, .D], strides: \.qStrides),
      Operand(slot: 1, name: "k", access: .read, dtype: .io, shape: [.B, .Hkv, .kL, .D], strides: \.kStrides),
      Operand(slot: 2, name: "v", access: .read, dtype: .io, shape: [.B, .Hkv, .kL, .D], strides: \.vStrides),
      Operand(slot: 3, name: "o", access: .write, dtype: .io, shape: [.B, .H, .qL, .D], strides: \.oStrides),
      Operand(
        slot: 6, name: "mask", access: .read, dtype: .mask, shape: [.B, .H, .qL, .kL], guardConstant: 300,
        isPresent: { $0.mask != .none }, strides: \.maskStrides),
      Operand(
        slot: 9, name: "lse", access: .write, dtype: .fixed(.f32), shape: [.B, .H, .qL], guardConstant: 306,
        isPresent: \.lse),
    ],
    blocks: [
      ParamBlock(slot: 4, name: "params", type: "fa_attn_params", make: params),
      ParamBlock(
        slot: 5, name: "mask_params", type: "fa_attn_mask_params", guardConstant: 300,
        isPresent: { $0.mask != .none },
        make: { problem, _ in fa_attn_mask_params(M_strides: problem.maskStrides.packed) }),
    ],
    constants: [
      ConstantRule(index: 200, name: "align_Q") { .bool($0.queryLength.isMultiple(of: $1.tile.BQ)) },
      ConstantRule(index: 201, name: "align_K") { .bool($0.keyLength.isMultiple(of: $1.tile.BK)) },
      ConstantRule(index: 300, name: "has_mask") { problem, _ in .bool(problem.mask != .none) },
      ConstantRule(index: 301, name: "do_causal") { problem, _ in .bool(problem.causal) },
      ConstantRule(index: 306, name: "has_lse") { problem, _ in .bool(problem.lse) },
    ],
    rules: [.sizes(.B, .H, .Hkv, .qL, .kL, .D), .divides(.Hkv, .H), .factor("scale", \.scale)],
    launch: { problem, variant in
      let tiles = (problem.queryLength + variant.tile.BQ - 1) / variant.tile.BQ
      return Launch(grid: Size3(tiles, problem.heads, problem.batch), threads: variant.tile.threads)
    },
    op: .sdpa)

  /// Head dimensions × dtypes × mask kinds; the reference's names, and new ones in its pattern.
  private static let variants: [Variant] = {
    let tile = Tile(BQ: 32, BK: 16, threads: Size3(32, 4, 1))
    var variants: [Variant] = []
    for headDim in [32, 64] {
      for dtype in [DType.f32, .f16, .bf16] {
        for (mask, suffix) in [(MaskKind.additive, ""), (.bool, "_boolmask")] {
          let kernel = "flash_attn_prefill_\(dtype)_d\(headDim)\(suffix)"
          variants.append(Variant(kernel: kernel, dtype: dtype, headDim: headDim, mask: mask, tile: tile))
        }
      }
    }
    return variants
  }()

  /// Sizes fit 32 bits: the spec's rules have been checked.
  @Sendable private static func params(_ problem: Problem, _ variant: Variant) -> fa_attn_params {
    let (BQ, BK) = (variant.tile.BQ, variant.tile.BK)
    let (qL, kL) = (problem.queryLength, problem.keyLength)
    return fa_attn_params(
      B: Int32(problem.batch), H: Int32(problem.heads), D: Int32(problem.headDim), qL: Int32(qL), kL: Int32(kL),
      gqa_factor: Int32(problem.heads / problem.kvHeads), scale: problem.scale, softcap: 0,
      NQ: Int32((qL + BQ - 1) / BQ), NK: Int32((kL + BK - 1) / BK), NQ_aligned: Int32(qL / BQ),
      NK_aligned: Int32(kL / BK), qL_rem: Int32(qL % BQ), kL_rem: Int32(kL % BK), qL_off: Int32(problem.offset),
      reserved: 0, Q_strides: problem.qStrides.packed, K_strides: problem.kStrides.packed,
      V_strides: problem.vStrides.packed, O_strides: problem.oStrides.packed)
  }
}
