import Synchronization

/// A value behind a lock, for state that is not Sendable by itself (Metal's encoders and buffers are not).
final class Locked<Value>: @unchecked Sendable {
  private let mutex = Mutex(())
  private var value: Value

  init(_ value: Value) { self.value = value }

  func withLock<Result, Failure: Error>(_ body: (inout Value) throws(Failure) -> Result) throws(Failure) -> Result {
    try mutex.withLock { _ throws(Failure) in Passed(value: try body(&value)) }.value
  }

  private struct Passed<Content>: @unchecked Sendable { let value: Content }
}
