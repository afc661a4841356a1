import SoftMetal
import XCTest

/// Shaders from their source to their results.
final class ShaderTests: XCTestCase {
  private static let add = """
    kernel void k(device const float *a [[buffer(0)]], device const float *b [[buffer(1)]],
                  device float *sum [[buffer(2)]], constant uint &count [[buffer(3)]],
                  uint i [[thread_position_in_grid]]) {
      if (i < count) sum[i] = a[i] + 0.5 * b[i];
    }
    """

  func testVectorAddInEveryMode() throws {
    for options in SoftMetalOptions.schedules {
      let bench = try ShaderBench(options: options)
      let count = 1000
      let a = (0..<count).map(Float.init), b = a.map { 100 - 3 * $0 }
      let sum = try bench.buffer([Float](repeating: -1, count: count + 24))
      let pipeline = try bench.pipeline(Self.add)
      try bench.complete(
        pipeline, [try bench.buffer(a), try bench.buffer(b), sum, try bench.buffer([UInt32(count)])], groups: 4,
        threads: 256)
      XCTAssertEqual(
        sum.elements(Float.self), zip(a, b).map { $0 + 0.5 * $1 } + [Float](repeating: -1, count: 24), "\(options)")
    }
  }

  func testReflection() throws {
    let bench = try ShaderBench()
    let descriptor = MTLComputePipelineDescriptor()
    descriptor.computeFunction = try bench.library(Self.add).makeFunction(name: "k")
    let (pipeline, reflection) = try bench.device.makeComputePipelineState(
      descriptor: descriptor, options: .bindingInfo)
    XCTAssertEqual(reflection?.bindings.map(\.name), ["a", "b", "sum", "count"])
    XCTAssertEqual(reflection?.bindings.map(\.index), [0, 1, 2, 3])
    XCTAssertEqual(reflection?.bindings.map(\.access), [.readOnly, .readOnly, .readWrite, .readOnly])
    XCTAssertEqual(pipeline.maxTotalThreadsPerThreadgroup, 1024)
    XCTAssertEqual(pipeline.staticThreadgroupMemoryLength, 0)
  }

  func testBindingsAreCheckedAgainstTheShader() throws {
    let bench = try ShaderBench()
    let pipeline = try bench.pipeline(Self.add)
    let values = try bench.buffer([Float](repeating: 0, count: 32))
    assertError(try bench.run(pipeline, [values, values, values]), .invalidResource, "index 3", "count")
  }

  private static let constants = """
    constant uint factor [[function_constant(0)]];
    constant bool has_bias [[function_constant(1)]];
    constant float slope [[function_constant(7)]];
    constant bool extra [[function_constant(8)]];
    constant bool uses_extra = is_function_constant_defined(extra) ? extra : false;
    kernel void k(device uint *out [[buffer(0)]], device const uint *bias [[buffer(1), function_constant(has_bias)]],
                  uint i [[thread_position_in_grid]]) {
      out[i] = i * factor + (has_bias ? bias[0] : 0) + (uses_extra ? 1000 : 0);
    }
    kernel void other(device float *out [[buffer(0)]]) { out[0] = slope; }
    kernel void none(device float *out [[buffer(0)]]) { out[0] = 1; }
    """

  func testFunctionConstants() throws {
    let bench = try ShaderBench()
    let library = try bench.library(Self.constants)
    XCTAssertEqual(library.functionNames.sorted(), ["k", "none", "other"])
    let declared = try XCTUnwrap(library.makeFunction(name: "k")).functionConstantsDictionary
    XCTAssertEqual(declared.keys.sorted(), ["extra", "factor", "has_bias"])
    XCTAssertEqual(declared["factor"]?.type, .uint)
    XCTAssertEqual(declared["factor"]?.required, true)
    XCTAssertEqual(declared["extra"]?.required, false)
    XCTAssertEqual(library.makeFunction(name: "none")?.functionConstantsDictionary.count, 0)

    for (factor, bias, extra) in [(UInt32(3), false, Bool?.none), (5, true, false), (7, true, true)] {
      let pipeline = try bench.pipeline(Self.constants) { values in
        values.setConstantValue([factor], type: .uint, index: 0)
        values.setConstantValue([bias], type: .bool, withName: "has_bias")
        if let extra { values.setConstantValue([extra], type: .bool, index: 8) }
        values.setConstantValue([Float(1)], type: .float, withName: "nobody_has_this")
      }
      let out = try bench.buffer([UInt32](repeating: 0, count: 32))
      try bench.complete(pipeline, [out] + (bias ? [try bench.buffer([UInt32(50)])] : []))
      XCTAssertEqual(
        out.elements(UInt32.self), (0..<32).map { $0 * factor + (bias ? 50 : 0) + (extra == true ? 1000 : 0) })
    }
  }

