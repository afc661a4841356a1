import CSoftMetal
import XCTest

@testable import SoftMetal

/// A directory of a test's own, gone with the object.
final class Scratch {
  let path: String

  init() throws { path = try Files.makeUniqueDirectory("\(environmentValue("TMPDIR") ?? "/tmp")/softmetal-test-") }
  deinit { Files.removeDirectory(path) }

  var cache: String { "\(path)/cache" }

  /// Names in the cache that begin with `prefix`.
  func cached(_ prefix: String) -> [String] { Files.list(cache).filter { $0.hasPrefix(prefix) }.sorted() }

  /// A program of shell commands that may call `$CLANG`.
  func script(_ name: String, _ commands: String) throws -> String {
    let file = "\(path)/\(name)"
    Files.remove(file)
    let clang = try XCTUnwrap(ShaderBench.clang())
    try Files.store(Array("#!/bin/sh\nCLANG='\(clang)'\n\(commands)\n".utf8), at: file)
    XCTAssertEqual(chmod(file, 0o700), 0)
    return file
  }
}

/// A device that compiles shaders, and what tests need of it.
struct ShaderBench {
  let soft: SoftMetalDevice
  let device: any MTLDevice
  let queue: any MTLCommandQueue

  /// The compiler that this machine would use.
  static func clang() throws -> String? {
    Compiler.candidates(try ShaderEnvironment.read(environmentValue)).first?.first
  }

  /// `change` has the process's own environment to change.
  init(options: SoftMetalOptions = SoftMetalOptions(), _ change: (inout ShaderEnvironment) -> Void = { _ in }) throws {
    var environment = try ShaderEnvironment.read(environmentValue)
    change(&environment)
    soft = SoftMetalDevice(options: .success(options), environment: .success(environment))
    device = soft
    queue = try XCTUnwrap(device.makeCommandQueue())
  }

  func library(_ source: String, _ options: MTLCompileOptions? = nil) throws -> any MTLLibrary {
    try device.makeLibrary(source: "#include <metal_stdlib>\nusing namespace metal;\n" + source, options: options)
  }

  func pipeline(
    _ source: String, _ name: String = "k", options: MTLCompileOptions? = nil,
    constants: (MTLFunctionConstantValues) -> Void = { _ in }
  ) throws -> any MTLComputePipelineState {
    let values = MTLFunctionConstantValues()
    constants(values)
    let function = try library(source, options).makeFunction(name: name, constantValues: values)
    let pipeline = try device.makeComputePipelineState(function: function)
    XCTAssertEqual(soft.providerName(of: pipeline), "shader")
    return pipeline
  }

  func buffer<Element: BitwiseCopyable>(_ elements: [Element]) throws -> any MTLBuffer {
    try XCTUnwrap(device.makeBuffer(bytes: elements, length: elements.count * MemoryLayout<Element>.stride))
  }

  /// One dispatch over `buffers`, in their slots.
  @discardableResult
  func run(
    _ pipeline: any MTLComputePipelineState, _ buffers: [any MTLBuffer], groups: Int = 1, threads: Int = 32,
    threadgroupBytes: [Int] = []
  ) throws -> any MTLCommandBuffer {
    let commands = try XCTUnwrap(queue.makeCommandBuffer())
    let encoder = try XCTUnwrap(commands.makeComputeCommandEncoder())
    encoder.setComputePipelineState(pipeline)
    for (index, buffer) in buffers.enumerated() { encoder.setBuffer(buffer, offset: 0, index: index) }
    for (index, bytes) in threadgroupBytes.enumerated() { encoder.setThreadgroupMemoryLength(bytes, index: index) }
    encoder.dispatchThreadgroups(MTLSizeMake(groups, 1, 1), threadsPerThreadgroup: MTLSizeMake(threads, 1, 1))
    encoder.endEncoding()
    commands.commit()
    commands.waitUntilCompleted()
    return commands
  }

  /// The same, and a failure if there is an error.
  func complete(
    _ pipeline: any MTLComputePipelineState, _ buffers: [any MTLBuffer], groups: Int = 1, threads: Int = 32,
    threadgroupBytes: [Int] = [], file: StaticString = #filePath, line: UInt = #line
  ) throws {
    let commands = try run(
      pipeline, buffers, groups: groups, threads: threads, threadgroupBytes: threadgroupBytes)
    XCTAssertEqual(commands.status, .completed, commands.error.map { "\($0)" } ?? "", file: file, line: line)
  }
}

extension MTLBuffer {
  func elements<Element>(_ type: Element.Type = Element.self) -> [Element] {
    let count = length / MemoryLayout<Element>.stride
    return Array(UnsafeBufferPointer(start: contents().assumingMemoryBound(to: type), count: count))
  }
}

extension SoftMetalOptions {
  /// Every way of executing that is not a check.
  static var schedules: [SoftMetalOptions] {
    Mode.allCases.flatMap { mode in
      Order.allCases.flatMap { order in
        [false, true].map { interleave in
          var options = SoftMetalOptions()
          (options.mode, options.order, options.interleave, options.seed) = (mode, order, interleave, 7)
          return options
        }
      }
    }
  }
}
