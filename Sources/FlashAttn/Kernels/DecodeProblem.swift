/// Which keys the queries of a decode attend.
public enum DecodeMask: Hashable, Sendable {
  /// Every query all keys.
  case none
  /// The last query all keys, the ones before it one less each.
  case causal
  /// Causal, and so many keys at most, the query's own included.
  case window(Int)
}

/// What the decode kernels of the vec family compute: up to eight queries for each of several sequences, against a
/// cache that holds keys and values in one format.
///
/// Q and O are float32 [B, H, qL, D]. A query without any key to attend gives zeros, and −inf (or its sink) as its LSE.
public struct DecodeProblem: KernelProblem {
  /// Of keys and values.
  public var format: KVFormat
  /// Query heads.
  public var heads: Int
  /// Divides `heads`.
  public var kvHeads: Int
  public var headDim: Int
  /// Queries of each sequence, at most 8; the last one stands at the last key.
  public var queryLength = 1
  /// Slots of each sequence and kv head.
  public var capacity: Int
  /// Keys of each sequence.
  public var keyLengths: [Int]
  /// Slot of each sequence's first key; zeros if nil.
  public var ringStarts: [Int]?
  /// Multiplies q · k.
  public var scale: Float
  /// Scores become softcap · tanh(score / softcap); 0: as they are.
  public var softcap: Float = 0
  public var mask = DecodeMask.none
  /// Whether each head has a sink, float32 [H].
  public var sinks = false
  /// Whether the LSE is wanted, float32 [B, H, qL].
  public var lse = false
  /// Work-groups that share a query's keys; as tuned if nil.
  public var nwg: Int?
  /// Simdgroups of a work-group, 1, 2 or 4; `FlashAttnVecTqHb` only, as tuned if nil.
  public var nsg: Int?
  /// Rotate Q first; `FlashAttnVecTqHb` only.
  public var rotatesQuery = false
  /// Take the rotation out of O; `FlashAttnVecTq` and `FlashAttnVecTqHb` only.
  public var undoesRotation = false
  /// Of the rotation's signs; 0 for the default ones.
  public var seed: UInt64 = 0
  /// The encoder's factor for head dimension 512, version 1 of the codec.
  public var scaleFactor: Float = 1

  public init(
    format: KVFormat, heads: Int, kvHeads: Int? = nil, headDim: Int, capacity: Int, keyLengths: [Int],
    scale: Float? = nil
  ) {
    self.format = format
    self.heads = heads
    self.kvHeads = kvHeads ?? heads
    self.headDim = headDim
    self.capacity = capacity
    self.keyLengths = keyLengths
    self.scale = scale ?? 1 / Float(headDim).squareRoot()
  }
}

extension DecodeProblem {
  static let queryLimit = 8
  static let workGroups = 1...32
  static let simdgroupCounts = [1, 2, 4]

  var dtype: DType { format.isDense ? format.dtype : .f32 }
  var batch: Int { keyLengths.count }
  /// Rows of Q and O.
  var rows: Int { batch &* queryLength &* heads }
  var splits: Int { nwg ?? 1 }

  func size(of dim: Dim) -> Int {
    switch dim {
    case .B: batch
    case .H: heads
    case .Hkv: kvHeads
    case .qL: queryLength
    case .D: headDim
    case .cap: capacity
    case .width: format.width(headDim)
    case .norms: format.norms(headDim)
    default: 0
    }
  }

  /// Whether sequences are described one by one.
  var isBatched: Bool { batch > 1 || queryLength > 1 || (format.isDense && starts.contains { $0 != 0 }) }

  var starts: [Int] { ringStarts ?? Array(repeating: 0, count: batch) }

  var maskType: UInt32 {
    switch mask {
    case .none: 0
    case .causal: 1
    case .window: 2
    }
  }

  var window: UInt32 { if case .window(let keys) = mask { UInt32(keys) } else { 0 } }

