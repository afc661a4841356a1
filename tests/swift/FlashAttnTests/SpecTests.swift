import XCTest

@testable import FlashAttn

final class SpecTests: XCTestCase {
  private func problem(_ change: (inout FlashAttnPrefill.Problem) -> Void = { _ in }) -> FlashAttnPrefill.Problem {
    var problem = FlashAttnPrefill.Problem(dtype: .f32, heads: 8, kvHeads: 2, headDim: 64, queryLength: 40)
    change(&problem)
    return problem
  }

  private func pass(_ problem: FlashAttnPrefill.Problem) throws -> Plan.Pass {
    try XCTUnwrap(try FlashAttnPrefill.plan(problem).passes.first)
  }

  private func constants(_ problem: FlashAttnPrefill.Problem) throws -> [Int: ConstantValue] {
    Dictionary(uniqueKeysWithValues: try pass(problem).constants.map { ($0.index, $0.value) })
  }

  func testVariantGridAndConstants() throws {
    let plain = try pass(problem())
    XCTAssertEqual(plain.kernel, "flash_attn_prefill_f32_d64")
    XCTAssertEqual(plain.launch.grid, Size3(2, 8, 1))
    XCTAssertEqual(plain.tile.threads, Size3(32, 4, 1))
    XCTAssertEqual(plain.bindings.map(\.slot), [0, 1, 2, 3])
    XCTAssertEqual(plain.blocks.map(\.slot), [4])
    XCTAssertEqual(
      try constants(problem()),
      [
        200: .bool(false), 201: .bool(false), 300: .bool(false), 301: .bool(false), 303: .bool(false),
        304: .bool(false), 306: .bool(false), 307: .bool(false), 308: .bool(false),
      ])
    let full = problem {
      $0.dtype = .bf16
      $0.headDim = 32
      $0.queryLength = 64
      $0.keyLength = 48
      $0.batch = 3
      $0.causal = true
      $0.mask = .bool
      $0.blk = true
      $0.sinks = true
      $0.softcap = 2
      $0.window = Window(left: 5)
      $0.lse = true
      $0.alibi = true
    }
    XCTAssertEqual(try pass(full).kernel, "flash_attn_prefill_bf16_d32_boolmask")
    XCTAssertEqual(try pass(full).launch.grid, Size3(2, 8, 3))
    XCTAssertEqual(try pass(full).bindings.map(\.slot), [0, 1, 2, 3, 6, 7, 8, 9, 12])
    XCTAssertEqual(try pass(full).blocks.map(\.slot), [4, 5, 10, 11, 18])
    XCTAssertEqual(Set(try constants(full).values), [.bool(true)])
  }

  func testParamsCarryTheProblem() throws {
    let problem = problem {
      $0.queryLength = 37
      $0.keyLength = 50
      $0.batch = 2
      $0.layout = .seqMajor
    }
    let params = try pass(problem).blocks[0].bytes.withUnsafeBytes { $0.loadUnaligned(as: fa_attn_params.self) }
    XCTAssertEqual([params.B, params.H, params.D, params.qL, params.kL, params.gqa_factor], [2, 8, 64, 37, 50, 4])
    XCTAssertEqual([params.NQ, params.NK, params.NQ_aligned, params.NK_aligned], [2, 4, 1, 3])
    XCTAssertEqual([params.qL_rem, params.kL_rem, params.qL_off], [5, 2, 13])
    XCTAssertEqual(params.scale, 0.125)
    XCTAssertTrue(params.Q_strides == (37 * 8 * 64, 64, 8 * 64))
    XCTAssertTrue(params.K_strides == (50 * 2 * 64, 64, 2 * 64))
  }

  func testOffsetsReachTheKernelOrAreRefused() throws {
    for (given, kept) in [(nil, 10), (3, 3), (-7, -7), (10, 10), (0, 0), (Int(Int32.min), .min)] as [(Int?, Int32)] {
      let problem = problem {
        $0.keyLength = 50
        $0.queryOffset = given
      }
      let params = try pass(problem).blocks[0].bytes.withUnsafeBytes { $0.loadUnaligned(as: fa_attn_params.self) }
      XCTAssertEqual(params.qL_off, kept)
    }
    for (keys, offset) in [(50, 11), (50, Int.max), (50, Int.min), (30, 1), (40, 1)] {
      let error = thrown {
        _ = try FlashAttnPrefill.plan(
          problem {
            $0.keyLength = keys
            $0.queryOffset = offset
          })
      }
      XCTAssertEqual(error.argument, "q_offset")
    }
  }

