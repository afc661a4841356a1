/// A prefill problem and the host tensors it is about, which fit it and each other.
struct AttentionCall {
  let operation: String
  let problem: FlashAttnPrefill.Problem
  /// In the order of the kernel's operands.
  let operands: [HostOperand?]

  func run(on device: Device) throws(FAError) {
    let plan = try PrefillChoice.plan(problem, on: device, for: operation)
    guard !plan.steps.isEmpty else { return }
    var host = HostOperands(device: device)
    defer { host.recycle() }
    let buffers = try host.bind(operands)
    let encoder = try CommandEncoder(device: device)
    // The plan orders its own passes, and there is nothing else on fresh buffers to be ordered against.
    try plan.encode(
      into: encoder, registry: device.registry, buffers: buffers, scratch: try host.scratch(plan.scratchBytes),
      tracked: false)
    try encoder.commitAndWait()
    host.copyOut()
  }
}

extension FlashAttnPrefill.Problem {
  mutating func addSinks(_ tensor: HostTensor, _ operation: String) throws(FAError) {
    try tensor.expectRank(1...1, operation, "sinks")
    try tensor.expectDType([.f32], operation, "sinks")
    guard tensor.shape[0] == heads else {
      throw .invalid(operation, "sinks", expected: "[\(heads)], one for each head", got: "\(tensor.sizes)")
    }
    sinks = true
  }

  mutating func addAlibi(_ tensor: HostTensor, _ operation: String) throws(FAError) {
    try tensor.expectRank(1...2, operation, "alibi")
    try tensor.expectDType([.f32], operation, "alibi")
    guard tensor.shape[tensor.rank - 1] == heads, tensor.rank == 1 || tensor.shape[0] == batch else {
      throw .invalid(
        operation, "alibi", expected: "[\(heads)] or [\(batch), \(heads)], a slope for each head",
        got: "\(tensor.sizes)")
    }
    let bound = tensor.needsPacking ? tensor.packed : tensor
    alibi = true
    alibiStride = tensor.rank == 2 ? bound.stride(0) : 0
  }

  mutating func addLSE(_ tensor: HostTensor, _ shape: [Int], _ operation: String) throws(FAError) {
    try tensor.expectRank(shape.count...shape.count, operation, "lse", lengths: [shape.count - 1])
    try tensor.expectDType([.f32], operation, "lse")
    let contiguous = HostTensor(data: nil, dtype: .f32, shape: shape)
    guard tensor.sizes == shape else {
      throw .invalid(operation, "lse", expected: "\(shape)", got: "\(tensor.sizes)")
    }
    for index in shape.indices where tensor.stride(index) != contiguous.stride(index) && shape.last != 0 {
      throw .invalid(operation, "lse", expected: "a contiguous tensor", got: "strides \(tensor.strides)")
    }
    lse = true
  }
}
