extension FlashAttnPrefill {
  /// Sequences of different lengths, a batch each; nil for what they do without. The last row of each sequence stands at
  /// its last key.
  public struct Sequences: Hashable, Sendable {
    /// Where each sequence's rows begin, and the last one's end: batch + 1 of them, and q and o are [rows, H, D].
    public var queryStarts: [Int]?
    /// Likewise for keys, with `queryStarts`: k and v are [keys, Hkv, D].
    public var keyStarts: [Int]?
    /// Keys of each sequence, of those it has room for; nil for all of them.
    public var keyLengths: [Int]?
    /// In place of `keyStarts`, with `keyLengths`.
    public var pages: Pages?

    public init(
      queryStarts: [Int]? = nil, keyStarts: [Int]? = nil, keyLengths: [Int]? = nil, pages: Pages? = nil
    ) {
      self.queryStarts = queryStarts
      self.keyStarts = keyStarts
      self.keyLengths = keyLengths
      self.pages = pages
    }
  }

  /// Keys and values in pages, [count, size, Hkv, D], which sequences have in any order and may share.
  public struct Pages: Hashable, Sendable {
    /// Pages there are.
    public var count: Int
    /// Keys of a page.
    public var size: Int
    /// [batch, columns]: key j of a sequence is row j mod `size` of the page that entry j / `size` names. Entries behind
    /// a sequence's length are not read.
    public var table: [UInt32]
    /// Entries of each sequence.
    public var columns: Int

    public init(count: Int, size: Int, table: [UInt32], columns: Int) {
      self.count = count
      self.size = size
      self.table = table
      self.columns = columns
    }
  }
}

extension FlashAttnPrefill.Sequences {
  /// The most rows of a sequence; nil where all have the same.
  var longestQuery: Int? { queryStarts.map { Self.lengths($0).max() ?? 0 } }
  /// The most keys of a sequence; nil where the problem says.
  var longestKeys: Int? {
    if pages != nil { return keyLengths?.max() ?? 0 }
    return keyStarts.map { Self.lengths($0).max() ?? 0 }
  }
  var isPacked: Bool { queryStarts != nil }

  /// Of starts that have been checked.
  static func lengths(_ starts: [Int]) -> [Int] { zip(starts.dropFirst(), starts).map { $0 &- $1 } }

  /// Refuses whatever a kernel could not follow; the problem's other rules come after it.
  @Sendable static func check(_ problem: FlashAttnPrefill.Problem, _ operation: String) throws(FAError) {
    guard let own = problem.sequences else { return }
    try own.checkTogether(problem, operation)
    try check(own.queryStarts, "q_starts", problem, operation)
    try check(own.keyStarts, "k_starts", problem, operation)
    guard let keyLengths = own.keyLengths else { return }
    guard keyLengths.count == problem.batch else {
      throw .invalid(
        operation, "kv_lens", expected: "\(problem.batch), one for each sequence", got: "\(keyLengths.count)")
    }
    if let pages = own.pages { try pages.check(problem, operation) }
    for (index, length) in keyLengths.enumerated() {
      let room = own.room(index) ?? problem.keyLength
      guard (0...room).contains(length) else {
        throw .invalid(
          operation, "kv_lens", expected: "0 to \(room), the room of sequence \(index)", got: "\(length)")
      }
    }
    try own.pages?.check(lengths: keyLengths, operation)
  }

  /// Keys a sequence has room for; nil where the problem says.
  private func room(_ index: Int) -> Int? {
    if let pages { return min(pages.columns.multipliedReportingOverflow(by: pages.size).partialValue, Int(Int32.max)) }
    return keyStarts.map { $0[index + 1] - $0[index] }
  }

  private func checkTogether(_ problem: FlashAttnPrefill.Problem, _ operation: String) throws(FAError) {
    func refuse(_ argument: String, _ expected: String, _ got: String) throws(FAError) {
      throw .invalid(operation, argument, expected: expected, got: got)
    }
    let name = isPacked ? "q_starts" : pages != nil ? "a block_table" : "kv_lens"
    if let offset = problem.queryOffset { try refuse("q_offset", "none with \(name)", "\(offset)") }
    if let capacity = problem.kvCapacity { try refuse("kv_capacity", "none with \(name)", "\(capacity)") }
    if keyStarts != nil, !isPacked { try refuse("k_starts", "none without q_starts", "starts") }
    if keyStarts != nil, pages != nil { try refuse("k_starts", "none with a block_table", "starts") }
    if isPacked, keyStarts == nil, pages == nil {
      try refuse("k_starts", "starts, or a block_table, with q_starts", "none")
    }
    if pages != nil, keyLengths == nil { try refuse("kv_lens", "lengths with a block_table", "none") }
    if isPacked || pages != nil {
      if problem.mask != .none { try refuse("mask", "none with \(name)", "a mask") }
      if problem.blk { try refuse("blk", "none with \(name)", "block bytes") }
    }
  }

