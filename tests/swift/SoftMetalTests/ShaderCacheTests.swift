import CSoftMetal
import XCTest

@testable import SoftMetal

final class ShaderCacheTests: XCTestCase {
  private static let source = """
    constant uint term [[function_constant(0)]];
    kernel void k(device uint *out [[buffer(0)]], uint i [[thread_position_in_grid]]) { out[i] = i + term; }
    """

  private var scratch: Scratch!

  override func setUpWithError() throws { scratch = try Scratch() }
  override func tearDown() { scratch = nil }

  /// A bench with nothing in memory: another time limit for the compiler makes it another environment.
  private func bench(_ change: (inout ShaderEnvironment) -> Void = { _ in }) throws -> ShaderBench {
    Self.benches.withLock { $0 += 1 }
    return try ShaderBench { environment in
      environment.cache = scratch.cache
      environment.seconds = 100 + Double(Self.benches.current)
      change(&environment)
    }
  }
  private static let benches = Guarded(0)

  private func check(_ bench: ShaderBench, term: UInt32, file: StaticString = #filePath, line: UInt = #line) throws {
    let pipeline = try bench.pipeline(Self.source) { $0.setConstantValue([term], type: .uint, index: 0) }
    let out = try bench.buffer([UInt32](repeating: 0, count: 32))
    try bench.complete(pipeline, [out], file: file, line: line)
    XCTAssertEqual(out.elements(UInt32.self), (0..<32).map { $0 + term }, file: file, line: line)
  }

  func testWarmCacheNeedsNoCompiler() throws {
    let log = "\(scratch.path)/log"
    let compiler = try scratch.script("clang++", "echo run >> \(log)\nexec \"$CLANG\" \"$@\"")
    try check(try bench { $0.compiler = compiler }, term: 1)
    let runs = try Files.load(log)
    // Trying the compiler, preprocessing, checking and probing, building.
    XCTAssertEqual(runs, Array(String(repeating: "run\n", count: 5).utf8))
    try check(try bench { $0.compiler = compiler }, term: 1)
    XCTAssertEqual(try Files.load(log), runs)
    // Another value is another kernel of the same library.
    try check(try bench { $0.compiler = compiler }, term: 2)
    XCTAssertEqual(try Files.load(log).count, runs.count + 4)
    XCTAssertEqual(scratch.cached("kernel-").count, 2)
    // Another compiler makes everything anew.
    try Files.store(Array("# newer\n".utf8), at: compiler, appending: true)
    try check(try bench { $0.compiler = compiler }, term: 1)
    XCTAssertEqual(scratch.cached("kernel-").count, 3)
  }

  func testWarmStartDoesNotReadTheSource() throws {
    let log = "\(scratch.path)/log"
    let compiler = try scratch.script("clang++", "echo run >> \(log)\nexec \"$CLANG\" \"$@\"")
    try check(try bench { $0.compiler = compiler }, term: 1)
    let runs = try Files.load(log)
    // Whoever read it would have to preprocess it again.
    for name in scratch.cached("source-") + scratch.cached("check-") { Files.remove("\(scratch.cache)/\(name)") }
    try check(try bench { $0.compiler = compiler }, term: 1)
    XCTAssertEqual(try Files.load(log), runs)
    // Without the kernel, and the same.
    for name in scratch.cached("kernel-") { Files.remove("\(scratch.cache)/\(name)") }
    try check(try bench { $0.compiler = compiler }, term: 1)
    XCTAssertEqual(try Files.load(log).count, runs.count + 8)
  }

  func testFactsAreReadAsTheyWereWritten() throws {
    let constants = [
      LibraryFacts.Constant(name: "größe", type: .ulong, index: 65535, required: true),
      LibraryFacts.Constant(name: "", type: .bool, index: 0, required: false),
    ]
    let library = LibraryFacts(functions: [
      LibraryFacts.Function(name: "a", constants: constants), LibraryFacts.Function(name: "b", constants: []),
    ])
    let kernel = KernelFacts(
      file: "kernel-1.so",
      arguments: [
        KernelArgument(name: "x", slot: 30, isWritten: true, minBytes: .max, guardConstant: 0),
        KernelArgument(name: "y", slot: 0, isWritten: false, minBytes: 0, guardConstant: nil),
      ],
      threadgroupSlots: [0, 7])
    XCTAssertEqual(LibraryFacts(library.bytes), library)
    XCTAssertEqual(KernelFacts(kernel.bytes), kernel)
    for count in 0..<library.bytes.count { XCTAssertNil(LibraryFacts(Array(library.bytes.prefix(count)))) }
    for count in 0..<kernel.bytes.count { XCTAssertNil(KernelFacts(Array(kernel.bytes.prefix(count)))) }
    XCTAssertNil(LibraryFacts(library.bytes + [0]))
    XCTAssertNil(KernelFacts([UInt8](repeating: 0xff, count: 64)))
  }

