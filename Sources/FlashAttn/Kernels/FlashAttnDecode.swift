/// Attention of the last queries of each sequence over its cache of any format. All query heads of a kv head read its
/// keys together, on matrices.
public enum FlashAttnDecode {
  public struct Problem: KernelProblem, Equatable {
    /// Of Q and O, both [B, H, qL, D].
    public var dtype: DType
    public var keys: KVFormat
    public var values: KVFormat
    public var heads: Int
    /// Divides `heads`.
    public var kvHeads: Int
    public var headDim: Int
    /// Queries of each sequence; the last one stands at the last key.
    public var queryLength = 1
    /// Slots of each sequence and kv head. With pages the table says it.
    public var capacity: Int
    /// Keys of each sequence.
    public var keyLengths: [Int]
    /// Slot of each sequence's first key; zeros if nil.
    public var ringStarts: [Int]?
    /// Where keys and values lie, if not in one range of slots for each sequence.
    public var pages: KVPages?
    public var scale: Float
    /// Scores become softcap · tanh(score / softcap); 0: as they are.
    public var softcap: Float = 0
    /// A query attends no key after its own.
    public var causal = false
    /// Keys a query attends up to its own, that one included; all if nil.
    public var window: Int?
    /// Whether each head has a sink, float32 [H].
    public var sinks = false
    /// Slopes of a bias by distance, float32, which is taken from the scores: slope · |query − key|; none if nil.
    public var alibi: Alibi?
    /// Whether the LSE is wanted, float32 [B, H, qL].
    public var lse = false
    /// Norms of version 2 are half.
    public var halfNorms = false
    /// Rotate Q first, as quantised keys want it.
    public var rotatesQuery = false
    /// Take the rotation of quantised values out of O.
    public var undoesRotation = false
    /// Of the rotation's signs; 0 for the default ones.
    public var seed: UInt64 = 0
    /// The encoder's factor for head dimension 512, version 1 of the codec.
    public var scaleFactor: Float = 1
    /// Threadgroups that share a sequence's keys, 1 to 32; as tuned if nil.
    public var splits: Int?
    /// Simdgroups of a threadgroup; as tuned if nil.
    public var nsg: Int?
    /// Contiguous if nil.
    public var qStrides: Strides?
    public var oStrides: Strides?

    public enum Alibi: Hashable, Sendable {
      /// [H], the same for all sequences.
      case heads
      /// [B, H].
      case sequences
    }

