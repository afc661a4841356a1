/// One command buffer with one compute encoder, from its first dispatch to its completion.
///
/// Dispatches may overlap unless a barrier stands between them; tracked dispatches get theirs automatically. Safe to
/// use from any thread, though dispatches of several threads interleave.
public final class CommandEncoder: Sendable {
  enum Phase: String {
    case encoding, ended, committed
  }

  struct State {
    let commandBuffer: any MTLCommandBuffer
    /// Made with the first command. Held strongly: Metal's own reference is an autoreleased one.
    var encoder: (any MTLComputeCommandEncoder)?
    var phase = Phase.encoding
    var ranges = MemoryRanges()
    var capture: [Node]?
    /// What the work uses, where nobody else holds on to it.
    var retained: [Buffer] = []
    var pendingOp: OpKind?
    /// How many slots of threadgroup memory the last kernel had.
    var threadgroupSlots = 0
  }

  public let device: Device
  let state: Locked<State>
  /// False where the caller made the command buffer, and commits it.
  let ownsCommandBuffer: Bool

  /// An encoder with a command buffer of its own.
  public init(device: Device) throws(FAError) {
    let made: (any MTLCommandBuffer)? = pooled {
      device.tuning.unretainedReferences
        ? device.queue.makeCommandBufferWithUnretainedReferences() : device.queue.makeCommandBuffer()
    }
    guard let made else { throw FAError(.commandFailed, "encoder_create", "", "the queue gave no command buffer") }
    self.device = device
    ownsCommandBuffer = true
    state = Locked(State(commandBuffer: made))
  }

  /// Encodes into a command buffer of the caller, who commits it after `end()`.
  public init(device: Device, commandBuffer: any MTLCommandBuffer) throws(FAError) {
    guard commandBuffer.device === device.metal else {
      throw .invalid(
        "encoder_create", "command_buffer", expected: "a command buffer of \(device.name)",
        got: "one of \(commandBuffer.device.name)")
    }
    self.device = device
    ownsCommandBuffer = false
    state = Locked(State(commandBuffer: commandBuffer))
  }

  deinit {
    // Metal aborts when an encoder dies open.
    state.withLock { $0.encoder?.endEncoding() }
  }

  /// The command buffer underneath.
  public var metalCommandBuffer: any MTLCommandBuffer { state.withLock { $0.commandBuffer } }

  public var label: String? {
    get { state.withLock { $0.commandBuffer.label } }
    set { state.withLock { $0.commandBuffer.label = newValue } }
  }

  /// Encodes a dispatch, or records it while capturing. Nothing is encoded if it throws.
  public func dispatch(_ dispatch: Dispatch) throws(FAError) {
    try dispatch.validate(on: device)
    try state.withLock { state throws(FAError) in
      try Self.checkOpen(state, dispatch.kernel)
      let op = state.pendingOp ?? dispatch.op
      state.pendingOp = nil
      if state.capture != nil {
        var recorded = dispatch
        recorded.op = op
        state.capture?.append(.dispatch(recorded))
      } else {
        try encode(dispatch, &state)
      }
    }
  }

  /// Later dispatches see what earlier ones wrote. Without an earlier one there is nothing to order.
  public func barrier() throws(FAError) {
    try state.withLock { state throws(FAError) in
      try Self.checkOpen(state, "encoder_barrier")
      if state.capture != nil {
        state.capture?.append(.barrier)
      } else {
        Self.encodeBarrier(&state)
      }
    }
  }

  /// Holds on to a buffer until the work has been done or given up.
  func keep(_ buffer: Buffer) { state.withLock { $0.retained.append(buffer) } }

  /// Names the kind of the next dispatch only.
  public func setOpKind(_ kind: OpKind) { state.withLock { $0.pendingOp = kind } }

  /// How many memory ranges the dispatches since the last barrier use.
  public var trackedRangeCount: Int { state.withLock { $0.ranges.count } }

  static func checkOpen(_ state: State, _ operation: String) throws(FAError) {
    guard state.phase == .encoding else {
      throw .invalid(operation, "encoder", expected: "one that is still encoding", got: "one that is \(state.phase)")
    }
  }

  func encode(_ dispatch: Dispatch, _ state: inout State) throws(FAError) {
    let encoder = try open(&state)
    if !device.tuning.serialDispatch {
      if dispatch.tracked, device.tuning.automaticBarriers, state.ranges.conflict(with: dispatch) {
        Self.encodeBarrier(&state)
        Tally.bump(Tally.automaticBarriers)
      }
      state.ranges.insert(dispatch)
    }
    if let label = dispatch.label { encoder.pushDebugGroup(label) }
    encoder.setComputePipelineState(dispatch.pipeline.metal)
    for argument in dispatch.arguments {
      switch argument.value {
      case .buffer(let buffer, let offset):
        encoder.setBuffer(buffer.storage.metal, offset: buffer.metalOffset + offset, index: argument.slot)
        if device.tuning.unretainedReferences { state.retained.append(buffer) }
      case .bytes(let bytes):
        bytes.withUnsafeBytes { raw in
          if let base = raw.baseAddress { encoder.setBytes(base, length: raw.count, index: argument.slot) }
        }
      }
    }
    for (slot, bytes) in dispatch.threadgroupBytes.enumerated() where bytes > 0 {
      encoder.setThreadgroupMemoryLength(bytes, index: slot)
    }
    // A length stays in the encoder, and would count against the limit of this kernel too.
    for slot in dispatch.threadgroupBytes.count..<max(state.threadgroupSlots, dispatch.threadgroupBytes.count) {
      encoder.setThreadgroupMemoryLength(0, index: slot)
    }
    state.threadgroupSlots = dispatch.threadgroupBytes.count
    switch dispatch.unit {
    case .threadgroups:
      encoder.dispatchThreadgroups(dispatch.grid.metal, threadsPerThreadgroup: dispatch.threads.metal)
    case .threads:
      encoder.dispatchThreads(dispatch.grid.metal, threadsPerThreadgroup: dispatch.threads.metal)
    }
    if dispatch.label != nil { encoder.popDebugGroup() }
    Tally.bump(Tally.dispatches)
  }

  static func encodeBarrier(_ state: inout State) {
    guard let encoder = state.encoder else { return }
    encoder.memoryBarrier(scope: .buffers)
    state.ranges.removeAll()
    Tally.bump(Tally.barriers)
  }

  private func open(_ state: inout State) throws(FAError) -> any MTLComputeCommandEncoder {
    if let encoder = state.encoder { return encoder }
    let commandBuffer = state.commandBuffer
    let type: MTLDispatchType = device.tuning.serialDispatch ? .serial : .concurrent
    guard let encoder = pooled({ commandBuffer.makeComputeCommandEncoder(dispatchType: type) }) else {
      throw FAError(.commandFailed, "encoder_dispatch", "", "the command buffer gave no compute encoder")
    }
    state.encoder = encoder
    state.threadgroupSlots = 0
    return encoder
  }
}
