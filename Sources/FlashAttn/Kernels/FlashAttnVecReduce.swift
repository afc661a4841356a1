/// The second pass of a decode whose keys were shared out to work-groups: merges their partial results.
public enum FlashAttnVecReduce {
  public struct Problem: KernelProblem {
    public var batch: Int
    public var heads: Int
    public var queryLength: Int
    public var headDim: Int
    /// Work-groups.
    public var nwg: Int
    public var lse = false
    /// Take the codec's rotation out of O.
    public var undoesRotation = false
    /// Of the rotation's signs; 0 for the default ones.
    public var seed: UInt64 = 0

    public init(batch: Int = 1, heads: Int, queryLength: Int = 1, headDim: Int, nwg: Int) {
      self.batch = batch
      self.heads = heads
      self.queryLength = queryLength
      self.headDim = headDim
      self.nwg = nwg
    }

    var dtype: DType { .f32 }
    var rows: Int { batch &* heads &* queryLength }
    var isBatched: Bool { batch > 1 || queryLength > 1 }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .B: batch
      case .H: heads
      case .qL: queryLength
      case .D: headDim
      case .rows: rows
      default: 0
      }
    }
  }

  public static func plan(_ problem: Problem) throws(FAError) -> Plan {
    try (problem.undoesRotation ? undo : spec).plan(problem)
  }

  /// The pass, with its output called `o`.
  public static func merge(_ problem: Problem) throws(FAError) -> Plan {
    try plan(problem).renamed(spec.name, ["dst": "o"])
  }

  static let spec = spec("flash_attn_vec_reduce", source: "flash_attn_vec_reduce") { "flash_attn_vec_reduce_dk\($0)" }

  static let undo = spec(
    "flash_attn_vec_reduce_tq_hb_undo", source: "flash_attn_vec_reduce", blocks: [Signs.block(slot: 12, seed: \.seed)],
    constants: [Signs.constant(\.seed)], threadgroupBytes: { [4 * $0.headDim] }
  ) { "flash_attn_vec_reduce_tq_hb_undo_dk\($0)" }

  /// - Parameter nwg: the number of work-groups if it is fixed; the kernel is told otherwise.
  static func spec(
    _ name: String, source: String, nwg: Int? = nil, blocks: [ParamBlock<Problem>] = [],
    constants: [ConstantRule<Problem>] = [], threadgroupBytes: @escaping @Sendable (Problem) -> [Int] = { _ in [] },
    kernel: (Int) -> String
  ) -> KernelSpec<Problem> {
    let told: [ParamBlock<Problem>] =
      nwg != nil ? [] : [ParamBlock(slot: 3, name: "nwg", type: "uint") { problem, _ in UInt32(problem.nwg) }]
    return KernelSpec(
      name: name, source: source,
      variants: KVFormat.headDims.map { Variant(kernel: kernel($0), dtype: .f32, headDim: $0) },
      operands: [
        Operand(
          slot: 1, name: "tmp", access: .read, dtype: .fixed(.f32), shape: [.rows, .D],
          extents: { [$0.rows, $0.nwg, $0.headDim + 2] }),
        Operand(slot: 2, name: "dst", access: .write, dtype: .fixed(.f32), shape: [.B, .H, .qL, .D]),
        Operand(
          slot: 4, name: "lse", access: .write, dtype: .fixed(.f32), shape: [.B, .H, .qL], guardConstant: 62,
          isPresent: \.lse),
      ],
      blocks: [
        ParamBlock(slot: 0, name: "params", type: "fa_vec_reduce_params") { problem, _ in
          fa_vec_reduce_params(nrows: UInt32(problem.rows))
        }
      ] + told + [
        ParamBlock(slot: 7, name: "batch", type: "fa_decode_batch", guardConstant: 60, isPresent: \.isBatched) {
          problem, _ in
          fa_decode_batch(batch: UInt32(problem.batch), q_len: UInt32(problem.queryLength), reserved: (0, 0))
        }
      ] + blocks,
      constants: [
        ConstantRule(index: 60, name: "has_batch") { problem, _ in .bool(problem.isBatched) },
        ConstantRule(index: 62, name: "has_lse") { problem, _ in .bool(problem.lse) },
      ] + constants,
      rules: [
        .batch(\.batch), .sizes(.H, .D), .within("q_len", 1...DecodeProblem.queryLimit, \.queryLength), .sizes(.rows),
        .within("nwg", nwg.map { $0...$0 } ?? DecodeProblem.workGroups, \.nwg),
      ],
      tile: { Tile(BQ: 1, BK: 32, threads: Size3(32 * $0.nwg)) },
      launch: { problem, _ in Launch(grid: Size3(problem.rows), threadgroupBytes: threadgroupBytes(problem)) },
      op: .sdpa)
  }
}
