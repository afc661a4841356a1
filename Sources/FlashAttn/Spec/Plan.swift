/// The passes that compute a problem, with every size checked: what will run, before it runs.
public struct Plan: Sendable {
  /// A buffer the passes use.
  struct Operand: Sendable {
    var name: String
    var access: Access
    let dtypes: [DType]
    var isPresent: Bool
    /// 0 where there are no elements; then the caller need not bring a buffer.
    var byteCount: Int
    var shape: [Int]
    /// Whether a buffer of two dimensions or more must be cut into the same tiles: those of its last two.
    var isTiled = false
    /// Where it begins in the passes' scratch memory; nil if the caller brings it.
    var scratchOffset: Int?

    /// What the problem does without.
    static func absent(_ name: String, _ access: Access) -> Operand {
      Operand(name: name, access: access, dtypes: [], isPresent: false, byteCount: 0, shape: [])
    }
  }

  struct Constant: Sendable {
    let name: String
    let index: Int
    let value: ConstantValue
  }

  struct Block: Sendable {
    let slot: Int
    let bytes: [UInt8]
  }

  struct Binding: Sendable {
    let slot: Int
    /// Index into the plan's operands.
    let operand: Int
    /// How this pass uses it.
    let access: Access
  }

  struct Pass: Sendable {
    let room: String
    let kernel: String
    let tile: Tile
    let op: OpKind
    let constants: [Constant]
    /// The kernel with these constants.
    let key: PipelineKey
    fileprivate(set) var blocks: [Block]
    var bindings: [Binding]
    let launch: Launch

    func rebound(_ place: (Int) -> Int) -> Pass {
      var pass = self
      pass.bindings = bindings.map { Binding(slot: $0.slot, operand: place($0.operand), access: $0.access) }
      return pass
    }
  }

  enum Step: Sendable {
    case run(Pass)
    /// The next pass reads what the last one wrote.
    case barrier
  }

  private(set) var operation: String
  private(set) var operands: [Operand]
  private(set) var steps: [Step]

  init(operation: String, operands: [Operand], steps: [Step]) {
    self.operation = operation
    self.operands = operands
    self.steps = steps
  }

  /// Temporary memory the passes share.
  public var scratchBytes: Int {
    operands.reduce(0) { total, operand in operand.scratchOffset.map { max(total, $0 + operand.byteCount) } ?? total }
  }

  var passes: [Pass] { steps.compactMap { if case .run(let pass) = $0 { pass } else { nil } } }

  /// `first`, then `self`, which reads what `first` writes to the operand called `name`: scratch memory from here on.
  /// Other operands of the same name are one.
  func after(_ first: Plan, through name: String) -> Plan {
    var operands = operands
    for index in operands.indices where operands[index].name == name { operands[index].scratchOffset = scratchEnd }
    var place: [Int] = []
    for operand in first.operands {
      if let known = operands.firstIndex(where: { $0.name == operand.name }) {
        place.append(known)
      } else {
        place.append(operands.count)
        operands.append(operand)
      }
    }
    let before = first.steps.map { step in
      guard case .run(let pass) = step else { return step }
      return .run(pass.rebound { place[$0] })
    }
    return Plan(operation: operation, operands: operands, steps: before + [.barrier] + steps)
  }

  /// Under another operation's name, and with operands called as `names` has it.
  func renamed(_ operation: String, _ names: [String: String] = [:]) -> Plan {
    var plan = self
    plan.operation = operation
    for index in operands.indices { plan.operands[index].name = names[operands[index].name] ?? operands[index].name }
    return plan
  }

  /// With other bytes in a constant block.
  func replacing(block slot: Int, with bytes: [UInt8]) -> Plan {
    var plan = self
    for index in steps.indices {
      guard case .run(var pass) = steps[index], let block = pass.blocks.firstIndex(where: { $0.slot == slot }) else {
        continue
      }
      pass.blocks[block] = Block(slot: slot, bytes: bytes)
      plan.steps[index] = .run(pass)
    }
    return plan
  }

