/// Keeps a device's buffers resident. Changes are gathered and take effect at the next commit of an encoder.
final class Residency: Sendable {
  private struct State {
    let set: any MTLResidencySet
    var dirty = false
  }

  private let state: Locked<State>

  /// Nil where the device has no residency sets.
  init?(device: any MTLDevice, queue: any MTLCommandQueue) {
    let descriptor = MTLResidencySetDescriptor()
    descriptor.label = "pyfa"
    descriptor.initialCapacity = 256
    guard device.supportsFamily(.apple6), let set = try? device.makeResidencySet(descriptor: descriptor) else {
      return nil
    }
    queue.addResidencySet(set)
    state = Locked(State(set: set))
  }

  func add(_ allocation: any MTLAllocation) {
    state.withLock {
      $0.set.addAllocation(allocation)
      $0.dirty = true
    }
  }

  func remove(_ allocation: any MTLAllocation) {
    state.withLock {
      $0.set.removeAllocation(allocation)
      $0.dirty = true
    }
  }

  func flush() {
    state.withLock {
      guard $0.dirty else { return }
      $0.set.commit()
      $0.dirty = false
    }
  }
}
