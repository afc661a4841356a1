/// What the prefill kernels have in common: slots, parameter blocks, constants and rules.
enum PrefillSpec {
  typealias Problem = FlashAttnPrefill.Problem

  static func spec(
    _ name: String, variants: [Variant], constants: [ConstantRule<Problem>] = [], rules: [Rule<Problem>],
    tile: @escaping @Sendable (Problem) -> Tile? = { _ in nil }, threadgroupBytes: [Int] = []
  ) -> KernelSpec<Problem> {
    KernelSpec(
      name: name, variants: variants, operands: operands, blocks: blocks + Problem.sequenceBlocks,
      constants: self.constants + Problem.sequenceConstants + constants,
      rules: self.rules + rules, tile: tile,
      launch: { problem, tile in
        let tiles = tile.count(rows: problem.rows, keys: problem.keys)
        return Launch(grid: Size3(tiles.rows, problem.heads, problem.batch), threadgroupBytes: threadgroupBytes)
      },
      op: .sdpa)
  }

  private static let operands: [Operand<Problem>] = [
    Operand(
      slot: 0, name: "q", access: .read, dtype: .io, shape: [.B, .H, .qL, .D], strides: { $0.problem.qStrides },
      stridedSizes: \.packedQuerySizes),
    Operand(
      slot: 1, name: "k", access: .read, dtype: .io, shape: [.B, .Hkv, .kL, .D], strides: { $0.problem.kStrides },
      stridedSizes: \.packedKeySizes),
    Operand(
      slot: 2, name: "v", access: .read, dtype: .io, shape: [.B, .Hkv, .kL, .D], strides: { $0.problem.vStrides },
      stridedSizes: \.packedKeySizes),
    Operand(
      slot: 3, name: "o", access: .write, dtype: .io, shape: [.B, .H, .qL, .D], strides: { $0.problem.oStrides },
      stridedSizes: \.packedQuerySizes),
    Operand(
      slot: 6, name: "mask", access: .read, dtype: .mask, shape: [.B, .H, .qL, .kL], guardConstant: 300,
      isPresent: { $0.mask != .none }, strides: { $0.problem.maskStrides }),
    Operand(
      slot: 7, name: "blk", access: .read, dtype: .fixed(.u8), shape: [.B, .H, .NQ, .NK], guardConstant: 303,
      isPresent: \.blk,
      strides: { sizes in
        let strides = sizes.problem.blkStrides
        return Strides(batch: strides.batch, head: strides.head, row: sizes(.NK))
      }),
    Operand(
      slot: 8, name: "sinks", access: .read, dtype: .fixed(.f32), shape: [.H], guardConstant: 304, isPresent: \.sinks),
    Operand(
      slot: 9, name: "lse", access: .write, dtype: .fixed(.f32), shape: [.B, .H, .qL], guardConstant: 306,
      isPresent: \.lse, extents: { problem in problem.packedQuerySizes.map { [$0[1], $0[2]] } }),
    Operand(
      slot: 12, name: "alibi", access: .read, dtype: .fixed(.f32), shape: [.B, .H], guardConstant: 309,
      isPresent: \.alibi, extents: { [($0.batch - 1) * $0.alibiStride + $0.heads] }),
  ]

  private static let blocks: [ParamBlock<Problem>] = [
    ParamBlock(slot: 4, name: "params", type: "fa_attn_params", make: params),
    ParamBlock(
      slot: 5, name: "mask_params", type: "fa_attn_mask_params", guardConstant: 300, isPresent: { $0.mask != .none },
      make: { problem, _ in fa_attn_mask_params(M_strides: problem.maskStrides.packed) }),
    ParamBlock(
      slot: 10, name: "window_params", type: "fa_attn_window_params", guardConstant: 307, isPresent: \.hasWindow,
      make: { problem, _ in
        fa_attn_window_params(left: Int32(problem.window.left), right: Int32(problem.window.right))
      }),
    ParamBlock(
      slot: 11, name: "blk_params", type: "fa_attn_blk_params", guardConstant: 303, isPresent: \.blk,
      make: { problem, _ in
        fa_attn_blk_params(strides: (Int64(problem.blkStrides.batch), Int64(problem.blkStrides.head)))
      }),
    ParamBlock(
      slot: 18, name: "alibi_params", type: "fa_attn_alibi_params", guardConstant: 309, isPresent: \.alibi,
      make: { problem, _ in fa_attn_alibi_params(batch_stride: Int64(problem.alibiStride)) }),
  ]