  /// `self`, then `next`, which may read what `self` writes. Operands of the same name are one.
  func then(_ next: Plan) -> Plan {
    var plan = self
    var place: [Int] = []
    for operand in next.operands {
      guard let known = operands.firstIndex(where: { $0.name == operand.name }) else {
        place.append(plan.operands.count)
        plan.operands.append(operand)
        continue
      }
      place.append(known)
      if operand.isPresent, !operands[known].isPresent {
        plan.operands[known] = operand
      } else if operand.isPresent {
        if operand.access != operands[known].access { plan.operands[known].access = .readWrite }
        plan.operands[known].byteCount = max(operand.byteCount, operands[known].byteCount)
      }
    }
    plan.steps += [.barrier]
    plan.steps += next.steps.map { step in
      guard case .run(let pass) = step else { return step }
      return .run(pass.rebound { place[$0] })
    }
    return plan
  }

  /// Bytes of the buffer that an operand wants; 0 if there is none of that name.
  public func byteCount(of name: String) -> Int { operands.first { $0.name == name && $0.isPresent }?.byteCount ?? 0 }

  /// `encode`, with buffers by the names of their operands.
  public func encode(
    into encoder: CommandEncoder, registry: KernelRegistry, named buffers: NamedBuffers, tracked: Bool = true
  ) throws(FAError) {
    var bound: [Buffer?] = Array(repeating: nil, count: operands.count)
    var found = 0
    for index in operands.indices where operands[index].isPresent {
      bound[index] = buffers[operands[index].name]
      if bound[index] != nil { found += 1 }
    }
    func isWanted(_ name: String) -> Bool { operands.contains { $0.name == name && $0.isPresent } }
    if found < buffers.count, let unknown = buffers.firstUnknown(isWanted) {
      throw .invalid(operation, unknown, expected: "none for this problem", got: "a buffer")
    }
    try encode(into: encoder, registry: registry, buffers: bound, tracked: tracked)
  }

  /// Where more scratch memory may begin.
  private var scratchEnd: Int {
    (scratchBytes + Self.scratchAlignment - 1) / Self.scratchAlignment * Self.scratchAlignment
  }

  /// What Metal wants of a buffer's offset at most.
  private static let scratchAlignment = 256

  /// Encodes every pass. Nothing is encoded if a buffer does not fit or a pipeline cannot be made.
  ///
  /// - Parameters:
  ///   - buffers: one for each operand, in order; nil where an optional one is absent, and for scratch memory.
  ///   - scratch: at least `scratchBytes` of it, if any; for these passes alone until they have run.
  func encode(
    into encoder: CommandEncoder, registry: KernelRegistry, buffers: [Buffer?], scratch: Buffer? = nil,
    tracked: Bool = true
  ) throws(FAError) {
    var buffers = buffers
    for index in operands.indices {
      guard let offset = operands[index].scratchOffset else { continue }
      guard let scratch else { throw .invalid(operation, "scratch", expected: "a buffer", got: "none") }
      let part = try scratch.view(byteOffset: offset, shape: [operands[index].byteCount], dtype: .u8)
      if index < buffers.count { buffers[index] = part } else { buffers.append(part) }
    }
    try check(buffers)
    var dispatches: [(Dispatch?)] = []
    for step in steps {
      guard case .run(let pass) = step else {
        dispatches.append(nil)
        continue
      }
      dispatches.append(try dispatch(pass, encoder.device, registry, buffers, tracked: tracked))
    }
    for dispatch in dispatches {
      if let dispatch { try encoder.dispatch(dispatch) } else { try encoder.barrier() }
    }
  }

  private func dispatch(
    _ pass: Pass, _ device: Device, _ registry: KernelRegistry, _ buffers: [Buffer?], tracked: Bool
  ) throws(FAError) -> Dispatch {
    let pipeline = try registry.pipeline(pass.key)
    var arguments: [Argument] = []
    arguments.reserveCapacity(pass.blocks.count + pass.bindings.count)
    for block in pass.blocks { arguments.append(try argument(block, device)) }
    for binding in pass.bindings {
      // A slot without elements is bound all the same; nothing is read or written through it.
      guard let buffer = buffers[binding.operand] ?? standIn(for: binding, buffers) else { continue }
      arguments.append(.buffer(binding.slot, buffer, access: binding.access))
    }
    var dispatch = Dispatch(
      kernel: pass.kernel, pipeline: pipeline, arguments: arguments, grid: pass.launch.grid, threads: pass.tile.threads)
    dispatch.threadgroupBytes = pass.launch.threadgroupBytes
    dispatch.op = pass.op
    dispatch.tracked = tracked
    return dispatch
  }

