/// A kernel family as data: what it serves, binds and checks, and how it is launched.
///
/// One generic `plan` turns a spec and a problem into passes; one generic `Plan.encode` binds buffers to them. No room
/// has a dispatcher of its own.
struct KernelSpec<Problem: KernelProblem>: Sendable {
  /// The room: shader file, C function and Python op are called the same.
  let name: String
  let variants: [Variant]
  let operands: [Operand<Problem>]
  let blocks: [ParamBlock<Problem>]
  let constants: [ConstantRule<Problem>]
  let rules: [Rule<Problem>]
  let launch: @Sendable (Problem, Variant) -> Launch
  let op: OpKind

  /// The passes that compute `problem`, every size of it checked.
  func plan(_ problem: Problem) throws(FAError) -> Plan {
    for rule in rules { try rule.check(problem, name) }
    let variant = try variant(for: problem)
    var requirements: [Plan.Operand] = []
    var bindings: [Plan.Binding] = []
    for operand in operands {
      let present = operand.isPresent(problem)
      if present { bindings.append(Plan.Binding(slot: operand.slot, operand: requirements.count)) }
      requirements.append(
        Plan.Operand(
          name: operand.name, access: operand.access, dtypes: operand.dtype.choices(problem), isPresent: present,
          byteCount: present ? try operand.byteCount(problem, name) : 0,
          shape: present ? operand.shape.map(problem.size) : []))
    }
    let launch = launch(problem, variant)
    let pass = Plan.Pass(
      room: name, kernel: variant.kernel, tile: variant.tile, op: op,
      constants: constants.map { Plan.Constant(name: $0.name, index: $0.index, value: $0.value(problem, variant)) },
      blocks: blocks.filter { $0.isPresent(problem) }.map {
        Plan.Block(slot: $0.slot, bytes: $0.bytes(problem, variant))
      },
      bindings: bindings, launch: launch)
    return Plan(operation: name, operands: requirements, steps: [.run(pass)])
  }

  /// The instance that serves `problem`.
  func variant(for problem: Problem) throws(FAError) -> Variant {
    let ofDType = variants.filter { $0.dtype == problem.dtype }
    guard !ofDType.isEmpty else {
      throw .unsupported(name, "dtype", expected: listed(variants.map { "\($0.dtype)" }), got: "\(problem.dtype)")
    }
    let headDim = problem.size(of: .D)
    let ofHeadDim = ofDType.filter { $0.headDim == headDim }
    guard !ofHeadDim.isEmpty else {
      throw .unsupported(name, "head_dim", expected: listed(ofDType.map { "\($0.headDim)" }), got: "\(headDim)")
    }
    let mask = problem.mask == .none ? MaskKind.additive : problem.mask
    guard let variant = ofHeadDim.first(where: { $0.mask == mask }) else {
      throw .unsupported(name, "mask", expected: listed(ofHeadDim.map(\.mask.rawValue)), got: problem.mask.rawValue)
    }
    return variant
  }

  /// "a, b or c", each once, in order of first appearance.
  private func listed(_ names: [String]) -> String {
    var unique: [String] = []
    for name in names where !unique.contains(name) { unique.append(name) }
    guard let last = unique.popLast() else { return "nothing" }
    return unique.isEmpty ? last : "\(unique.joined(separator: ", ")) or \(last)"
  }
}

/// A parameter block bound as inline bytes.
struct ParamBlock<Problem: KernelProblem>: Sendable {
  let slot: Int
  let name: String
  /// The C struct.
  let type: String
  let byteCount: Int
  /// The bool constant that says it is there, nil if it always is.
  let guardConstant: Int?
  let isPresent: @Sendable (Problem) -> Bool
  let bytes: @Sendable (Problem, Variant) -> [UInt8]

  init<Value: BitwiseCopyable>(
    slot: Int, name: String, type: String, guardConstant: Int? = nil,
    isPresent: @escaping @Sendable (Problem) -> Bool = { _ in true },
    make: @escaping @Sendable (Problem, Variant) -> Value
  ) {
    self.slot = slot
    self.name = name
    self.type = type
    byteCount = MemoryLayout<Value>.size
    self.guardConstant = guardConstant
    self.isPresent = isPresent
    bytes = { problem, variant in withUnsafeBytes(of: make(problem, variant)) { Array($0) } }
  }
}

/// A function constant and where its value comes from.
struct ConstantRule<Problem: KernelProblem>: Sendable {
  let index: Int
  let name: String
  let value: @Sendable (Problem, Variant) -> ConstantValue
}
