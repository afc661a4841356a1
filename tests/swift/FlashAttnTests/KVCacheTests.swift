import FlashAttn
import XCTest

final class KVCacheTests: XCTestCase {
  private func cache(
    _ format: KVFormat, capacity: Int = 8, _ change: (inout KVCache.Configuration) -> Void = { _ in }
  ) throws -> KVCache {
    var configuration = KVCache.Configuration(kvHeads: 2, headDim: 64, capacity: capacity, keys: format)
    change(&configuration)
    return try KVCache(configuration, on: try Device(tuning: Tuning()))
  }

  private func withTensor<Result>(
    _ values: inout [Float], _ shape: [Int], _ body: (HostTensor) throws -> Result
  ) throws -> Result {
    try values.withUnsafeMutableBytes { try body(HostTensor(data: $0.baseAddress, dtype: .f32, shape: shape)) }
  }

  private func append(_ cache: KVCache, _ keys: [Float], _ values: [Float]) throws {
    var (keys, values) = (keys, values)
    let shape = [cache.configuration.batch, 2, keys.count / (2 * 64 * cache.configuration.batch), 64]
    try withTensor(&keys, shape) { keys in
      try withTensor(&values, shape) { try cache.step(append: .init(keys: keys, values: $0)) }
    }
  }

  private func attend(_ cache: KVCache, _ queries: [Float], heads: Int = 4) throws -> [Float] {
    var (queries, output) = (queries, Array(repeating: Float(-7), count: queries.count))
    let shape = [cache.configuration.batch, heads, queries.count / (heads * 64 * cache.configuration.batch), 64]
    try withTensor(&queries, shape) { q in
      try withTensor(&output, shape) { try cache.step(attend: .init(q: q, o: $0)) }
    }
    return output
  }

  private func contents(_ cache: KVCache) throws -> ([Float], [Float]) {
    let count = cache.ranges[0].count
    var keys = Array(repeating: Float(0), count: 2 * count * 64)
    var values = keys
    try withTensor(&keys, [1, 2, count, 64]) { keys in
      try withTensor(&values, [1, 2, count, 64]) { try cache.dequantize(keys: keys, values: $0) }
    }
    return (keys, values)
  }

  func testDenseCacheGivesBackWhatItGot() throws {
    var random = Random(1)
    let (keys, values) = (random.array(2 * 5 * 64), random.array(2 * 5 * 64))
    let cache = try cache(.f32)
    try append(cache, keys, values)
    let found = try contents(cache)
    XCTAssertEqual(found.0, keys)
    XCTAssertEqual(found.1, values)
    XCTAssertEqual(cache.ranges, [0..<5])
    XCTAssertEqual(cache.byteCount, 8 * cache.bytesPerToken)
  }

  func testFormatsAttendWhatTheyStandFor() throws {
    var random = Random(2)
    let (keys, values, queries) = (random.array(2 * 6 * 64), random.array(2 * 6 * 64), random.array(4 * 64))
    for format in [KVFormat.bf16, .q8, .tq3, .tq7, .tqHb6] {
      let coded = try cache(format)
      try append(coded, keys, values)
      let (k, v) = try contents(coded)
      let dense = try cache(.f32)
      try append(dense, k, v)
      let (found, expected) = (try attend(coded, queries), try attend(dense, queries))
      let error = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
      XCTAssertLessThan(error, 4e-6 * (expected.map(abs).max() ?? 0), "\(format)")
    }
  }

  func testRefusalLeavesTheCacheAsItWas() throws {
    var random = Random(3)
    let cache = try cache(.tq8, capacity: 3)
    try append(cache, random.array(2 * 2 * 64), random.array(2 * 2 * 64))
    let before = try contents(cache)
    let error = thrown { try append(cache, random.array(2 * 2 * 64), random.array(2 * 2 * 64)) }
    XCTAssertEqual(
      error.description, "kv_cache_append: k: expected at most 1 tokens, the room left of 3, got 2")
    XCTAssertEqual(thrown { _ = try attend(cache, random.array(3 * 64), heads: 3) }.argument, "q")
    XCTAssertEqual(try contents(cache).0, before.0)
    XCTAssertEqual(cache.ranges, [0..<2])
  }

  func testCopyGrowsByItself() throws {
    var random = Random(4)
    let (keys, values) = (random.array(2 * 2 * 64), random.array(2 * 2 * 64))
    let cache = try cache(.tq4, capacity: 2) { $0.maximumCapacity = 7 }
    try append(cache, keys, values)
    let twin = try cache.copy()
    try append(twin, keys, values)
    XCTAssertEqual([cache.capacity, twin.capacity], [2, 4])
    try append(twin, random.array(2 * 3 * 64), random.array(2 * 3 * 64))
    XCTAssertEqual(twin.capacity, 7)
    XCTAssertEqual([cache.ranges, twin.ranges], [[0..<2], [0..<7]])
    XCTAssertEqual(Array(try contents(twin).0[0..<128]), Array(try contents(cache).0[0..<128]))
  }

  func testConfigurationsThatCannotBe() {
    let cases: [(String, (inout KVCache.Configuration) -> Void)] = [
      ("head_dim", { $0.headDim = 80 }), ("capacity", { $0.capacity = 0 }), ("batch", { $0.batch = 0 }),
      ("kv_heads", { $0.kvHeads = -1 }), ("window", { $0.window = 0 }), ("max_capacity", { $0.maximumCapacity = 7 }),
      (
        "seed",
        {
          $0.keys = .tqHb8; $0.seed = 1
        }
      ),
      (
        "norms",
        {
          $0.keys = .f16; $0.values = .f32; $0.halfNorms = true
        }
      ),
    ]
    for (argument, change) in cases {
      XCTAssertEqual(thrown { _ = try cache(.tq8, change) }.argument, argument)
    }
  }

  func testPositionsAreChecked() throws {
    let ring = try cache(.f16, capacity: 4) { $0.ring = true }
    try ring.setRanges([9], [13])
    XCTAssertEqual(ring.ranges, [9..<13])
    XCTAssertEqual(thrown { try ring.setRanges([8], [13]) }.argument, "ranges")
    XCTAssertEqual(thrown { try ring.truncate(to: 8) }.argument, "length")
    XCTAssertEqual(thrown { try ring.truncate(1, to: 9) }.argument, "sequence")
    let plain = try cache(.f16, capacity: 4)
    XCTAssertEqual(thrown { try plain.setRanges([1], [3]) }.argument, "ranges")
    XCTAssertEqual(thrown { try plain.setRanges([0, 0], [1, 1]) }.argument, "ranges")
  }

  private func cache(
    _ format: KVFormat, _ change: (inout KVCache.Configuration) -> Void
  ) throws -> KVCache { try cache(format, capacity: 8, change) }
}