  /// The second pass.
  var merge: FlashAttnVecReduce.Problem {
    var merge = FlashAttnVecReduce.Problem(
      batch: batch, heads: heads, queryLength: queryLength, headDim: headDim, nwg: splits)
    merge.lse = lse
    merge.undoesRotation = undoesRotation
    merge.seed = seed
    return merge
  }
}

/// What the specs of the family have in common.
enum DecodeSpec {
  typealias Problem = DecodeProblem

  /// Keys that a simdgroup takes at a time.
  static let chunk = 32

  /// Slots of K, V and O.
  enum Slots { case dense, codes }

  static func spec(
    _ name: String, _ formats: [KVFormat], variants: [Variant], slots: Slots,
    block: ParamBlock<Problem>, blocks: [ParamBlock<Problem>] = [], constants: [ConstantRule<Problem>] = [],
    rules: [Rule<Problem>] = []
  ) -> KernelSpec<Problem> {
    KernelSpec(
      name: name, variants: variants, operands: operands(slots), blocks: [block] + self.blocks + blocks,
      constants: self.constants + constants,
      rules: [
        .format(formats, \.format), .batch(\.batch), .sizes(.H, .Hkv, .D, .cap), .divides(.Hkv, .H),
        .within("q_len", 1...DecodeProblem.queryLimit, \.queryLength), .factor("scale", \.scale),
        .within("nwg", DecodeProblem.workGroups, \.splits), Rule(check: lengths), Rule(check: options),
      ] + rules,
      tile: { Tile(BQ: 1, BK: chunk, threads: Size3(32, $0.nsg ?? 1)) },
      launch: { problem, _ in
        let padded = max(problem.headDim, 128)
        return Launch(
          grid: Size3(problem.queryLength, problem.heads, problem.splits * problem.batch),
          threadgroupBytes: [2 * (padded + (problem.nsg ?? 1) * (128 + 2 * padded))])
      },
      op: .sdpa)
  }

  private static func operands(_ slots: Slots) -> [Operand<Problem>] {
    let data: Operand<Problem>.DTypeRule = slots == .dense ? .io : .fixed(.u8)
    func cache(_ slot: Int, _ name: String) -> Operand<Problem> {
      Operand(slot: slot, name: name, access: .read, dtype: data, shape: [.B, .Hkv, .cap, .width])
    }
    func norms(_ slot: Int, _ name: String) -> Operand<Problem> {
      Operand(slot: slot, name: name, access: .read, dtype: .fixed(.f32), shape: [.B, .Hkv, .cap, .norms])
    }
    let caches =
      slots == .dense
      ? [cache(2, "k"), cache(3, "v")] : [cache(2, "k"), norms(3, "k_norms"), cache(4, "v"), norms(5, "v_norms")]
    return [Operand(slot: 1, name: "q", access: .read, dtype: .fixed(.f32), shape: [.B, .H, .qL, .D])] + caches + [
      Operand(
        slot: slots == .dense ? 4 : 6, name: "dst", access: .write, dtype: .fixed(.f32), shape: [.B, .H, .qL, .D],
        extents: { $0.splits > 1 ? [$0.rows, $0.splits, $0.headDim + 2] : nil }),
      Operand(
        slot: 10, name: "sinks", access: .read, dtype: .fixed(.f32), shape: [.H], guardConstant: 61,
        isPresent: \.sinks),
      Operand(
        slot: 11, name: "lse", access: .write, dtype: .fixed(.f32), shape: [.B, .H, .qL], guardConstant: 62,
        isPresent: { $0.lse && $0.splits == 1 }),
    ]
  }

