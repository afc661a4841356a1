extension Attention {
  /// What a call would do, as JSON: device, passes, constants, grids, copies, and what was passed over.
  public func explain(on device: Device) throws(FAError) -> String {
    try call().explain(layout: layout == .bhld ? "bhld" : "blhd", on: device)
  }
}

extension AttentionVarlen {
  /// What a call would do, as JSON, in the form of `Attention.explain`.
  public func explain(on device: Device) throws(FAError) -> String {
    try call().explain(layout: pages == nil ? "packed" : "paged", on: device)
  }
}

extension AttentionCall {
  fileprivate func explain(layout: String, on device: Device) throws(FAError) -> String {
    let copies = operands.compactMap { $0?.copyReport(on: device) }
    let choice = try PrefillChoice(problem, device.tuning.prefill, for: operation)
    return choice.plan.report(
      operation, problem.json(layout: layout), rejected: choice.rejected, copies: copies, on: device)
  }
}

extension FlashAttnPrefill {
  /// The pass of `problem` as JSON, in the form of `Attention.explain`.
  public static func explain(_ problem: Problem, on device: Device) throws(FAError) -> String {
    try spec.report(problem, plan(problem), problem.json(), on: device)
  }
}

extension FlashAttnPrefillD512 {
  /// The pass of `problem` as JSON, in the form of `Attention.explain`.
  public static func explain(_ problem: Problem, on device: Device) throws(FAError) -> String {
    try spec.report(problem, plan(problem, tuning: device.tuning), problem.json(), on: device)
  }
}

extension FlashAttnPrefillBlk {
  /// The pass of `problem` as JSON, in the form of `Attention.explain`.
  public static func explain(_ problem: Problem, on device: Device) throws(FAError) -> String {
    try spec.report(
      problem, plan(problem),
      .object([
        ("batch", .int(problem.batch)), ("heads", .int(problem.heads)), ("q_len", .int(problem.queryLength)),
        ("kv_len", .int(problem.keyLength)), ("dtype", .string("\(problem.dtype)")),
        ("tile_rows", .int(problem.tileRows)), ("tile_keys", .int(problem.tileKeys)),
      ]), on: device)
  }
}

extension FlashAttnPrefillMask {
  /// The pass of `problem` as JSON, in the form of `Attention.explain`.
  public static func explain(_ problem: Problem, on device: Device) throws(FAError) -> String {
    try spec.report(
      problem, plan(problem),
      .object([
        ("q_len", .int(problem.queryLength)), ("kv_len", .int(problem.keyLength)),
        ("dtype", .string("\(problem.dtype)")), ("q_offset", .int(problem.queryOffset)),
        ("window", problem.window.map { .int($0) } ?? .null), ("causal", .bool(problem.causal)),
      ]), on: device)
  }
}

extension KernelSpec {
  fileprivate func report(_ problem: Problem, _ plan: Plan, _ json: JSON, on device: Device) -> String {
    let rejected = variants.compactMap { variant in
      reason(against: variant, for: problem).map { rejection(variant, $0) }
    }
    return plan.report(name, json, rejected: rejected, copies: [], on: device)
  }
}

extension Plan {
  fileprivate func report(
    _ operation: String, _ problem: JSON, rejected: [JSON], copies: [JSON], on device: Device
  ) -> String {
    Self.report(
      operation, problem, passes: passes, rejected: rejected, copies: copies, scratchBytes: scratchBytes, on: device)
  }

  static func report(
    _ operation: String, _ problem: JSON, passes: [Pass], rejected: [JSON], copies: [JSON], scratchBytes: Int,
    on device: Device
  ) -> String {
    JSON.object([
      ("operation", .string(operation)),
      ("device", .string(device.name)),
      ("backend", .string(Device.backend)),
      ("provider", .string(device.provider.rawValue)),
      ("isa", .string(device.provider == .native ? Device.instructionSet : "")),
      ("problem", problem),
      ("passes", .array(passes.map { $0.json(device) })),
      ("rejected", .array(rejected)),
      ("copies", .array(copies)),
      ("scratch_bytes", .int(scratchBytes)),
    ]).text
  }
}