  func testFunctionConstantMistakes() throws {
    let library = try ShaderBench().library(Self.constants)
    let values = MTLFunctionConstantValues()
    assertLibraryError(.compileFailure, "'other'", "'slope' (index 7)", "expected a float, got no value") {
      try library.makeFunction(name: "other", constantValues: values)
    }
    values.setConstantValue([Int32(1)], type: .int, index: 7)
    assertLibraryError(.compileFailure, "'slope' (index 7)", "expected a float, got a int") {
      try library.makeFunction(name: "other", constantValues: values)
    }
    assertLibraryError(.functionNotFound, "'mine'", "it has k") {
      try library.makeFunction(name: "mine", constantValues: values)
    }
    XCTAssertNil(library.makeFunction(name: "mine"))
  }

  /// Sums of what the threads of a threadgroup hold, by way of threadgroup memory of both kinds.
  private static let shared = """
    [[max_total_threads_per_threadgroup(128)]]
    kernel void k(device const uint *in [[buffer(0)]], device uint *out [[buffer(1)]],
                  threadgroup uint *room [[threadgroup(0)]], uint i [[thread_position_in_grid]],
                  uint t [[thread_index_in_threadgroup]], uint n [[threads_per_threadgroup]],
                  uint group [[threadgroup_position_in_grid]]) {
      threadgroup uint total[4];
      room[t] = in[i];
      threadgroup_barrier(mem_flags::mem_threadgroup);
      for (uint step = n / 2; step > 0; step /= 2) {
        if (t < step) room[t] += room[t + step];
        threadgroup_barrier(mem_flags::mem_threadgroup);
      }
      if (t == 0) total[group % 4] = room[0];
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (t == n - 1) out[group] = total[group % 4];
    }
    """

  func testThreadgroupMemory() throws {
    for options in SoftMetalOptions.schedules {
      let bench = try ShaderBench(options: options)
      let pipeline = try bench.pipeline(Self.shared)
      XCTAssertEqual(pipeline.maxTotalThreadsPerThreadgroup, 128)
      XCTAssertEqual(pipeline.staticThreadgroupMemoryLength, 16)
      let values = (0..<512).map { UInt32($0 * $0) }
      let out = try bench.buffer([UInt32](repeating: 0, count: 4))
      let input = try bench.buffer(values)
      try bench.complete(pipeline, [input, out], groups: 4, threads: 128, threadgroupBytes: [512])
      XCTAssertEqual(
        out.elements(UInt32.self), (0..<4).map { values[$0 * 128..<$0 * 128 + 128].reduce(0, +) }, "\(options)")
      assertError(
        try bench.run(pipeline, [input, out], threads: 128), .internal, "threadgroup memory at index 0")
    }
  }

  func testSimdgroupFunctions() throws {
    let source = """
      kernel void k(device const float *in [[buffer(0)]], device float *sum [[buffer(1)]],
                    device float *next [[buffer(2)]], uint i [[thread_position_in_grid]],
                    uint lane [[thread_index_in_simdgroup]]) {
        sum[i] = simd_sum(in[i]) + float(simd_max(lane));
        next[i] = simd_shuffle(in[i], (lane + 1) % 32);
      }
      """
    for options in SoftMetalOptions.schedules {
      let bench = try ShaderBench(options: options)
      let values = (0..<128).map { Float($0 % 50) }
      let sum = try bench.buffer([Float](repeating: 0, count: 128)), next = try bench.buffer(values)
      try bench.complete(
        try bench.pipeline(source), [try bench.buffer(values), sum, next], groups: 2, threads: 64)
      for i in 0..<128 {
        let first = i / 32 * 32
        XCTAssertEqual(sum.elements(Float.self)[i], values[first..<first + 32].reduce(31, +))
        XCTAssertEqual(next.elements(Float.self)[i], values[first + (i + 1) % 32])
      }
    }
  }

  func testAtomics() throws {
    let source = """
      kernel void k(device atomic_uint *count [[buffer(0)]], device atomic_int *least [[buffer(1)]],
                    uint i [[thread_position_in_grid]]) {
        atomic_fetch_add_explicit(&count[i % 3], 2u, memory_order_relaxed);
        atomic_fetch_min_explicit(least, -int(i), memory_order_relaxed);
      }
      """
    let bench = try ShaderBench()
    let count = try bench.buffer([UInt32](repeating: 0, count: 3)), least = try bench.buffer([Int32(5)])
    try bench.complete(try bench.pipeline(source), [count, least], groups: 30, threads: 100)
    XCTAssertEqual(count.elements(UInt32.self), [2000, 2000, 2000])
    XCTAssertEqual(least.elements(Int32.self), [-2999])
  }

