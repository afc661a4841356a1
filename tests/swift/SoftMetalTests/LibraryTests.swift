import CSoftMetal
import XCTest

@testable import SoftMetal

/// What is found in text that is not compiled, because native kernels stand in for it.
final class SourceScanTests: XCTestCase {
  private func names(_ source: String) throws -> [String] { try scanFunctionNames(source) }

  func testFindsKernels() throws {
    XCTAssertEqual(try names(""), [])
    XCTAssertEqual(try names("constant int x = 3; // no kernel"), [])
    XCTAssertEqual(
      try names("kernel void a(device int *p [[buffer(0)]]) { p[0] = 1; }\n[[kernel]] void b() {}"), ["a", "b"])
    XCTAssertEqual(
      try names(
        "namespace n { kernel [[max_total_threads_per_threadgroup(64)]] void c(uint i [[thread_position_in_grid]]) {} }"
      ),
      ["c"])
  }

  func testIgnoresCommentsStringsAndMacros() throws {
    let source = """
      // kernel void no1() {}
      /* kernel void no2() { */
      #define MAKE(name) kernel void no3_##name() { \\
        body(
      constant char *text = "kernel void no4() { ( [";
      constant char brace = '{';
      constant int large = 1'000'000;
      kernel void yes() {}
      """
    XCTAssertEqual(try names(source), ["yes"])
  }

  func testHostNames() throws {
    let source = """
      template <typename T> kernel void scale(device T *x [[buffer(0)]]) { x[0] *= 2; }
      template [[host_name("scale_float")]] kernel void scale<float>(device float *x [[buffer(0)]]);
      typedef decltype(scale<half>) scale_t;
      template [[host_name("scale_half")]] kernel scale_t scale<half>;
      [[host_name("other")]] kernel void mine() {}
      kernel void plain() {}
      """
    XCTAssertEqual(try names(source), ["scale_float", "scale_half", "other", "plain"])
  }

  func testBrokenText() {
    let broken: [(String, String)] = [
      ("kernel void f() {", "program_source:1:17: error: '{' is never closed"),
      ("kernel void f() {}\n  }", "program_source:2:3: error: extraneous closing '}'"),
      ("void f() {\n  g(1];\n}", "program_source:2:6: error: expected ')' to match '(' at 2:4, got ']'"),
      ("/* never", "program_source:1:1: error: unterminated /* comment"),
      ("a = \"text\n", "program_source:1:5: error: missing terminating \""),
    ]
    for (source, text) in broken {
      assertLibraryError(.compileFailure, text) { try scanFunctionNames(source) }
    }
  }

  func testAlternativesNeedNotBalanceEachOther() throws {
    let source = """
      #if A
      kernel void f(uint a) {
      #elif B
      kernel void f(int a) {
      #else
      kernel void f() {
      #endif
      }
      """
    XCTAssertEqual(try names(source), ["f"])
  }
}

final class LibraryTests: XCTestCase {
  private let device: any MTLDevice = SoftMetalDevice()

  func testFunctions() throws {
    let library = try device.makeLibrary(source: "kernel void f() {}", options: nil)
    library.label = "lib"
    XCTAssertEqual(library.label, "lib")
    XCTAssertEqual(library.type, .executable)
    XCTAssertTrue(library.device === device)
    XCTAssertNil(library.makeFunction(name: "g"))
    let function = try XCTUnwrap(library.makeFunction(name: "f"))
    XCTAssertEqual(function.name, "f")
    XCTAssertEqual(function.functionType, .kernel)
    XCTAssertTrue(function.functionConstantsDictionary.isEmpty)
    function.label = "fn"
    XCTAssertEqual(function.label, "fn")
    assertLibraryError(.functionNotFound, "'g'", "it has f") {
      try library.makeFunction(name: "g", constantValues: MTLFunctionConstantValues())
    }
  }

