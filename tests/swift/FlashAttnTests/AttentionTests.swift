import FlashAttn
import XCTest

final class AttentionTests: XCTestCase {
  /// Runs attention over host arrays of shape [B, H, L, D], all heads equal in number.
  private func run(
    _ device: Device, _ q: inout [Float], _ k: inout [Float], _ v: inout [Float], shape: [Int],
    _ change: (inout Attention) -> Void = { _ in }
  ) throws -> [Float] {
    var o = Array(repeating: Float(-7), count: q.count)
    try q.withUnsafeMutableBytes { q in
      try k.withUnsafeMutableBytes { k in
        try v.withUnsafeMutableBytes { v in
          try o.withUnsafeMutableBytes { o in
            func tensor(_ bytes: UnsafeMutableRawBufferPointer) -> HostTensor {
              HostTensor(data: bytes.baseAddress, dtype: .f32, shape: shape)
            }
            var attention = Attention(q: tensor(q), k: tensor(k), v: tensor(v), o: tensor(o))
            change(&attention)
            try attention(on: device)
          }
        }
      }
    }
    return o
  }

  func testCopiedAndWrappedMemoryGiveTheSameBits() throws {
    var copying = Tuning()
    copying.wrapsHostMemory = false
    let shape = [2, 3, 37, 32]
    var random = Random(5)
    var (q, k, v) = (random.array(7104), random.array(7104), random.array(7104))
    let device = try Device(tuning: Tuning())
    let wrapped = try run(device, &q, &k, &v, shape: shape) { $0.causal = true }
    let copied = try run(try Device(tuning: copying), &q, &k, &v, shape: shape) { $0.causal = true }
    XCTAssertEqual(wrapped, copied)
    XCTAssertFalse(wrapped.contains(-7))
  }

  func testStridedOutputLeavesItsGapsAlone() throws {
    for wraps in [true, false] {
      var tuning = Tuning()
      tuning.wrapsHostMemory = wraps
      let device = try Device(tuning: tuning)
      var random = Random(6)
      var (q, k, v) = (random.array(3200), random.array(3200), random.array(3200))
      let dense = try run(device, &q, &k, &v, shape: [1, 2, 50, 32])
      let gapped = try run(device, &q, &k, &v, shape: [1, 2, 50, 32]) {
        // The first 25 rows only, in every second row of the output.
        $0.q.shape[2] = 25
        $0.o.shape[2] = 25
        $0.o.strides[2] = 64
      }
      for h in 0..<2 {
        for i in 0..<25 {
          let (from, to) = ((h * 50 + i) * 32, h * 1600 + i * 64)
          XCTAssertEqual(Array(gapped[to..<to + 32]), Array(dense[from..<from + 32]))
          if i < 24 { XCTAssertEqual(Set(gapped[to + 32..<to + 64]), [-7], "a gap was written") }
        }
      }
    }
  }

  func testBadTensorsNameTheirArgument() throws {
    let device = try Device(tuning: Tuning())
    var random = Random(7)
    var (q, k, v) = (random.array(256), random.array(256), random.array(256))
    let cases: [(String, (inout Attention) -> Void)] = [
      ("q", { $0.q.rank = 3 }), ("q", { $0.q.dtype = .i32 }), ("k", { $0.k.dtype = .f16 }),
      ("k", { $0.k.shape[3] = 64 }), ("v", { $0.v.shape[2] = 3 }), ("o", { $0.o.shape[2] = 3 }),
      ("o", { $0.o.isReadOnly = true }), ("o", { $0.o.data = $0.q.data }), ("q", { $0.q.strides[3] = 2 }),
      ("q", { $0.q.data = $0.q.data.map { $0 + 1 } }), ("k", { $0.k.strides[2] = -32 }), ("q", { $0.q.data = nil }),
      ("q", { $0.q.shape[1] = 0 }), ("softcap", { $0.softcap = -1 }), ("window", { $0.window.left = -5 }),
      ("sinks", { $0.sinks = HostTensor(data: $0.v.data, dtype: .f32, shape: [3]) }),
      ("q_offset", { $0.queryOffset = 1 }), ("scale", { $0.scale = .nan }), ("lse", { $0.lse = $0.v }),
      ("mask", { $0.mask = HostTensor(data: $0.v.data, dtype: .bool, shape: [3, 4]) }),
      ("mask", { $0.mask = HostTensor(data: $0.v.data, dtype: .f16, shape: [4, 4]) }),
    ]
    for (argument, spoil) in cases {
      let error = thrown { _ = try run(device, &q, &k, &v, shape: [1, 2, 4, 32], spoil) }
      XCTAssertEqual(error.argument, argument, "\(error)")
    }
  }

  func testExplainNamesKernelAndCopies() throws {
    var tuning = Tuning()
    tuning.wrapsHostMemory = false
    let device = try Device(tuning: tuning)
    var bytes = [Float](repeating: 0, count: 64)
    let report = try bytes.withUnsafeMutableBytes { memory in
      let tensor = HostTensor(data: memory.baseAddress, dtype: .f32, shape: [1, 1, 1, 32])
      let output = HostTensor(data: memory.baseAddress.map { $0 + 128 }, dtype: .f32, shape: [1, 1, 1, 32])
      return try Attention(q: tensor, k: tensor, v: tensor, o: output).explain(on: device)
    }
    XCTAssertTrue(report.contains("\"kernel\": \"flash_attn_prefill_f32_d32\""), report)
    XCTAssertTrue(report.contains("\"operand\": \"o\", \"bytes\": 128"), report)
    XCTAssertTrue(report.contains("serves head_dim 64, not 32"), report)
  }
}
