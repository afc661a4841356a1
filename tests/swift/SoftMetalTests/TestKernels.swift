import CSoftMetal
import SoftMetal
import XCTest

/// A device with a few native kernels and what tests need of it. `source` is the text they stand in for.
struct TestDevice {
  static let source = """
    #include <metal_stdlib>
    using namespace metal;
    constant uint seed [[function_constant(3)]];
    constant bool has_bias [[function_constant(4)]];
    kernel void iota(device uint *out [[buffer(0)]], constant uint &count [[buffer(1)]],
                     uint i [[thread_position_in_grid]]) {
      if (i < count) out[i] = i;
    }
    kernel void add(device uint *values [[buffer(0)]], constant uint &term [[buffer(1)]]) {
      values[0] = values[0] * 3 + term;
    }
    kernel void shape(device uint *out [[buffer(0)]], threadgroup float *shared [[threadgroup(2)]]) {}
    kernel void seeded(device uint *out [[buffer(0)]],
                       device const uint *bias [[buffer(5), function_constant(has_bias)]]) {
      out[0] = seed + (has_bias ? bias[0] : 0);
    }
    kernel void broken() {}
    kernel void slow(device uint *out [[buffer(0)]]) {}
    kernel void squares(device uint *out [[buffer(0)]], constant uint &count [[buffer(1)]]) {}
    kernel void only_text(device uint *out [[buffer(0)]]) {}
    """

  let soft: SoftMetalDevice
  let device: any MTLDevice
  let library: any MTLLibrary
  let queue: any MTLCommandQueue

  init() throws {
    soft = SoftMetalDevice()
    device = soft
    let rows = NativeRows.all
    soft.registerNativeKernels(rows, count: rows.count, source: Self.source)
    library = try device.makeLibrary(source: Self.source, options: nil)
    queue = try XCTUnwrap(device.makeCommandQueue())
  }

  func pipeline(_ name: String) throws -> any MTLComputePipelineState {
    try device.makeComputePipelineState(function: XCTUnwrap(library.makeFunction(name: name)))
  }

  func seeded(_ seed: UInt32, bias: Bool) throws -> any MTLComputePipelineState {
    let values = MTLFunctionConstantValues()
    withUnsafeBytes(of: seed) { values.setConstantValue($0.baseAddress!, type: .uint, index: 3) }
    withUnsafeBytes(of: bias) { values.setConstantValue($0.baseAddress!, type: .bool, withName: "has_bias") }
    return try device.makeComputePipelineState(function: library.makeFunction(name: "seeded", constantValues: values))
  }

  func buffer(_ values: [UInt32]) throws -> any MTLBuffer {
    try XCTUnwrap(device.makeBuffer(bytes: values, length: values.count * 4))
  }

  /// Encodes with one compute encoder, commits, waits.
  @discardableResult
  func run(
    _ type: MTLDispatchType = .serial, _ encode: (any MTLComputeCommandEncoder) throws -> Void
  ) throws -> any MTLCommandBuffer {
    let commands = try XCTUnwrap(queue.makeCommandBuffer())
    let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder(dispatchType: type))
    try encode(encoder)
    encoder.endEncoding()
    commands.commit()
    commands.waitUntilCompleted()
    return commands
  }

  /// Encodes, on `commands`, `values[0] = values[0] * 3 + term`: an operation whose order shows.
  func encodeAdd(_ term: UInt32, to values: any MTLBuffer, in commands: any MTLCommandBuffer) throws {
    let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
    encoder.setComputePipelineState(try pipeline("add"))
    encoder.setBuffer(values, offset: 0, index: 0)
    encoder.setUInt(term, index: 1)
    encoder.dispatchOne()
    encoder.endEncoding()
  }
}

let one = MTLSizeMake(1, 1, 1)

extension MTLComputeCommandEncoder {
  func setUInt(_ value: UInt32, index: Int) {
    withUnsafeBytes(of: value) { setBytes($0.baseAddress!, length: 4, index: index) }
  }

  func dispatchOne() { dispatchThreadgroups(one, threadsPerThreadgroup: one) }
}

extension MTLBuffer {
  func uint(_ index: Int) -> UInt32 { contents().load(fromByteOffset: index * 4, as: UInt32.self) }
  var uints: [UInt32] { (0..<length / 4).map(uint) }
}

/// The error's text, and a failure unless the buffer ended in an error that mentions all of `parts`.
func assertError(
  _ commands: any MTLCommandBuffer, _ code: MTLCommandBufferError.Code, _ parts: String...,
  file: StaticString = #filePath,
  line: UInt = #line
) {
  XCTAssertEqual(commands.status, .error, file: file, line: line)
  guard let error = commands.error as? MTLCommandBufferError else {
    return XCTFail("no error: \(String(describing: commands.error))", file: file, line: line)
  }
  XCTAssertEqual(error.code, code, error.localizedDescription, file: file, line: line)
  for part in parts where !error.localizedDescription.contains(part) {
    XCTFail("'\(part)' is not in: \(error.localizedDescription)", file: file, line: line)
  }
}

/// Checks that `body` throws a library error of this code that mentions all of `parts`.
func assertLibraryError<T>(
  _ code: MTLLibraryError.Code, _ parts: String..., file: StaticString = #filePath, line: UInt = #line,
  _ body: () throws -> T
) {
  do {
    _ = try body()
    XCTFail("nothing thrown", file: file, line: line)
  } catch let error as MTLLibraryError {
    XCTAssertEqual(error.code, code, error.localizedDescription, file: file, line: line)
    for part in parts where !error.localizedDescription.contains(part) {
      XCTFail("'\(part)' is not in: \(error.localizedDescription)", file: file, line: line)
    }
  } catch {
    XCTFail("unexpected error \(error)", file: file, line: line)
  }
}