  func testFlavoursAndMathModesAreKeptApart() throws {
    var strict = SoftMetalOptions()
    strict.mode = .strict
    let options = MTLCompileOptions()
    options.mathMode = .safe
    let source = "kernel void k(device float *x [[buffer(0)]]) { x[0] = x[1] * x[2] + x[3]; }"
    for (count, bench) in [try bench(), try ShaderBench(options: strict) { $0.cache = scratch.cache }].enumerated() {
      _ = try bench.pipeline(source)
      XCTAssertEqual(scratch.cached("kernel-").count, 2 * count + 1)
      _ = try bench.pipeline(source, options: options)
      XCTAssertEqual(scratch.cached("kernel-").count, 2 * count + 2)
    }
  }

  func testKernelsInMemoryAreShared() throws {
    let bench = try bench()
    let value: (MTLFunctionConstantValues) -> Void = { $0.setConstantValue([UInt32(3)], type: .uint, index: 0) }
    let first = try bench.pipeline(Self.source, constants: value)
    Files.removeDirectory(scratch.cache)
    let second = try bench.pipeline(Self.source, constants: value)
    XCTAssertEqual(scratch.cached("kernel-"), [], "it was compiled again")
    withExtendedLifetime((first, second)) {}
  }

  func testDamagedFilesAreMadeAnew() throws {
    try check(try bench(), term: 1)
    let damages: [(String) throws -> Void] = [
      { path in
        var bytes = try Files.load(path)
        bytes[bytes.count / 2] ^= 1
        Files.remove(path)
        try Files.store(bytes, at: path)
      },
      { path in
        let bytes = try Files.load(path)
        Files.remove(path)
        try Files.store(Array(bytes.prefix(bytes.count / 2)), at: path)
      },
      { path in
        Files.remove(path)
        try Files.store([], at: path)
      },
      { path in try Files.store([1], at: path, appending: true) },
    ]
    for damage in damages {
      for name in Files.list(scratch.cache) where Files.facts("\(scratch.cache)/\(name)")?.isFile == true {
        try damage("\(scratch.cache)/\(name)")
      }
      for header in try headers() { try damage(header) }
      try check(try bench(), term: 1)
    }
    // Whole, and yet not a kernel.
    let kernel = "\(scratch.cache)/\(try XCTUnwrap(scratch.cached("kernel-").first))"
    Files.remove(kernel)
    try Files.store([1, 2, 3] + Seal.of([1, 2, 3]), at: kernel)
    try check(try bench(), term: 1)
  }

  private func headers() throws -> [String] {
    let root = try XCTUnwrap(scratch.cached("library-").first)
    return ["metal", "device"].flatMap { part in
      Files.list("\(scratch.cache)/\(root)/\(part)").map { "\(scratch.cache)/\(root)/\(part)/\($0)" }
    }
  }

  func testUnusableDirectoriesAreDoneWithout() throws {
    let file = "\(scratch.path)/file"
    try Files.store([], at: file)
    for cache in ["\(file)/cache", file, "/proc/none/cache", nil] {
      let bench = try bench {
        $0.cache = cache
        $0.temporary = scratch.path
      }
      try check(bench, term: 9)
      try check(bench, term: 9)
    }
    XCTAssertEqual(Files.list(scratch.path).filter { $0.hasPrefix("softmetal-") }.count, 4)
    let nowhere = try bench {
      $0.cache = nil
      $0.temporary = file
    }
    assertLibraryError(.internal, "compiling a shader", file) { try nowhere.library(Self.source) }
  }