  func testCompileOptions() throws {
    let options = MTLCompileOptions()
    XCTAssertTrue(options.fastMathEnabled)
    XCTAssertEqual(options.mathMode, .fast)
    options.fastMathEnabled = false
    XCTAssertEqual(options.mathMode, .safe)
    XCTAssertEqual(options.mathFloatingPointFunctions, .precise)
    options.libraryType = .dynamic
    assertLibraryError(.unsupported, "libraryType") { try device.makeLibrary(source: "", options: options) }
    options.libraryType = .executable
    options.maxTotalThreadsPerThreadgroup = 2000
    assertLibraryError(.compileFailure, "maxTotalThreadsPerThreadgroup", "2000") {
      try device.makeLibrary(source: "", options: options)
    }
  }

  func testAsyncAndHandlerForms() async throws {
    let test = try TestDevice()
    let library = try await test.device.makeLibrary(source: TestDevice.source, options: nil)
    let function = try await library.makeFunction(name: "iota", constantValues: MTLFunctionConstantValues())
    let pipeline = try await test.device.makeComputePipelineState(function: function)
    XCTAssertEqual(pipeline.maxTotalThreadsPerThreadgroup, 512)

    let descriptor = MTLComputePipelineDescriptor()
    descriptor.computeFunction = function
    let (_, reflection) = try await test.device.makeComputePipelineState(descriptor: descriptor, options: .bindingInfo)
    XCTAssertEqual(reflection?.bindings.count, 2)
    let reflected = expectation(description: "reflected"), refused = expectation(description: "refused")
    test.device.makeComputePipelineState(descriptor: descriptor, options: .bindingInfo) { pipeline, reflection, error in
      if pipeline != nil, reflection?.bindings.count == 2, error == nil { reflected.fulfill() }
    }
    test.device.makeComputePipelineState(descriptor: MTLComputePipelineDescriptor(), options: []) {
      pipeline, _, error in
      if pipeline == nil, error is MTLLibraryError { refused.fulfill() }
    }
    await fulfillment(of: [reflected, refused], timeout: 120)

    let made = expectation(description: "made"), failed = expectation(description: "failed")
    let built = expectation(description: "built"), specialised = expectation(description: "specialised")
    test.device.makeLibrary(source: TestDevice.source, options: nil) { library, error in
      if library != nil, error == nil { made.fulfill() }
    }
    test.device.makeLibrary(source: "{", options: nil) { library, error in
      if library == nil, error is MTLLibraryError { failed.fulfill() }
    }
    test.device.makeComputePipelineState(function: function) { pipeline, error in
      if pipeline != nil, error == nil { built.fulfill() }
    }
    library.makeFunction(name: "nothing", constantValues: MTLFunctionConstantValues()) { function, error in
      if function == nil, (error as? MTLLibraryError)?.code == .functionNotFound { specialised.fulfill() }
    }
    await fulfillment(of: [made, failed, built, specialised], timeout: 120)
  }
}

final class PipelineTests: XCTestCase {
  func testProperties() throws {
    let test = try TestDevice()
    let pipeline = try test.pipeline("shape")
    XCTAssertEqual(pipeline.threadExecutionWidth, 32)
    XCTAssertEqual(pipeline.maxTotalThreadsPerThreadgroup, 1024)
    XCTAssertEqual(pipeline.staticThreadgroupMemoryLength, 1024)
    XCTAssertTrue(pipeline.device === test.device)
    XCTAssertNil(pipeline.label)
    XCTAssertEqual(test.soft.providerName(of: pipeline), "native")
    XCTAssertNil(SoftMetalDevice().providerName(of: pipeline))
  }

  func testDescriptor() throws {
    let test = try TestDevice()
    let descriptor = MTLComputePipelineDescriptor()
    assertLibraryError(.unsupported, "computeFunction") {
      try test.device.makeComputePipelineState(descriptor: descriptor, options: [])
    }
    descriptor.label = "p"
    descriptor.computeFunction = test.library.makeFunction(name: "iota")
    descriptor.maxTotalThreadsPerThreadgroup = 64
    let (pipeline, none) = try test.device.makeComputePipelineState(descriptor: descriptor, options: [])
    XCTAssertNil(none)
    XCTAssertEqual(pipeline.label, "p")
    XCTAssertEqual(pipeline.maxTotalThreadsPerThreadgroup, 64)
    let (_, reflection) = try test.device.makeComputePipelineState(descriptor: descriptor, options: .bindingInfo)
    XCTAssertEqual(reflection?.bindings.map(\.name), ["out", "count"])
    XCTAssertEqual(reflection?.bindings.map(\.index), [0, 1])
    XCTAssertEqual(reflection?.bindings.map(\.access), [.readWrite, .readOnly])
    descriptor.maxTotalThreadsPerThreadgroup = 1025
    assertLibraryError(.unsupported, "iota", "1025") {
      try test.device.makeComputePipelineState(descriptor: descriptor, options: [])
    }
    descriptor.reset()
    XCTAssertNil(descriptor.computeFunction)
    XCTAssertEqual(descriptor.maxTotalThreadsPerThreadgroup, 0)
  }

