/// Appends float tokens to a cache of version 1 of the codec.
public enum HadamardQuantizeKv {
  public struct Problem: KernelProblem {
    /// `tq4_v1` or a `tq_hb`.
    public var format: KVFormat
    public var kvHeads: Int
    public var headDim: Int
    /// The source is [tokens, Hkv, D].
    public var tokens = 1
    /// Slots of each head.
    public var capacity: Int
    /// Of the first token.
    public var position = 0
    /// Position p is kept in slot p mod capacity.
    public var ring = false
    /// Multiplies what head dimension 512 looks up.
    public var scaleFactor: Float = 1
    /// Whether what is looked up is wanted too; `tq4_v1` only.
    public var probes = false

    public init(format: KVFormat, kvHeads: Int, headDim: Int, capacity: Int) {
      self.format = format
      self.kvHeads = kvHeads
      self.headDim = headDim
      self.capacity = capacity
    }

    var dtype: DType { .f32 }
    var form: String? { tokens == 1 ? "token" : "sequence" }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .Hkv: kvHeads
      case .D: headDim
      case .tokens: tokens
      case .cap: capacity
      case .width: format.width(headDim)
      case .norms: format.norms(headDim)
      default: 0
      }
    }
  }

  public static func plan(_ problem: Problem) throws(FAError) -> Plan {
    try (problem.format == .tq4V1 ? fast : hb).plan(problem)
  }

  static let fast = spec(
    "hadamard_quantize_kv_fast", [.tq4V1],
    block: ParamBlock(slot: 3, name: "params", type: "fa_hadamard_quantize_kv_params") { problem, _ in
      fa_hadamard_quantize_kv_params(
        head_dim: UInt32(problem.headDim), num_kv_heads: UInt32(problem.kvHeads), write_pos: UInt32(problem.position),
        cache_capacity: UInt32(problem.capacity), is_sliding: problem.ring ? 1 : 0,
        scale_factor_d512: problem.scaleFactor, rms_probe_enabled: problem.probes ? 1 : 0)
    },
    probe: [
      Operand(
        slot: 4, name: "rms_scratch", access: .write, dtype: .fixed(.f32), shape: [.tokens, .Hkv, .D],
        guardConstant: 56, isPresent: \.probes)
    ],
    constants: [ConstantRule(index: 56, name: "has_rms") { problem, _ in .bool(problem.probes) }])

  static let hb = spec(
    "hadamard_quantize_kv_hb", KVFormat.bytesOfVersion1,
    block: ParamBlock(slot: 3, name: "params", type: "fa_hadamard_quantize_kv_hb_params") { problem, _ in
      fa_hadamard_quantize_kv_hb_params(
        head_dim: UInt32(problem.headDim), num_kv_heads: UInt32(problem.kvHeads), write_pos: UInt32(problem.position),
        cache_capacity: UInt32(problem.capacity), is_sliding: problem.ring ? 1 : 0,
        scale_factor_d512: problem.scaleFactor, codebook_bits: UInt32(problem.format.bits))
    },
    rules: [
      Rule { problem, operation throws(FAError) in
        if problem.probes {
          throw .invalid(operation, "rms_scratch", expected: "none for this format", got: "a buffer")
        }
      }
    ])

  private static func spec(
    _ name: String, _ formats: [KVFormat], block: ParamBlock<Problem>, probe: [Operand<Problem>] = [],
    constants: [ConstantRule<Problem>] = [], rules: [Rule<Problem>] = []
  ) -> KernelSpec<Problem> {
    KernelSpec(
      name: name, source: "hadamard_quantize_kv",
      variants: [("token", ""), ("sequence", "_seq")].flatMap { form, suffix in
        KVFormat.headDims.map { headDim in
          Variant(kernel: "\(name)\(suffix)_d\(headDim)", dtype: .f32, form: form, headDim: headDim, tile: .vector)
        }
      },
      operands: [
        Operand(slot: 0, name: "src", access: .read, dtype: .fixed(.f32), shape: [.tokens, .Hkv, .D]),
        Operand(slot: 1, name: "packed", access: .write, dtype: .fixed(.u8), shape: [.Hkv, .cap, .width]),
        Operand(slot: 2, name: "norms", access: .write, dtype: .fixed(.f32), shape: [.Hkv, .cap, .norms]),
      ] + probe,
      blocks: [block], constants: constants,
      rules: [
        .sizes(.Hkv, .D, .tokens, .cap), .format(formats, \.format), Rule(check: position),
        .factor("scale_factor_d512", \.scaleFactor),
      ] + rules,
      launch: { problem, _ in Launch(grid: Size3(problem.kvHeads, problem.tokens)) },
      op: .other)
  }

  @Sendable private static func position(_ problem: Problem, _ operation: String) throws(FAError) {
    let last = (problem.ring ? Int(Int32.max) : problem.capacity) - problem.tokens
    guard last >= 0, (0...last).contains(problem.position) else {
      throw .invalid(
        operation, "write_pos",
        expected: "0 to \(problem.ring ? Int(Int32.max) : problem.capacity) - \(problem.tokens)",
        got: "\(problem.position)")
    }
  }
}
