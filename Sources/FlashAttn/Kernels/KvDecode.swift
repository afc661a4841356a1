/// Reads tokens back from a cache that `KvEncode` or `HadamardQuantizeKv` wrote.
public enum KvDecode {
  public struct Problem: KernelProblem {
    /// Of the result.
    public var dtype: DType
    /// Of the cache.
    public var format: KVFormat
    public var batch = 1
    public var kvHeads: Int
    public var headDim: Int
    public var tokens: Int
    /// Slots of each sequence and head.
    public var capacity: Int
    /// Position of the first token.
    public var position = 0
    /// Position p is kept in slot p mod capacity.
    public var ring = false
    public var halfNorms = false
    public var seed: UInt64 = 0
    /// False leaves quantised vectors rotated.
    public var undoesRotation = true
    /// The encoder's factor for head dimension 512, version 1 of the codec.
    public var scaleFactor: Float = 1

    public init(dtype: DType, format: KVFormat, kvHeads: Int, headDim: Int, tokens: Int, capacity: Int) {
      self.dtype = dtype
      self.format = format
      self.kvHeads = kvHeads
      self.headDim = headDim
      self.tokens = tokens
      self.capacity = capacity
    }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .B: batch
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

  public static func plan(_ problem: Problem) throws(FAError) -> Plan { try spec.plan(problem) }

  static let spec = KernelSpec<Problem>(
    name: "kv_decode", variants: KvEncode.variants("kv_decode"),
    operands: [
      Operand(
        slot: 0, name: "data", access: .read, dtype: .cache { $0.format.dtype }, shape: [.B, .Hkv, .cap, .width]),
      Operand(
        slot: 1, name: "norms", access: .read, dtype: .cache { $0.halfNorms ? .f16 : .f32 },
        shape: [.B, .Hkv, .cap, .norms], guardConstant: 70, isPresent: { !$0.format.isDense }),
      Operand(slot: 2, name: "out", access: .write, dtype: .io, shape: [.B, .Hkv, .tokens, .D]),
    ],
    blocks: [
      ParamBlock(slot: 3, name: "params", type: "fa_kv_decode_params") { problem, _ in
        fa_kv_decode_params(
          batch: UInt32(problem.batch), kv_heads: UInt32(problem.kvHeads), n_tokens: UInt32(problem.tokens),
          capacity: UInt32(problem.capacity), read_pos: UInt32(problem.position), is_ring: problem.ring ? 1 : 0,
          undo_rotation: problem.undoesRotation ? 1 : 0, scale_factor_d512: problem.scaleFactor)
      },
      Signs.block(slot: 5, seed: \.seed),
    ],
    constants: KvEncode.constants(format: \.format, halfNorms: \.halfNorms, seed: \.seed),
    rules: [
      .sizes(.B, .Hkv, .D, .tokens, .cap), .factor("scale_factor_d512", \.scaleFactor), Rule(check: tokens),
      Rule(check: version1),
    ],
    launch: { problem, _ in Launch(grid: Size3(problem.tokens, problem.kvHeads, problem.batch)) },
    op: .other)

  /// What only version 2 has.
  @Sendable private static func version1(_ problem: Problem, _ operation: String) throws(FAError) {
    guard problem.format.version == 1 else { return }
    guard !problem.halfNorms else {
      throw .invalid(operation, "norms", expected: "f32 with \(problem.format)", got: "f16")
    }
    guard problem.seed == 0 else {
      throw .invalid(operation, "seed", expected: "0 with \(problem.format)", got: "\(problem.seed)")
    }
  }

  @Sendable private static func tokens(_ problem: Problem, _ operation: String) throws(FAError) {
    guard problem.tokens <= problem.capacity else {
      throw .invalid(operation, "tokens", expected: "1 to the capacity, \(problem.capacity)", got: "\(problem.tokens)")
    }
    let last = problem.ring ? Int(Int32.max) - problem.tokens : problem.capacity - problem.tokens
    guard (0...last).contains(problem.position) else {
      throw .invalid(operation, "read_pos", expected: "0 to \(last)", got: "\(problem.position)")
    }
  }
}
