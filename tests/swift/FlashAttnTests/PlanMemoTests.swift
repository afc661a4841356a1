import XCTest

@testable import FlashAttn

final class PlanMemoTests: XCTestCase {
  private func problem(_ positions: [Int], _ format: KVFormat = .tq8) -> KvEncode.Problem {
    KvEncode.Problem(
      dtype: .f32, format: format, kvHeads: 2, headDim: 64, tokens: 1, capacity: 8, positions: positions)
  }

  func testAPlanIsMadeOnceForTheSameProblemAndOperation() throws {
    let memo = PlanMemo<KvEncode.Problem>()
    var made: [String] = []
    func ask(_ problem: KvEncode.Problem, _ operation: String) throws -> Plan {
      try memo.plan(problem, for: operation) { () throws(FAError) in
        made.append("\(operation) \(problem.positions) \(problem.format)")
        return try KvEncode.spec.plan(problem, for: operation)
      }
    }
    XCTAssertEqual(try ask(problem([3]), "a").operation, "a")
    XCTAssertEqual(try ask(problem([3]), "a").operation, "a")
    XCTAssertEqual(made, ["a [3] tq8"])
    XCTAssertEqual(try ask(problem([3]), "b").operation, "b")
    _ = try ask(problem([4]), "b")
    _ = try ask(problem([4], .f32), "b")
    _ = try ask(problem([3]), "a")
    XCTAssertEqual(made, ["a [3] tq8", "b [3] tq8", "b [4] tq8", "b [4] f32", "a [3] tq8"])
  }

  func testARefusedProblemLeavesTheLastPlan() throws {
    let memo = PlanMemo<KvEncode.Problem>()
    var made = 0
    func ask(_ problem: KvEncode.Problem) throws(FAError) -> Plan {
      try memo.plan(problem, for: "a") { () throws(FAError) in
        made += 1
        return try KvEncode.spec.plan(problem, for: "a")
      }
    }
    _ = try ask(problem([7]))
    XCTAssertThrowsError(try ask(problem([8])))
    XCTAssertThrowsError(try ask(problem([8])))
    _ = try ask(problem([7]))
    XCTAssertEqual(made, 3)
  }

  func testEveryOptionOfPrefillTellsProblemsApart() {
    let plain = FlashAttnPrefill.Problem(dtype: .f32, heads: 4, headDim: 64, queryLength: 8)
    let changes: [(inout FlashAttnPrefill.Problem) -> Void] = [
      { $0.dtype = .f16 }, { $0.batch = 2 }, { $0.heads = 8 }, { $0.kvHeads = 2 }, { $0.headDim = 32 },
      { $0.queryLength = 7 }, { $0.keyLength = 9 }, { $0.kvCapacity = 8 }, { $0.scale = 1 }, { $0.softcap = 1 },
      { $0.causal = true }, { $0.queryOffset = 0 }, { $0.window.left = 1 }, { $0.mask = .bool },
      { $0.maskStrides.row = 8 }, { $0.blk = true }, { $0.blkStrides.head = 1 }, { $0.sinks = true },
      { $0.layout = .seqMajor }, { $0.alibi = true }, { $0.alibiStride = 4 }, { $0.lse = true }, { $0.nsg = 4 },
      { $0.sequences = FlashAttnPrefill.Sequences(keyLengths: [8]) },
      { $0.sequences = FlashAttnPrefill.Sequences(keyLengths: [7]) },
    ]
    var all = [plain]
    for change in changes {
      var changed = plain
      change(&changed)
      XCTAssertFalse(all.contains(changed))
      all.append(changed)
    }
    all.append(plain)
    XCTAssertEqual(all.last, all.first)
  }
}

final class NamedBuffersTests: XCTestCase {
  func testNamesAreLookedUpReplacedAndRemoved() throws {
    let device = try Device(tuning: Tuning())
    let (one, other) = (try device.makeBuffer(.f32, [1]), try device.makeBuffer(.f32, [1]))
    var buffers: NamedBuffers = ["q": one]
    buffers["k"] = other
    buffers["q"] = other
    XCTAssertTrue(buffers["q"] === other)
    buffers["q"] = nil
    XCTAssertNil(buffers["q"])
    XCTAssertTrue(buffers["k"] === other)
    XCTAssertEqual(NamedBuffers([("a", nil), ("b", one)]).count, 1)
  }

  func testOfSeveralBuffersThatNobodyWantsTheFirstNameIsTold() throws {
    let device = try Device(tuning: Tuning())
    let buffer = try device.makeBuffer(.f32, [2, 64])
    let plan = try KvEncode.plan(
      KvEncode.Problem(dtype: .f32, format: .f32, kvHeads: 1, headDim: 64, tokens: 1, capacity: 1))
    let encoder = try CommandEncoder(device: device)
    XCTAssertThrowsError(
      try plan.encode(
        into: encoder, registry: device.registry,
        named: ["src": buffer, "out": buffer, "norms": buffer, "data": buffer])
    ) { error in
      XCTAssertEqual("\(error)", "kv_encode: norms: expected none for this problem, got a buffer")
    }
  }
}
