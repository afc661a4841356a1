import CSoftMetal
import XCTest

@testable import SoftMetal

final class ShaderCompilerTests: XCTestCase {
  private static let source = "kernel void k(device int *x [[buffer(0)]]) { x[0] = 1; }"

  private var scratch: Scratch!

  override func setUpWithError() throws { scratch = try Scratch() }
  override func tearDown() { scratch = nil }

  private func bench(_ change: (inout ShaderEnvironment) -> Void) throws -> ShaderBench {
    try ShaderBench { environment in
      environment.cache = scratch.cache
      change(&environment)
    }
  }

  func testNoCompiler() throws {
    let bench = try bench {
      $0.compiler = nil
      $0.path = []
      $0.pythonEnvironment = nil
    }
    assertLibraryError(.unsupported, "no compiler for shaders", "SOFTMETAL_CXX", "PATH", "ziglang") {
      try bench.library(Self.source)
    }
  }

  /// Who has native kernels needs no compiler, nor pays for one.
  func testNativeKernelsNeedNoCompiler() throws {
    let bench = try bench {
      $0.compiler = "/none"
      $0.path = []
    }
    let rows = NativeRows.all
    bench.soft.registerNativeKernels(rows, count: rows.count, source: TestDevice.source)
    let library = try bench.device.makeLibrary(source: TestDevice.source, options: nil)
    XCTAssertTrue(library.functionNames.contains("iota"))
    XCTAssertNoThrow(try bench.device.makeComputePipelineState(function: XCTUnwrap(library.makeFunction(name: "iota"))))
    XCTAssertNil(Files.facts(scratch.cache))
    assertLibraryError(.unsupported, "SOFTMETAL_CXX", "/none") {
      try library.makeFunction(name: "only_text", constantValues: MTLFunctionConstantValues())
    }
    XCTAssertNil(library.makeFunction(name: "only_text"))
  }

  func testCompilersThatAreNone() throws {
    let old = try scratch.script("old", "exec \"$CLANG\" -D__clang_major__=15 -Wno-builtin-macro-redefined \"$@\"")
    let broken = try scratch.script("broken", "exit 3")
    let silent = try scratch.script("silent", "exit 0")
    for (compiler, reason) in [
      (old, "clang++ 16 or newer is needed"), (broken, "status 3"), (silent, "status 0"),
      ("no-such-compiler", "No such file"), ("/dev/null", "Permission denied"),
    ] {
      let bench = try bench { $0.compiler = compiler }
      assertLibraryError(.unsupported, "SOFTMETAL_CXX", compiler, reason) { try bench.library(Self.source) }
    }
  }

  func testOrderOfChoices() throws {
    let toolchain = "\(scratch.path)/toolchain", bin = "\(scratch.path)/bin", python = "\(scratch.path)/python"
    let zig = "\(python)/lib/python3.12/site-packages/ziglang"
    for directory in [toolchain, bin, python, "\(python)/bin", zig] { try Files.makePrivateDirectory(directory) }
    func program(_ path: String) throws -> String {
      try Files.store(Array("#!/bin/sh\n".utf8), at: path)
      XCTAssertEqual(chmod(path, 0o700), 0)
      return path
    }
    _ = try program("\(toolchain)/swift-driver")
    XCTAssertEqual(symlink("\(toolchain)/swift-driver", "\(bin)/swift"), 0)
    let besides = try program("\(toolchain)/clang++"), onPath = try program("\(bin)/clang")
    _ = try program("\(python)/bin/python3")
    let zigs = [try program("\(zig)/zig"), "c++"]
    var environment = ShaderEnvironment()
    environment.path = [bin, "\(python)/bin"]
    XCTAssertEqual(Compiler.candidates(environment), [[besides], [onPath], zigs])
    environment.path = []
    environment.pythonEnvironment = python
    XCTAssertEqual(Compiler.candidates(environment), [zigs])
    environment.compiler = "/mine/clang++"
    XCTAssertEqual(Compiler.candidates(environment), [["/mine/clang++"]])
    environment.compiler = "\(zig)/zig"
    XCTAssertEqual(Compiler.candidates(environment), [zigs])
    environment.path = [bin]
    environment.compiler = "clang"
    XCTAssertEqual(Compiler.candidates(environment), [[onPath]])
  }

