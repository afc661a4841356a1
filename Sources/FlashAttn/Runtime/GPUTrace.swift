/// Recording of a device's commands for Metal's own tools.
public enum GPUTrace {
  /// Runs `body` while the developer tools record what the device is given.
  ///
  /// - Throws: `unsupported` where nothing can record: outside the developer tools, and always on SoftMetal.
  public static func record(_ device: Device, _ body: () throws(FAError) -> Void) throws(FAError) {
    let manager = MTLCaptureManager.shared()
    let descriptor = MTLCaptureDescriptor()
    descriptor.captureObject = device.metal
    do {
      try manager.startCapture(with: descriptor)
    } catch {
      throw FAError(
        .unsupported, "gpu_trace", "", "expected Metal's developer tools to record, got: \(describe(error))")
    }
    defer { manager.stopCapture() }
    try body()
  }
}
