/// What encoders have in common: their life, and how they report mistakes.
class SoftEncoder {
  private enum State {
    case open, ended
    /// Never opened: a mistake that is already reported.
    case inert
  }

  let commandBuffer: SoftCommandBuffer
  var label: String?
  private var state: State
  private var groups: [String] = []
  private var updatedFences: [ObjectIdentifier] = []

  init(_ commandBuffer: SoftCommandBuffer, opens: Bool) {
    self.commandBuffer = commandBuffer
    state = opens ? .open : .inert
  }

  deinit {
    guard state == .open else { return }
    commandBuffer.hasOpenEncoder = false
    report(.internal, "Command encoder released without endEncoding")
  }

  var softDevice: SoftMetalDevice { commandBuffer.softDevice }
  var device: any MTLDevice { commandBuffer.softDevice }

  /// Names the encoder and its debug groups in front of `text`.
  func report(_ code: MTLCommandBufferError.Code, _ text: String) {
    let place = ([label] + groups).compactMap { $0 }.joined(separator: "/")
    commandBuffer.report(code, place.isEmpty ? text : "\(place): \(text)")
  }

  /// Whether something may be encoded; if not, and if that is a mistake, the mistake is reported.
  @inline(__always)
  func admits(_ operation: StaticString) -> Bool {
    (state == .open && commandBuffer.admits(operation)) || refuse(operation)
  }

  private func refuse(_ operation: StaticString) -> Bool {
    if state == .ended { report(.internal, "\(operation): the encoder has already ended") }
    return false
  }

  func endEncoding() {
    guard state == .open else {
      if state == .ended { report(.internal, "endEncoding: the encoder has already ended") }
      return
    }
    state = .ended
    commandBuffer.hasOpenEncoder = false
  }

  func insertDebugSignpost(_ string: String) {}
  func pushDebugGroup(_ string: String) { if admits("pushDebugGroup") { groups.append(string) } }

  func popDebugGroup() {
    guard admits("popDebugGroup") else { return }
    if groups.popLast() == nil { report(.internal, "popDebugGroup: no debug group was pushed") }
  }

  func updateFence(_ fence: any MTLFence) {
    guard admits("updateFence"), owns(fence, "updateFence") else { return }
    updatedFences.append(ObjectIdentifier(fence))
  }

  func waitForFence(_ fence: any MTLFence) {
    guard admits("waitForFence"), owns(fence, "waitForFence") else { return }
    if updatedFences.contains(ObjectIdentifier(fence)) {
      report(.internal, "waitForFence: the fence was updated in the same encoder")
    }
  }

  private func owns(_ fence: any MTLFence, _ operation: StaticString) -> Bool {
    if (fence as? SoftFence)?.softDevice === softDevice { return true }
    report(.invalidResource, "\(operation): the fence belongs to another device")
    return false
  }

  /// The buffer behind a resource of this device; otherwise reported and nil.
  @inline(__always)
  func resolve(_ resource: any MTLResource, _ place: @autoclosure () -> String) -> SoftBuffer? {
    if let buffer = resource as? SoftBuffer, buffer.softDevice === softDevice { return buffer }
    report(.invalidResource, "\(place()): the resource belongs to another device")
    return nil
  }

  /// Keeps the buffer alive, or sees later whether the client did.
  @inline(__always)
  func use(_ buffer: SoftBuffer) {
    if commandBuffer.retainedReferences {
      commandBuffer.list.keep(buffer)
    } else {
      commandBuffer.list.remember(buffer)
    }
  }
}
