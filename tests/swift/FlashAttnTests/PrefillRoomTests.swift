import XCTest

@testable import FlashAttn

/// The rooms around prefill: specs, rules, and the plans that join them.
final class PrefillRoomTests: XCTestCase {
  private func problem(_ change: (inout FlashAttnPrefill.Problem) -> Void = { _ in }) -> FlashAttnPrefill.Problem {
    var problem = FlashAttnPrefill.Problem(dtype: .f16, heads: 8, kvHeads: 2, headDim: 512, queryLength: 40)
    change(&problem)
    return problem
  }

  private func masked(_ headDim: Int, rank: Int = 2, length: Int = 300) throws -> FlashAttnPrefill.Problem {
    var problem = problem {
      $0.headDim = headDim
      $0.queryLength = length
      $0.keyLength = length
      $0.mask = .bool
    }
    problem.maskStrides = try problem.maskStrides(rank: rank)
    return problem
  }

  private func values(_ pass: Plan.Pass) -> [String: ConstantValue] {
    Dictionary(uniqueKeysWithValues: pass.constants.map { ($0.name, $0.value) })
  }

  func testTiles() throws {
    let expected: [(DType, Int, Int, Int, Int)] = [
      (.f16, 64, 32, 16, 4), (.f32, 192, 32, 16, 4), (.f32, 256, 32, 8, 4), (.bf16, 256, 32, 16, 4),
      (.f16, 512, 8, 8, 1),
      (.f32, 512, 8, 8, 1),
    ]
    for (dtype, headDim, rows, keys, simdgroups) in expected {
      let pass = try XCTUnwrap(
        FlashAttnPrefill.plan(
          problem {
            $0.dtype = dtype
            $0.headDim = headDim
          }
        ).passes.first)
      XCTAssertEqual(pass.tile, Tile(BQ: rows, BK: keys, threads: Size3(32, simdgroups)), pass.kernel)
    }
  }

  func testSimdgroupsOfD512() throws {
    for (given, tuned, expected) in [(nil, 8, 8), (nil, 4, 4), (4, 8, 4), (8, 4, 8)] as [(Int?, Int, Int)] {
      var tuning = Tuning()
      tuning.prefill.nsg = tuned
      let plan = try FlashAttnPrefillD512.plan(problem { $0.nsg = given }, tuning: tuning)
      let pass = try XCTUnwrap(plan.passes.first)
      XCTAssertEqual(pass.kernel, "flash_attn_prefill_llamacpp_f16_d512")
      XCTAssertEqual(pass.tile, Tile(BQ: 8, BK: 64, threads: Size3(32, expected)))
      XCTAssertEqual(pass.launch.grid, Size3(5, 8, 1))
      XCTAssertEqual(pass.launch.threadgroupBytes, [28672])
      XCTAssertEqual(values(pass)["nsg"], .int(Int32(expected)))
    }
    for nsg in [0, 1, 6, 16, -8] {
      let error = thrown { _ = try FlashAttnPrefillD512.plan(problem { $0.nsg = nsg }) }
      XCTAssertEqual(error.description, "flash_attn_prefill_d512: nsg: expected 4 or 8, got \(nsg)")
    }
    let error = thrown { _ = try FlashAttnPrefillD512.plan(problem { $0.dtype = .f32 }) }
    XCTAssertEqual(error.description, "flash_attn_prefill_d512: dtype: expected bf16 or f16, got f32")
  }

  func testCapacityIsInTheStridesOfKeysAndValues() throws {
    for (layout, strides) in [
      (FlashAttnPrefill.Problem.Layout.headMajor, (2 * 100 * 64, 100 * 64, 64)),
      (.seqMajor, (2 * 100 * 64, 64, 2 * 64)),
    ] as [(FlashAttnPrefill.Problem.Layout, (Int64, Int64, Int64))] {
      let plan = try FlashAttnPrefill.plan(
        problem {
          $0.headDim = 64
          $0.kvCapacity = 100
          $0.layout = layout
        })
      let bytes = try XCTUnwrap(plan.passes.first).blocks[0].bytes
      let params = bytes.withUnsafeBytes { $0.loadUnaligned(as: fa_attn_params.self) }
      XCTAssertTrue(params.K_strides == strides)
      XCTAssertTrue(params.V_strides == strides)
      XCTAssertEqual(params.kL, 40)
    }
  }

