/// Appends tokens to a cache: as they are, or rotated and quantised by version 2 of the codec.
public enum KvEncode {
  public struct Problem: KernelProblem, Equatable {
    /// Of the tokens.
    public var dtype: DType
    /// Of the cache.
    public var format: KVFormat
    public var kvHeads: Int
    public var headDim: Int
    public var tokens: Int
    /// Slots of each sequence and head.
    public var capacity: Int
    /// Position of the first token, one for each sequence.
    public var positions: [Int]
    /// Position p is kept in slot p mod capacity; of tokens that share a slot the last one stays.
    public var ring = false
    /// Norms are half, not float.
    public var halfNorms = false
    /// Of the signs; 0 for the default ones.
    public var seed: UInt64 = 0
    /// Of the tokens, between sequences, heads and tokens; contiguous [B, Hkv, tokens, D] if nil.
    public var strides: Strides?

    public init(
      dtype: DType, format: KVFormat, kvHeads: Int, headDim: Int, tokens: Int, capacity: Int, positions: [Int] = [0]
    ) {
      self.dtype = dtype
      self.format = format
      self.kvHeads = kvHeads
      self.headDim = headDim
      self.tokens = tokens
      self.capacity = capacity
      self.positions = positions
    }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .B: positions.count
      case .Hkv: kvHeads
      case .D: headDim
      case .tokens: tokens
      case .cap: capacity
      case .width: format.width(headDim)
      default: 0
      }
    }

    var sourceStrides: Strides {
      strides ?? Strides(batch: kvHeads &* tokens &* headDim, head: tokens &* headDim, row: headDim)
    }
  }

  public static func plan(_ problem: Problem) throws(FAError) -> Plan { try spec.plan(problem) }

  /// `plan` for a device, which keeps the last one but for its positions: keys, values and the next token are mostly of
  /// one kind.
  ///
  /// - Parameter caller: the operation that errors name.
  static func plan(_ problem: Problem, on device: Device, for caller: String) throws(FAError) -> Plan {
    var anywhere = problem
    anywhere.positions = Array(repeating: 0, count: problem.positions.count)
    let plan = try device.plans.kvEncode.plan(anywhere, for: caller) { () throws(FAError) in
      try spec.plan(problem, for: caller)
    }
    try positions(problem, caller)
    return plan.replacing(block: writePositions.slot, with: writePositions.bytes(problem, .vector))
  }

  private static let writePositions = ParamBlock<Problem>(
    slot: 4, name: "write_pos", type: "uint", array: { $0.positions.map { UInt32($0) } })

  static let formats = KVFormat.allCases.filter { $0.version == 2 }

  static let spec = KernelSpec<Problem>(
    name: "kv_encode", variants: variants("kv_encode"),
    operands: [
      Operand(
        slot: 0, name: "src", access: .read, dtype: .io, shape: [.B, .Hkv, .tokens, .D],
        strides: { $0.problem.sourceStrides }),
      Operand(
        slot: 1, name: "data", access: .write, dtype: .cache { $0.format.dtype }, shape: [.B, .Hkv, .cap, .width]),
      Operand(
        slot: 2, name: "norms", access: .write, dtype: .cache { $0.halfNorms ? .f16 : .f32 },
        shape: [.B, .Hkv, .cap], guardConstant: 70, isPresent: { !$0.format.isDense }),
    ],
    blocks: [
      ParamBlock(slot: 3, name: "params", type: "fa_kv_encode_params") { problem, _ in
        fa_kv_encode_params(
          batch: UInt32(problem.positions.count), kv_heads: UInt32(problem.kvHeads), n_tokens: UInt32(problem.tokens),
          capacity: UInt32(problem.capacity), is_ring: problem.ring ? 1 : 0, reserved: 0,
          src_strides: problem.sourceStrides.packed)
      },
      writePositions,
      Signs.block(slot: 5, seed: \.seed),
    ],
    constants: constants(format: \.format, halfNorms: \.halfNorms, seed: \.seed),
    rules: [
      .batch { $0.positions.count }, .sizes(.Hkv, .D, .tokens, .cap), .format(formats, \.format),
      Rule(check: positions),
    ],
    launch: { problem, _ in Launch(grid: Size3(problem.tokens, problem.kvHeads, problem.positions.count)) },
    op: .other)

  /// Types of the tokens × head dimensions.
  static func variants(_ room: String) -> [Variant] {
    [DType.f32, .f16, .bf16].flatMap { dtype in
      KVFormat.headDims.map { headDim in
        Variant(kernel: "\(room)_\(dtype)_d\(headDim)", dtype: dtype, headDim: headDim, tile: .vector)
      }
    }
  }

  static func constants<Problem: KernelProblem>(
    format: @escaping @Sendable (Problem) -> KVFormat, halfNorms: @escaping @Sendable (Problem) -> Bool,
    seed: @escaping @Sendable (Problem) -> UInt64
  ) -> [ConstantRule<Problem>] {
    [
      Signs.constant(seed),
      ConstantRule(index: 70, name: "format") { problem, _ in .int(Int32(format(problem).rawValue)) },
      ConstantRule(index: 72, name: "norms_f16") { problem, _ in .bool(halfNorms(problem)) },
    ]
  }

  @Sendable private static func positions(_ problem: Problem, _ operation: String) throws(FAError) {
    let last = problem.ring ? Int(Int32.max) - problem.tokens : problem.capacity - problem.tokens
    for position in problem.positions where !(0...max(last, 0)).contains(position) || last < 0 {
      let limit =
        problem.ring
        ? "0 to \(last)"
        : "0 to \(problem.capacity) - \(problem.tokens), so that every token has a slot (a ring takes any)"
      throw .invalid(operation, "write_pos", expected: limit, got: "\(position)")
    }
  }
}

extension Rule {
  /// Sequences, whose numbers travel as inline bytes.
  static func batch(_ count: @escaping @Sendable (Problem) -> Int) -> Rule { .within("batch", 1...1024, count) }
}
