extension KVCache {
  /// Both halves of a sequence's tokens as vectors [Hkv, n, D], or of all sequences as [B, Hkv, n, D].
  ///
  /// - Parameter sequence: all if nil, which then have the same number of tokens.
  public func dequantize(_ sequence: Int? = nil, keys: HostTensor, values: HostTensor) throws(FAError) {
    let operation = "kv_cache_dequantize"
    let chosen = try sequences(sequence, operation)
    try state.withLock { state throws(FAError) in
      let count = state.length(chosen.lowerBound)
      guard chosen.allSatisfy({ state.length($0) == count }) else {
        throw .invalid(
          operation, "sequence", expected: "one, as the sequences differ in length",
          got: "\(chosen.map { state.length($0) }) tokens")
      }
      let inner = [configuration.kvHeads, count, configuration.headDim]
      let expected = sequence == nil ? [configuration.batch] + inner : inner
      var work = WorkList(device: device)
      var operands = HostOperands(device: device)
      defer {
        work.recycle()
        operands.recycle()
      }
      for (half, tensor, name) in [(state.keys, keys, "k"), (state.values, values, "v")] {
        try tensor.expectDType([.f32, .f16, .bf16], operation, name)
        guard tensor.sizes == expected else {
          throw .invalid(operation, name, expected: "\(expected)", got: "\(tensor.sizes)")
        }
        guard count > 0 else { continue }
        let contiguous = HostTensor(data: nil, dtype: tensor.dtype, shape: expected)
        guard !tensor.isReadOnly, (0..<tensor.rank).allSatisfy({ tensor.stride($0) == contiguous.stride($0) }) else {
          throw .invalid(
            operation, name, expected: "a contiguous tensor that can be written",
            got: tensor.isReadOnly ? "a read-only one" : "strides \(tensor.strides)")
        }
        let bytes = try tensor.memory(operation, name)
        let target = try operands.bind(HostOperand(name: name, tensor: tensor, bytes: bytes, isWritten: true))
        for group in groups(chosen, state) {
          let first = (group.lowerBound - chosen.lowerBound) * inner.reduce(1, *)
          try read(half, group, state, into: try target.from(first, operation), &work)
        }
      }
      try work.run()
      operands.copyOut()
    }
  }

  /// Runs of sequences that hold the same positions.
  func groups(_ sequences: Range<Int>, _ state: State) -> [Range<Int>] {
    var groups: [Range<Int>] = []
    for index in sequences {
      if let last = groups.last, state.begins[last.lowerBound] == state.begins[index],
        state.ends[last.lowerBound] == state.ends[index]
      {
        groups[groups.count - 1] = last.lowerBound..<index + 1
      } else {
        groups.append(index..<index + 1)
      }
    }
    return groups
  }

  /// Vectors of sequences that hold the same positions, oldest first, as [B, Hkv, n, D] of the target's dtype.
  func read(
    _ half: Half, _ group: Range<Int>, _ state: State, into target: Buffer, _ work: inout WorkList
  ) throws(FAError) {
    let operation = "kv_cache_read"
    let (heads, headDim) = (configuration.kvHeads, configuration.headDim)
    let count = state.length(group.lowerBound)
    let slots = group.lowerBound * heads * state.capacity
    var problem = KvDecode.Problem(
      dtype: target.dtype, format: half.format, kvHeads: heads, headDim: headDim, tokens: count,
      capacity: state.capacity)
    problem.batch = group.count
    problem.position = state.begins[group.lowerBound]
    problem.ring = configuration.ring
    problem.halfNorms = configuration.halfNorms && !half.format.isDense
    problem.seed = half.format.isDense ? 0 : configuration.seed
    let buffers = NamedBuffers([
      ("data", try half.data.from(slots * half.format.width(headDim), operation)), ("out", target),
      ("norms", try half.norms?.from(slots * half.format.norms(headDim), operation)),
    ])
    work.add(try KvDecode.plan(problem).renamed(operation), buffers)
  }
}
