import XCTest

@testable import SoftMetal

/// What checks find in programs of several dispatches and buffers, through the Metal API.
final class ShaderCheckTests: XCTestCase {
  private static let source = """
    kernel void fill(device int *out [[buffer(0)]], constant int &value [[buffer(1)]],
                     uint i [[thread_position_in_grid]]) {
      out[i] = value + int(i);
    }
    kernel void copy(device const int *in [[buffer(0)]], device int *out [[buffer(1)]],
                     uint i [[thread_position_in_grid]]) {
      out[i] = in[i];
    }
    kernel void count(device atomic_int *n [[buffer(0)]]) {
      atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
    }
    """
  // Of `source`, behind the two lines that every library of a bench begins with.
  private static let fillLine = 5, copyLine = 9

  /// A device that checks, and the kernels of `source`.
  private struct Checked {
    let bench: ShaderBench
    let kernels: [String: any MTLComputePipelineState]

    init(checks: Bool = true, _ change: (inout SoftMetalOptions) -> Void = { _ in }) throws {
      var options = SoftMetalOptions()
      options.checks = checks
      change(&options)
      bench = try ShaderBench(options: options)
      let library = try bench.library(ShaderCheckTests.source)
      var kernels: [String: any MTLComputePipelineState] = [:]
      for name in library.functionNames {
        let function = try XCTUnwrap(library.makeFunction(name: name))
        kernels[name] = try bench.device.makeComputePipelineState(function: function)
      }
      self.kernels = kernels
    }

    func buffer(_ options: MTLResourceOptions = .storageModeShared) throws -> any MTLBuffer {
      try XCTUnwrap(bench.device.makeBuffer(length: 256, options: options))
    }

    func run(
      _ type: MTLDispatchType = .concurrent, _ encode: (any MTLComputeCommandEncoder) throws -> Void
    ) throws -> any MTLCommandBuffer {
      let commands = try XCTUnwrap(bench.queue.makeCommandBuffer())
      try self.encode(into: commands, type, encode)
      commands.commit()
      commands.waitUntilCompleted()
      return commands
    }

    func encode(
      into commands: any MTLCommandBuffer, _ type: MTLDispatchType = .concurrent,
      _ encode: (any MTLComputeCommandEncoder) throws -> Void
    ) throws {
      let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder(dispatchType: type))
      defer { encoder.endEncoding() }
      try encode(encoder)
    }

