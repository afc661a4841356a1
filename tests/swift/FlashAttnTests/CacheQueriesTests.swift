import XCTest

@testable import FlashAttn

/// Queries of a cache by every route, in a caller's encoder, and what is told of them.
final class CacheQueriesTests: XCTestCase {
  private let heads = 4
  private let headDim = 64

  private func filled(_ format: KVFormat, tokens: Int, window: Int? = nil) throws -> KVCache {
    var configuration = KVCache.Configuration(kvHeads: 2, headDim: headDim, capacity: 32, keys: format)
    configuration.window = window
    let cache = try KVCache(configuration, on: try Device(tuning: Tuning()))
    var random = Random(7)
    var keys = random.array(2 * tokens * headDim)
    var values = random.array(2 * tokens * headDim)
    try tensor(&keys, [1, 2, tokens, headDim]) { keys in
      try tensor(&values, [1, 2, tokens, headDim]) { try cache.step(append: .init(keys: keys, values: $0)) }
    }
    return cache
  }

  private func tensor<Result>(
    _ values: inout [Float], _ shape: [Int], _ body: (HostTensor) throws -> Result
  ) throws -> Result {
    try values.withUnsafeMutableBytes { try body(HostTensor(data: $0.baseAddress, dtype: .f32, shape: shape)) }
  }

  /// The last `count` of the tokens' queries, and their sums, with options of all kinds.
  private func attend(_ cache: KVCache, _ queries: [Float], last count: Int) throws -> (out: [Float], lse: [Float]) {
    let rows = queries.count / (heads * headDim)
    var picked: [Float] = []
    for head in 0..<heads {
      picked += queries[((head + 1) * rows - count) * headDim..<(head + 1) * rows * headDim]
    }
    var output = Array(repeating: Float(-7), count: picked.count)
    var sums = Array(repeating: Float(-7), count: heads * count)
    var sinks: [Float] = [0.5, -1, 2, 0]
    try tensor(&picked, [1, heads, count, headDim]) { q in
      try tensor(&output, [1, heads, count, headDim]) { o in
        try tensor(&sums, [1, heads, count]) { lse in
          try tensor(&sinks, [heads]) { sinks in
            var call = KVCache.Queries(q: q, o: o)
            (call.sinks, call.lse, call.softcap, call.scale) = (sinks, lse, 5, 0.2)
            try cache.step(attend: call)
          }
        }
      }
    }
    return (output, sums)
  }

  func testManyQueriesAreWhatFewAre() throws {
    var random = Random(8)
    let queries = random.array(heads * 12 * headDim)
    for format in [KVFormat.f32, .bf16, .tq8, .tqHb6] {
      for window in [nil, 5] {
        let cache = try filled(format, tokens: 20, window: window)
        let many = try attend(cache, queries, last: 12)
        let few = try attend(cache, queries, last: 3)
        for head in 0..<heads {
          for row in 0..<3 {
            let (whole, part) = (head * 12 + 9 + row, head * 3 + row)
            XCTAssertEqual(many.lse[whole], few.lse[part], accuracy: 1e-5)
            for d in 0..<headDim {
              XCTAssertEqual(many.out[whole * headDim + d], few.out[part * headDim + d], accuracy: 1e-5, "\(format)")
            }
          }
        }
      }
    }
  }