  func testPreprocessorMacrosAndLimits() throws {
    let bench = try ShaderBench()
    let options = MTLCompileOptions()
    options.preprocessorMacros = ["FACTOR": "3" as AnyObject, "TERM": 4 as AnyObject]
    options.maxTotalThreadsPerThreadgroup = 64
    let source = """
      #if !defined(__METAL__) || __METAL_VERSION__ != 320 || defined(__linux__) || defined(__x86_64__)
      #error "not Metal 3.2"
      #endif
      kernel void k(device uint *out [[buffer(0)]], uint i [[thread_position_in_grid]]) { out[i] = i * FACTOR + TERM; }
      """
    let pipeline = try bench.pipeline(source, options: options)
    XCTAssertEqual(pipeline.maxTotalThreadsPerThreadgroup, 64)
    let out = try bench.buffer([UInt32](repeating: 0, count: 32))
    try bench.complete(pipeline, [out])
    XCTAssertEqual(out.elements(UInt32.self), (0..<32).map { $0 * 3 + 4 })

    options.preprocessorMacros = ["FACTOR(x)": "3" as AnyObject]
    assertLibraryError(.compileFailure, "preprocessorMacros", "FACTOR(x)") { try bench.library(source, options) }
    options.preprocessorMacros = ["FACTOR": "3\n#error" as AnyObject]
    assertLibraryError(.compileFailure, "preprocessorMacros", "FACTOR", "one line") {
      try bench.library(source, options)
    }
  }

  /// A kernel of a source with native kernels for others is compiled; the others are not.
  func testShadersFillTheGapsOfNativeKernels() throws {
    let test = try TestDevice()
    let values = MTLFunctionConstantValues()
    let text = try test.library.makeFunction(name: "only_text", constantValues: values)
    let pipeline = try test.device.makeComputePipelineState(function: text)
    XCTAssertEqual(test.soft.providerName(of: pipeline), "shader")
    XCTAssertEqual(test.soft.providerName(of: try test.pipeline("iota")), "native")
  }

  func testTimeLimit() throws {
    var options = SoftMetalOptions()
    options.timeLimit = 0.3
    let bench = try ShaderBench(options: options)
    let source = """
      kernel void k(device atomic_uint *go [[buffer(0)]], uint i [[thread_position_in_grid]]) {
        while (atomic_load_explicit(go, memory_order_relaxed) == 0) simdgroup_barrier(mem_flags::mem_device);
      }
      """
    let pipeline = try bench.pipeline(source)
    assertError(try bench.run(pipeline, [try bench.buffer([UInt32(0)])]), .timeout, "Compute Function(k)", "0.3")
    try bench.complete(pipeline, [try bench.buffer([UInt32(1)])])
  }

  func testFaultsAreErrors() throws {
    let bench = try ShaderBench()
    let far = """
      kernel void k(device uint *out [[buffer(0)]], uint i [[thread_position_in_grid]]) { out[(1ul << 40) + i] = 1; }
      """
    let out = try bench.buffer([UInt32](repeating: 0, count: 64))
    assertError(try bench.run(try bench.pipeline(far), [out]), .pageFault, "Compute Function(k)", "memory fault")
    let deep = """
      kernel void k(device uint *out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
        uint a[4000000];
        for (uint j = 0; j < 4000000; j++) a[j] = j * out[j % 64];
        out[i] = a[out[0] + i];
      }
      """
    assertError(try bench.run(try bench.pipeline(deep), [out]), .stackOverflow, "Compute Function(k)", "stack overflow")
    // Nothing is the worse for it.
    let fine = "kernel void k(device uint *out [[buffer(0)]], uint i [[thread_position_in_grid]]) { out[i] = i; }"
    try bench.complete(try bench.pipeline(fine), [out])
    XCTAssertEqual(out.uint(31), 31)
  }

  func testChecksFindARace() throws {
    var options = SoftMetalOptions()
    options.checks = true
    let bench = try ShaderBench(options: options)
    let source: (String) -> String = { barrier in
      """
      kernel void k(device uint *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
        threadgroup uint room[64];
        room[i] = i;
        \(barrier)
        out[i] = room[63 - i];
      }
      """
    }
    let out = try bench.buffer([UInt32](repeating: 0, count: 64))
    assertError(
      try bench.run(try bench.pipeline(source("")), [out], threads: 64), .internal, "shader check: ",
      "program_source:5", "program_source:7")
    let right = try bench.pipeline(source("threadgroup_barrier(mem_flags::mem_threadgroup);"))
    try bench.complete(right, [out], threads: 64)
    XCTAssertEqual(out.elements(UInt32.self), (0..<64).map { 63 - $0 })
  }

  func testWorkerLimitChangesNothingButSpeed() throws {
    for limit in [1, 2, 1000] {
      var options = SoftMetalOptions()
      options.workerLimit = limit
      let bench = try ShaderBench(options: options)
      let values = (0..<512).map(UInt32.init)
      let out = try bench.buffer([UInt32](repeating: 0, count: 4))
      try bench.complete(
        try bench.pipeline(Self.shared), [try bench.buffer(values), out], groups: 4, threads: 128,
        threadgroupBytes: [512])
      XCTAssertEqual(out.elements(UInt32.self), (0..<4).map { values[$0 * 128..<$0 * 128 + 128].reduce(0, +) })
    }
  }
}