    func dispatch(
      _ encoder: any MTLComputeCommandEncoder, _ kernel: String, _ buffers: (any MTLBuffer)?..., offset: Int = 0,
      value: UInt32 = 7, threads: Int = 32
    ) throws {
      encoder.setComputePipelineState(try XCTUnwrap(kernels[kernel]))
      for (index, buffer) in buffers.enumerated() { encoder.setBuffer(buffer, offset: offset, index: index) }
      if kernel == "fill" { encoder.setUInt(value, index: 1) }
      encoder.dispatchThreadgroups(one, threadsPerThreadgroup: MTLSizeMake(threads, 1, 1))
    }
  }

  private func assertClean(_ commands: any MTLCommandBuffer, line: UInt = #line) {
    XCTAssertEqual(commands.status, .completed, commands.error.map { "\($0)" } ?? "", line: line)
  }

  private func assertFinding(_ commands: any MTLCommandBuffer, _ parts: String..., line: UInt = #line) {
    assertFinding(commands, parts, line: line)
  }

  private func assertFinding(_ commands: any MTLCommandBuffer, _ parts: [String], line: UInt = #line) {
    XCTAssertEqual((commands.error as? MTLCommandBufferError)?.isShaderFinding, true, line: line)
    XCTAssertEqual(commands.status, .error, line: line)
    let text = commands.error.map { "\($0)" } ?? "nothing"
    for part in ["shader check: "] + parts where !text.contains(part) {
      XCTFail("'\(part)' is not in: \(text)", line: line)
    }
  }

  // MARK: Dispatches that may overlap

  func testDispatchesWithoutABarrierRace() throws {
    let test = try Checked()
    let a = try test.buffer(), b = try test.buffer()
    assertFinding(
      try test.run { encoder in
        try test.dispatch(encoder, "fill", a)
        try test.dispatch(encoder, "copy", a, b)
      }, "data race on device memory: write at program_source:\(Self.fillLine) by thread 0", "\"fill\"",
      "read at program_source:\(Self.copyLine) by thread 0", "\"copy\"", "no memoryBarrier between the dispatches")
    // Two writers, of different values.
    assertFinding(
      try test.run { encoder in
        try test.dispatch(encoder, "fill", a)
        try test.dispatch(encoder, "fill", a, value: 8)
      }, "write at program_source:\(Self.fillLine)", "in another dispatch")
  }

  func testDispatchesThatMayOverlap() throws {
    let test = try Checked()
    let a = try test.buffer(), b = try test.buffer(), c = try test.buffer()
    // Readers, writers of the same values, of other buffers, of other bytes, and atomics.
    assertClean(
      try test.run { encoder in
        try test.dispatch(encoder, "copy", a, b)
        try test.dispatch(encoder, "copy", a, c)
        try test.dispatch(encoder, "copy", a, c)
      })
    assertClean(
      try test.run { encoder in
        try test.dispatch(encoder, "fill", a)
        try test.dispatch(encoder, "fill", a, offset: 128, value: 9)
      })
    assertClean(
      try test.run { encoder in
        try test.dispatch(encoder, "count", a)
        try test.dispatch(encoder, "count", a)
      })
    XCTAssertEqual(a.elements(Int32.self)[0], 7 + 64)
  }

  func testBarriersOrderDispatches() throws {
    let test = try Checked()
    let a = try test.buffer(), b = try test.buffer()
    typealias Barrier = (any MTLComputeCommandEncoder) -> Void
    let good: [Barrier] = [
      { $0.memoryBarrier(scope: .buffers) }, { $0.memoryBarrier(scope: [.buffers, .textures]) },
      { $0.memoryBarrier(resources: [a]) }, { $0.memoryBarrier(resources: [b, a]) },
    ]
    let bad: [Barrier] = [
      { $0.memoryBarrier(scope: .textures) }, { $0.memoryBarrier(resources: [b]) }, { $0.memoryBarrier(resources: []) },
    ]
    for (barriers, isEnough) in [(good, true), (bad, false)] {
      for barrier in barriers {
        let commands = try test.run { encoder in
          try test.dispatch(encoder, "fill", a)
          barrier(encoder)
          try test.dispatch(encoder, "copy", a, b)
        }
        if isEnough { assertClean(commands) } else { assertFinding(commands, "data race on device memory") }
      }
    }
    XCTAssertEqual(b.elements(Int32.self).prefix(32), ArraySlice((0..<32).map { 7 + $0 }))
  }

  func testABarrierOrdersOnlyWhatStandsOnItsTwoSides() throws {
    let test = try Checked()
    let a = try test.buffer(), b = try test.buffer()
    assertFinding(
      try test.run { encoder in
        try test.dispatch(encoder, "fill", b)
        encoder.memoryBarrier(scope: .buffers)
        try test.dispatch(encoder, "fill", a)
        try test.dispatch(encoder, "copy", a, b)
      }, "buffer 0")
  }

  /// A fence orders encoders, not the dispatches of one.
  func testFencesOrderNothingWithinAnEncoder() throws {
    let test = try Checked()
    let a = try test.buffer(), b = try test.buffer()
    let fence = try XCTUnwrap(test.bench.device.makeFence())
    assertFinding(
      try test.run { encoder in
        try test.dispatch(encoder, "fill", a)
        encoder.updateFence(fence)
        try test.dispatch(encoder, "copy", a, b)
      }, "data race on device memory")
  }

  func testSerialEncodersAndEncodersAmongEachOtherAreOrdered() throws {
    let test = try Checked()
    let a = try test.buffer(), b = try test.buffer()
    assertClean(
      try test.run(.serial) { encoder in
        try test.dispatch(encoder, "fill", a)
        try test.dispatch(encoder, "copy", a, b)
      })
    let commands = try XCTUnwrap(test.bench.queue.makeCommandBuffer())
    try test.encode(into: commands) { try test.dispatch($0, "fill", a) }
    try test.encode(into: commands) { try test.dispatch($0, "copy", a, b) }
    commands.commit()
    commands.waitUntilCompleted()
    assertClean(commands)
  }

  func testWithoutChecksNothingIsCompared() throws {
    let test = try Checked(checks: false)
    let a = try test.buffer(), b = try test.buffer()
    assertClean(
      try test.run { encoder in
        try test.dispatch(encoder, "fill", a)
        try test.dispatch(encoder, "copy", a, b)
      })
  }

  /// What a missing barrier does to results: with every seed, some dispatch runs in another place.
  func testUnorderedDispatchesOfShadersChangePlaces() throws {
    for seed: UInt64 in 0..<8 {
      let test = try Checked { $0.seed = seed }
      let chain = try (0..<4).map { _ in try test.buffer() }
      let first = try test.bench.buffer([Int32](1...64))
      for isOrdered in [true, false] {
        for buffer in chain { buffer.contents().initializeMemory(as: UInt8.self, repeating: 0, count: 256) }
        _ = try test.run { encoder in
          for (from, to) in zip([first] + chain, chain) {
            try test.dispatch(encoder, "copy", from, to, threads: 64)
            if isOrdered { encoder.memoryBarrier(scope: .buffers) }
          }
        }
        let result = chain[3].elements(Int32.self)
        XCTAssertEqual(result == [Int32](1...64), isOrdered, "seed \(seed): \(result.prefix(2))")
      }
    }
  }

  // MARK: Private storage that nobody wrote

  func testReadsOfPrivateBytesThatNobodyWrote() throws {
    let test = try Checked()
    let a = try test.buffer(.storageModePrivate), b = try test.buffer()
    assertFinding(
      try test.run { try test.dispatch($0, "copy", a, b) },
      "uninitialised read at program_source:\(Self.copyLine) by thread 0", "byte 0 of buffer 0", "was never written")
    // A kernel's writes count, and those alone; in whatever command buffer.
    assertClean(try test.run { try test.dispatch($0, "fill", a) })
    assertClean(try test.run { try test.dispatch($0, "copy", a, b) })
    assertFinding(
      try test.run { try test.dispatch($0, "copy", a, b, threads: 40) }, "byte 128 of buffer 0", "8 times")
    assertClean(try test.run { try test.dispatch($0, "copy", a, a, offset: 0) })
    assertFinding(try test.run { try test.dispatch($0, "copy", a, b, offset: 64) }, "byte 64 of buffer 0")
  }

  func testBlitsWritePrivateStorage() throws {
    let test = try Checked()
    let a = try test.buffer(.storageModePrivate), b = try test.buffer(.storageModePrivate), out = try test.buffer()
    let commands = try XCTUnwrap(test.bench.queue.makeCommandBuffer())
    let blit = try XCTUnwrap(commands.makeBlitCommandEncoder())
    blit.fill(buffer: a, range: 0..<64, value: 1)
    blit.copy(from: a, sourceOffset: 32, to: b, destinationOffset: 0, size: 64)  // of which half is known
    blit.copy(from: out, sourceOffset: 0, to: b, destinationOffset: 128, size: 128)
    blit.endEncoding()
    commands.commit()
    commands.waitUntilCompleted()
    assertClean(commands)
    assertClean(try test.run { try test.dispatch($0, "copy", a, out, threads: 16) })
    assertFinding(try test.run { try test.dispatch($0, "copy", a, out, threads: 17) }, "byte 64 of buffer 0", "once")
    assertClean(try test.run { try test.dispatch($0, "copy", b, out, threads: 8) })
    assertFinding(try test.run { try test.dispatch($0, "copy", b, out, threads: 9) }, "byte 32 of buffer 0", "once")
    assertClean(try test.run { try test.dispatch($0, "copy", b, out, offset: 128) })
  }

  /// Whatever could have been written unseen counts as written.
  func testWhatTheCPUCanWriteCountsAsWritten() throws {
    let test = try Checked()
    let out = try test.buffer()
    assertClean(try test.run { try test.dispatch($0, "copy", try test.buffer(.storageModeShared), out) })
    assertClean(try test.run { try test.dispatch($0, "copy", try test.buffer(.storageModeManaged), out) })
    let seen = try test.buffer(.storageModePrivate)
    seen.contents().storeBytes(of: 5, as: Int32.self)
    assertClean(try test.run { try test.dispatch($0, "copy", seen, out) })
    let bytes = [Int32](0..<64)
    let filled = try XCTUnwrap(test.bench.device.makeBuffer(bytes: bytes, length: 256, options: .storageModePrivate))
    assertClean(try test.run { try test.dispatch($0, "copy", filled, out) })
  }

  /// Kernels that are not watched may have written all that they could.
  func testUnwatchedKernelsWriteAllTheyAreGiven() throws {
    let test = try Checked()
    let a = try test.buffer(.storageModePrivate), b = try test.buffer(.storageModePrivate), out = try test.buffer()
    test.bench.soft.options.checks = false
    let unwatched = try test.bench.pipeline(Self.source, "copy")
    test.bench.soft.options.checks = true
    assertClean(
      try test.run { encoder in
        encoder.setComputePipelineState(unwatched)
        encoder.setBuffer(a, offset: 0, index: 0)
        encoder.setBuffer(b, offset: 64, index: 1)
        encoder.dispatchThreadgroups(one, threadsPerThreadgroup: one)
      })
    assertFinding(try test.run { try test.dispatch($0, "copy", a, out) }, "buffer 0")
    assertFinding(try test.run { try test.dispatch($0, "copy", b, out) }, "byte 0 of buffer 0", "16 times")
    assertClean(try test.run { try test.dispatch($0, "copy", b, out, offset: 64) })
  }

  // MARK: Limits, alignment and constants

  private func finding(_ body: String, _ parts: String..., line: UInt = #line) throws {
    let test = try Checked()
    let source = """
      kernel void k(device float *out [[buffer(0)]], constant float *table [[buffer(1)]],
                    threadgroup float *shared [[threadgroup(0)]], uint i [[thread_index_in_threadgroup]]) {
      \(body)
      }
      """
    let commands = try test.bench.run(
      try test.bench.pipeline(source), [try test.buffer(), try test.buffer()], threadgroupBytes: [1024])
    assertFinding(commands, parts, line: line)
  }

  func testMisalignedVectors() throws {
    // Type, offset of a pointer to it, the alignment that is missing.
    let cases = [
      ("float4", 8, 16), ("float2", 4, 8), ("float3", 8, 16), ("half4", 4, 8), ("half", 1, 2), ("ulong2", 8, 16),
      ("int", 2, 4),
    ]
    for (type, offset, alignment) in cases {
      let wrong = "*(device \(type) *)((device char *)out + \(offset))", right = "*(device \(type) *)(out + 32)"
      for statement in ["\(wrong) = \(type)(1)", "\(right) = \(right) + \(wrong)"] {
        try finding(
          "  if (i == 3) \(statement);", "misaligned access at program_source:5 by thread 3",
          "byte \(offset) of buffer 0", "not aligned to \(alignment) bytes")
      }
    }
    try finding(
      "  if (i == 3) *(threadgroup float4 *)(shared + 2) = 1;", "misaligned access at program_source:5 by thread 3",
      "byte 8 of threadgroup memory 0", "16 bytes")
  }

  func testConstantsHaveBounds() throws {
    try finding(
      "  out[i] = table[i + 33];", "out-of-bounds read at program_source:5", "offset 256 of buffer 1",
      "which has 256 bytes")
    try finding(
      "  out[i] = ((constant float4 *)table)[i == 5 ? -1 : 0].x;", "out-of-bounds read at program_source:5 by thread 5",
      "bytes at offset -16 of buffer 1")
  }

  func testConstantArraysOfTheProgramHaveBounds() throws {
    let test = try Checked()
    let source = """
      constant int primes[4] = {2, 3, 5, 7};
      kernel void k(device int *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) { out[i] = primes[i]; }
      """
    assertFinding(
      try test.bench.run(try test.bench.pipeline(source), [try test.buffer()]), "wrong index at program_source:4",
      "4 is out of bounds")
  }

  /// Nobody watches private memory, so an index that may lead out of the thread's own ends the dispatch.
  func testWrongIndicesOfPrivateArrays() throws {
    for index in ["900000000", "-900000000"] {
      try finding(
        "  int own[4] = {1, 2, 3, 4};\n  own[int(i) + \(index)] = int(i);\n  out[i] = own[i % 4];",
        "wrong index at program_source:6 by thread 0", "\(index) is out of bounds of the type 'int[4]'",
        "stopped at an access that is not possible")
    }
  }

  /// The checker has a stack of its own: one that a thread has nearly filled is an error, not the end of the process.
  func testStackOverflowsWithinChecks() throws {
    let test = try Checked()
    for words in [1, 4, 32] {
      let source = """
        __attribute__((noinline)) int f(device int *out, int n, uint i) {
          int own[\(words)];
          for (int j = 0; j < \(words); ++j) own[j] = out[i] + n;
          out[i] = n;
          int sum = n > 0 ? f(out, n - 1, i) : 0;
          for (int j = 0; j < \(words); ++j) sum += own[(j + sum) % \(words)];
          return sum;
        }
        kernel void k(device int *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
          out[i] = f(out, 1000000, i);
        }
        """
      let out = try test.buffer()
      assertError(
        try test.bench.run(try test.bench.pipeline(source), [out]), .stackOverflow, "Compute Function(k)",
        "stack overflow")
    }
  }

  func testLimitsOfThreadsAndThreadgroupMemory() throws {
    let source = """
      kernel void k(device float *out [[buffer(0)]], threadgroup float *shared [[threadgroup(0)]],
                    uint i [[thread_index_in_threadgroup]]) {
        threadgroup float own[4096];
        own[i] = i;
        shared[i] = own[i];
        out[i % 64] = 1;
      }
      """
    let test = try Checked()
    let pipeline = try test.bench.pipeline(source), out = try test.buffer()
    assertClean(try test.bench.run(pipeline, [out], threads: 1024, threadgroupBytes: [16384]))
    assertError(
      try test.bench.run(pipeline, [out], threads: 1025, threadgroupBytes: [16384]), .internal, "1025", "1024")
    assertError(
      try test.bench.run(pipeline, [out], threads: 64, threadgroupBytes: [16384 + 16]), .internal,
      "threadgroup memory: expected at most 32768 bytes, got 32784")
    assertLibraryError(.unsupported, "Threadgroup memory size (32800)", "(32768)") {
      try test.bench.pipeline(
        """
        kernel void k(device float *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
          threadgroup float own[8200];
          own[i] = i;
          out[i] = own[i];
        }
        """)
    }
  }
}
