extension CommandEncoder {
  /// Ends encoding without committing, so that the owner of the command buffer can go on with it.
  public func end() throws(FAError) {
    try state.withLock { state throws(FAError) in
      try Self.checkOpen(state, "encoder_end")
      Self.close(&state)
    }
  }

  /// Submits; the device works on it while the caller goes on.
  public func commit() throws(FAError) { try submit("encoder_commit") }

  /// Waits for a committed encoder.
  ///
  /// - Throws: `commandFailed` with the device's reason if the work did not complete, `shaderCheck` if what stopped it is
  ///   a finding of the shader checks.
  public func wait() throws(FAError) {
    Tally.bump(Tally.waits)
    let commandBuffer = try committed("encoder_wait")
    commandBuffer.waitUntilCompleted()
    state.withLock { $0.retained.removeAll() }
    guard commandBuffer.status != .completed else { return }
    let reason = commandBuffer.error.map(describe) ?? "the command buffer did not complete"
    throw FAError(
      isShaderFinding(commandBuffer.error) ? .shaderCheck : .commandFailed, commandBuffer.label ?? "command_buffer", "",
      reason)
  }

  public func commitAndWait() throws(FAError) {
    try submit("encoder_commit_and_wait")
    try wait()
  }

  /// When the device started and finished, in seconds of its own clock.
  public func gpuTime() throws(FAError) -> (start: Double, end: Double) {
    let commandBuffer = try committed("encoder_gpu_time")
    guard commandBuffer.status == .completed else {
      throw .invalid("encoder_gpu_time", "encoder", expected: "one that completed", got: "one that has not")
    }
    return (commandBuffer.gpuStartTime, commandBuffer.gpuEndTime)
  }

  private func submit(_ operation: String) throws(FAError) {
    try state.withLock { state throws(FAError) in
      guard ownsCommandBuffer else {
        throw .invalid(
          operation, "encoder", expected: "one with its own command buffer", got: "one the caller commits")
      }
      guard state.phase != .committed else {
        throw .invalid(operation, "encoder", expected: "one not yet committed", got: "one committed before")
      }
      guard state.capture == nil else {
        throw .invalid(operation, "encoder", expected: "the capture to be taken first", got: "one still capturing")
      }
      Self.close(&state)
      state.phase = .committed
      device.allocator.residency?.flush()
      if device.tuning.profile {
        state.commandBuffer.addCompletedHandler { done in
          Profile.add(.init(label: done.label ?? "", seconds: done.gpuEndTime - done.gpuStartTime))
        }
      }
      state.commandBuffer.commit()
      Tally.bump(Tally.commandBuffers)
    }
  }

  private func committed(_ operation: String) throws(FAError) -> any MTLCommandBuffer {
    try state.withLock { state throws(FAError) in
      guard state.phase == .committed else {
        throw .invalid(operation, "encoder", expected: "a committed one", got: "one that is \(state.phase)")
      }
      return state.commandBuffer
    }
  }

  private static func close(_ state: inout State) {
    state.encoder?.endEncoding()
    state.encoder = nil
    if state.phase == .encoding { state.phase = .ended }
  }
}
