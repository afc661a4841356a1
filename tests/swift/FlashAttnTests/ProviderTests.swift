import FlashAttn
import XCTest

#if !canImport(Metal)
  /// What runs the kernels of a device.
  final class ProviderTests: XCTestCase {
    private static let constants = [FunctionConstant(0, .int(2)), FunctionConstant(1, .int(1))]

    private func provider(of registry: KernelRegistry, on device: Device) throws -> String? {
      let pipeline = try registry.pipeline("scale_add", constants: Self.constants)
      return (device.metal as? SoftMetalDevice)?.providerName(of: pipeline.metal)
    }

    /// Even where the Metal device has native kernels for the source, registered before or by another device.
    func testADeviceForShadersRunsNothingElse() throws {
      var tuning = Tuning()
      let native = try TestKernels.device(tuning)
      XCTAssertEqual(try provider(of: native.registry, on: native.device), "native")

      tuning.provider = .shader
      let fresh = try TestKernels.device(tuning)
      XCTAssertEqual(try provider(of: fresh.registry, on: fresh.device), "shader")

      let adopted = try Device(metal: native.device.metal, tuning: tuning)
      XCTAssertEqual(adopted.provider, .shader)
      let registry = adopted.makeRegistry()
      try registry.register(source: TestKernels.source, named: TestKernels.name)
      XCTAssertEqual(try provider(of: registry, on: adopted), "shader")
      let buffer = try adopted.makeBuffer(.f32, [4])
      let encoder = try CommandEncoder(device: adopted)
      try encoder.dispatch(try TestKernels.dispatch(buffer, factor: 1, step: 3, registry: registry))
      try encoder.commitAndWait()
      XCTAssertEqual(try buffer.elements(as: Float.self), [3, 3, 3, 3])
      // The other goes on as before.
      XCTAssertEqual(try provider(of: native.registry, on: native.device), "native")
    }
  }
#endif