/// A null-terminated string that lives for ever.
private func cString(_ text: StaticString) -> UnsafePointer<CChar> {
  UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

/// Rows of a kernel table, allocated once for the process.
enum NativeRows {
  typealias Argument = (name: StaticString, slot: UInt32, access: Int, minBytes: UInt64, guardIndex: Int32)
  typealias Run = @convention(c) (UnsafePointer<sm_dispatch>?) -> UnsafePointer<CChar>?

  static func kernel(
    _ name: StaticString, _ arguments: [Argument],
    constants: [(name: StaticString, index: UInt32, type: MTLDataType, required: Bool)] = [],
    maxThreads: UInt32 = 1024, staticBytes: UInt32 = 0, run: Run?
  ) -> sm_native_kernel {
    let rows = UnsafeMutableBufferPointer<sm_argument>.allocate(capacity: arguments.count)
    _ = rows.initialize(
      from: arguments.map {
        sm_argument(
          name: cString($0.name), slot: $0.slot, access: UInt32($0.access), min_bytes: $0.minBytes, guard: $0.guardIndex
        )
      })
    let infos = UnsafeMutableBufferPointer<sm_constant_info>.allocate(capacity: constants.count)
    _ = infos.initialize(
      from: constants.map {
        sm_constant_info(
          name: cString($0.name), index: $0.index, type: UInt32($0.type.rawValue), required: $0.required ? 1 : 0)
      })
    return sm_native_kernel(
      name: cString(name), run: run, arguments: UnsafePointer(rows.baseAddress), argument_count: UInt32(rows.count),
      constants: UnsafePointer(infos.baseAddress), constant_count: UInt32(infos.count), max_threads: maxThreads,
      static_threadgroup_bytes: staticBytes)
  }

  static let out: Argument = ("out", 0, SM_READ_WRITE, 4, -1)
  static let count: Argument = ("count", 1, SM_READ, 4, -1)

  nonisolated(unsafe) static let all: [sm_native_kernel] = [
    kernel("iota", [out, count], maxThreads: 512) { dispatch in
      guard let dispatch else { return nil }
      let out = dispatch.pointee.buffers.0.data.assumingMemoryBound(to: UInt32.self)
      let count = dispatch.pointee.buffers.1.data.load(as: UInt32.self)
      for i in 0..<min(count, dispatch.pointee.grid_threads.0) { out[Int(i)] = i }
      return nil
    },
    kernel("add", [("values", 0, SM_READ_WRITE, 4, -1), ("term", 1, SM_READ, 4, -1)]) { dispatch in
      guard let dispatch else { return nil }
      let values = dispatch.pointee.buffers.0.data.assumingMemoryBound(to: UInt32.self)
      values[0] = values[0] &* 3 &+ dispatch.pointee.buffers.1.data.load(as: UInt32.self)
      return nil
    },
    // Writes down the dispatch it gets: grid, threadgroup bytes of slot 2, bytes of slot 0, whether slot 7 is bound.
    kernel("shape", [out], staticBytes: 1024) { dispatch in
      guard let d = dispatch?.pointee else { return nil }
      let out = d.buffers.0.data.assumingMemoryBound(to: UInt32.self)
      let values = [
        d.threadgroups.0, d.threadgroups.1, d.threadgroups.2, d.grid_threads.0, d.grid_threads.1, d.grid_threads.2,
        d.threads.0, d.threads.1, d.threads.2, UInt32(d.threadgroup_bytes.2), UInt32(d.buffers.0.bytes),
        d.buffers.7.data == nil ? 0 : 1,
      ]
      for (i, value) in values.enumerated() { out[i] = value }
      return nil
    },
    kernel(
      "seeded", [out, ("bias", 5, SM_READ, 4, 4)],
      constants: [("has_bias", 4, .bool, true), ("seed", 3, .uint, true)]
    ) { dispatch in
      guard let d = dispatch?.pointee, let constants = d.constants, d.constant_count == 2 else { return nil }
      guard constants[0].index == 3, constants[1].index == 4 else { return nil }
      let seed = withUnsafeBytes(of: constants[0].value) { $0.load(as: UInt32.self) }
      let out = d.buffers.0.data.assumingMemoryBound(to: UInt32.self)
      out[0] = seed &+ (d.buffers.5.data?.load(as: UInt32.self) ?? 0)
      return nil
    },
    kernel("broken", []) { _ in cString("head size 7 is not supported") },
    kernel("slow", [out]) { dispatch in
      guard let out = dispatch?.pointee.buffers.0.data else { return nil }
      usleep(20_000)
      out.storeBytes(of: 1, as: UInt32.self)
      return nil
    },
    // out[i] = i * i in a parallel region, by way of scratch memory.
    kernel("squares", [out, count]) { dispatch in
      guard let d = dispatch?.pointee, let executor = d.executor?.pointee else { return nil }
      let count = UInt64(d.buffers.1.data.load(as: UInt32.self))
      guard let scratch = executor.scratch(executor.`self`, count * 4) else { return cString("no scratch") }
      guard UInt(bitPattern: scratch) % 64 == 0 else { return cString("scratch is not aligned") }
      executor.parallel(
        executor.`self`, count,
        { context, index, worker in
          let value = worker < sm_worker_count() ? UInt32(truncatingIfNeeded: index * index) : 0
          context?.storeBytes(of: value, toByteOffset: Int(index) * 4, as: UInt32.self)
        }, scratch)
      d.buffers.0.data.copyMemory(from: scratch, byteCount: Int(count) * 4)
      return nil
    },
    // Not in the text: made by a macro there, say.
    kernel("macro_made", [out], run: { _ in nil }),
  ]
}