  private static func check(
    _ starts: [Int]?, _ argument: String, _ problem: FlashAttnPrefill.Problem, _ operation: String
  ) throws(FAError) {
    guard let starts else { return }
    guard problem.batch >= 0, problem.batch < Int(Int32.max), starts.count == problem.batch + 1 else {
      throw .invalid(
        operation, argument, expected: "one for each of \(problem.batch) sequences and an end", got: "\(starts.count)")
    }
    var before = 0
    for (index, start) in starts.enumerated() {
      guard index > 0 || start == 0, (before...Int(Int32.max)).contains(start) else {
        let expected = index == 0 ? "0 to begin with" : "\(before), the one before, to \(Int32.max)"
        throw .invalid(operation, argument, expected: expected, got: "\(start)")
      }
      before = start
    }
  }
}

extension FlashAttnPrefill.Pages {
  fileprivate func check(_ problem: FlashAttnPrefill.Problem, _ operation: String) throws(FAError) {
    for (argument, value, least) in [("pages", count, 0), ("page_size", size, 1), ("pages_per_sequence", columns, 0)]
    where !(least...Int(Int32.max)).contains(value) {
      throw .invalid(operation, argument, expected: "\(least) to \(Int32.max)", got: "\(value)")
    }
    guard Extent.product([problem.batch, columns]) == table.count else {
      throw .invalid(
        operation, "block_table", expected: "[\(problem.batch), \(columns)]", got: "\(table.count) entries")
    }
  }

  /// Entries that will be followed name pages there are.
  fileprivate func check(lengths: [Int], _ operation: String) throws(FAError) {
    for (sequence, length) in lengths.enumerated() {
      let used = length / size + (length % size > 0 ? 1 : 0)
      for column in 0..<used where table[sequence * columns + column] >= count {
        throw .invalid(
          operation, "block_table", expected: "pages below \(count)",
          got: "\(table[sequence * columns + column]) at [\(sequence), \(column)]")
      }
    }
  }
}

// MARK: What the spec binds

extension FlashAttnPrefill.Problem {
  /// Rows of the grid: the most that a sequence has.
  var rows: Int { sequences?.longestQuery ?? queryLength }
  /// The most keys that a sequence has, or has room for.
  var keys: Int { sequences?.longestKeys ?? keyLength }

  /// [batches, heads, rows, D] of q and o where they are packed.
  var packedQuerySizes: [Int]? { sequences?.queryStarts.map { [1, heads, $0.last ?? 0, headDim] } }
  /// [batches or pages, heads, keys, D] of k and v where they are packed or in pages.
  var packedKeySizes: [Int]? {
    if let pages = sequences?.pages { return [pages.count, kvHeads, pages.size, headDim] }
    return sequences?.keyStarts.map { [1, kvHeads, $0.last ?? 0, headDim] }
  }

  static let sequenceBlocks: [ParamBlock<Self>] = [
    ParamBlock(
      slot: 13, name: "q_starts", type: "uint", guardConstant: 310, isPresent: { $0.sequences?.queryStarts != nil },
      array: { packed($0.sequences?.queryStarts) }),
    ParamBlock(
      slot: 14, name: "k_starts", type: "uint", guardConstant: 313, isPresent: { $0.sequences?.keyStarts != nil },
      array: { packed($0.sequences?.keyStarts) }),
    ParamBlock(
      slot: 15, name: "block_table", type: "uint", guardConstant: 311, isPresent: { $0.sequences?.pages != nil },
      // No slot is empty; without columns no entry is read.
      array: { $0.sequences?.pages.flatMap { $0.table.isEmpty ? nil : $0.table } ?? [0] }),
    ParamBlock(
      slot: 16, name: "kv_lens", type: "uint", guardConstant: 312, isPresent: { $0.sequences?.keyLengths != nil },
      array: { packed($0.sequences?.keyLengths) }),
    ParamBlock(
      slot: 17, name: "page_params", type: "fa_attn_page_params", guardConstant: 311,
      isPresent: { $0.sequences?.pages != nil },
      make: { problem, _ in
        let pages = problem.sequences?.pages
        return fa_attn_page_params(
          page_size: UInt32(pages?.size ?? 1), pages_per_sequence: UInt32(pages?.columns ?? 0))
      }),
  ]

  static let sequenceConstants: [ConstantRule<Self>] = [
    ConstantRule(index: 310, name: "has_varlen") { problem, _ in problem.sequences.map { .bool($0.isPacked) } },
    ConstantRule(index: 311, name: "has_pages") { problem, _ in problem.sequences.map { .bool($0.pages != nil) } },
    ConstantRule(index: 312, name: "has_kv_lens") { problem, _ in problem.sequences.map { .bool($0.keyLengths != nil) }
    },
    ConstantRule(index: 313, name: "has_k_starts") { problem, _ in problem.sequences.map { .bool($0.keyStarts != nil) }
    },
  ]

  private static func packed(_ values: [Int]?) -> [UInt32] { (values ?? []).map { UInt32($0) } }
}
