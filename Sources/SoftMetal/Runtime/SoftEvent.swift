import CSoftMetal

/// The value behind both kinds of events, and who waits for it.
final class EventValue: @unchecked Sendable {
  private let monitor = Monitor()
  private var value: UInt64 = 0
  private var waiting: [(value: UInt64, resume: @Sendable () -> Void)] = []

  var current: UInt64 { monitor.withLock { value } }

  /// Raises the value; one that is not higher changes nothing.
  func raise(to new: UInt64) {
    monitor.lock()
    guard new > value else { return monitor.unlock() }
    value = new
    let reached = waiting.filter { $0.value <= new }
    waiting.removeAll { $0.value <= new }
    monitor.broadcast()
    monitor.unlock()
    for waiter in reached { waiter.resume() }
  }

  func hasReached(_ wanted: UInt64) -> Bool { monitor.withLock { value >= wanted } }

  /// Calls `resume` once the value is reached: at once, or on the thread that raises it.
  func whenReached(_ wanted: UInt64, _ resume: @escaping @Sendable () -> Void) {
    monitor.lock()
    let now = value >= wanted
    if !now { waiting.append((wanted, resume)) }
    monitor.unlock()
    if now { resume() }
  }

  /// False if `deadline` comes first.
  func wait(for wanted: UInt64, until deadline: Double) -> Bool {
    monitor.withLock {
      while value < wanted {
        if sm_now() >= deadline { return false }
        monitor.wait(until: deadline)
      }
      return true
    }
  }
}

final class SoftEvent: MTLEvent, @unchecked Sendable {
  let softDevice: SoftMetalDevice
  let value = EventValue()
  private let guardedLabel = Guarded<String?>(nil)

  init(device: SoftMetalDevice) { softDevice = device }

  var device: (any MTLDevice)? { softDevice }
  var label: String? {
    get { guardedLabel.current }
    set { guardedLabel.current = newValue }
  }
}

final class SoftSharedEvent: MTLSharedEvent, @unchecked Sendable {
  let value = EventValue()
  private let guardedLabel = Guarded<String?>(nil)

  var device: (any MTLDevice)? { nil }
  var label: String? {
    get { guardedLabel.current }
    set { guardedLabel.current = newValue }
  }

  var signaledValue: UInt64 {
    get { value.current }
    set { value.raise(to: newValue) }
  }

  func notify(
    _ listener: MTLSharedEventListener, atValue value: UInt64, block: @escaping MTLSharedEventNotificationBlock
  ) {
    self.value.whenReached(value) { [self] in
      listener.dispatchQueue.async { block(self, self.signaledValue) }
    }
    Watchdog.shared.hurry()
  }

  func makeSharedEventHandle() -> MTLSharedEventHandle { MTLSharedEventHandle(event: self) }

  @discardableResult
  func wait(untilSignaledValue value: UInt64, timeoutMS milliseconds: UInt64) -> Bool {
    if self.value.hasReached(value) { return true }
    Watchdog.shared.hurry()
    return self.value.wait(for: value, until: sm_now() + Double(milliseconds) / 1000)
  }

  func valueSignaled(_ value: UInt64) async {
    await withCheckedContinuation { continuation in
      self.value.whenReached(value) { continuation.resume() }
      Watchdog.shared.hurry()
    }
  }
}

/// Orders encoders. They run in order here, so a fence has nothing left to do but to be used rightly.
final class SoftFence: MTLFence, @unchecked Sendable {
  let softDevice: SoftMetalDevice
  private let guardedLabel = Guarded<String?>(nil)

  init(device: SoftMetalDevice) { softDevice = device }

  var device: any MTLDevice { softDevice }
  var label: String? {
    get { guardedLabel.current }
    set { guardedLabel.current = newValue }
  }
}
