extension KVCache {
  /// Queries of the newest tokens: query t of n belongs to the token n − t before the end.
  public struct Queries: Sendable {
    /// [B, H, n, D]; strides as of tokens.
    public var q: HostTensor
    /// As q; written.
    public var o: HostTensor
    /// float32 [H]: a score of each head that has no value.
    public var sinks: HostTensor?
    /// float32 [B, H, n], contiguous; written.
    public var lse: HostTensor?
    /// A query attends no token after its own.
    public var causal = true
    /// Keys a query attends at most, its own included, if causal; the cache's own window if nil.
    public var window: Int?
    /// Scores become softcap · tanh(score / softcap); 0: as they are.
    public var softcap: Float = 0
    /// 1 / √D if nil.
    public var scale: Float?

    public init(q: HostTensor, o: HostTensor) {
      self.q = q
      self.o = o
    }
  }

  /// How queries get at what the cache holds.
  enum Route: String, Sendable {
    /// `FlashAttnDecode` reads the cache as it is.
    case decode
    /// Prefill reads a dense cache, or what is read back from another.
    case prefill
  }

  /// - Returns: the route, and why it is not the other one.
  func route(_ queries: Queries) -> (Route, String) {
    let (count, most) = (queries.q.shape[2], DecodeProblem.queryLimit)
    return count <= most
      ? (.decode, "\(count) queries leave most of a tile of rows empty")
      : (.prefill, "reads the cache anew for every few queries, and there are \(count)")
  }

  func attend(
    _ queries: Queries, _ state: State, _ work: inout WorkList, _ operands: inout HostOperands
  ) throws(FAError) {
    let operation = Self.attendOperation
    try check(queries)
    guard queries.q.shape[2] > 0 else { return }
    let tensors = [
      try HostOperand(queries.q, "q", of: operation), try HostOperand(queries.o, "o", writes: true, of: operation),
      try HostOperand(queries.sinks, "sinks", of: operation),
      try HostOperand(queries.lse, "lse", writes: true, of: operation),
    ]
    try HostOperand.checkApart(tensors, operation)
    let bound = try operands.bind(tensors)
    guard let q = bound[0], let o = bound[1] else { return }
    let buffers = Bound(q: q, o: o, sinks: bound[2], lse: bound[3])
    switch route(queries).0 {
    case .decode: try attendByDecode(queries, buffers, state, &work)
    case .prefill: try attendByPrefill(queries, buffers, state, &work)
    }
  }

  static let attendOperation = "kv_cache_attend"

  fileprivate struct Bound {
    let q: Buffer
    let o: Buffer
    let sinks: Buffer?
    let lse: Buffer?
  }

  private func window(_ queries: Queries) -> Int? { queries.causal ? queries.window ?? configuration.window : nil }

  // MARK: Decode

  private func attendByDecode(
    _ queries: Queries, _ bound: Bound, _ state: State, _ work: inout WorkList
  ) throws(FAError) {
    let operation = Self.attendOperation
    let q = queries.q
    var problem = FlashAttnDecode.Problem(
      dtype: q.dtype, keys: configuration.keys, values: configuration.values, heads: q.shape[1],
      kvHeads: configuration.kvHeads, headDim: configuration.headDim, capacity: state.capacity,
      keyLengths: state.ends.indices.map { state.length($0) }, scale: queries.scale)
    problem.queryLength = q.shape[2]
    problem.ringStarts = state.begins.map { $0 % state.capacity }
    problem.softcap = queries.softcap
    problem.causal = queries.causal
    problem.window = window(queries)
    problem.sinks = queries.sinks != nil
    problem.lse = queries.lse != nil
    problem.halfNorms = configuration.halfNorms
    problem.rotatesQuery = !configuration.keys.isDense
    problem.undoesRotation = !configuration.values.isDense
    problem.seed = configuration.seed
    problem.qStrides = Self.strides(q)
    problem.oStrides = Self.strides(queries.o)
    let plan = try FlashAttnDecode.plan(problem, on: device, for: operation)
    var buffers = NamedBuffers([
      ("q", bound.q), ("k", state.keys.data), ("v", state.values.data), ("o", bound.o), ("sinks", bound.sinks),
      ("lse", bound.lse), ("k_norms", state.keys.norms), ("v_norms", state.values.norms),
    ])
    for name in ["partials", "partial_states"] where plan.byteCount(of: name) > 0 {
      buffers[name] = try work.scratch(.f32, [plan.byteCount(of: name) / DType.f32.byteCount])
    }
    work.add(plan, buffers)
  }