  func testCompilerKilledOrTooSlow() throws {
    let killed = try scratch.script(
      "killed", "case \"$*\" in *kernel.cpp*) kill -9 $$;; esac\nexec \"$CLANG\" \"$@\"")
    let first = try bench { $0.compiler = killed }
    assertLibraryError(.internal, "compiling a shader", "killed by signal 9") { try first.pipeline(Self.source) }

    // Its children die with it.
    let mark = "\(scratch.path)/mark"
    let slow = try scratch.script(
      "slow", "case \"$*\" in *kernel.cpp*) (sleep 3; echo > \(mark)) & sleep 60;; esac\nexec \"$CLANG\" \"$@\"")
    let second = try bench {
      $0.compiler = slow
      $0.seconds = 1.5
    }
    let start = sm_now()
    assertLibraryError(.internal, "compiling a shader", "stopped after 1.5 seconds") {
      try second.pipeline(Self.source)
    }
    XCTAssertLessThan(sm_now() - start, 20)
    XCTAssertEqual(scratch.cached("work-"), [])
    sleep(3)
    XCTAssertNil(Files.facts(mark))
  }

  /// Zig's driver refuses the probe's language; the clang behind it does not.
  func testProbeCommands() {
    let clang = SpaceProbe.command(Compiler(command: ["/bin/clang++"], version: ""), ["a.clcpp"])
    XCTAssertEqual(Array(clang.prefix(3)), ["/bin/clang++", "-x", "cl"])
    let zig = SpaceProbe.command(Compiler(command: ["/bin/zig", "c++"], version: ""), ["a.clcpp"])
    XCTAssertEqual(Array(zig.prefix(5)), ["/bin/zig", "clang", "-cc1", "-x", "cl"])
    for command in [clang, zig] {
      XCTAssertTrue(command.contains("-cl-std=clc++2021"))
      XCTAssertEqual(command.last, "a.clcpp")
    }
  }

  /// A compiler that cannot read the probe has no say in it.
  func testLibrariesAreMadeWithoutTheProbe() throws {
    let mixed = """
      threadgroup int *f(device int *p) { return p; }
      kernel void k(device int *x [[buffer(0)]]) { x[0] = *f(x); }
      """
    for (name, answer) in [
      ("refuses", "echo 'error: language not recognized: \"cl\"' >&2; exit 1"), ("dies", "kill -9 $$"),
      ("misleads", "echo 'nonsense: error: : error: '; exit 0"),
    ] {
      let blind = try scratch.script(
        name, "case \"$*\" in *probe.clcpp*) \(answer);; esac\nexec \"$CLANG\" \"$@\"")
      _ = try bench { $0.compiler = blind }.library(mixed)
    }
    assertLibraryError(.compileFailure, "program_source:3:") { try bench { _ in }.library(mixed) }
  }

  func testChildProcess() throws {
    func run(_ commands: String, _ seconds: Double = 20) throws -> ChildProcess {
      try ChildProcess.run(["/bin/sh", "-c", commands], environment: ["A=b c"], seconds: seconds)
    }
    let plain = try run("echo \"$A\"; echo err >&2; read x; exit 7")
    XCTAssertEqual(plain.end, .exited(7))
    XCTAssertEqual(plain.text, "b c\nerr\n")
    XCTAssertEqual(try run("kill -11 $$").end, .killed(signal: 11))
    XCTAssertEqual(try run("exec >&- 2>&-; sleep 60", 0.2).end, .timedOut)
    XCTAssertEqual(try run("yes | head -c 3000000").text.utf8.count, ChildProcess.capturedBytes)
    XCTAssertThrowsError(try ChildProcess.run(["/none"], environment: [], seconds: 1)) { error in
      XCTAssertEqual("\(error)", "/none: No such file or directory")
    }
    // Nothing of this process reaches the child but its standard streams.
    let open = try run("ls /proc/self/fd | wc -l").text
    XCTAssertEqual(open.trimmingCharacters(in: .whitespacesAndNewlines), "4")
  }

  func testHugeSource() throws {
    let bench = try ShaderBench()
    let source = String(repeating: "// nothing to see here, and plenty of it\n", count: (65 << 20) / 41)
    assertLibraryError(.compileFailure, "source", "\(64 << 20)") {
      try bench.device.makeLibrary(source: source, options: nil)
    }
  }

  func testHash() {
    func hex(_ text: String) -> String { SHA256.hash(Array(text.utf8)).hex }
    XCTAssertEqual(hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    XCTAssertEqual(hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    XCTAssertEqual(
      hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    XCTAssertEqual(
      hex(String(repeating: "a", count: 1_000_000)),
      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    // The same bytes in pieces of every length.
    let bytes = (0..<300).map { UInt8(truncatingIfNeeded: $0 * 7) }
    for piece in 1...130 {
      var hash = SHA256()
      for start in stride(from: 0, to: bytes.count, by: piece) {
        hash.update(Array(bytes[start..<min(start + piece, bytes.count)]))
      }
      XCTAssertEqual(hash.finish(), SHA256.hash(bytes))
    }
    func key(_ parts: [String]) -> Digest {
      var hash = SHA256()
      for part in parts { hash.add(part) }
      return hash.finish()
    }
    XCTAssertNotEqual(key(["ab", "c"]), key(["a", "bc"]))
  }
}
