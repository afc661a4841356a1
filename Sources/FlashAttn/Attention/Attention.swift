/// Attention over tensors in host memory, in one call.
///
/// Tensors are wrapped where the device can use host memory as it is, and copied in and out elsewhere.
public struct Attention: Sendable {
  public enum Layout: Sendable {
    /// [batch, heads, length, head_dim]
    case bhld
    /// [batch, length, heads, head_dim]
    case blhd
  }

  public var q: HostTensor
  /// With its own number of heads, a divisor of q's.
  public var k: HostTensor
  public var v: HostTensor
  /// As q; written.
  public var o: HostTensor
  /// Rank 2 [q, k], 3 [batch, q, k] or 4 [batch, heads, q, k]; a size of 1 broadcasts, and strides may be any.
  /// Boolean (true attends) or of q's dtype (added to the scaled scores).
  public var mask: HostTensor?
  /// float32 [heads]: a score of each head that joins the sum of every row and has no value.
  public var sinks: HostTensor?
  /// float32 [heads] or [batch, heads]: an ALiBi slope, whose product with the distance of row and key is taken from the
  /// score before any mask.
  public var alibi: HostTensor?
  /// float32 [batch, heads, q_len], contiguous; written: natural logarithm of each row's sum of exponentials.
  public var lse: HostTensor?
  public var layout = Layout.bhld
  /// A row attends no key after its position.
  public var causal = false
  /// Keys a row attends before and after its position.
  public var window = Window.unbounded
  /// Position of the first row among the keys; kv_len − q_len if nil.
  public var queryOffset: Int?
  /// Scores become softcap · tanh(score / softcap) before any mask; 0: as they are.
  public var softcap: Float = 0
  /// 1 / √head_dim if nil.
  public var scale: Float?

  public init(q: HostTensor, k: HostTensor, v: HostTensor, o: HostTensor) {
    self.q = q
    self.k = k
    self.v = v
    self.o = o
  }

  /// Computes, and returns when the output is there. Nothing is written if it throws.
  public func callAsFunction(on device: Device) throws(FAError) { try call().run(on: device) }

  func call() throws(FAError) -> AttentionCall {
    AttentionCall(operation: Self.operation, problem: try problem(), operands: try memory())
  }

  static let operation = "attention"

  /// The kernel's problem, after checking that the tensors fit each other.
  func problem() throws(FAError) -> FlashAttnPrefill.Problem {
    let operation = Self.operation
    let (heads, length) = layout == .bhld ? (1, 2) : (2, 1)
    try q.expectRank(4...4, operation, "q", lengths: [length])
    try k.expectRank(4...4, operation, "k", lengths: [length])
    try v.expectRank(4...4, operation, "v", lengths: [length])
    try q.expectDType([.f32, .f16, .bf16], operation, "q")
    try k.expectDType([q.dtype], operation, "k")
    try v.expectDType([q.dtype], operation, "v")
    try o.expectDType([q.dtype], operation, "o")
    guard k.shape[0] == q.shape[0], k.shape[3] == q.shape[3] else {
      throw .invalid(
        operation, "k", expected: "batch \(q.shape[0]) and head_dim \(q.shape[3]) as q", got: "\(k.sizes)")
    }
    guard v.shape == k.shape else { throw .invalid(operation, "v", expected: "\(k.sizes) as k", got: "\(v.sizes)") }
    guard q.shape[heads].isMultiple(of: k.shape[heads]) else {
      throw .invalid(
        operation, "k", expected: "a number of heads that divides q's \(q.shape[heads])", got: "\(k.shape[heads])")
    }
    guard o.rank == 4, o.shape == q.shape else {
      throw .invalid(operation, "o", expected: "\(q.sizes) as q", got: "\(o.sizes)")
    }
    var problem = FlashAttnPrefill.Problem(
      dtype: q.dtype, heads: q.shape[heads], kvHeads: k.shape[heads], headDim: q.shape[3],
      queryLength: q.shape[length], keyLength: k.shape[length], scale: scale)
    problem.batch = q.shape[0]
    problem.causal = causal
    problem.queryOffset = queryOffset
    problem.window = window
    problem.softcap = softcap
    func strides(_ tensor: HostTensor) -> Strides {
      Strides(batch: tensor.stride(0), head: tensor.stride(heads), row: tensor.stride(length))
    }
    problem.layout = .strided(q: strides(q), k: strides(k), v: strides(v), o: strides(o))
    if let mask { try addMask(mask, to: &problem) }
    if let sinks { try problem.addSinks(sinks, operation) }
    if let alibi { try problem.addAlibi(alibi, operation) }
    if let lse { try problem.addLSE(lse, [problem.batch, problem.heads, problem.queryLength], operation) }
    return problem
  }

  private func addMask(_ mask: HostTensor, to problem: inout FlashAttnPrefill.Problem) throws(FAError) {
    let operation = Self.operation
    try mask.expectRank(2...4, operation, "mask", lengths: Array(0..<4))
    try mask.expectDType([.bool, .u8, problem.dtype], operation, "mask")
    let full = [problem.batch, problem.heads, problem.queryLength, problem.keyLength]
    // Rank 3 has no head dimension.
    let dims = mask.rank == 3 ? [0, 2, 3] : Array(4 - mask.rank..<4)
    for (index, dim) in dims.enumerated() where mask.shape[index] != full[dim] && mask.shape[index] != 1 {
      let expected = dims.map { "\(full[$0]) or 1" }.joined(separator: ", ")
      throw .invalid(operation, "mask", expected: "[\(expected)]", got: "\(mask.sizes)")
    }
    var strides = [0, 0, 0, 1]
    let expanded = mask.expanded(to: problem.keyLength)
    let bound = expanded.needsPacking ? expanded.packed : expanded
    for (index, dim) in dims.enumerated() { strides[dim] = bound.stride(index) }
    problem.mask = mask.dtype == problem.dtype ? .additive : .bool
    problem.maskStrides = Strides(batch: strides[0], head: strides[1], row: strides[2])
  }

  /// The tensors in the order of the kernel's operands, checked against overlap with what is written.
  func memory() throws(FAError) -> [HostOperand?] {
    let operation = Self.operation
    func operand(
      _ tensor: HostTensor?, _ name: String, writes: Bool = false, packs: Bool = false
    ) throws(FAError) -> HostOperand? {
      try HostOperand(tensor, name, writes: writes, packs: packs, of: operation)
    }
    let keys = k.shape[layout == .bhld ? 2 : 1]
    let operands = [
      try operand(q, "q"), try operand(k, "k"), try operand(v, "v"), try operand(o, "o", writes: true),
      try operand(mask?.expanded(to: keys), "mask", packs: true), nil, try operand(sinks, "sinks", packs: true),
      try operand(lse, "lse", writes: true), try operand(alibi, "alibi", packs: true),
    ]
    try HostOperand.checkApart(operands, operation)
    return operands
  }
}
