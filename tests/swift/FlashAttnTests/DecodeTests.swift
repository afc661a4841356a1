import XCTest

@testable import FlashAttn

/// The rooms of the decode family and of the KV codec: specs, rules, plans.
final class DecodeTests: XCTestCase {
  private func vec(_ format: KVFormat, keys: Int = 100, _ change: (inout DecodeProblem) -> Void = { _ in })
    -> DecodeProblem
  {
    var problem = DecodeProblem(
      format: format, heads: 8, kvHeads: 2, headDim: 128, capacity: 4096, keyLengths: [keys])
    change(&problem)
    return problem
  }

  private func decode(
    _ keys: KVFormat, _ values: KVFormat? = nil, headDim: Int = 128, length: Int = 4096,
    _ change: (inout FlashAttnDecode.Problem) -> Void = { _ in }
  ) -> FlashAttnDecode.Problem {
    var problem = FlashAttnDecode.Problem(
      dtype: .f16, keys: keys, values: values, heads: 8, kvHeads: 2, headDim: headDim, capacity: 4096,
      keyLengths: [length])
    change(&problem)
    return problem
  }

  private func constants(_ pass: Plan.Pass) -> [Int: ConstantValue] {
    Dictionary(uniqueKeysWithValues: pass.constants.map { ($0.index, $0.value) })
  }

  func testWorkGroupsFollowTheKeys() throws {
    let tuning = Tuning.Decode()
    let expected: [(Tuning.Decode.Room, Int, Int)] = [
      (.vec, 0, 1), (.vec, 32, 1), (.vec, 33, 2), (.vec, 100_000, 32), (.tq, 100_000, 16), (.tqHb, 512, 16),
      (.tqHb, 1025, 32),
    ]
    for (room, keys, groups) in expected { XCTAssertEqual(tuning.workGroups(room, keys: keys), groups) }
    XCTAssertEqual([1024, 1025].map { tuning.simdgroups(keys: $0) }, [1, 4])
    XCTAssertEqual(tuning.splits(keys: 8192, groups: 2), 32)
    XCTAssertEqual(tuning.splits(keys: 8192, groups: 16), 4)
    XCTAssertEqual(tuning.splits(keys: 255, groups: 1), 1)
    var given = tuning
    (given.vecNWG, given.tqNWG, given.tqNSG, given.splits) = (3, 5, 2, 7)
    XCTAssertEqual([given.workGroups(.vec, keys: 9), given.workGroups(.tqHb, keys: 9)], [3, 5])
    XCTAssertEqual([given.simdgroups(keys: 9), given.splits(keys: 9, groups: 99)], [2, 7])
  }

  func testVariablesAreRead() throws {
    let variables = ["PYFA_TQ_NWG": "5", "PYFA_TQ_NSG": "4", "PYFA_VEC_NWG": "32", "PYFA_DECODE_SPLITS": "8"]
    let decode = try Tuning.read { variables[$0] }.decode
    XCTAssertEqual([decode.tqNWG, decode.tqNSG, decode.vecNWG, decode.splits, decode.nsg], [5, 4, 32, 8, nil])
    for (name, value) in [
      ("PYFA_TQ_NWG", "33"), ("PYFA_TQ_NSG", "3"), ("PYFA_VEC_NWG", "0"), ("PYFA_DECODE_SPLITS", "many"),
      ("PYFA_DECODE_NSG", "16"),
    ] {
      let error = thrown { _ = try Tuning.read { $0 == name ? value : nil } }
      XCTAssertEqual(error.argument, name)
      XCTAssertTrue(error.message.hasSuffix("got \(value)"), error.message)
    }
  }

  func testPassesOfVec() throws {
    let one = try FlashAttnVec.plan(vec(.f16, keys: 32) { $0.lse = true })
    XCTAssertEqual(one.passes.map(\.kernel), ["flash_attn_vec_f16kv_dk128"])
    XCTAssertEqual(one.operands.map(\.name), ["q", "k", "v", "o", "sinks", "lse"])
    let several = try FlashAttnVec.plan(vec(.bf16) { $0.lse = true })
    XCTAssertEqual(several.passes.map(\.kernel), ["flash_attn_vec_bf16kv_dk128", "flash_attn_vec_reduce_dk128"])
    XCTAssertEqual(several.byteCount(of: "tmp"), 4 * 8 * 4 * 130)
    XCTAssertEqual(several.passes.map { constants($0)[62] }, [.bool(false), .bool(true)])
    guard case .barrier = several.steps[1] else { return XCTFail("no barrier before the merge") }
    XCTAssertEqual(several.passes[0].launch.grid, Size3(1, 8, 4))
    XCTAssertEqual(several.passes[0].launch.threadgroupBytes, [2 * (128 + 128 + 256)])
    XCTAssertEqual(several.passes[1].tile.threads, Size3(128))
  }