  func testDirectoriesThatOthersCanChangeAreRefused() throws {
    try Files.makePrivateDirectory(scratch.cache)
    for mode: mode_t in [0o720, 0o702, 0o777] {
      XCTAssertEqual(chmod(scratch.cache, mode), 0)
      try check(
        try bench { $0.temporary = scratch.path }, term: 4)
      XCTAssertEqual(Files.list(scratch.cache), [])
    }
    XCTAssertEqual(chmod(scratch.cache, 0o700), 0)
    try check(try bench(), term: 4)
    XCTAssertEqual(scratch.cached("kernel-").count, 1)
    XCTAssertEqual(Files.facts(scratch.cache)?.mode ?? 0 & 0o777, S_IFDIR | 0o700)
    if geteuid() == 0 {
      XCTAssertEqual(chown(scratch.cache, 12345, 12345), 0)
      XCTAssertThrowsError(try Files.makePrivateDirectory(scratch.cache)) { error in
        XCTAssertTrue("\(error)".contains("belongs to another user"), "\(error)")
      }
    }
  }

  func testLeastRecentlyUsedGoes() throws {
    let first = try bench()
    try check(first, term: 1)
    let old = try XCTUnwrap(scratch.cached("kernel-").first)
    let size = try XCTUnwrap(Files.facts("\(scratch.cache)/\(old)")?.bytes)
    var times = [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 0)]
    XCTAssertEqual(utimensat(AT_FDCWD, "\(scratch.cache)/\(old)", &times, 0), 0)
    let work = "\(scratch.cache)/work-old"
    try Files.makePrivateDirectory(work)
    XCTAssertEqual(utimensat(AT_FDCWD, work, &times, 0), 0)
    // Room for one of the two kernels.
    let small = try bench { $0.cacheBytes = size * 3 / 2 }
    try check(small, term: 2)
    XCTAssertFalse(scratch.cached("kernel-").contains(old))
    XCTAssertEqual(scratch.cached("kernel-").count, 1)
    XCTAssertNil(Files.facts(work))
    try check(small, term: 1)
  }

  func testThreadsBuildOneKernelOnce() throws {
    let log = "\(scratch.path)/log"
    let compiler = try scratch.script(
      "clang++", "case \"$*\" in *kernel.cpp*) echo run >> \(log);; esac\nexec \"$CLANG\" \"$@\"")
    let bench = try bench { $0.compiler = compiler }
    let values = MTLFunctionConstantValues()
    values.setConstantValue([UInt32(3)], type: .uint, index: 0)
    let function = try bench.library(Self.source).makeFunction(name: "k", constantValues: values)
    let device = bench.device
    let pipelines = Guarded<[any MTLComputePipelineState]>([])
    DispatchQueue.concurrentPerform(iterations: 6) { _ in
      if let made = try? device.makeComputePipelineState(function: function) { pipelines.withLock { $0.append(made) } }
    }
    XCTAssertEqual(pipelines.current.count, 6)
    XCTAssertEqual(try Files.load(log), Array("run\n".utf8))
  }

  private static let sharedDirectory = "SOFTMETAL_TEST_SHARED_CACHE"

  /// Several processes at once start with one empty cache. Each runs `testProcess` of this class.
  func testConcurrentProcesses() throws {
    let program = try XCTUnwrap(Files.resolved(CommandLine.arguments[0]))
    let environment = ["HOME", "PATH", "LD_LIBRARY_PATH"].compactMap { name in
      environmentValue(name).map { "\(name)=\($0)" }
    }
    let ends = Guarded<[String]>([])
    let directory = scratch.cache
    DispatchQueue.concurrentPerform(iterations: 4) { _ in
      let child = try? ChildProcess.run(
        [program, "SoftMetalTests.ShaderCacheTests/testProcess"],
        environment: environment + ["\(Self.sharedDirectory)=\(directory)"], seconds: 300)
      ends.withLock { $0.append(child?.end == .exited(0) ? "" : child?.text ?? "did not start") }
    }
    XCTAssertEqual(ends.current, ["", "", "", ""])
    XCTAssertEqual(scratch.cached("kernel-").count, 3)
    XCTAssertEqual(scratch.cached("work-"), [])
  }

  func testProcess() throws {
    guard let directory = environmentValue(Self.sharedDirectory) else {
      throw XCTSkip("a part of testConcurrentProcesses")
    }
    let bench = try ShaderBench { $0.cache = directory }
    for term in 1...3 { try check(bench, term: UInt32(term)) }
  }
}