  private static let constants: [ConstantRule<Problem>] = [
    ConstantRule(index: 200, name: "align_Q") { .bool($0.packedQuerySizes == nil && $0.rows.isMultiple(of: $1.BQ)) },
    ConstantRule(index: 201, name: "align_K") { .bool($0.sequences == nil && $0.keys.isMultiple(of: $1.BK)) },
    ConstantRule(index: 300, name: "has_mask") { problem, _ in .bool(problem.mask != .none) },
    ConstantRule(index: 301, name: "do_causal") { problem, _ in .bool(problem.causal) },
    ConstantRule(index: 303, name: "has_blk") { problem, _ in .bool(problem.blk) },
    ConstantRule(index: 304, name: "has_sinks") { problem, _ in .bool(problem.sinks) },
    ConstantRule(index: 306, name: "has_lse") { problem, _ in .bool(problem.lse) },
    ConstantRule(index: 307, name: "has_window") { problem, _ in .bool(problem.hasWindow) },
    ConstantRule(index: 308, name: "has_softcap") { problem, _ in .bool(problem.softcap > 0) },
    ConstantRule(index: 309, name: "has_alibi") { problem, _ in problem.alibi ? .bool(true) : nil },
  ]

  private static let rules: [Rule<Problem>] = [
    Rule(check: FlashAttnPrefill.Sequences.check), .sizes(.B, .H, .Hkv, .D), .sizes(.qL, .kL, from: 0),
    .divides(.Hkv, .H), .factor("scale", \.scale),
    Rule(check: softcap), Rule(check: window), Rule(check: capacity), Rule(check: offset), Rule(check: blk),
    Rule(check: alibi),
  ]

  @Sendable private static func softcap(_ problem: Problem, _ operation: String) throws(FAError) {
    guard problem.softcap >= 0, problem.softcap.isFinite else {
      throw .invalid(
        operation, "softcap", expected: "a finite number that is not negative; 0 for none", got: "\(problem.softcap)")
    }
  }

  @Sendable private static func window(_ problem: Problem, _ operation: String) throws(FAError) {
    for side in [problem.window.left, problem.window.right] where !(-1...Int(Int32.max)).contains(side) {
      throw .invalid(
        operation, "window", expected: "0 to \(Int32.max) keys on a side, or -1 for all",
        got: "(\(problem.window.left), \(problem.window.right))")
    }
  }

  /// The last row stands at the last key at most; an offset of 0 aligns the first row with the first key.
  @Sendable private static func offset(_ problem: Problem, _ operation: String) throws(FAError) {
    if problem.sequences != nil { return }
    let least = problem.kvCapacity == nil ? Int(Int32.min) : 0
    let most = max(0, problem.keyLength - problem.queryLength)
    guard (least...most).contains(problem.offset) else {
      throw .invalid(
        operation, "q_offset",
        expected: "\(least) to \(most) for \(problem.queryLength) rows and "
          + "\(problem.keyLength) keys", got: "\(problem.offset)")
    }
  }

  /// Keys in a cache that has room for more: the rows continue what the cache holds.
  @Sendable private static func capacity(_ problem: Problem, _ operation: String) throws(FAError) {
    guard let capacity = problem.kvCapacity else { return }
    if case .strided = problem.layout {
      throw .invalid(operation, "kv_capacity", expected: "none with strides, which say it", got: "\(capacity)")
    }
    guard (problem.keyLength...Int(Int32.max)).contains(capacity) else {
      throw .invalid(
        operation, "kv_capacity", expected: "\(problem.keyLength), as kv_len, to \(Int32.max)", got: "\(capacity)")
    }
    guard problem.queryLength <= problem.keyLength else {
      throw .invalid(
        operation, "q_len", expected: "at most kv_len = \(problem.keyLength) with a kv_capacity",
        got: "\(problem.queryLength)")
    }
  }

  @Sendable private static func blk(_ problem: Problem, _ operation: String) throws(FAError) {
    guard !problem.blk || problem.mask != .none else {
      throw .invalid(operation, "blk", expected: "none without a mask", got: "block bytes")
    }
  }

  @Sendable private static func alibi(_ problem: Problem, _ operation: String) throws(FAError) {
    guard (0...Int(Int32.max)).contains(problem.alibiStride) else {
      throw .invalid(
        operation, "alibi_stride", expected: "0 to \(Int32.max); 0 broadcasts", got: "\(problem.alibiStride)")
    }
  }

  /// Sizes fit 32 bits: the rules have been checked.
  @Sendable private static func params(_ problem: Problem, _ tile: Tile) -> fa_attn_params {
    let (BQ, BK) = (tile.BQ, tile.BK)
    let (qL, kL) = (problem.rows, problem.keys)
    let tiles = tile.count(rows: qL, keys: kL)
    return fa_attn_params(
      B: Int32(problem.batch), H: Int32(problem.heads), D: Int32(problem.headDim), qL: Int32(qL), kL: Int32(kL),
      gqa_factor: Int32(problem.heads / problem.kvHeads), scale: problem.scale, softcap: problem.softcap,
      NQ: Int32(tiles.rows), NK: Int32(tiles.keys), NQ_aligned: Int32(qL / BQ), NK_aligned: Int32(kL / BK),
      qL_rem: Int32(qL % BQ), kL_rem: Int32(kL % BK), qL_off: Int32(problem.offset), reserved: 0,
      Q_strides: problem.qStrides.packed, K_strides: problem.kStrides.packed, V_strides: problem.vStrides.packed,
      O_strides: problem.oStrides.packed)
  }
}

extension FlashAttnPrefill.Problem {
  fileprivate var hasWindow: Bool { window != .unbounded }
}
