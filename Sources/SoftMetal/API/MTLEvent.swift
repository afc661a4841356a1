import Dispatch

/// A number that only grows; command buffers wait for it and raise it.
public protocol MTLEvent: AnyObject, Sendable {
  /// Nil for a shared event.
  var device: (any MTLDevice)? { get }
  var label: String? { get set }
}

public typealias MTLSharedEventNotificationBlock = @Sendable (any MTLSharedEvent, UInt64) -> Void

/// An event the CPU can read, raise and wait for.
public protocol MTLSharedEvent: MTLEvent {
  /// A value below the present one is ignored.
  var signaledValue: UInt64 { get set }
  /// Calls `block` on the listener's queue once the value is reached.
  func notify(
    _ listener: MTLSharedEventListener, atValue value: UInt64, block: @escaping MTLSharedEventNotificationBlock)
  func makeSharedEventHandle() -> MTLSharedEventHandle
  /// False if the time, in milliseconds, is over first.
  @discardableResult func wait(untilSignaledValue value: UInt64, timeoutMS milliseconds: UInt64) -> Bool
  func valueSignaled(_ value: UInt64) async
}

public final class MTLSharedEventListener: Sendable {
  public let dispatchQueue: DispatchQueue

  private static let common = MTLSharedEventListener()

  public init() { dispatchQueue = DispatchQueue(label: "SoftMetal.MTLSharedEventListener") }
  public init(dispatchQueue: DispatchQueue) { self.dispatchQueue = dispatchQueue }
  public static func shared() -> MTLSharedEventListener { common }
}

/// Names a shared event for `makeSharedEvent(handle:)`.
public final class MTLSharedEventHandle: Sendable {
  let event: SoftSharedEvent
  public var label: String? { event.label }
  init(event: SoftSharedEvent) { self.event = event }
}