  func testNoRowsIsNoPass() throws {
    XCTAssertTrue(try FlashAttnPrefill.plan(problem { $0.queryLength = 0 }).passes.isEmpty)
    let noKeys = try FlashAttnPrefill.plan(problem { $0.keyLength = 0 })
    XCTAssertEqual(noKeys.passes.count, 1)
    XCTAssertEqual(noKeys.operands.filter { $0.isPresent && $0.byteCount == 0 }.map(\.name), ["k", "v"])
  }

  func testChoiceOfRoomByHeadDimension() throws {
    var tuning = Tuning.Prefill()
    func room(_ change: (inout FlashAttnPrefill.Problem) -> Void = { _ in }) throws -> [String] {
      try PrefillChoice(problem(change), tuning, for: "attention").plan.passes.map(\.room)
    }
    XCTAssertEqual(try room(), ["flash_attn_prefill_d512"])
    XCTAssertEqual(try room { $0.dtype = .f32 }, ["flash_attn_prefill"])
    XCTAssertEqual(try room { $0.headDim = 256 }, ["flash_attn_prefill"])
    tuning.d512 = false
    XCTAssertEqual(try room(), ["flash_attn_prefill"])
  }

  func testMaskedPlansLookThroughTheMaskFirst() throws {
    for (headDim, room, tiles) in [(64, "flash_attn_prefill", 10 * 19), (512, "flash_attn_prefill_d512", 38 * 5)] {
      let plan = try PrefillChoice(masked(headDim), Tuning.Prefill(), for: "attention").plan
      XCTAssertEqual(plan.passes.map(\.room), ["flash_attn_prefill_blk", room])
      guard case .barrier = plan.steps[1] else { return XCTFail("no barrier between the passes") }
      XCTAssertEqual(plan.scratchBytes, tiles)
      let (first, second) = (plan.passes[0], plan.passes[1])
      XCTAssertEqual(values(first)["BQ"], .int(Int32(second.tile.BQ)))
      XCTAssertEqual(values(first)["BK"], .int(Int32(second.tile.BK)))
      XCTAssertEqual(values(second)["has_blk"], .bool(true))
      // What the first pass writes is what the second reads.
      let written = try XCTUnwrap(first.bindings.first { $0.access.writes })
      let read = try XCTUnwrap(second.bindings.first { $0.slot == 7 })
      XCTAssertEqual(written.operand, read.operand)
      XCTAssertEqual(first.bindings.first { $0.slot == 0 }?.operand, second.bindings.first { $0.slot == 6 }?.operand)
    }
  }

  func testWhatIsNotWorthAPass() throws {
    func passes(_ problem: FlashAttnPrefill.Problem, _ choice: Tuning.Prefill.Choice = .auto) throws -> Int {
      var tuning = Tuning.Prefill()
      tuning.blk = choice
      return try PrefillChoice(problem, tuning, for: "attention").plan.passes.count
    }
    XCTAssertEqual(try passes(masked(64)), 2)
    XCTAssertEqual(try passes(masked(64), .never), 1)
    XCTAssertEqual(try passes(masked(64, length: 30)), 1)
    XCTAssertEqual(try passes(masked(64, length: 30), .always), 2)
    XCTAssertEqual(try passes(masked(64, rank: 4)), 1)
    XCTAssertEqual(try passes(problem(), .always), 1)
  }

  func testPlanesOfBroadcastMasks() throws {
    var tuning = Tuning.Prefill()
    tuning.blk = .always
    for (rank, planes, strides) in [(2, 1, (0, 0)), (3, 2, (190, 0)), (4, 16, (8 * 190, 190))] {
      var problem = try masked(64, rank: rank)
      problem.batch = 2
      let plan = try PrefillChoice(problem, tuning, for: "attention").plan
      XCTAssertEqual(plan.scratchBytes, planes * 190)
      XCTAssertEqual(plan.passes[0].launch.grid, Size3(19, 10, planes))
      let block = try XCTUnwrap(plan.passes[1].blocks.first { $0.slot == 11 })
      let params = block.bytes.withUnsafeBytes { $0.loadUnaligned(as: fa_attn_blk_params.self) }
      XCTAssertTrue(params.strides == (Int64(strides.0), Int64(strides.1)))
    }
  }

