extension KVCache {
  /// Tokens to append: [B, Hkv, n, D], any strides that are not negative, innermost 1.
  public struct Tokens: Sendable {
    public var keys: HostTensor
    public var values: HostTensor

    public init(keys: HostTensor, values: HostTensor) {
      self.keys = keys
      self.values = values
    }

    var count: Int { keys.shape[2] }
  }

  /// Appends tokens to every sequence, and attends.
  ///
  /// All or nothing: if it throws, the cache is what it was, unless the device failed at work that had begun.
  public func step(append tokens: Tokens? = nil, attend queries: Queries? = nil) throws(FAError) {
    try state.withLock { state throws(FAError) in
      var work = WorkList(device: device)
      var operands = HostOperands(device: device)
      defer {
        work.recycle()
        operands.recycle()
      }
      var next = state
      if let tokens { try append(tokens, &next, &work, &operands) }
      if let queries { try attend(queries, next, &work, &operands) }
      try work.run()
      operands.copyOut()
      state = next
    }
  }

  /// `step` in the caller's encoder. Nothing has run when this returns, but the cache counts the tokens as there: the
  /// work has to be committed before anything else is done with the cache outside of that encoder.
  ///
  /// Tensors are those of buffers, and the cache does not grow.
  public func encode(
    append tokens: Tokens? = nil, attend queries: Queries? = nil, into encoder: CommandEncoder
  ) throws(FAError) {
    let operation = "kv_cache_encode"
    guard encoder.device === device else {
      throw .invalid(operation, "encoder", expected: "one of the cache's device", got: "one of another device")
    }
    let tensors = [
      ("k", tokens?.keys), ("v", tokens?.values), ("q", queries?.q), ("o", queries?.o), ("sinks", queries?.sinks),
      ("lse", queries?.lse),
    ]
    for case (let name, let tensor?) in tensors where tensor.buffer == nil {
      throw .invalid(operation, name, expected: "a buffer's elements", got: "host memory")
    }
    try state.withLock { state throws(FAError) in
      var work = WorkList(device: device, encoder: encoder)
      var operands = HostOperands(device: device)
      var next = state
      if let tokens { try append(tokens, &next, &work, &operands) }
      if let queries { try attend(queries, next, &work, &operands) }
      try work.run()
      state = next
    }
  }

  private func append(
    _ tokens: Tokens, _ state: inout State, _ work: inout WorkList, _ operands: inout HostOperands
  ) throws(FAError) {
    let operation = "kv_cache_append"
    try check(tokens, operation)
    let count = tokens.count
    guard count > 0 else { return }
    let newest = (state.ends.max() ?? 0) + count
    if configuration.ring {
      guard newest <= Int(Int32.max) else {
        throw .invalid(operation, "k", expected: "positions below 2^31", got: "\(newest)")
      }
    } else {
      if work.encoder == nil { try grow(&state, to: newest) }
      guard newest <= state.capacity else {
        throw .invalid(
          operation, "k",
          expected: "at most \(state.capacity - newest + count) tokens, the room left of \(state.capacity)",
          got: "\(count)")
      }
    }
    let keys = try encode(state.keys, tokens.keys, "k", state, &work, &operands)
    work.add(keys + (try encode(state.values, tokens.values, "v", state, &work, &operands)))
    for index in state.ends.indices {
      state.ends[index] += count
      state.begins[index] = max(state.begins[index], state.ends[index] - state.capacity)
    }
  }

  /// What brings the tokens of one half to their slots.
  private func encode(
    _ half: Half, _ tensor: HostTensor, _ name: String, _ state: State, _ work: inout WorkList,
    _ operands: inout HostOperands
  ) throws(FAError) -> [WorkList.Job] {
    let operation = "kv_cache_append"
    let bytes = try tensor.memory(operation, name)
    let source = try operands.bind(HostOperand(name: name, tensor: tensor, bytes: bytes, isWritten: false))
    if half.format.version == 1 { return try encodeVersion1(half, tensor, source, state, &work) }
    var problem = KvEncode.Problem(
      dtype: tensor.dtype, format: half.format, kvHeads: configuration.kvHeads, headDim: configuration.headDim,
      tokens: tensor.shape[2], capacity: state.capacity, positions: state.ends)
    problem.ring = configuration.ring
    problem.halfNorms = configuration.halfNorms && !half.format.isDense
    problem.seed = half.format.isDense ? 0 : configuration.seed
    problem.strides = Self.strides(tensor)
    let plan = try KvEncode.plan(problem, on: device, for: operation)
    let buffers = NamedBuffers([("src", source), ("data", half.data), ("norms", half.norms)])
    return [WorkList.Job(plan: plan, buffers: buffers)]
  }

  /// The encoders of version 1 want one sequence's float tokens, [n, Hkv, D].
  private func encodeVersion1(
    _ half: Half, _ tensor: HostTensor, _ source: Buffer, _ state: State, _ work: inout WorkList
  ) throws(FAError) -> [WorkList.Job] {
    let operation = "kv_cache_append"
    let (batch, heads, headDim) = (configuration.batch, configuration.kvHeads, configuration.headDim)
    let count = tensor.shape[2]
    let tokens = try work.scratch(.f32, [batch, count, heads, headDim])
    // Heads and tokens change places.
    var gather = KvEncode.Problem(
      dtype: tensor.dtype, format: .f32, kvHeads: count, headDim: headDim, tokens: heads, capacity: heads,
      positions: Array(repeating: 0, count: batch))
    gather.strides = Strides(batch: tensor.stride(0), head: tensor.stride(2), row: tensor.stride(1))
    work.add(try KvEncode.plan(gather).renamed(operation), ["src": source, "data": tokens])
    var jobs: [WorkList.Job] = []
    for sequence in 0..<batch {
      var problem = HadamardQuantizeKv.Problem(
        format: half.format, kvHeads: heads, headDim: headDim, capacity: state.capacity)
      problem.tokens = count
      problem.position = state.ends[sequence]
      problem.ring = configuration.ring
      let slots = sequence * heads * state.capacity
      let buffers = NamedBuffers([
        ("src", try tokens.from(sequence * count * heads * headDim, operation)),
        ("packed", try half.data.from(slots * half.format.width(headDim), operation)),
        ("norms", try half.norms?.from(slots * half.format.norms(headDim), operation)),
      ])
      jobs.append(WorkList.Job(plan: try HadamardQuantizeKv.plan(problem).renamed(operation), buffers: buffers))
    }
    return jobs
  }

  private func check(_ tokens: Tokens, _ operation: String) throws(FAError) {
    let expected = SIMD4(configuration.batch, configuration.kvHeads, tokens.count, configuration.headDim)
    func check(_ tensor: HostTensor, _ name: String) throws(FAError) {
      try tensor.expectRank(4...4, operation, name, lengths: [2])
      try tensor.expectDType([.f32, .f16, .bf16], operation, name)
      guard tensor.shape == expected else {
        throw .invalid(operation, name, expected: "\((0..<4).map { expected[$0] })", got: "\(tensor.sizes)")
      }
    }
    try check(tokens.keys, "k")
    try check(tokens.values, "v")
  }
}