  func testACallersEncoder() throws {
    var random = Random(9)
    let new = random.array(2 * headDim)
    let queries = random.array(heads * headDim)
    for format in [KVFormat.f16, .tq5] {
      let (alone, encoded) = (try filled(format, tokens: 6), try filled(format, tokens: 6))
      let device = encoded.device
      func buffer(_ values: [Float], _ shape: [Int]) throws -> Buffer {
        try device.makeBuffer(.f32, shape, copying: values)
      }
      let (kv, q) = (try buffer(new, [1, 2, 1, headDim]), try buffer(queries, [1, heads, 1, headDim]))
      let out = try buffer(Array(repeating: -7, count: queries.count), [1, heads, 1, headDim])
      let encoder = try CommandEncoder(device: device)
      try encoded.encode(
        append: .init(keys: try HostTensor(kv, "test", "k"), values: try HostTensor(kv, "test", "v")),
        attend: .init(q: try HostTensor(q, "test", "q"), o: try HostTensor(out, "test", "o")), into: encoder)
      try encoder.commitAndWait()
      var (keys, values, asked, found) = (new, new, queries, queries)
      try tensor(&keys, [1, 2, 1, headDim]) { keys in
        try tensor(&values, [1, 2, 1, headDim]) { values in
          try tensor(&asked, [1, heads, 1, headDim]) { q in
            try tensor(&found, [1, heads, 1, headDim]) {
              try alone.step(append: .init(keys: keys, values: values), attend: .init(q: q, o: $0))
            }
          }
        }
      }
      XCTAssertEqual(try out.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }, found, "\(format)")
      XCTAssertEqual(encoded.ranges, [0..<7])
      var host = queries
      let error = try tensor(&host, [1, heads, 1, headDim]) { q in
        thrown { try encoded.encode(attend: .init(q: q, o: q), into: try CommandEncoder(device: device)) }
      }
      XCTAssertTrue(error.description.contains("q: expected a buffer's elements, got host memory"), error.description)
    }
  }

  func testWhatACacheWouldDoIsTold() throws {
    let kernels = [1: ["flash_attn_decode", "flash_attn_prefill"], 12: ["flash_attn_prefill", "flash_attn_decode"]]
    for (count, names) in kernels {
      let cache = try filled(.tq4, tokens: 20)
      var (queries, output) = (Array(repeating: Float(1), count: heads * count * headDim), [Float]())
      output = queries
      let text = try tensor(&queries, [1, heads, count, headDim]) { q in
        try tensor(&output, [1, heads, count, headDim]) { try cache.explain(.init(q: q, o: $0)) }
      }
      XCTAssertTrue(text.contains("\"kernel\": \"\(names[0])"), text)
      XCTAssertTrue(text.contains("\"kernel\": \"\(names[1])\", \"reason\""), text)
      XCTAssertEqual(output, queries, "nothing was computed")
    }
  }

  func testQueriesThatDoNotFit() throws {
    let cache = try filled(.f32, tokens: 4)
    var numbers = Array(repeating: Float(0), count: heads * headDim)
    var output = numbers
    func message(_ shape: [Int], _ change: (inout KVCache.Queries) -> Void = { _ in }) throws -> String {
      try tensor(&numbers, shape) { q in
        try tensor(&output, shape) { o in
          var queries = KVCache.Queries(q: q, o: o)
          change(&queries)
          return thrown { try cache.step(attend: queries) }.description
        }
      }
    }
    XCTAssertTrue(try message([heads, 1, headDim]).contains("q: expected 4 dimensions, got 3"))
    XCTAssertTrue(try message([1, 1, heads, headDim]).contains("a multiple of 2 heads, got 1"))
    XCTAssertTrue(try message([1, heads, 1, headDim]) { $0.scale = .nan }.contains("scale: expected"))
    XCTAssertTrue(try message([1, heads, 1, headDim]) { $0.softcap = -1 }.contains("softcap: expected"))
    XCTAssertTrue(try message([1, heads, 1, headDim]) { $0.window = 0 }.contains("window: expected"))
    XCTAssertTrue(try message([1, heads, 1, headDim]) { $0.sinks = $0.q }.contains("sinks: expected"))
  }

  func testPages() throws {
    let device = try Device(tuning: Tuning())
    func problem(_ pages: KVPages) -> FlashAttnDecode.Problem {
      var problem = FlashAttnDecode.Problem(
        dtype: .f16, keys: .tq8, heads: 8, kvHeads: 2, headDim: 128, capacity: 0, keyLengths: [20, 3])
      problem.pages = pages
      return problem
    }
    for layout in [KVPages.Layout.nhd, .hnd] {
      let pages = KVPages(count: 5, size: 8, layout: layout, table: [4, 0, 2, 1, -9, -9])
      let text = try FlashAttnDecode.explain(problem(pages), on: device)
      XCTAssertTrue(text.contains("flash_attn_decode_f16_d128"), text)
    }
    func message(_ pages: KVPages) -> String { thrown { _ = try FlashAttnDecode.plan(problem(pages)) }.description }
    XCTAssertTrue(message(KVPages(count: 0, size: 8, table: [0, 0])).contains("pages: expected 1 to"))
    XCTAssertTrue(message(KVPages(count: 5, size: 0, table: [0, 0])).contains("page_size: expected 1 to"))
    XCTAssertTrue(message(KVPages(count: 5, size: 8, table: [0, 0, 0])).contains("block_table: expected"))
    XCTAssertTrue(message(KVPages(count: 5, size: 8, table: [0, 1, 5, 0, 0, 0])).contains("block_table[0][2]"))
    XCTAssertTrue(message(KVPages(count: 5, size: 8, table: [0, 1, 0, 0])).contains("expected"))
  }

  func testOtherPlansAreTold() throws {
    let device = try Device(tuning: Tuning())
    let blk = FlashAttnPrefillBlk.Problem(dtype: .bool, queryLength: 64, keyLength: 64, tileRows: 32, tileKeys: 16)
    XCTAssertTrue(try FlashAttnPrefillBlk.explain(blk, on: device).contains("\"tile_rows\": 32"))
    let mask = FlashAttnPrefillMask.Problem(dtype: .f16, queryLength: 64, keyLength: 64)
    XCTAssertTrue(try FlashAttnPrefillMask.explain(mask, on: device).contains("\"q_len\": 64"))
    for format in [KVFormat.tq4V1, .tqHb8] {
      var problem = TqDequantizeKv.Problem(format: format, kvHeads: 2, headDim: 256, capacity: 16)
      XCTAssertEqual(try TqDequantizeKv.plan(problem).passes.count, 1)
      problem.position = 16
      XCTAssertTrue(thrown { _ = try TqDequantizeKv.plan(problem) }.description.contains("expected"))
    }
  }

  func testKernelsAreDescribed() throws {
    let registry = try Device(tuning: Tuning()).registry
    let source = """
      #include <metal_stdlib>
      using namespace metal;
      constant uint2 pair [[function_constant(3)]];
      constant bool flips [[function_constant(4)]];
      kernel void twice(device const float *from [[buffer(0)]], device float *to [[buffer(1)]],
                        threadgroup float *spare [[threadgroup(2)]], uint i [[thread_position_in_grid]]) {
        spare[0] = 2;
        to[i] = (flips ? -1 : 1) * spare[0] * from[i] * float(pair.x);
      }
      """
    try registry.register(source: source, named: "twice_source")
    let functions = try registry.functionsJSON(ofSource: "twice_source")
    XCTAssertTrue(functions.contains("\"name\": \"twice\""), functions)
    XCTAssertTrue(functions.contains("\"index\": 3, \"name\": \"pair\", \"type\": \"uint2\""), functions)
    XCTAssertTrue(functions.contains("\"type\": \"bool\""), functions)
    XCTAssertTrue(thrown { _ = try registry.functionsJSON(ofSource: "none") }.description.contains("none"))
  }
}
