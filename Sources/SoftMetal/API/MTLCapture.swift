public enum MTLCaptureDestination: Int, Sendable {
  case developerTools = 1
  case gpuTraceDocument = 2
}

open class MTLCaptureDescriptor {
  public var captureObject: Any?
  public var destination = MTLCaptureDestination.developerTools
  public init() {}
}

/// There is no GPU to capture: no destination is supported.
public final class MTLCaptureManager: Sendable {
  private static let manager = MTLCaptureManager()
  private init() {}

  public class func shared() -> MTLCaptureManager { manager }
  public func supportsDestination(_ destination: MTLCaptureDestination) -> Bool { false }
  public var isCapturing: Bool { false }
  /// Throws `MTLCaptureError.notSupported`.
  public func startCapture(with descriptor: MTLCaptureDescriptor) throws { throw MTLCaptureError.notSupported }
  public func stopCapture() {}
}
