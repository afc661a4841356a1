import XCTest

@testable import SoftMetal

final class ShaderOptionsTests: XCTestCase {
  func testEnvironment() throws {
    XCTAssertEqual(try SoftMetalOptions.read { _ in nil }, SoftMetalOptions())
    let variables = [
      "SOFTMETAL_MODE": "strict", "SOFTMETAL_ORDER": "random", "SOFTMETAL_SEED": "18446744073709551615",
      "SOFTMETAL_INTERLEAVE": "1", "SOFTMETAL_CHECK": "1", "SOFTMETAL_TIME_LIMIT": "2.5", "SOFTMETAL_WORKERS": "3",
    ]
    let options = try SoftMetalOptions.read { variables[$0] }
    XCTAssertEqual(options.mode, .strict)
    XCTAssertEqual(options.order, .random)
    XCTAssertEqual(options.seed, .max)
    XCTAssertTrue(options.interleave)
    XCTAssertTrue(options.checks)
    XCTAssertEqual(options.timeLimit, 2.5)
    XCTAssertEqual(options.workerLimit, 3)

    for (name, wrong) in [
      ("SOFTMETAL_MODE", "Strict"), ("SOFTMETAL_ORDER", "backward"), ("SOFTMETAL_SEED", "-1"),
      ("SOFTMETAL_INTERLEAVE", "yes"), ("SOFTMETAL_CHECK", "2"), ("SOFTMETAL_TIME_LIMIT", "nan"),
      ("SOFTMETAL_TIME_LIMIT", "-1"), ("SOFTMETAL_WORKERS", "many"),
    ] {
      assertLibraryError(.unsupported, "\(name): expected", "got \"\(wrong)\"") {
        try SoftMetalOptions.read { $0 == name ? wrong : nil }
      }
    }
    for (name, wrong) in [("SOFTMETAL_CACHE", "here"), ("SOFTMETAL_CACHE_MB", "0")] {
      assertLibraryError(.unsupported, "\(name): expected", "got \"\(wrong)\"") {
        try ShaderEnvironment.read { $0 == name ? wrong : nil }
      }
    }
  }

  func testCacheDirectory() throws {
    func cache(_ variables: [String: String]) throws -> String? { try ShaderEnvironment.read { variables[$0] }.cache }
    XCTAssertNil(try cache([:]))
    XCTAssertEqual(try cache(["HOME": "/h"]), "/h/.cache/softmetal")
    XCTAssertEqual(try cache(["HOME": "/h", "XDG_CACHE_HOME": "/x"]), "/x/softmetal")
    XCTAssertEqual(try cache(["HOME": "/h", "XDG_CACHE_HOME": "/x", "SOFTMETAL_CACHE": "/c"]), "/c")
  }

  /// A device made in such an environment says so where something can be thrown.
  func testMalformedEnvironmentIsReported() throws {
    let error = MTLLibraryError(.unsupported, "SOFTMETAL_MODE: expected this, got that")
    let device = SoftMetalDevice(options: .failure(error), environment: .success(ShaderEnvironment()))
    assertLibraryError(.unsupported, "SOFTMETAL_MODE") { try device.makeLibrary(source: "", options: nil) }
    device.options = SoftMetalOptions()
    let place = SoftMetalDevice(options: .success(SoftMetalOptions()), environment: .failure(error))
    assertLibraryError(.unsupported, "SOFTMETAL_MODE") { try place.makeLibrary(source: "", options: nil) }
  }

  func testPipelinesKeepTheOptionsTheyWereMadeWith() throws {
    let bench = try ShaderBench()
    let source = """
      kernel void k(device atomic_uint *next [[buffer(0)]], device uint *place [[buffer(1)]],
                    uint i [[thread_position_in_grid]]) {
        place[i] = atomic_fetch_add_explicit(next, 1u, memory_order_relaxed);
      }
      """
    bench.soft.options.workerLimit = 1
    let forward = try bench.pipeline(source)
    bench.soft.options.order = .reverse
    let reverse = try bench.pipeline(source)
    let rising = Array(0..<UInt32(32))
    for (pipeline, order) in [(forward, rising), (reverse, rising.reversed())] {
      let place = try bench.buffer([UInt32](repeating: 0, count: 32))
      try bench.complete(pipeline, [try bench.buffer([UInt32(0)]), place])
      XCTAssertEqual(place.elements(UInt32.self), order)
    }
  }

  /// `x = 3 x + term`, twice: the order shows, unless a barrier stands between the two.
  func testChecksReorderConcurrentDispatches() throws {
    var options = SoftMetalOptions()
    let inOrder: UInt32 = 3 * 1 + 2, reversed: UInt32 = 3 * 2 + 1
    let cases: [(checks: Bool, MTLDispatchType, barrier: Bool, UInt32)] = [
      (true, .concurrent, false, reversed), (true, .concurrent, true, inOrder), (true, .serial, false, inOrder),
      (false, .concurrent, false, inOrder),
    ]
    for (checks, type, barrier, expected) in cases {
      options.checks = checks
      let test = try TestDevice()
      test.soft.options = options
      let values = try test.buffer([0])
      let pipeline = try test.pipeline("add")
      let commands = try test.run(type) { encoder in
        encoder.setComputePipelineState(pipeline)
        encoder.setBuffer(values, offset: 0, index: 0)
        for term: UInt32 in [1, 2] {
          encoder.setUInt(term, index: 1)
          encoder.dispatchOne()
          if barrier { encoder.memoryBarrier(scope: .buffers) }
        }
      }
      XCTAssertEqual(commands.status, .completed)
      XCTAssertEqual(values.uint(0), expected, "\(checks) \(type) \(barrier)")
    }
  }
}
