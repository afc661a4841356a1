import CSoftMetal

/// Sees to it that committed work is executed although nobody waits for it.
///
/// A queue whose client usually waits does not wake a thread at every commit, since the waiting thread is quicker. It
/// is watched instead: a look every `period` finds the work that nobody came for.
final class Watchdog: @unchecked Sendable {
  static let shared = Watchdog()
  /// Seconds.
  private static let period = 1e-3
  /// A queue without work for so many looks is no longer watched.
  static let patience = 32

  private let monitor = Monitor()
  // Guarded by `monitor`.
  private var arrivals: [SoftQueue] = []
  private var isRunning = false
  private var isHurried = false

  /// False if there is no thread to watch with.
  func watch(_ queue: SoftQueue) -> Bool {
    monitor.lock()
    arrivals.append(queue)
    let mustStart = !isRunning
    isRunning = true
    monitor.unlock()
    if !mustStart || runAsync({ self.run() }) { return true }
    monitor.withLock {
      isRunning = false
      arrivals = []
    }
    return false
  }

  /// Makes the next look happen now and take whatever it finds. For callers about to wait for some other queue's work.
  func hurry() {
    monitor.withLock {
      guard isRunning else { return }
      isHurried = true
      monitor.broadcast()
    }
  }

  private func run() {
    var watched: [SoftQueue] = []
    while true {
      monitor.lock()
      let deadline = sm_now() + Self.period
      while !isHurried, sm_now() < deadline { monitor.wait(until: deadline) }
      let force = isHurried
      isHurried = false
      watched += arrivals
      arrivals = []
      monitor.unlock()
      watched.removeAll { !$0.look(force: force) }
      let isDone = monitor.withLock {
        if watched.isEmpty, arrivals.isEmpty { isRunning = false }
        return !isRunning
      }
      if isDone { return }
    }
  }
}
