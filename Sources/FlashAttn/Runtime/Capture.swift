/// One recorded command.
public enum Node: Sendable {
  case dispatch(Dispatch)
  case barrier
}

/// Commands recorded by an encoder, to be looked at or encoded any number of times.
public final class Capture: Sendable {
  public let nodes: [Node]

  init(nodes: [Node]) { self.nodes = nodes }
}

extension CommandEncoder {
  /// From here on dispatches and barriers are recorded, not encoded.
  public func startCapture() throws(FAError) {
    try state.withLock { state throws(FAError) in
      try Self.checkOpen(state, "encoder_start_capture")
      guard state.capture == nil else {
        throw .invalid("encoder_start_capture", "encoder", expected: "one that is not capturing", got: "one that is")
      }
      state.capture = []
    }
  }

  public var isCapturing: Bool { state.withLock { $0.capture != nil } }

  /// Ends the capture and hands over what it recorded.
  public func takeCapture() throws(FAError) -> Capture {
    try state.withLock { state throws(FAError) in
      guard let nodes = state.capture else {
        throw .invalid("encoder_take_capture", "encoder", expected: "one that is capturing", got: "one that is not")
      }
      state.capture = nil
      return Capture(nodes: nodes)
    }
  }

  /// Encodes every node of a capture, made by this device. Nothing is encoded if one cannot be.
  public func replay(_ capture: Capture) throws(FAError) {
    for case .dispatch(let dispatch) in capture.nodes { try dispatch.validate(on: device) }
    try state.withLock { state throws(FAError) in
      try Self.checkOpen(state, "encoder_replay")
      guard state.capture == nil else {
        throw .invalid("encoder_replay", "encoder", expected: "one that is not capturing", got: "one that is")
      }
      for node in capture.nodes {
        switch node {
        case .dispatch(let dispatch): try encode(dispatch, &state)
        case .barrier: Self.encodeBarrier(&state)
        }
      }
    }
  }
}