  func testSequencesAreDescribedOnlyWhereTheyMustBe() throws {
    let slots = { (problem: DecodeProblem) in
      try FlashAttnVec.plan(problem).passes[0].blocks.map(\.slot)
    }
    XCTAssertEqual(try slots(vec(.f32)), [0])
    XCTAssertEqual(try slots(vec(.f32) { $0.queryLength = 2 }), [0, 7, 8, 9])
    XCTAssertEqual(try slots(vec(.f32) { $0.ringStarts = [3] }), [0, 7, 8, 9])
    XCTAssertEqual(try slots(vec(.f32) { $0.keyLengths = [3, 4] }), [0, 7, 8, 9])
    // Rings of codes have their start among the parameters.
    let ring = try FlashAttnVecTqHb.plan(vec(.tqHb8) { $0.ringStarts = [3] }).passes[0]
    XCTAssertEqual(ring.blocks.map(\.slot), [0])
    let params = ring.blocks[0].bytes.withUnsafeBytes { $0.loadUnaligned(as: fa_vec_tq_hb_params.self) }
    XCTAssertEqual(params.ring_start, 3)
  }

  func testRotationsOfCodes() throws {
    let fused = try FlashAttnVecTqHb.plan(
      vec(.tqHb5, keys: 2000) {
        $0.rotatesQuery = true
        $0.undoesRotation = true
        $0.seed = 5
      })
    XCTAssertEqual(
      fused.passes.map(\.kernel), ["flash_attn_vec_tq_hb_dk128", "flash_attn_vec_reduce_tq_hb_undo_dk128"])
    XCTAssertEqual(fused.passes[0].tile.threads, Size3(32, 4))
    XCTAssertEqual(constants(fused.passes[0])[50], .int(5))
    XCTAssertEqual(fused.passes.map { constants($0)[55] }, [.bool(true), .bool(true)])
    XCTAssertEqual(fused.passes[1].launch.threadgroupBytes, [512])
    let single = try FlashAttnVecTq.plan(vec(.tq4V1, keys: 5) { $0.undoesRotation = true })
    XCTAssertEqual(single.passes.map(\.kernel), ["flash_attn_vec_tq_dk128", "fwht_sign_undo_f32_d128"])
    XCTAssertEqual(single.operands.filter { $0.name == "o" }.map(\.access), [.readWrite])
  }

  func testDecodeSharesKeysAndMemory() throws {
    let problem = decode(.tq8, .f16) { $0.queryLength = 3 }
    let whole = try FlashAttnDecode.plan(problem)  // for native kernels
    XCTAssertEqual(whole.passes.map(\.kernel), ["flash_attn_decode_f16_d128"])
    XCTAssertEqual([whole.byteCount(of: "partials"), whole.byteCount(of: "partial_states")], [0, 0])
    var tuning = Tuning()
    tuning.provider = .shader
    let plan = try FlashAttnDecode.plan(problem, tuning: tuning)
    XCTAssertEqual(plan.passes.map(\.kernel), ["flash_attn_decode_f16_d128", "flash_attn_decode_merge_f16_d128"])
    XCTAssertEqual(plan.passes[0].launch.grid, Size3(2, 2, 16))
    XCTAssertEqual(plan.passes[0].tile.threads, Size3(256))
    XCTAssertEqual(plan.byteCount(of: "partials"), 4 * 24 * 16 * 128)
    XCTAssertEqual(plan.byteCount(of: "partial_states"), 4 * 24 * 16 * 2)
    XCTAssertEqual(plan.passes[1].launch.grid, Size3(3, 8, 1))
    let limit = try Device(tuning: Tuning()).metal.maxThreadgroupMemoryLength
    for headDim in KVFormat.headDims {
      for keys in KVFormat.allCases {
        for values in KVFormat.allCases {
          let bytes = try FlashAttnDecode.plan(decode(keys, values, headDim: headDim)).passes[0].launch
            .threadgroupBytes[0]
          XCTAssertTrue(bytes.isMultiple(of: 16) && bytes <= limit, "\(bytes) bytes for \(keys), \(values), \(headDim)")
        }
      }
    }
  }

