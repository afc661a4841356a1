import XCTest

@testable import FlashAttn

final class SequenceTests: XCTestCase {
  private func problem(_ sequences: FlashAttnPrefill.Sequences, batch: Int = 2) -> FlashAttnPrefill.Problem {
    var problem = FlashAttnPrefill.Problem(dtype: .f32, heads: 8, kvHeads: 2, headDim: 64, queryLength: 40)
    problem.batch = batch
    problem.sequences = sequences
    return problem
  }

  private func pass(_ problem: FlashAttnPrefill.Problem) throws -> Plan.Pass {
    try XCTUnwrap(try FlashAttnPrefill.plan(problem).passes.first)
  }

  private func on(_ pass: Plan.Pass) -> [Int] {
    pass.constants.filter { $0.index >= 309 && $0.value == .bool(true) }.map(\.index)
  }

  func testGridIsOfTheLongestSequence() throws {
    let packed = problem(.init(queryStarts: [0, 3, 80], keyStarts: [0, 9, 10]))
    XCTAssertEqual(try pass(packed).launch.grid, Size3(3, 8, 2))
    XCTAssertEqual(try pass(packed).blocks.map(\.slot), [4, 13, 14])
    XCTAssertEqual(on(try pass(packed)), [310, 313])
    let plan = try FlashAttnPrefill.plan(packed)
    XCTAssertEqual(plan.byteCount(of: "q"), 80 * 8 * 64 * 4)
    XCTAssertEqual(plan.byteCount(of: "k"), 10 * 2 * 64 * 4)
  }

  func testPagesAreBoundWithTheirLengths() throws {
    let pages = FlashAttnPrefill.Pages(count: 5, size: 16, table: [4, 0, 1, 9], columns: 2)
    let padded = problem(.init(keyLengths: [32, 16], pages: pages))
    XCTAssertEqual(try pass(padded).blocks.map(\.slot), [4, 15, 16, 17])
    XCTAssertEqual(on(try pass(padded)), [311, 312])
    let params = try pass(padded).blocks[0].bytes.withUnsafeBytes { $0.loadUnaligned(as: fa_attn_params.self) }
    XCTAssertTrue(params.K_strides == (16 * 2 * 64, 64, 2 * 64))
    XCTAssertEqual(try FlashAttnPrefill.plan(padded).byteCount(of: "k"), 5 * 16 * 2 * 64 * 4)
  }

  func testWhatNoKernelCouldFollowIsRefused() throws {
    let pages = FlashAttnPrefill.Pages(count: 5, size: 16, table: [4, 0, 1, 9], columns: 2)
    let refused: [(FlashAttnPrefill.Sequences, String)] = [
      (.init(queryStarts: [0, 3], keyStarts: [0, 1, 2]), "q_starts"),
      (.init(queryStarts: [0, 5, 3], keyStarts: [0, 1, 2]), "q_starts"),
      (.init(queryStarts: [0, .max, .max], keyStarts: [0, 1, 2]), "q_starts"),
      (.init(queryStarts: [0, 1, 2]), "k_starts"),
      (.init(keyStarts: [0, 1, 2]), "k_starts"),
      (.init(keyLengths: [41, 0]), "kv_lens"),
      (.init(keyLengths: [.min, 0]), "kv_lens"),
      (.init(pages: pages), "kv_lens"),
      (.init(keyLengths: [32, 32], pages: pages), "block_table"),
      (.init(keyLengths: [33, 0], pages: pages), "kv_lens"),
    ]
    for (sequences, argument) in refused {
      XCTAssertThrowsError(try FlashAttnPrefill.plan(problem(sequences)), argument) { error in
        XCTAssertEqual((error as? FAError)?.argument, argument)
      }
    }
    XCTAssertThrowsError(try FlashAttnPrefill.plan(problem(.init(queryStarts: [], keyStarts: []), batch: -1)))
  }

  func testPackedSequencesAreWhatTheyAreAlone() throws {
    let device = try Device()
    let (starts, heads, headDim) = ([0, 3, 3, 40], 2, 32)
    var random = Random(11)
    let size = 40 * heads * headDim
    var (q, k, v) = (random.array(size), random.array(size), random.array(size))
    var (packed, alone) = (Array(repeating: Float(-7), count: size), Array(repeating: Float(-7), count: size))
    try q.withUnsafeMutableBytes { q in
      try k.withUnsafeMutableBytes { k in
        try v.withUnsafeMutableBytes { v in
          func tensor(_ bytes: UnsafeMutableRawBufferPointer, _ rows: Range<Int>, _ outer: [Int]) -> HostTensor {
            let start = bytes.baseAddress.map { $0 + rows.lowerBound * heads * headDim * 4 }
            return HostTensor(data: start, dtype: .f32, shape: outer + [rows.count, heads, headDim])
          }
          try packed.withUnsafeMutableBytes { o in
            var attention = AttentionVarlen(
              q: tensor(q, 0..<40, []), k: tensor(k, 0..<40, []), v: tensor(v, 0..<40, []), o: tensor(o, 0..<40, []),
              queryStarts: starts, keyStarts: starts)
            attention.causal = true
            try attention(on: device)
          }
          try alone.withUnsafeMutableBytes { o in
            for rows in [0..<3, 3..<40] {
              var attention = Attention(
                q: tensor(q, rows, [1]), k: tensor(k, rows, [1]), v: tensor(v, rows, [1]), o: tensor(o, rows, [1]))
              attention.layout = .blhd
              attention.causal = true
              try attention(on: device)
            }
          }
        }
      }
    }
    XCTAssertEqual(packed, alone)
    XCTAssertFalse(packed.contains(-7))
  }
}