  func testBlkProblems() throws {
    XCTAssertEqual(try FlashAttnPrefillBlk.byteCount(queryLength: 100, keyLength: 100, tileRows: 8, tileKeys: 64), 32)
    XCTAssertEqual(try FlashAttnPrefillBlk.byteCount(queryLength: 100, keyLength: 100, tileRows: 32, tileKeys: 1), 416)
    for (rows, keys, argument) in [(0, 8, "tile_rows"), (8, 1 << 31, "tile_keys")] {
      let error = thrown {
        _ = try FlashAttnPrefillBlk.byteCount(queryLength: 5, keyLength: 5, tileRows: rows, tileKeys: keys)
      }
      XCTAssertEqual(error.argument, argument)
    }
    var problem = FlashAttnPrefillBlk.Problem(dtype: .bool, queryLength: 50, keyLength: 50, tileRows: 16, tileKeys: 16)
    problem.maskStrides.row = -1
    XCTAssertEqual(thrown { _ = try FlashAttnPrefillBlk.plan(problem) }.argument, "mask_strides")
    problem.dtype = .i32
    XCTAssertEqual(thrown { _ = try FlashAttnPrefillBlk.plan(problem) }.argument, "dtype")
  }

  func testBytesOfOtherTilesAreRefused() throws {
    let device = try Device(tuning: Tuning())
    let encoder = try CommandEncoder(device: device)
    var problem = try masked(64, length: 70)
    problem.blk = true
    let tensor = try device.makeBuffer(.f16, [8, 70, 64])
    let buffers = FlashAttnPrefill.Buffers(
      q: tensor, k: try device.makeBuffer(.f16, [2, 70, 64]), v: try device.makeBuffer(.f16, [2, 70, 64]),
      o: try device.makeBuffer(.f16, [8, 70, 64]), mask: try device.makeBuffer(.bool, [70, 70]))
    for (shape, isRefused) in [
      ([5, 3], true), ([3, 5], false), ([15], false), ([32], false), ([33], true), ([14], true),
    ] {
      var buffers = buffers
      buffers.blk = try device.makeBuffer(.u8, shape)
      func encode() throws { try FlashAttnPrefill.encode(problem, buffers, into: encoder) }
      if isRefused { XCTAssertEqual(thrown(encode).argument, "blk") } else { XCTAssertNoThrow(try encode()) }
    }
  }

  func testMaskProblems() throws {
    var problem = FlashAttnPrefillMask.Problem(dtype: .bf16, queryLength: 40, keyLength: 100)
    problem.window = 7
    let pass = try XCTUnwrap(FlashAttnPrefillMask.plan(problem).passes.first)
    XCTAssertEqual(pass.kernel, "flash_attn_prefill_mask_fill_bf16")
    XCTAssertEqual([pass.launch.grid, pass.tile.threads], [Size3(40), Size3(128)])
    let params = pass.blocks[0].bytes.withUnsafeBytes { $0.loadUnaligned(as: fa_mask_fill_params.self) }
    XCTAssertEqual([params.seq_len_k, params.q_abs_offset, params.causal], [100, 0, 1])
    XCTAssertEqual(params.n_swa, 7)
    for (argument, spoil) in [
      ("window", { $0.window = 0 }), ("q_offset", { $0.queryOffset = -1 }), ("q_len", { $0.queryLength = 0 }),
      ("dtype", { $0.dtype = .u16 }),
    ] as [(String, (inout FlashAttnPrefillMask.Problem) -> Void)] {
      var bad = problem
      spoil(&bad)
      XCTAssertEqual(thrown { _ = try FlashAttnPrefillMask.plan(bad) }.argument, argument)
    }
  }

  /// After the first call the device's pool has what the next ones need.
  func testScratchIsRecycled() throws {
    var tuning = Tuning()
    tuning.prefill.blk = .always
    let device = try Device(tuning: tuning)
    var random = Random(3)
    var values = random.array(40 * 32)
    var mask = [UInt8](repeating: 1, count: 40 * 40)
    var output = [Float](repeating: 0, count: 40 * 32)
    var free: [Int] = []
    for _ in 0..<3 {
      try values.withUnsafeMutableBytes { q in
        try mask.withUnsafeMutableBytes { mask in
          try output.withUnsafeMutableBytes { o in
            let tensor = HostTensor(data: q.baseAddress, dtype: .f32, shape: [1, 1, 40, 32])
            var attention = Attention(
              q: tensor, k: tensor, v: tensor, o: HostTensor(data: o.baseAddress, dtype: .f32, shape: [1, 1, 40, 32]))
            attention.mask = HostTensor(data: mask.baseAddress, dtype: .u8, shape: [40, 40])
            try attention(on: device)
          }
        }
      }
      XCTAssertEqual(device.staging.inUseCount, 0)
      free.append(device.staging.free.count)
    }
    XCTAssertEqual(Set(free), [1])
    XCTAssertNotEqual(output.first, 0)
  }
}
