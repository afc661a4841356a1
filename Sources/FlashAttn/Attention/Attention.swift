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
  /// Rank 2 [q, k], 3 [batch, q, k] or 4 [batch, heads, q, k]; a size of 1 broadcasts any dimension but the last.
  /// Boolean (true attends) or of q's dtype (added to the scaled scores).
  public var mask: HostTensor?
  /// float32 [batch, heads, q_len], contiguous; written: natural logarithm of each row's sum of exponentials.
  public var lse: HostTensor?
  public var layout = Layout.bhld
  /// Row i attends keys 0 … i + queryOffset.
  public var causal = false
  /// kv_len − q_len if nil.
  public var queryOffset: Int?
  /// 1 / √head_dim if nil.
  public var scale: Float?

  public init(q: HostTensor, k: HostTensor, v: HostTensor, o: HostTensor) {
    self.q = q
    self.k = k
    self.v = v
    self.o = o
  }

  /// Computes, and returns when the output is there. Nothing is written if it throws.
  public func callAsFunction(on device: Device) throws(FAError) {
    let problem = try problem()
    let tensors = try memory()
    let plan = try FlashAttnPrefill.plan(problem)
    var operands = HostOperands(device: device)
    defer { operands.recycle() }
    let buffers = try operands.bind(tensors)
    let encoder = try CommandEncoder(device: device)
    // One dispatch on fresh buffers has nothing to be ordered against.
    try plan.encode(into: encoder, registry: device.registry, buffers: buffers, tracked: false)
    try encoder.commitAndWait()
    operands.copyOut()
  }

  static let operation = "attention"

  /// The kernel's problem, after checking that the tensors fit each other.
  func problem() throws(FAError) -> FlashAttnPrefill.Problem {
    let operation = Self.operation
    try q.expectRank(4...4, operation, "q")
    try k.expectRank(4...4, operation, "k")
    try v.expectRank(4...4, operation, "v")
    try q.expectDType([.f32, .f16, .bf16], operation, "q")
    try k.expectDType([q.dtype], operation, "k")
    try v.expectDType([q.dtype], operation, "v")
    try o.expectDType([q.dtype], operation, "o")
    let (heads, length) = layout == .bhld ? (1, 2) : (2, 1)
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
    func strides(_ tensor: HostTensor) -> Strides {
      Strides(batch: tensor.stride(0), head: tensor.stride(heads), row: tensor.stride(length))
    }
    problem.layout = .strided(q: strides(q), k: strides(k), v: strides(v), o: strides(o))
    if let mask { try addMask(mask, to: &problem) }
    if let lse { try addLSE(lse, to: &problem) }
    return problem
  }

  private func addMask(_ mask: HostTensor, to problem: inout FlashAttnPrefill.Problem) throws(FAError) {
    let operation = Self.operation
    try mask.expectRank(2...4, operation, "mask")
    try mask.expectDType([.bool, .u8, problem.dtype], operation, "mask")
    let full = [problem.batch, problem.heads, problem.queryLength, problem.keyLength]
    // Rank 3 has no head dimension.
    let dims = mask.rank == 3 ? [0, 2, 3] : Array(4 - mask.rank..<4)
    var strides = [0, 0, 0, 1]
    for (index, dim) in dims.enumerated() {
      let size = mask.shape[index]
      guard size == full[dim] || (size == 1 && dim != 3) else {
        let expected = dims.map { $0 == 3 ? "\(full[$0])" : "\(full[$0]) or 1" }.joined(separator: ", ")
        throw .invalid(operation, "mask", expected: "[\(expected)]", got: "\(mask.sizes)")
      }
      strides[dim] = mask.stride(index)
    }
    problem.mask = mask.dtype == problem.dtype ? .additive : .bool
    problem.maskStrides = Strides(batch: strides[0], head: strides[1], row: strides[2])
  }

  private func addLSE(_ lse: HostTensor, to problem: inout FlashAttnPrefill.Problem) throws(FAError) {
    let operation = Self.operation
    try lse.expectRank(3...3, operation, "lse")
    try lse.expectDType([.f32], operation, "lse")
    let shape = SIMD4(problem.batch, problem.heads, problem.queryLength, lse.shape[3])
    let contiguous = HostTensor(data: nil, dtype: .f32, shape: [shape[0], shape[1], shape[2]])
    guard lse.shape == shape else {
      throw .invalid(operation, "lse", expected: "\(contiguous.sizes)", got: "\(lse.sizes)")
    }
    for index in 0..<3 where lse.stride(index) != contiguous.stride(index) {
      throw .invalid(operation, "lse", expected: "a contiguous tensor", got: "strides \(lse.strides)")
    }
    problem.lse = true
  }

  /// The tensors in the order of the kernel's operands, checked against overlap with what is written.
  func memory() throws(FAError) -> [HostOperand?] {
    let operation = Self.operation
    func operand(_ tensor: HostTensor?, _ name: String, writes: Bool = false) throws(FAError) -> HostOperand? {
      guard let tensor else { return nil }
      if writes, tensor.isReadOnly {
        throw .invalid(operation, name, expected: "a writable tensor", got: "a read-only one")
      }
      return HostOperand(
        name: name, tensor: tensor, bytes: try tensor.memory(operation, name), isWritten: writes)
    }
    let operands = [
      try operand(q, "q"), try operand(k, "k"), try operand(v, "v"), try operand(o, "o", writes: true),
      try operand(mask, "mask"), try operand(lse, "lse", writes: true),
    ]
    for case let output? in operands where output.isWritten {
      for case let other? in operands where other.name != output.name && other.overlaps(output) {
        throw .invalid(
          operation, output.name, expected: "memory of its own", got: "memory it shares with \(other.name)")
      }
    }
    return operands
  }
}