  func testBadProblemsNameTheirArgument() {
    let cases: [(FAError.Code, String, (inout FlashAttnPrefill.Problem) -> Void)] = [
      (.invalidArgument, "batch", { $0.batch = 0 }), (.invalidArgument, "heads", { $0.heads = -1 }),
      (.invalidArgument, "q_len", { $0.queryLength = 1 << 31 }), (.invalidArgument, "kv_len", { $0.keyLength = -1 }),
      (.invalidArgument, "kv_heads", { $0.kvHeads = 3 }), (.invalidArgument, "head_dim", { $0.headDim = .max }),
      (.invalidArgument, "scale", { $0.scale = .nan }), (.invalidArgument, "scale", { $0.scale = 0 }),
      (.invalidArgument, "scale", { $0.scale = .infinity }), (.unsupported, "head_dim", { $0.headDim = 48 }),
      (.unsupported, "dtype", { $0.dtype = .i32 }), (.invalidArgument, "softcap", { $0.softcap = -1 }),
      (.invalidArgument, "softcap", { $0.softcap = .nan }), (.invalidArgument, "softcap", { $0.softcap = .infinity }),
      (.invalidArgument, "window", { $0.window.left = -2 }),
      (.invalidArgument, "window", { $0.window.right = 1 << 31 }),
      (.invalidArgument, "blk", { $0.blk = true }), (.invalidArgument, "nsg", { $0.nsg = 4 }),
      (.invalidArgument, "kv_capacity", { $0.kvCapacity = 39 }),
      (.invalidArgument, "kv_capacity", { $0.kvCapacity = .max }),
      (
        .invalidArgument, "q_len",
        {
          $0.kvCapacity = 100
          $0.keyLength = 39
        }
      ),
      (
        .invalidArgument, "q_offset",
        {
          $0.kvCapacity = 100
          $0.queryOffset = -1
        }
      ),
      (
        .invalidArgument, "q",
        {
          $0.batch = Int(Int32.max)
          $0.queryLength = Int(Int32.max)
        }
      ),
    ]
    for (code, argument, spoil) in cases {
      let error = thrown { _ = try FlashAttnPrefill.plan(problem(spoil)) }
      XCTAssertEqual(error.code, code, "\(error)")
      XCTAssertEqual(error.argument, argument, "\(error)")
    }
    let error = thrown { _ = try FlashAttnPrefill.plan(problem { $0.headDim = 48 }) }
    XCTAssertEqual(
      error.description, "flash_attn_prefill: head_dim: expected 32, 64, 80, 96, 128, 192, 256 or 512, got 48")
  }

  func testOutputStridesKeepElementsApart() {
    func layout(_ o: Strides) -> FlashAttnPrefill.Problem.Layout {
      let input = Strides(batch: 0, head: 0, row: 64)
      return .strided(q: input, k: input, v: input, o: o)
    }
    func plan(_ o: Strides) throws { _ = try FlashAttnPrefill.plan(problem { $0.layout = layout(o) }) }
    XCTAssertNoThrow(try plan(Strides(batch: 0, head: 64 * 40, row: 64)))
    XCTAssertNoThrow(try plan(Strides(batch: 0, head: 64, row: 64 * 8)))
    for bad in [
      Strides(batch: 0, head: 0, row: 64), Strides(batch: 0, head: 64, row: 64),
      Strides(batch: 0, head: 64 * 40, row: 63), Strides(batch: 0, head: -64, row: 512),
    ] {
      XCTAssertEqual(thrown { try plan(bad) }.argument, "o_strides", "\(bad)")
    }
  }

  func testBuffersAreChecked() throws {
    let device = try Device(tuning: Tuning())
    let problem = problem()
    let (q, k) = (try device.makeBuffer(.f32, [8, 40, 64]), try device.makeBuffer(.f32, [2, 40, 64]))
    let (v, o) = (try device.makeBuffer(.f32, [2, 40, 64]), try device.makeBuffer(.f32, [8, 40, 64]))
    let encoder = try CommandEncoder(device: device)
    func encode(k newK: Buffer? = nil, o newO: Buffer? = nil, mask: Buffer? = nil) throws {
      try FlashAttnPrefill.encode(
        problem, .init(q: q, k: newK ?? k, v: v, o: newO ?? o, mask: mask), into: encoder)
    }
    let short = thrown { try encode(k: try device.makeBuffer(.f32, [2, 40, 63])) }
    XCTAssertEqual(
      short.description, "flash_attn_prefill: k: needs 20480 bytes for [1, 2, 40, 64] f32, got 20160")
    XCTAssertEqual(
      thrown { try encode(k: try device.makeBuffer(.f16, [2, 40, 128])) }.message, "expected f32, got f16")
    XCTAssertEqual(thrown { try encode(o: q) }.message, "expected memory of its own, got memory it shares with q")
    XCTAssertEqual(thrown { try encode(mask: v) }.message, "expected none for this problem, got a buffer")
    try encoder.commitAndWait()
    XCTAssertEqual(Set(try o.elements(as: Float.self)), [0])
  }

  func testManifestNamesEveryKernelOnce() {
    let kernels = KernelTable.rooms.flatMap(\.kernels)
    XCTAssertEqual(Set(kernels).count, kernels.count)
    let prefill = 48 + 4 + 4 + 4
    let codec = 12 + 12 + 12 + 16 + 8
    let decode = 24 + 12 + 12 + 4 + 4 + 8
    XCTAssertEqual(kernels.count, prefill + codec + decode)
    for kernel in kernels { XCTAssertTrue(Library.manifest.contains("\"kernel\": \"\(kernel)\"")) }
  }

  func testJSONEscapes() {
    let json = JSON.object([("a\"b", .string("line\nnext\u{1}\\")), ("n", .real(.infinity)), ("x", .array([.null]))])
    XCTAssertEqual(json.text, #"{"a\"b": "line\nnext\u0001\\", "n": null, "x": [null]}"#)
  }
}