  static func strides(_ tensor: HostTensor) -> Strides {
    Strides(batch: tensor.stride(0), head: tensor.stride(1), row: tensor.stride(2))
  }

  static func isContiguous(_ tensor: HostTensor) -> Bool {
    let plain = HostTensor(data: nil, dtype: tensor.dtype, shape: tensor.sizes)
    return (0..<tensor.rank).allSatisfy { tensor.stride($0) == plain.stride($0) }
  }

  // MARK: Prefill

  private func attendByPrefill(
    _ queries: Queries, _ bound: Bound, _ state: State, _ work: inout WorkList
  ) throws(FAError) {
    let operation = Self.attendOperation
    let q = queries.q
    var jobs: [WorkList.Job] = []
    for group in groups(0..<configuration.batch, state) {
      let keys = try source(state.keys, group, state, q.dtype, &work)
      let values = try source(state.values, group, state, q.dtype, &work)
      var problem = FlashAttnPrefill.Problem(
        dtype: q.dtype, heads: q.shape[1], kvHeads: configuration.kvHeads, headDim: q.shape[3],
        queryLength: q.shape[2], keyLength: state.length(group.lowerBound), scale: queries.scale)
      problem.batch = group.count
      problem.causal = queries.causal
      if let window = window(queries) { problem.window = Window(left: window - 1) }
      problem.softcap = queries.softcap
      problem.sinks = queries.sinks != nil
      problem.lse = queries.lse != nil
      problem.layout = .strided(
        q: Self.strides(q), k: keys.strides, v: values.strides, o: Self.strides(queries.o))
      let first = group.lowerBound
      let buffers = NamedBuffers([
        ("q", try bound.q.from(first * q.stride(0), operation)), ("k", keys.buffer), ("v", values.buffer),
        ("o", try bound.o.from(first * queries.o.stride(0), operation)), ("sinks", bound.sinks),
        ("lse", try bound.lse?.from(first * q.shape[1] * q.shape[2], operation)),
      ])
      let plan = try PrefillChoice.plan(problem, on: device, for: operation)
      jobs.append(WorkList.Job(plan: plan, buffers: buffers))
    }
    work.add(jobs)
  }

  /// Where prefill finds the vectors of sequences that hold the same positions: in the cache if they lie there as it
  /// wants them, else read back. No buffer if there are none.
  private func source(
    _ half: Half, _ group: Range<Int>, _ state: State, _ dtype: DType, _ work: inout WorkList
  ) throws(FAError) -> (buffer: Buffer?, strides: Strides) {
    let operation = Self.attendOperation
    let (heads, headDim) = (configuration.kvHeads, configuration.headDim)
    let count = state.length(group.lowerBound)
    guard count > 0 else { return (nil, Strides(batch: 0, head: 0, row: headDim)) }
    let start = state.begins[group.lowerBound] % state.capacity
    if half.format.isDense, half.format.dtype == dtype, start + count <= state.capacity {
      let row = group.lowerBound * heads * state.capacity + start
      return (
        try half.data.from(row * headDim, operation),
        Strides(batch: heads * state.capacity * headDim, head: state.capacity * headDim, row: headDim)
      )
    }
    let vectors = try work.scratch(dtype, [group.count, heads, count, headDim])
    try read(half, group, state, into: vectors, &work)
    return (vectors, Strides(batch: heads * count * headDim, head: count * headDim, row: headDim))
  }