  func testSimdgroupsOfDecode() {
    for (headDim, nsg) in [(128, 16), (256, 8), (512, 1), (64, 3)] {
      let error = thrown { _ = try FlashAttnDecode.plan(decode(.f16, headDim: headDim) { $0.nsg = nsg }) }
      XCTAssertEqual(error.argument, "nsg")
    }
    var tuning = Tuning()
    tuning.decode.nsg = 8
    XCTAssertEqual(try FlashAttnDecode.plan(decode(.f16, headDim: 512), tuning: tuning).passes[0].tile.threads.x, 128)
  }

  func testWhatNoKernelServesIsRefused() {
    let cases: [(String, () throws -> Void)] = [
      (
        "flash_attn_vec: format: expected one of f32, f16, bf16, got tq8", { _ = try FlashAttnVec.plan(self.vec(.tq8)) }
      ),
      (
        "flash_attn_vec: head_dim: expected 64, 128, 256 or 512, got 96",
        { _ = try FlashAttnVec.plan(self.vec(.f16) { $0.headDim = 96 }) }
      ),
      (
        "flash_attn_vec: kv_len: expected 0 to the capacity, 4096, got 4097",
        { _ = try FlashAttnVec.plan(self.vec(.f16, keys: 4097)) }
      ),
      (
        "flash_attn_vec: ring_start: expected 0 to 4095, got -1",
        { _ = try FlashAttnVec.plan(self.vec(.f16) { $0.ringStarts = [-1] }) }
      ),
      (
        "flash_attn_vec_tq_hb: nsg: expected 1, 2 or 4, got 8",
        { _ = try FlashAttnVecTqHb.plan(self.vec(.tqHb8) { $0.nsg = 8 }) }
      ),
      (
        "flash_attn_vec: undo_rotation: expected false for a dense cache, got true",
        { _ = try FlashAttnVec.plan(self.vec(.f16) { $0.undoesRotation = true }) }
      ),
      (
        "flash_attn_decode: rotate_query: expected false for dense keys, got true",
        { _ = try FlashAttnDecode.plan(self.decode(.f16, .tq8) { $0.rotatesQuery = true }) }
      ),
      (
        "flash_attn_decode: splits: expected 1 to 32, got 33",
        { _ = try FlashAttnDecode.plan(self.decode(.f16) { $0.splits = 33 }) }
      ),
      (
        "flash_attn_decode: batch: expected 1 to 1024, got 0",
        { _ = try FlashAttnDecode.plan(self.decode(.f16) { $0.keyLengths = [] }) }
      ),
    ]
    for (message, body) in cases { XCTAssertEqual(thrown(body).description, message) }
  }

  func testRowsFitTheParameters() {
    let error = thrown {
      _ = try FlashAttnVecReduce.plan(.init(batch: 8, heads: Int(Int32.max), queryLength: 8, headDim: 64, nwg: 2))
    }
    XCTAssertEqual(error.description, "flash_attn_vec_reduce: rows: expected 1 to 2147483647, got 137438953408")
  }

  func testFormats() {
    let expected: [(KVFormat, Int, Int, Int, UInt32)] = [
      (.f32, 512, 0, 2, 0), (.q8, 132, 1, 2, 0), (.tq3, 52, 1, 2, 0xA187_61B2), (.tq7, 116, 1, 2, 0x5881_D222),
      (.tq4V1, 68, 1, 1, 0x91C2_CD28), (.tqHb5, 132, 1, 1, 0xF5D2_3C76),
    ]
    for (format, bytes, norms, version, checksum) in expected {
      XCTAssertEqual(format.bytes(128, halfNorms: false), bytes, "\(format)")
      XCTAssertEqual(format.norms(128), norms)
      XCTAssertEqual(format.version, version)
      XCTAssertEqual(format.tableChecksum, checksum)
    }
    XCTAssertEqual(KVFormat.tqHb8.norms(512), 2)
    XCTAssertEqual(KVFormat.tq8.norms(512), 1)
  }

  func testSignsOfASeed() {
    XCTAssertEqual(Signs.table(64, seed: 0), [0xA7, 0x3B, 0x91, 0xF4, 0x6D, 0xC2, 0x58, 0x0E])
    // The first output of SplitMix64 for the seed 1234567.
    XCTAssertEqual(
      Signs.table(64, seed: 1_234_567),
      withUnsafeBytes(of: UInt64(6_457_827_717_110_365_317).littleEndian) { Array($0) })
    XCTAssertEqual(Signs.table(512, seed: 9).count, 64)
  }
}
