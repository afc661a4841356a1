/// Attention of a packed batch over tensors in host memory, in one call: sequences of different lengths, one after the
/// other. The last row of each sequence stands at its last key.
public struct AttentionVarlen: Sendable {
  /// Where the keys of a sequence are, of pages [pages, page_size, kv_heads, head_dim].
  public struct Pages: Sendable {
    /// [batch, columns]: key j of a sequence is row j mod page_size of the page that entry j / page_size names.
    public var table: [UInt32]
    public var columns: Int

    public init(table: [UInt32], columns: Int) {
      self.table = table
      self.columns = columns
    }
  }

  /// [rows, heads, head_dim]
  public var q: HostTensor
  /// [keys, kv_heads, head_dim], or in pages; kv_heads divides q's heads.
  public var k: HostTensor
  public var v: HostTensor
  /// As q; written.
  public var o: HostTensor
  /// Where each sequence's rows begin, and the last one's end, which is the end of q.
  public var queryStarts: [Int]
  /// Likewise keys; nil where they are in pages.
  public var keyStarts: [Int]?
  /// Keys of each sequence, of those it has room for; nil for all of them, without pages.
  public var keyLengths: [Int]?
  public var pages: Pages?
  /// float32 [heads]: a score of each head that joins the sum of every row and has no value.
  public var sinks: HostTensor?
  /// float32 [heads] or [batch, heads]: ALiBi slopes.
  public var alibi: HostTensor?
  /// float32 [heads, rows], contiguous; written: natural logarithm of each row's sum of exponentials.
  public var lse: HostTensor?
  /// A row attends no key after its position.
  public var causal = false
  public var window = Window.unbounded
  public var softcap: Float = 0
  /// 1 / √head_dim if nil.
  public var scale: Float?

  public init(q: HostTensor, k: HostTensor, v: HostTensor, o: HostTensor, queryStarts: [Int], keyStarts: [Int]? = nil) {
    self.q = q
    self.k = k
    self.v = v
    self.o = o
    self.queryStarts = queryStarts
    self.keyStarts = keyStarts
  }

  /// Computes, and returns when the output is there. Nothing is written if it throws.
  public func callAsFunction(on device: Device) throws(FAError) { try call().run(on: device) }

  static let operation = "attention_varlen"

  func call() throws(FAError) -> AttentionCall {
    AttentionCall(operation: Self.operation, problem: try problem(), operands: try memory())
  }

  /// The kernel's problem, after checking that the tensors fit each other.
  private func problem() throws(FAError) -> FlashAttnPrefill.Problem {
    let operation = Self.operation
    let rank = pages == nil ? 3 : 4
    try q.expectRank(3...3, operation, "q", lengths: [0])
    for (tensor, name) in [(k, "k"), (v, "v")] {
      try tensor.expectRank(rank...rank, operation, name, lengths: [0])
      try tensor.expectDType([q.dtype], operation, name)
    }
    try q.expectDType([.f32, .f16, .bf16], operation, "q")
    try o.expectDType([q.dtype], operation, "o")
    let (heads, kvHeads, headDim) = (q.shape[1], k.shape[rank - 2], q.shape[2])
    guard k.shape[rank - 1] == headDim else {
      throw .invalid(operation, "k", expected: "head_dim \(headDim) as q", got: "\(k.sizes)")
    }
    guard v.sizes == k.sizes else { throw .invalid(operation, "v", expected: "\(k.sizes) as k", got: "\(v.sizes)") }
    guard heads.isMultiple(of: kvHeads) else {
      throw .invalid(operation, "k", expected: "a number of heads that divides q's \(heads)", got: "\(kvHeads)")
    }
    guard o.rank == 3, o.sizes == q.sizes else {
      throw .invalid(operation, "o", expected: "\(q.sizes) as q", got: "\(o.sizes)")
    }
    var problem = FlashAttnPrefill.Problem(
      dtype: q.dtype, heads: heads, kvHeads: kvHeads, headDim: headDim, queryLength: 0, keyLength: 0, scale: scale)
    problem.batch = queryStarts.count - 1
    problem.sequences = FlashAttnPrefill.Sequences(
      queryStarts: queryStarts, keyStarts: keyStarts, keyLengths: keyLengths,
      pages: pages.map { .init(count: k.shape[0], size: k.shape[1], table: $0.table, columns: $0.columns) })
    try checkEnds()
    problem.causal = causal
    problem.window = window
    problem.softcap = softcap
    func rows(_ tensor: HostTensor) -> Strides { Strides(batch: 0, head: tensor.stride(1), row: tensor.stride(0)) }
    func keys(_ tensor: HostTensor) -> Strides {
      guard pages != nil else { return rows(tensor) }
      return Strides(batch: tensor.stride(0), head: tensor.stride(2), row: tensor.stride(1))
    }
    problem.layout = .strided(q: rows(q), k: keys(k), v: keys(v), o: rows(o))
    if let sinks { try problem.addSinks(sinks, operation) }
    if let alibi { try problem.addAlibi(alibi, operation) }
    if let lse { try problem.addLSE(lse, [heads, q.shape[0]], operation) }
    return problem
  }

  /// Every row of q belongs to a sequence, so that all of o is written; k may be longer.
  private func checkEnds() throws(FAError) {
    guard queryStarts.last == q.shape[0] else {
      throw .invalid(
        Self.operation, "q_starts", expected: "\(q.shape[0]), the rows of q, in the end",
        got: queryStarts.last.map { "\($0)" } ?? "none")
    }
    if pages == nil, let end = keyStarts?.last, end > k.shape[0] {
      throw .invalid(Self.operation, "k_starts", expected: "at most \(k.shape[0]), the rows of k", got: "\(end)")
    }
  }

  /// The tensors in the order of the kernel's operands, checked against overlap with what is written.
  private func memory() throws(FAError) -> [HostOperand?] {
    let operation = Self.operation
    func operand(
      _ tensor: HostTensor?, _ name: String, writes: Bool = false, packs: Bool = false
    ) throws(FAError) -> HostOperand? {
      try HostOperand(tensor, name, writes: writes, packs: packs, of: operation)
    }
    let operands = [
      try operand(q, "q"), try operand(k, "k"), try operand(v, "v"), try operand(o, "o", writes: true), nil, nil,
      try operand(sinks, "sinks", packs: true), try operand(lse, "lse", writes: true),
      try operand(alibi, "alibi", packs: true),
    ]
    try HostOperand.checkApart(operands, operation)
    return operands
  }
}
