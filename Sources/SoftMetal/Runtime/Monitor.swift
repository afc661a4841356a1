import CSoftMetal

/// A mutex with a condition. Not recursive; what it guards is said where it is declared.
final class Monitor: @unchecked Sendable {
  private let raw: OpaquePointer

  init() { raw = sm_monitor_create() }
  deinit { sm_monitor_destroy(raw) }

  @inline(__always) func lock() { sm_monitor_lock(raw) }
  @inline(__always) func unlock() { sm_monitor_unlock(raw) }

  /// Gives the lock up until a broadcast, or for no reason at all: look again at what you wait for.
  func wait() { sm_monitor_wait(raw) }
  /// `deadline` in seconds on `sm_now`'s clock.
  func wait(until deadline: Double) { sm_monitor_wait_until(raw, deadline) }
  func broadcast() { sm_monitor_broadcast(raw) }

  @inline(__always)
  func withLock<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    lock()
    defer { unlock() }
    return try body()
  }
}

/// A value behind a lock.
final class Guarded<Value>: @unchecked Sendable {
  private let monitor = Monitor()
  private var value: Value

  init(_ value: Value) { self.value = value }

  func withLock<Result, Failure: Error>(_ body: (inout Value) throws(Failure) -> Result) throws(Failure) -> Result {
    monitor.lock()
    defer { monitor.unlock() }
    return try body(&value)
  }

  var current: Value {
    get { withLock { $0 } }
    set { withLock { $0 = newValue } }
  }
}

/// Runs `work` on another thread; false, and not run, if there is none to be had.
@discardableResult
func runAsync(_ work: @escaping @Sendable () -> Void) -> Bool {
  final class Job: Sendable {
    let work: @Sendable () -> Void
    init(_ work: @escaping @Sendable () -> Void) { self.work = work }
  }
  let job = Unmanaged.passRetained(Job(work))
  let taken = sm_async(
    { argument in
      guard let argument else { return }
      Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().work()
    }, job.toOpaque())
  if taken == 0 { job.release() }
  return taken != 0
}
