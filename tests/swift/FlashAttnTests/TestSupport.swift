import FlashAttn
import XCTest

#if !canImport(Metal)
  import CSoftMetal
#endif

/// A kernel of the tests' own: a shader for real Metal, and its native twin for SoftMetal.
enum TestKernels {
  static let name = "test_kernels"

  /// x[i] = factor · x[i] + shift for the first n elements.
  static let source = """
    #include <metal_stdlib>
    using namespace metal;
    constant int factor [[function_constant(0)]];
    constant int shift [[function_constant(1)]];
    kernel void scale_add(device float* x [[buffer(0)]], constant uint& n [[buffer(1)]],
                          uint i [[thread_position_in_grid]]) {
      if (i < n) x[i] = float(factor) * x[i] + float(shift);
    }
    """

  /// A device that can run them, and a registry that knows them.
  static func device(_ tuning: Tuning = Tuning()) throws -> (device: Device, registry: KernelRegistry) {
    #if canImport(Metal)
      let device = try Device(tuning: tuning)
    #else
      let metal = SoftMetalDevice()
      native.withUnsafeBufferPointer { rows in
        if let base = rows.baseAddress { metal.registerNativeKernels(base, count: rows.count, source: source) }
      }
      let device = try Device(metal: metal, tuning: tuning)
    #endif
    let registry = device.makeRegistry()
    try registry.register(source: source, named: name)
    return (device, registry)
  }

  static func dispatch(
    _ buffer: Buffer, factor: Int32 = 1, step: Int32, registry: KernelRegistry, tracked: Bool = false
  ) throws -> Dispatch {
    let constants = [FunctionConstant(0, .int(factor)), FunctionConstant(1, .int(step))]
    var dispatch = Dispatch(
      kernel: "scale_add", pipeline: try registry.pipeline("scale_add", constants: constants),
      arguments: [.buffer(0, buffer, access: .readWrite), .value(1, UInt32(buffer.count))],
      grid: Size3(buffer.count), threads: Size3(32))
    dispatch.unit = .threads
    dispatch.tracked = tracked
    return dispatch
  }

  #if !canImport(Metal)
    /// Never changed after it is made.
    nonisolated(unsafe) private static let native: [sm_native_kernel] = {
      let arguments = UnsafeMutableBufferPointer<sm_argument>.allocate(capacity: 2)
      arguments[0] = sm_argument(name: strdup("x"), slot: 0, access: 1, min_bytes: 0, guard: -1)
      arguments[1] = sm_argument(name: strdup("n"), slot: 1, access: 0, min_bytes: 4, guard: -1)
      let constants = UnsafeMutableBufferPointer<sm_constant_info>.allocate(capacity: 2)
      constants[0] = sm_constant_info(name: strdup("factor"), index: 0, type: 29, required: 1)
      constants[1] = sm_constant_info(name: strdup("shift"), index: 1, type: 29, required: 1)
      return [
        sm_native_kernel(
          name: strdup("scale_add"), run: scaleAdd, arguments: arguments.baseAddress, argument_count: 2,
          constants: constants.baseAddress, constant_count: 2, max_threads: 1024, static_threadgroup_bytes: 0)
      ]
    }()

    private static let scaleAdd: @convention(c) (UnsafePointer<sm_dispatch>?) -> UnsafePointer<CChar>? = { dispatch in
      guard let dispatch = dispatch?.pointee, let constants = dispatch.constants,
        let x = dispatch.buffers.0.data?.assumingMemoryBound(to: Float.self),
        let n = dispatch.buffers.1.data?.load(as: UInt32.self)
      else { return nil }
      let values = (0..<2).map { index in
        withUnsafeBytes(of: constants[index].value) { $0.loadUnaligned(as: Int32.self) }
      }
      for i in 0..<Int(min(n, dispatch.grid_threads.0)) { x[i] = Float(values[0]) * x[i] + Float(values[1]) }
      return nil
    }
  #endif
}

/// Runs `body` and hands over the FAError it throws.
func thrown(_ body: () throws -> Void, file: StaticString = #filePath, line: UInt = #line) -> FAError {
  do {
    try body()
    XCTFail("nothing was thrown", file: file, line: line)
  } catch let error as FAError {
    return error
  } catch {
    XCTFail("\(error) is no FAError", file: file, line: line)
  }
  return FAError(.internal, "test", "", "nothing was thrown")
}

/// Numbers in −1 … 1 that are the same on every run.
struct Random {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func next() -> Float {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Float(Int32(truncatingIfNeeded: state >> 32)) / 2_147_483_648
  }

  mutating func array(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }
}
