/// The passes that compute a problem, with every size checked: what will run, before it runs.
public struct Plan: Sendable {
  /// A buffer the caller brings.
  struct Operand: Sendable {
    let name: String
    let access: Access
    let dtypes: [DType]
    let isPresent: Bool
    let byteCount: Int
    let shape: [Int]
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
  }

  struct Pass: Sendable {
    let room: String
    let kernel: String
    let tile: Tile
    let op: OpKind
    let constants: [Constant]
    let blocks: [Block]
    let bindings: [Binding]
    let launch: Launch
  }

  enum Step: Sendable {
    case run(Pass)
    /// The next pass reads what the last one wrote.
    case barrier
  }

  let operation: String
  let operands: [Operand]
  let steps: [Step]
  /// Temporary memory the passes share.
  public var scratchBytes = 0

  var passes: [Pass] { steps.compactMap { if case .run(let pass) = $0 { pass } else { nil } } }

  /// Encodes every pass. Nothing is encoded if a buffer does not fit or a pipeline cannot be made.
  ///
  /// - Parameter buffers: one for each operand, in order; nil where an optional one is absent.
  func encode(
    into encoder: CommandEncoder, registry: KernelRegistry, buffers: [Buffer?], tracked: Bool = true
  ) throws(FAError) {
    try check(buffers)
    var dispatches: [(Dispatch?)] = []
    for step in steps {
      guard case .run(let pass) = step else {
        dispatches.append(nil)
        continue
      }
      dispatches.append(try dispatch(pass, registry, buffers, tracked: tracked))
    }
    for dispatch in dispatches {
      if let dispatch { try encoder.dispatch(dispatch) } else { try encoder.barrier() }
    }
  }

  private func dispatch(
    _ pass: Pass, _ registry: KernelRegistry, _ buffers: [Buffer?], tracked: Bool
  ) throws(FAError) -> Dispatch {
    let pipeline = try registry.pipeline(
      pass.kernel, constants: pass.constants.map { FunctionConstant($0.index, $0.value) })
    var arguments = pass.blocks.map { Argument.bytes($0.slot, $0.bytes) }
    for binding in pass.bindings {
      guard let buffer = buffers[binding.operand] else { continue }
      arguments.append(.buffer(binding.slot, buffer, access: operands[binding.operand].access))
    }
    var dispatch = Dispatch(
      kernel: pass.kernel, pipeline: pipeline, arguments: arguments, grid: pass.launch.grid,
      threads: pass.launch.threads)
    dispatch.threadgroupBytes = pass.launch.threadgroupBytes
    dispatch.op = pass.op
    dispatch.tracked = tracked
    return dispatch
  }

  private func check(_ buffers: [Buffer?]) throws(FAError) {
    for (operand, buffer) in zip(operands, buffers) {
      guard operand.isPresent else {
        if buffer != nil {
          throw .invalid(operation, operand.name, expected: "none for this problem", got: "a buffer")
        }
        continue
      }
      guard let buffer else { throw .invalid(operation, operand.name, expected: "a buffer", got: "none") }
      try buffer.checkUsable(operation, operand.name)
      if operand.access.writes { try buffer.checkWritable(operation, operand.name) }
      guard operand.dtypes.contains(buffer.dtype) else {
        throw .invalid(operation, operand.name, expected: "\(operand.dtypes[0])", got: "\(buffer.dtype)")
      }
      guard operand.byteCount <= buffer.byteCount else {
        throw FAError(
          .invalidArgument, operation, operand.name,
          "needs \(operand.byteCount) bytes for \(operand.shape) \(buffer.dtype), got \(buffer.byteCount)")
      }
    }
    try checkAliases(buffers)
  }

  /// Kernels may assume that what they write overlaps nothing else they are given.
  private func checkAliases(_ buffers: [Buffer?]) throws(FAError) {
    for (index, output) in operands.enumerated() where output.access.writes && output.isPresent {
      guard let written = buffers[index] else { continue }
      let range = written.metalOffset..<written.metalOffset + output.byteCount
      for (other, operand) in operands.enumerated() where other != index && operand.isPresent {
        guard let buffer = buffers[other], buffer.storage.block === written.storage.block else { continue }
        if range.overlaps(buffer.metalOffset..<buffer.metalOffset + operand.byteCount) {
          throw .invalid(
            operation, output.name, expected: "memory of its own", got: "memory it shares with \(operand.name)")
        }
      }
    }
  }
}