  /// What is too long to go inline gets a buffer of its own, which lives as long as the dispatch needs it.
  private func argument(_ block: Block, _ device: Device) throws(FAError) -> Argument {
    if block.bytes.count <= Argument.mostInlineBytes { return .bytes(block.slot, block.bytes) }
    let buffer = try device.makeBuffer(.u8, [block.bytes.count], copying: block.bytes)
    return .buffer(block.slot, buffer, access: .read)
  }

  /// A buffer that is used as the binding would use its own, if there is one.
  private func standIn(for binding: Binding, _ buffers: [Buffer?]) -> Buffer? {
    for (index, buffer) in zip(operands.indices, buffers) where operands[index].access.writes == binding.access.writes {
      if let buffer { return buffer }
    }
    return buffers.lazy.compactMap { $0 }.first
  }

  private func check(_ buffers: [Buffer?]) throws(FAError) {
    for index in 0..<min(operands.count, buffers.count) {
      if operands[index].isPresent {
        try check(buffers[index], at: index)
      } else if buffers[index] != nil {
        throw .invalid(operation, operands[index].name, expected: "none for this problem", got: "a buffer")
      }
    }
    try checkAliases(buffers)
  }

  private func check(_ buffer: Buffer?, at index: Int) throws(FAError) {
    guard let buffer else {
      if operands[index].byteCount == 0 { return }
      throw .invalid(operation, operands[index].name, expected: "a buffer", got: "none")
    }
    try buffer.checkUsable(operation, operands[index].name)
    if operands[index].access.writes { try buffer.checkWritable(operation, operands[index].name) }
    guard operands[index].dtypes.contains(buffer.dtype) else {
      throw .invalid(
        operation, operands[index].name, expected: "\(operands[index].dtypes[0])", got: "\(buffer.dtype)")
    }
    guard operands[index].byteCount <= buffer.byteCount else {
      let operand = operands[index]
      throw FAError(
        .invalidArgument, operation, operand.name,
        "needs \(operand.byteCount) bytes for \(operand.shape) \(buffer.dtype), got \(buffer.byteCount)")
    }
    if operands[index].isTiled, operands[index].scratchOffset == nil { try checkTiles(operands[index], buffer) }
  }

  /// Bytes of other tiles mean other keys, and no count of them would tell.
  private func checkTiles(_ operand: Operand, _ buffer: Buffer) throws(FAError) {
    let tiles = Array(operand.shape.suffix(2))
    let fits =
      buffer.shape.count < 2
      ? buffer.byteCount <= FlashAttnPrefillBlk.rounded(operand.byteCount) : Array(buffer.shape.suffix(2)) == tiles
    guard fits else {
      throw .invalid(
        operation, operand.name, expected: "\(tiles[0]) by \(tiles[1]) tiles, \(operand.byteCount) bytes",
        got: "\(buffer.shape)")
    }
  }

  private func checkAliases(_ buffers: [Buffer?]) throws(FAError) {
    for index in operands.indices where operands[index].access.writes && operands[index].isPresent {
      guard let written = buffers[index] else { continue }
      let range = written.metalOffset..<written.metalOffset + operands[index].byteCount
      for other in operands.indices where other != index && operands[other].isPresent {
        guard let buffer = buffers[other], buffer.storage.block === written.storage.block else { continue }
        if range.overlaps(buffer.metalOffset..<buffer.metalOffset + operands[other].byteCount) {
          throw .invalid(
            operation, operands[index].name, expected: "memory of its own",
            got: "memory it shares with \(operands[other].name)")
        }
      }
    }
  }
}