  // MARK: Checks

  private func check(_ queries: Queries) throws(FAError) {
    let operation = Self.attendOperation
    let (q, o) = (queries.q, queries.o)
    try q.expectRank(4...4, operation, "q", lengths: [2])
    try q.expectDType([.f32, .f16, .bf16], operation, "q")
    try o.expectDType([q.dtype], operation, "o")
    guard q.shape[0] == configuration.batch, q.shape[3] == configuration.headDim else {
      throw .invalid(
        operation, "q", expected: "[\(configuration.batch), heads, queries, \(configuration.headDim)]",
        got: "\(q.sizes)")
    }
    guard q.shape[1].isMultiple(of: configuration.kvHeads) else {
      throw .invalid(
        operation, "q", expected: "a multiple of \(configuration.kvHeads) heads", got: "\(q.shape[1])")
    }
    guard o.sizes == q.sizes else { throw .invalid(operation, "o", expected: "\(q.sizes) as q", got: "\(o.sizes)") }
    if let sinks = queries.sinks {
      try sinks.expectDType([.f32], operation, "sinks")
      guard sinks.sizes == [q.shape[1]] else {
        throw .invalid(operation, "sinks", expected: "[\(q.shape[1])], one for each head", got: "\(sinks.sizes)")
      }
    }
    if let lse = queries.lse {
      try lse.expectDType([.f32], operation, "lse")
      guard lse.sizes == Array(q.sizes.prefix(3)), q.shape[2] == 0 || Self.isContiguous(lse) else {
        throw .invalid(
          operation, "lse", expected: "a contiguous \(Array(q.sizes.prefix(3)))",
          got: "\(lse.sizes), strides \(lse.strides)")
      }
    }
    if let window = queries.window {
      guard queries.causal, (1...Int(Int32.max)).contains(window) else {
        throw .invalid(
          operation, "window", expected: queries.causal ? "1 to \(Int32.max) keys" : "none unless causal",
          got: "\(window)")
      }
    }
  }
}

extension KVCache {
  /// What `step(attend:)` would do, as JSON in the form of `Attention.explain`.
  public func explain(_ queries: Queries) throws(FAError) -> String {
    try state.withLock { state throws(FAError) in
      var work = WorkList(device: device)
      var operands = HostOperands(device: device)
      defer {
        work.recycle()
        operands.recycle()
      }
      try attend(queries, state, &work, &operands)
      let q = queries.q
      let copies = [
        try HostOperand(q, "q", of: Self.attendOperation),
        try HostOperand(queries.o, "o", writes: true, of: Self.attendOperation),
      ].compactMap { $0?.copyReport(on: device) }
      let (chosen, reason) = route(queries)
      let rejected = JSON.object([
        ("kernel", .string(chosen == .decode ? FlashAttnPrefill.spec.name : FlashAttnDecode.spec.name)),
        ("reason", .string(reason)),
      ])
      let problem = JSON.object([
        ("batch", .int(configuration.batch)), ("heads", .int(q.shape[1])), ("cache_heads", .int(configuration.kvHeads)),
        ("head_dim", .int(configuration.headDim)), ("q_len", .int(q.shape[2])), ("capacity", .int(state.capacity)),
        ("kv_lens", .array(state.ends.indices.map { .int(state.length($0)) })),
        ("keys", .string("\(configuration.keys)")), ("values", .string("\(configuration.values)")),
        ("ring", .bool(configuration.ring)), ("window", window(queries).map { .int($0) } ?? .null),
        ("causal", .bool(queries.causal)), ("dtype", .string("\(q.dtype)")),
      ])
      return Plan.report(
        Self.attendOperation, problem, passes: work.plans.flatMap(\.passes), rejected: [rejected], copies: copies,
        scratchBytes: work.scratchBytes, on: device)
    }
  }
}