extension FlashAttnPrefill.Problem {
  fileprivate func json(layout given: String? = nil) -> JSON {
    let layout =
      switch self.layout {
      case .headMajor: "bhld"
      case .seqMajor: "blhd"
      case .strided: "strided"
      }
    return .object([
      ("batch", .int(batch)), ("heads", .int(heads)), ("kv_heads", .int(kvHeads)), ("head_dim", .int(headDim)),
      ("q_len", .int(rows)), ("kv_len", .int(keys)), ("dtype", .string("\(dtype)")),
      ("causal", .bool(causal)), ("q_offset", .int(offset)),
      ("window", .array([.int(window.left), .int(window.right)])),
      ("scale", .real(Double(scale))), ("softcap", .real(Double(softcap))), ("mask", .string(mask.rawValue)),
      ("sinks", .bool(sinks)), ("alibi", .bool(alibi)), ("layout", .string(given ?? layout)),
      ("q_lens", .lengths(sequences?.queryStarts.map(FlashAttnPrefill.Sequences.lengths))),
      ("kv_lens", .lengths(sequences?.keyLengths ?? sequences?.keyStarts.map(FlashAttnPrefill.Sequences.lengths))),
      ("page_size", .int(sequences?.pages?.size ?? 0)),
    ])
  }
}

extension JSON {
  fileprivate static func lengths(_ lengths: [Int]?) -> JSON { lengths.map { .array($0.map { .int($0) }) } ?? .null }
}

extension Plan.Pass {
  fileprivate func json(_ device: Device) -> JSON {
    .object([
      ("room", .string(room)), ("kernel", .string(kernel)), ("provider", .string(device.provider(of: kernel).rawValue)),
      (
        "constants",
        .array(
          constants.map {
            .object([("index", .int($0.index)), ("name", .string($0.name)), ("value", $0.value.json)])
          })
      ),
      ("threadgroups", .sizes(launch.grid)), ("threads", .sizes(tile.threads)),
      ("threadgroup_bytes", .array(launch.threadgroupBytes.map { .int($0) })), ("tile", tile.json),
    ])
  }
}

extension DecodeProblem {
  /// The passes of `plan` as JSON, in the form of `Attention.explain`.
  public func explain(_ plan: Plan, on device: Device) -> String {
    plan.report(
      plan.operation,
      .object([
        ("format", .string("\(format)")), ("batch", .int(batch)), ("heads", .int(heads)),
        ("cache_heads", .int(kvHeads)), ("head_dim", .int(headDim)), ("q_len", .int(queryLength)),
        ("capacity", .int(capacity)), ("kv_lens", .array(keyLengths.map { .int($0) })),
        ("ring_starts", .array(starts.map { .int($0) })), ("mask_type", .int(Int(maskType))),
        ("window", .int(Int(window))), ("scale", .real(Double(scale))), ("softcap", .real(Double(softcap))),
        ("sinks", .bool(sinks)),
      ]), rejected: [], copies: [], on: device)
  }
}

extension FlashAttnDecode {
  /// The passes of `problem` as JSON, in the form of `Attention.explain`.
  public static func explain(_ problem: Problem, on device: Device) throws(FAError) -> String {
    try plan(problem, tuning: device.tuning).report(
      spec.name,
      .object([
        ("keys", .string("\(problem.keys)")), ("values", .string("\(problem.values)")),
        ("dtype", .string("\(problem.dtype)")), ("batch", .int(problem.keyLengths.count)),
        ("heads", .int(problem.heads)), ("cache_heads", .int(problem.kvHeads)), ("head_dim", .int(problem.headDim)),
        ("q_len", .int(problem.queryLength)), ("capacity", .int(problem.capacity)),
        ("kv_lens", .array(problem.keyLengths.map { .int($0) })), ("causal", .bool(problem.causal)),
        ("window", problem.window.map { .int($0) } ?? .null), ("scale", .real(Double(problem.scale))),
        ("softcap", .real(Double(problem.softcap))), ("sinks", .bool(problem.sinks)),
      ]), rejected: [], copies: [], on: device)
  }
}
