/// A kernel family as data: what it serves, binds and checks, and how it is launched.
///
/// One generic `plan` turns a spec and a problem into passes; one generic `Plan.encode` binds buffers to them. No room
/// has a dispatcher of its own.
struct KernelSpec<Problem: KernelProblem>: Sendable {
  /// The room: C function and Python op are called the same.
  let name: String
  /// The shader file, where it is not called the same because it holds several families.
  var source: String?
  let variants: [Variant]
  let operands: [Operand<Problem>]
  let blocks: [ParamBlock<Problem>]
  let constants: [ConstantRule<Problem>]
  let rules: [Rule<Problem>]
  /// Which of the variants' forms a problem takes; the problem's own by default.
  var form: @Sendable (Problem) -> String? = { $0.form }
  /// The tile of a problem where its variant leaves it open.
  var tile: @Sendable (Problem) -> Tile? = { _ in nil }
  let launch: @Sendable (Problem, Tile) -> Launch
  let op: OpKind

  /// The passes that compute `problem`, every size of it checked.
  ///
  /// - Parameter caller: the operation that errors name; the room itself if nil.
  func plan(_ problem: Problem, for caller: String? = nil) throws(FAError) -> Plan {
    let operation = caller ?? name
    for rule in rules { try rule.check(problem, operation) }
    let variant = try variant(for: problem, operation)
    let tile = try tile(of: variant, for: problem)
    let sizes = Sizes(problem: problem, tile: tile)
    var requirements: [Plan.Operand] = []
    requirements.reserveCapacity(operands.count)
    var bindings: [Plan.Binding] = []
    bindings.reserveCapacity(operands.count)
    for operand in operands {
      guard operand.isPresent(problem) else {
        requirements.append(.absent(operand.name, operand.access))
        continue
      }
      bindings.append(Plan.Binding(slot: operand.slot, operand: requirements.count, access: operand.access))
      let shape = operand.sizes(sizes)
      requirements.append(
        Plan.Operand(
          name: operand.name, access: operand.access, dtypes: operand.dtype.choices(problem), isPresent: true,
          byteCount: try operand.byteCount(shape, of: sizes, operation), shape: shape, isTiled: operand.isTiled))
    }
    guard !problem.isEmpty else { return Plan(operation: operation, operands: requirements, steps: []) }
    let constants = constants.compactMap { rule in
      rule.value(problem, tile).map { Plan.Constant(name: rule.name, index: rule.index, value: $0) }
    }
    let pass = Plan.Pass(
      room: name, kernel: variant.kernel, tile: tile, op: op, constants: constants,
      key: try PipelineKey(variant.kernel, constants.map { FunctionConstant($0.index, $0.value) }),
      blocks: blocks.compactMap { block in
        block.isPresent(problem) ? Plan.Block(slot: block.slot, bytes: block.bytes(problem, tile)) : nil
      },
      bindings: bindings, launch: launch(problem, tile))
    return Plan(operation: operation, operands: requirements, steps: [.run(pass)])
  }

  func tile(of variant: Variant, for problem: Problem) throws(FAError) -> Tile {
    guard let tile = tile(problem) ?? variant.tile else {
      throw FAError(.internal, name, "tile", "\(variant.kernel) has no tile")
    }
    return tile
  }

  var shader: String { source ?? name }

  /// The instance that serves `problem`.
  func variant(for problem: Problem, _ operation: String) throws(FAError) -> Variant {
    let (dtype, headDim, form) = (problem.dtype, problem.size(of: .D), form(problem))
    let mask = problem.maskKind == MaskKind.none ? .additive : problem.maskKind
    for variant in variants
    where variant.dtype == dtype && (variant.headDim == nil || variant.headDim == headDim) && variant.mask == mask
      && variant.form == form
    {
      return variant
    }
    let ofDType = variants.filter { $0.dtype == dtype && $0.form == form }
    guard !ofDType.isEmpty else {
      throw .unsupported(operation, "dtype", expected: listed(variants.map { "\($0.dtype)" }), got: "\(dtype)")
    }
    guard ofDType.contains(where: { $0.headDim == nil || $0.headDim == headDim }) else {
      let served = ofDType.compactMap(\.headDim).map { "\($0)" }
      throw .unsupported(operation, "head_dim", expected: listed(served), got: "\(headDim)")
    }
    let served = ofDType.compactMap(\.mask?.rawValue)
    throw .unsupported(operation, "mask", expected: listed(served), got: mask?.rawValue ?? "none")
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
  /// The C struct, or the type of an array's elements.
  let type: String
  /// Nil for an array.
  let byteCount: Int?
  /// The bool constant that says it is there, nil if it always is.
  let guardConstant: Int?
  let isPresent: @Sendable (Problem) -> Bool
  let bytes: @Sendable (Problem, Tile) -> [UInt8]

  init<Value: BitwiseCopyable>(
    slot: Int, name: String, type: String, guardConstant: Int? = nil,
    isPresent: @escaping @Sendable (Problem) -> Bool = { _ in true },
    make: @escaping @Sendable (Problem, Tile) -> Value
  ) {
    self.slot = slot
    self.name = name
    self.type = type
    byteCount = MemoryLayout<Value>.size
    self.guardConstant = guardConstant
    self.isPresent = isPresent
    bytes = { problem, tile in withUnsafeBytes(of: make(problem, tile)) { Array($0) } }
  }

  /// An array, bound as inline bytes too, or as a buffer where it is too long for that.
  init<Element: BitwiseCopyable>(
    slot: Int, name: String, type: String, guardConstant: Int? = nil,
    isPresent: @escaping @Sendable (Problem) -> Bool = { _ in true }, array: @escaping @Sendable (Problem) -> [Element]
  ) {
    self.slot = slot
    self.name = name
    self.type = type
    byteCount = nil
    self.guardConstant = guardConstant
    self.isPresent = isPresent
    bytes = { problem, _ in array(problem).withUnsafeBytes { Array($0) } }
  }
}

/// A function constant and where its value comes from; nil leaves it undefined.
struct ConstantRule<Problem: KernelProblem>: Sendable {
  let index: Int
  let name: String
  let value: @Sendable (Problem, Tile) -> ConstantValue?
}
