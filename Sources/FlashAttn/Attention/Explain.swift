extension Attention {
  /// What a call would do, as JSON: device, passes, constants, grids, copies, and what was passed over.
  public func explain(on device: Device) throws(FAError) -> String {
    let problem = try problem()
    let copies = try memory().compactMap { $0 }.compactMap { operand in
      operand.reasonToCopy(on: device).map { reason in
        JSON.object([
          ("operand", .string(operand.name)), ("bytes", .int(operand.bytes.count)), ("reason", .string(reason)),
        ])
      }
    }
    return try FlashAttnPrefill.report(
      problem, operation: Self.operation, layout: layout == .bhld ? "bhld" : "blhd", copies: copies, on: device)
  }
}

extension FlashAttnPrefill {
  /// The passes of `problem` as JSON, in the form of `Attention.explain`.
  public static func explain(_ problem: Problem, on device: Device) throws(FAError) -> String {
    let layout =
      switch problem.layout {
      case .headMajor: "bhld"
      case .seqMajor: "blhd"
      case .strided: "strided"
      }
    return try report(problem, operation: spec.name, layout: layout, copies: [], on: device)
  }

  static func report(
    _ problem: Problem, operation: String, layout: String, copies: [JSON], on device: Device
  ) throws(FAError) -> String {
    let plan = try plan(problem)
    return JSON.object([
      ("operation", .string(operation)),
      ("device", .string(device.name)),
      ("backend", .string(Device.backend)),
      ("provider", .string(device.provider.rawValue)),
      ("isa", .string(device.provider == .native ? Device.instructionSet : "")),
      ("problem", problem.json(layout: layout)),
      ("passes", .array(plan.passes.map { $0.json(device) })),
      ("rejected", .array(rejected(problem, plan))),
      ("copies", .array(copies)),
      ("scratch_bytes", .int(plan.scratchBytes)),
    ]).text
  }

  /// Why each of the other variants does not serve `problem`.
  static func rejected(_ problem: Problem, _ plan: Plan) -> [JSON] {
    let chosen = Set(plan.passes.map(\.kernel))
    return spec.variants.filter { !chosen.contains($0.kernel) }.map { variant in
      let reason =
        variant.headDim != problem.headDim
        ? "serves head_dim \(variant.headDim), not \(problem.headDim)"
        : variant.dtype != problem.dtype
          ? "serves \(variant.dtype), not \(problem.dtype)"
          : "reads a mask of kind \(variant.mask.rawValue), and the problem's is \(problem.mask.rawValue)"
      return .object([("kernel", .string(variant.kernel)), ("reason", .string(reason))])
    }
  }
}

extension FlashAttnPrefill.Problem {
  fileprivate func json(layout: String) -> JSON {
    .object([
      ("batch", .int(batch)), ("heads", .int(heads)), ("kv_heads", .int(kvHeads)), ("head_dim", .int(headDim)),
      ("q_len", .int(queryLength)), ("kv_len", .int(keyLength)), ("dtype", .string("\(dtype)")),
      ("causal", .bool(causal)), ("q_offset", .int(queryOffset ?? keyLength - queryLength)),
      ("scale", .real(Double(scale))), ("mask", .string(mask.rawValue)), ("layout", .string(layout)),
    ])
  }
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
      ("threadgroups", .sizes(launch.grid)), ("threads", .sizes(launch.threads)),
      ("threadgroup_bytes", .array(launch.threadgroupBytes.map { .int($0) })), ("tile", tile.json),
    ])
  }
}
