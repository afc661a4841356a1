/// Fills a mask [q, k] for causal attention, sliding windows, or both.
public enum FlashAttnPrefillMask {
  public struct Problem: KernelProblem {
    /// Of the mask: f32, f16 or bf16 with 0 and −inf, bool with true and false.
    public var dtype: DType
    public var queryLength: Int
    public var keyLength: Int
    /// Position of the first row among the keys.
    public var queryOffset = 0
    /// Keys a row attends up to its position, that one included; all if nil.
    public var window: Int?
    /// Whether keys after a row's position are excluded.
    public var causal = true

    public init(dtype: DType, queryLength: Int, keyLength: Int) {
      self.dtype = dtype
      self.queryLength = queryLength
      self.keyLength = keyLength
    }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .qL: queryLength
      case .kL: keyLength
      case .B, .H, .Hkv, .D, .NQ, .NK: 0
      }
    }
  }

  /// The pass that computes `problem`.
  public static func plan(_ problem: Problem) throws(FAError) -> Plan { try spec.plan(problem) }

  /// Encodes `problem`; every argument is checked first.
  ///
  /// - Parameters:
  ///   - mask: [q, k], contiguous; written.
  ///   - registry: the device's own if nil.
  public static func encode(
    _ problem: Problem, mask: Buffer, into encoder: CommandEncoder, registry: KernelRegistry? = nil
  ) throws(FAError) {
    try spec.plan(problem).encode(into: encoder, registry: registry ?? encoder.device.registry, buffers: [mask])
  }

  static let spec = KernelSpec<Problem>(
    name: "flash_attn_prefill_mask",
    variants: [DType.bf16, .f16, .f32, .bool].map { Variant(kernel: "flash_attn_prefill_mask_fill_\($0)", dtype: $0) },
    operands: [Operand(slot: 0, name: "mask", access: .write, dtype: .io, shape: [.qL, .kL])],
    blocks: [
      ParamBlock(slot: 1, name: "fill_params", type: "fa_mask_fill_params") { problem, _ in
        fa_mask_fill_params(
          seq_len_k: UInt32(problem.keyLength), q_abs_offset: UInt32(problem.queryOffset),
          n_swa: Int32(problem.window ?? -1), causal: problem.causal ? 1 : 0)
      }
    ],
    constants: [],
    rules: [
      .sizes(.qL, .kL),
      Rule { problem, operation throws(FAError) in
        let most = Int(Int32.max)
        guard (0...most).contains(problem.queryOffset) else {
          throw .invalid(operation, "q_offset", expected: "0 to \(most)", got: "\(problem.queryOffset)")
        }
        if let window = problem.window, !(1...most).contains(window) {
          throw .invalid(operation, "window", expected: "1 to \(most) keys, or none", got: "\(window)")
        }
      },
    ],
    // One row each, by as many threads as it has keys, within bounds.
    tile: { problem in
      var threads = 32
      while threads < min(256, problem.keyLength) { threads *= 2 }
      return Tile(BQ: 1, BK: problem.keyLength, threads: Size3(threads))
    },
    launch: { problem, _ in Launch(grid: Size3(problem.queryLength)) },
    op: .other)
}