  private static let blocks: [ParamBlock<Problem>] = [
    ParamBlock(slot: 7, name: "batch", type: "fa_decode_batch", guardConstant: 60, isPresent: \.isBatched) {
      problem, _ in
      fa_decode_batch(batch: UInt32(problem.batch), q_len: UInt32(problem.queryLength), reserved: (0, 0))
    },
    ParamBlock(
      slot: 8, name: "kv_lens", type: "uint", guardConstant: 60, isPresent: \.isBatched,
      array: { $0.keyLengths.map { UInt32($0) } }),
    ParamBlock(
      slot: 9, name: "ring_starts", type: "uint", guardConstant: 60, isPresent: \.isBatched,
      array: { $0.starts.map { UInt32($0) } }),
  ]

  private static let constants: [ConstantRule<Problem>] = [
    ConstantRule(index: 60, name: "has_batch") { problem, _ in .bool(problem.isBatched) },
    ConstantRule(index: 61, name: "has_sinks") { problem, _ in .bool(problem.sinks) },
    ConstantRule(index: 62, name: "has_lse") { problem, _ in .bool(problem.lse && problem.splits == 1) },
  ]

  @Sendable private static func lengths(_ problem: Problem, _ operation: String) throws(FAError) {
    for length in problem.keyLengths where !(0...problem.capacity).contains(length) {
      throw .invalid(operation, "kv_len", expected: "0 to the capacity, \(problem.capacity)", got: "\(length)")
    }
    guard problem.starts.count == problem.batch else {
      throw .invalid(
        operation, "ring_start", expected: "one for each of \(problem.batch) sequences",
        got: "\(problem.starts.count)")
    }
    for start in problem.starts where !(0..<problem.capacity).contains(start) {
      throw .invalid(operation, "ring_start", expected: "0 to \(problem.capacity - 1)", got: "\(start)")
    }
  }

  @Sendable private static func options(_ problem: Problem, _ operation: String) throws(FAError) {
    guard problem.softcap >= 0, problem.softcap.isFinite else {
      throw .invalid(
        operation, "softcap", expected: "a finite number that is not negative; 0 for none", got: "\(problem.softcap)")
    }
    if case .window(let keys) = problem.mask, !(1...Int(Int32.max)).contains(keys) {
      throw .invalid(operation, "window", expected: "1 to \(Int32.max) keys", got: "\(keys)")
    }
    let takesSimdgroups = operation == FlashAttnVecTqHb.spec.name
    let served = takesSimdgroups ? DecodeProblem.simdgroupCounts : [1]
    if let nsg = problem.nsg, !served.contains(nsg) {
      throw .invalid(
        operation, "nsg", expected: takesSimdgroups ? "1, 2 or 4" : "none, or 1, for this kernel", got: "\(nsg)")
    }
    if problem.rotatesQuery, !takesSimdgroups {
      throw .invalid(operation, "rotate_query", expected: "false for this kernel", got: "true")
    }
    if problem.undoesRotation, problem.format.isDense {
      throw .invalid(operation, "undo_rotation", expected: "false for a dense cache", got: "true")
    }
    guard problem.scaleFactor.isFinite, problem.scaleFactor > 0 else {
      throw .invalid(
        operation, "scale_factor_d512", expected: "a finite number above 0", got: "\(problem.scaleFactor)")
    }
  }

  /// First pass, then the merge if there are several work-groups, or the rotation if there is one.
  static func plan(_ spec: KernelSpec<Problem>, _ problem: Problem) throws(FAError) -> Plan {
    let attend = try spec.plan(problem)
    if problem.splits > 1 {
      let merge = try FlashAttnVecReduce.plan(problem.merge)
      return attend.renamed(spec.name, ["dst": "tmp"]).then(merge.renamed(spec.name, ["dst": "o"]))
    }
    let whole = attend.renamed(spec.name, ["dst": "o"])
    guard problem.undoesRotation else { return whole }
    var rotation = FwhtStandalone.Problem(.signUndo, headDim: problem.headDim, rows: problem.rows)
    rotation.seed = problem.seed
    return whole.then(try FwhtStandalone.plan(rotation).renamed(spec.name, ["data": "o"]))
  }
}