    public init(
      dtype: DType, keys: KVFormat, values: KVFormat? = nil, heads: Int, kvHeads: Int? = nil, headDim: Int,
      capacity: Int, keyLengths: [Int], scale: Float? = nil
    ) {
      self.dtype = dtype
      self.keys = keys
      self.values = values ?? keys
      self.heads = heads
      self.kvHeads = kvHeads ?? heads
      self.headDim = headDim
      self.capacity = capacity
      self.keyLengths = keyLengths
      self.scale = scale ?? 1 / Float(headDim).squareRoot()
    }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .B: keyLengths.count
      case .H: heads
      case .Hkv: kvHeads
      case .qL: queryLength
      case .D: headDim
      case .cap: slots
      default: 0
      }
    }

    /// Eight columns of scores at a time: queries of the heads that share a kv head.
    fileprivate var columnGroups: Int { (heads / kvHeads * queryLength + 7) / 8 }
    fileprivate var rows: Int { keyLengths.count &* queryLength &* heads }
    fileprivate var parts: Int { splits ?? 1 }
    fileprivate var simdgroups: Int { nsg ?? (headDim > 128 ? 4 : 8) }
    fileprivate var plain: Strides {
      Strides(batch: heads &* queryLength &* headDim, head: queryLength &* headDim, row: headDim)
    }
    fileprivate var starts: [Int] { ringStarts ?? Array(repeating: 0, count: keyLengths.count) }
    fileprivate var isRing: Bool { starts.contains { $0 != 0 } }
    fileprivate var slots: Int { pages?.capacity(keyLengths.count) ?? capacity }

    /// The keys of a sequence that any of its queries attends.
    fileprivate func attended(_ sequence: Int) -> Range<Int> {
      let end = keyLengths[sequence]
      return max(0, max(0, end - (queryLength - 1)) - (window ?? end))..<end
    }

    /// Rows of a cache with so many elements each.
    fileprivate func cacheShape(_ width: Int) -> [Int] {
      pages?.shape(kvHeads, width) ?? [keyLengths.count, kvHeads, capacity, width]
    }
  }

  static let simdgroupCounts = [1, 2, 4, 8]

  /// The passes that compute `problem`: the keys' share of each threadgroup, and the merge if there are several.
  ///
  /// Operands are q, k, k_norms, v, v_norms, o, partial_states, sinks, lse and, with several splits, partials.
  ///
  /// - Parameter caller: the operation that errors name; the room itself if nil.
  public static func plan(
    _ problem: Problem, tuning: Tuning = Tuning(), for caller: String? = nil
  ) throws(FAError) -> Plan {
    let operation = caller ?? spec.name
    for rule in spec.rules { try rule.check(problem, operation) }
    var problem = problem
    let groups = problem.columnGroups * problem.kvHeads * problem.keyLengths.count
    if problem.splits == nil {
      // A native kernel shares out the keys by itself: parts would only have to be merged again.
      let isWhole = tuning.provider == .native && tuning.decode.splits == nil
      problem.splits = isWhole ? 1 : tuning.decode.splits(keys: problem.keyLengths.max() ?? 0, groups: groups)
    }
    if problem.nsg == nil, let nsg = tuning.decode.nsg {
      problem.nsg = served(problem.headDim).min { abs($0 - nsg) < abs($1 - nsg) }
    }
    let attend = try spec.plan(problem, for: operation)
    guard problem.parts > 1 else { return attend.renamed(operation, ["out": "o"]) }
    return attend.renamed(operation, ["out": "partials"]).then(try merge.plan(problem, for: operation))
  }

  /// `plan` for a device, which keeps the last one: sizes of scratch memory are asked for first, then the work itself.
  ///
  /// - Parameter caller: the operation that errors name; the room itself if nil.
  public static func plan(
    _ problem: Problem, on device: Device, for caller: String? = nil
  ) throws(FAError) -> Plan {
    try device.plans.decode.plan(problem, for: caller ?? spec.name) { () throws(FAError) in
      try plan(problem, tuning: device.tuning, for: caller)
    }
  }

  /// Simdgroups a threadgroup can have: registers limit them, and head dimension 512 takes two at a time.
  private static func served(_ headDim: Int) -> [Int] {
    simdgroupCounts.filter { $0 <= (headDim > 128 ? 4 : 8) && (headDim < 512 || $0 > 1) }
  }

  static let spec = KernelSpec<Problem>(
    name: "flash_attn_decode", variants: variants("flash_attn_decode"),
    operands: [
      Operand(
        slot: 1, name: "q", access: .read, dtype: .io, shape: [.B, .H, .qL, .D],
        strides: { $0.problem.qStrides ?? $0.problem.plain }),
      cache(2, "k", \.keys), norms(3, "k_norms", 70, \.keys), cache(4, "v", \.values),
      norms(5, "v_norms", 71, \.values),
      Operand(
        slot: 6, name: "out", access: .write, dtype: .cache { $0.parts > 1 ? .f32 : $0.dtype },
        shape: [.B, .H, .qL, .D], strides: { $0.problem.oStrides ?? $0.problem.plain },
        extents: { $0.parts > 1 ? [$0.rows, $0.parts, $0.headDim] : nil }),
      states(.write), sinks, lse { $0.lse && $0.parts == 1 },
      Operand(
        slot: 15, name: "alibi", access: .read, dtype: .fixed(.f32), shape: [.H], guardConstant: 80,
        isPresent: { $0.alibi != nil }, extents: { $0.alibi == .sequences ? [$0.keyLengths.count, $0.heads] : nil }),
    ],
    blocks: [
      block,
      ParamBlock(slot: 8, name: "kv_lens", type: "uint", array: { $0.keyLengths.map { UInt32($0) } }),
      ParamBlock(
        slot: 9, name: "ring_starts", type: "uint", guardConstant: 76, isPresent: \.isRing,
        array: { $0.starts.map { UInt32($0) } }),
      Signs.block(slot: 12, seed: \.seed),
      ParamBlock(
        slot: 13, name: "paging", type: "fa_decode_pages", guardConstant: 79, isPresent: { $0.pages != nil },
        make: { problem, _ in problem.pages?.params(problem.keyLengths.count, problem.kvHeads) ?? fa_decode_pages() }),
      ParamBlock(
        slot: 14, name: "block_table", type: "uint", guardConstant: 79, isPresent: { $0.pages != nil },
        array: { $0.pages?.table ?? [] }),
    ],
    constants: [
      Signs.constant(\.seed),
      ConstantRule(index: 61, name: "has_sinks") { problem, _ in .bool(problem.sinks) },
      ConstantRule(index: 62, name: "has_lse") { problem, _ in .bool(problem.lse && problem.parts == 1) },
      ConstantRule(index: 70, name: "k_format") { problem, _ in .int(Int32(problem.keys.rawValue)) },
      ConstantRule(index: 71, name: "v_format") { problem, _ in .int(Int32(problem.values.rawValue)) },
      ConstantRule(index: 72, name: "norms_f16") { problem, _ in .bool(problem.halfNorms) },
      ConstantRule(index: 74, name: "has_softcap") { problem, _ in .bool(problem.softcap > 0) },
      ConstantRule(index: 75, name: "has_window") { problem, _ in .bool(problem.window != nil) },
      ConstantRule(index: 76, name: "has_ring") { problem, _ in .bool(problem.isRing) },
      ConstantRule(index: 77, name: "has_undo") { problem, _ in .bool(problem.undoesRotation && problem.parts == 1) },
      ConstantRule(index: 78, name: "has_rotate_q") { problem, _ in .bool(problem.rotatesQuery) },
      ConstantRule(index: 79, name: "has_pages") { problem, _ in .bool(problem.pages != nil) },
      ConstantRule(index: 80, name: "has_alibi") { problem, _ in .bool(problem.alibi != nil) },
    ],
    rules: [
      .batch { $0.keyLengths.count }, Rule(check: paging), .sizes(.H, .Hkv, .D, .qL, .cap), .divides(.Hkv, .H),
      .factor("scale", \.scale), .within("splits", DecodeProblem.workGroups, \.parts), Rule(check: lengths),
      Rule(check: options), Rule(check: entries),
    ],
    tile: { Tile(BQ: 8, BK: 8 * $0.simdgroups, threads: Size3(32 * $0.simdgroups)) },
    launch: { problem, _ in
      Launch(
        grid: Size3(problem.columnGroups, problem.kvHeads, problem.keyLengths.count * problem.parts),
        threadgroupBytes: [threadgroupBytes(problem)])
    },
    op: .sdpa)

  static let merge = KernelSpec<Problem>(
    name: "flash_attn_decode_merge", source: "flash_attn_decode", variants: variants("flash_attn_decode_merge"),
    operands: [
      Operand(
        slot: 3, name: "o", access: .write, dtype: .io, shape: [.B, .H, .qL, .D],
        strides: { $0.problem.oStrides ?? $0.problem.plain }),
      Operand(
        slot: 6, name: "partials", access: .read, dtype: .fixed(.f32), shape: [.rows, .D],
        extents: { [$0.rows, $0.parts, $0.headDim] }),
      states(.read), lse(\.lse),
    ],
    blocks: [block, Signs.block(slot: 12, seed: \.seed)],
    constants: [
      Signs.constant(\.seed),
      ConstantRule(index: 62, name: "has_lse") { problem, _ in .bool(problem.lse) },
      ConstantRule(index: 77, name: "has_undo") { problem, _ in .bool(problem.undoesRotation) },
    ],
    rules: [],
    tile: { Tile(BQ: 1, BK: 32, threads: Size3(32 * min($0.parts, $0.simdgroups))) },
    launch: { problem, _ in Launch(grid: Size3(problem.queryLength, problem.heads, problem.keyLengths.count)) },
    op: .sdpa)

  private static func variants(_ name: String) -> [Variant] {
    [DType.f32, .f16, .bf16].flatMap { dtype in
      KVFormat.headDims.map { Variant(kernel: "\(name)_\(dtype)_d\($0)", dtype: dtype, headDim: $0) }
    }
  }

  private static func cache(
    _ slot: Int, _ name: String, _ format: @escaping @Sendable (Problem) -> KVFormat
  ) -> Operand<Problem> {
    Operand(
      slot: slot, name: name, access: .read, dtype: .cache { format($0).dtype }, shape: [.B, .Hkv, .cap, .width],
      extents: { $0.cacheShape(format($0).width($0.headDim)) })
  }

  private static func norms(
    _ slot: Int, _ name: String, _ constant: Int, _ format: @escaping @Sendable (Problem) -> KVFormat
  ) -> Operand<Problem> {
    Operand(
      slot: slot, name: name, access: .read,
      dtype: .cache { $0.halfNorms && format($0).version == 2 ? .f16 : .f32 },
      shape: [.B, .Hkv, .cap, .norms], guardConstant: constant, isPresent: { !format($0).isDense },
      extents: { $0.cacheShape(format($0).norms($0.headDim)) })
  }

  /// Sums and maxima; a single threadgroup has none.
  private static func states(_ access: Access) -> Operand<Problem> {
    Operand(
      slot: 7, name: "partial_states", access: access, dtype: .fixed(.f32), shape: [.rows],
      extents: { $0.parts > 1 ? [$0.rows, $0.parts, 2] : [0] })
  }

  private static let sinks = Operand<Problem>(
    slot: 10, name: "sinks", access: .read, dtype: .fixed(.f32), shape: [.H], guardConstant: 61, isPresent: \.sinks)

  private static func lse(_ isPresent: @escaping @Sendable (Problem) -> Bool) -> Operand<Problem> {
    Operand(
      slot: 11, name: "lse", access: .write, dtype: .fixed(.f32), shape: [.B, .H, .qL], guardConstant: 62,
      isPresent: isPresent)
  }

  private static let block = ParamBlock<Problem>(slot: 0, name: "params", type: "fa_decode_params") { problem, _ in
    fa_decode_params(
      batch: UInt32(problem.keyLengths.count), heads: UInt32(problem.heads), kv_heads: UInt32(problem.kvHeads),
      q_len: UInt32(problem.queryLength), capacity: UInt32(problem.slots), splits: UInt32(problem.parts),
      window: UInt32(problem.window ?? 0), causal: problem.causal ? 1 : 0, scale: problem.scale,
      softcap: problem.softcap, scale_factor_d512: problem.scaleFactor,
      slope_stride: problem.alibi == .sequences ? UInt32(problem.heads) : 0,
      q_strides: (problem.qStrides ?? problem.plain).packed, o_strides: (problem.oStrides ?? problem.plain).packed)
  }

  /// The queries, then copies of the tables, then the simdgroups' results share one part; sums, maxima and, where
  /// simdgroups work in pairs, what they exchange come after it.
  private static func threadgroupBytes(_ problem: Problem) -> Int {
    func table(_ format: KVFormat, _ budget: Int) -> Int {
      guard !format.isDense, format != .q8 else { return 0 }
      let size = 1 << format.bits
      return size * min(32, budget / size)
    }
    let isOne = problem.keys == problem.values
    let tables = isOne ? table(problem.keys, 4096) : table(problem.keys, 2048) + table(problem.values, 2048)
    let slices = problem.headDim > 256 ? 2 : 1
    let groups = problem.simdgroups / slices
    let results = 8 * problem.headDim * max(groups / 2, 1)
    return 4 * (max(tables, results) + 16 * (1 + groups) + (slices > 1 ? 128 * problem.simdgroups : 0))
  }

  @Sendable private static func lengths(_ problem: Problem, _ operation: String) throws(FAError) {
    for length in problem.keyLengths where !(0...problem.slots).contains(length) {
      throw .invalid(operation, "kv_len", expected: "0 to the capacity, \(problem.slots)", got: "\(length)")
    }
    if problem.pages != nil { return }
    guard problem.starts.count == problem.keyLengths.count else {
      throw .invalid(
        operation, "ring_start", expected: "one for each of \(problem.keyLengths.count) sequences",
        got: "\(problem.starts.count)")
    }
    for start in problem.starts where !(0..<problem.capacity).contains(start) {
      throw .invalid(operation, "ring_start", expected: "0 to \(problem.capacity - 1)", got: "\(start)")
    }
  }

  @Sendable private static func paging(_ problem: Problem, _ operation: String) throws(FAError) {
    guard let pages = problem.pages else { return }
    try pages.check(problem.keyLengths.count, operation)
    guard problem.ringStarts == nil else {
      throw .invalid(operation, "ring_starts", expected: "none with a block_table", got: "\(problem.starts)")
    }
  }

  /// Once everything else is known to be right.
  @Sendable private static func entries(_ problem: Problem, _ operation: String) throws(FAError) {
    guard let pages = problem.pages else { return }
    for sequence in problem.keyLengths.indices {
      try pages.check(problem.attended(sequence), of: sequence, batch: problem.keyLengths.count, operation)
    }
  }

  @Sendable private static func options(_ problem: Problem, _ operation: String) throws(FAError) {
    guard problem.softcap >= 0, problem.softcap.isFinite else {
      throw .invalid(
        operation, "softcap", expected: "a finite number that is not negative; 0 for none", got: "\(problem.softcap)")
    }
    if let window = problem.window, !(1...Int(Int32.max)).contains(window) {
      throw .invalid(operation, "window", expected: "1 to \(Int32.max) keys", got: "\(window)")
    }
    if let nsg = problem.nsg, !served(problem.headDim).contains(nsg) {
      throw .invalid(
        operation, "nsg", expected: "one of \(served(problem.headDim)) for head_dim \(problem.headDim)", got: "\(nsg)")
    }
    if problem.rotatesQuery, problem.keys.isDense {
      throw .invalid(operation, "rotate_query", expected: "false for dense keys", got: "true")
    }
    if problem.undoesRotation, problem.values.isDense {
      throw .invalid(operation, "undo_rotation", expected: "false for dense values", got: "true")
    }
    guard problem.scaleFactor.isFinite, problem.scaleFactor > 0 else {
      throw .invalid(
        operation, "scale_factor_d512", expected: "a finite number above 0", got: "\(problem.scaleFactor)")
    }
  }
}