  func testLibraryLimitCounts() throws {
    let test = try TestDevice()
    let options = MTLCompileOptions()
    options.maxTotalThreadsPerThreadgroup = 128
    let library = try test.device.makeLibrary(source: TestDevice.source, options: options)
    let function = try XCTUnwrap(library.makeFunction(name: "iota"))
    XCTAssertEqual(try test.device.makeComputePipelineState(function: function).maxTotalThreadsPerThreadgroup, 128)
  }

  func testNativeKernelsAnswerForTheirSourceOnly() throws {
    let test = try TestDevice()
    let copy = String(decoding: Array(TestDevice.source.utf8), as: UTF8.self)
    let same = try test.device.makeLibrary(source: copy, options: nil)
    XCTAssertNoThrow(try test.device.makeComputePipelineState(function: XCTUnwrap(same.makeFunction(name: "iota"))))
    XCTAssertTrue(same.functionNames.contains("macro_made"))

    let users = try test.device.makeLibrary(source: TestDevice.source + " ", options: nil)
    XCTAssertFalse(users.functionNames.contains("macro_made"))
    let function = try XCTUnwrap(users.makeFunction(name: "iota"))
    let pipeline = try test.device.makeComputePipelineState(function: function)
    XCTAssertEqual(test.soft.providerName(of: pipeline), "shader")

    // Another device has none of them, and does not take this one's functions.
    let other: any MTLDevice = SoftMetalDevice()
    let mine = try XCTUnwrap(test.library.makeFunction(name: "iota"))
    assertLibraryError(.unsupported, "another device") { try other.makeComputePipelineState(function: mine) }
  }

  func testUnspecialisedFunction() throws {
    let test = try TestDevice()
    let function = try XCTUnwrap(test.library.makeFunction(name: "seeded"))
    XCTAssertEqual(function.functionConstantsDictionary.keys.sorted(), ["has_bias", "seed"])
    assertLibraryError(.unsupported, "seeded cannot be used to build a pipeline state", "has_bias, seed") {
      try test.device.makeComputePipelineState(function: function)
    }
    // A native kernel knows that it has none, whatever the source declares.
    XCTAssertEqual(test.library.makeFunction(name: "iota")?.functionConstantsDictionary.count, 0)
  }

  func testDefectiveRowsAreRefused() throws {
    let source = "kernel void a() {} kernel void b() {} kernel void c() {} kernel void d() {} kernel void e() {}"
    let device = SoftMetalDevice()
    let rows = [
      NativeRows.kernel("a", [], run: nil),
      NativeRows.kernel("b", [("x", 31, SM_READ, 0, -1)], run: { _ in nil }),
      NativeRows.kernel("c", [], constants: [("k", 1, .pointer, true)], run: { _ in nil }),
      NativeRows.kernel("d", [], maxThreads: 0, run: { _ in nil }),
      NativeRows.kernel("e", [], staticBytes: 40_000, run: { _ in nil }),
    ]
    device.registerNativeKernels(rows, count: rows.count, source: source)
    let library = try device.makeLibrary(source: source, options: nil)
    let values = MTLFunctionConstantValues()
    values.setConstantValue([UInt64(0)], type: .pointer, index: 1)
    for (name, text) in [("a", "no code"), ("b", "slot 31"), ("c", "constant 1"), ("d", "no threads"), ("e", "40000")] {
      assertLibraryError(.unsupported, "'\(name)'", text) {
        try device.makeComputePipelineState(function: library.makeFunction(name: name, constantValues: values))
      }
    }
  }
}
