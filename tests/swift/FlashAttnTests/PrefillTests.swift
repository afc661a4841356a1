import FlashAttn
import XCTest

final class PrefillTests: XCTestCase {
  /// The largest error against the oracle, over the largest reference value.
  private static let tolerance: [DType: Double] = [.f32: 2e-6, .f16: 1e-3, .bf16: 8e-3]

  /// One for each way of running kernels that this machine has.
  private var devices: [Device] = []

  override func setUpWithError() throws {
    let providers = Device.backend == "Metal" ? [Provider.metal] : [.native, .shader]
    devices = try providers.map { provider in
      var tuning = Tuning()
      tuning.provider = provider
      return try Device(tuning: tuning)
    }
    XCTAssertEqual(devices.map(\.provider), providers)
  }

  func testExplanationNamesWhatRuns() throws {
    let problem = FlashAttnPrefill.Problem(dtype: .f32, heads: 1, headDim: 32, queryLength: 4, keyLength: 4)
    let kernel = "flash_attn_prefill_f32_d32"
    for device in devices {
      let text = try FlashAttnPrefill.explain(problem, on: device)
      let name = "\"provider\": \"\(device.provider.rawValue)\""
      XCTAssertEqual(text.components(separatedBy: name).count, 3, text)
      #if !canImport(Metal)
        let constants = [200, 201, 300, 301].map { FunctionConstant($0, .bool(false)) }
        let pipeline = try device.registry.pipeline(kernel, constants: constants)
        let soft = try XCTUnwrap(device.metal as? SoftMetalDevice)
        XCTAssertEqual(soft.providerName(of: pipeline.metal), device.provider.rawValue)
      #endif
    }
  }

  #if !canImport(Metal)
    /// A source of the same name takes the kernels with it: there is no native code for it.
    func testExplanationKnowsReplacedSources() throws {
      let device = try XCTUnwrap(devices.first)
      let kernel = "flash_attn_prefill_f32_d32"
      try device.registry.register(source: "kernel void \(kernel)() {}", named: "flash_attn_prefill")
      let problem = FlashAttnPrefill.Problem(dtype: .f32, heads: 1, headDim: 32, queryLength: 4, keyLength: 4)
      let text = try FlashAttnPrefill.explain(problem, on: device)
      XCTAssertTrue(text.contains("\"kernel\": \"\(kernel)\", \"provider\": \"shader\""), text)
      let soft = try XCTUnwrap(device.metal as? SoftMetalDevice)
      XCTAssertEqual(soft.providerName(of: try device.registry.pipeline(kernel).metal), "shader")
    }
  #endif

  func testLengthsAroundTheTileEdges() throws {
    for dtype in [DType.f32, .f16, .bf16] {
      for (qL, kL) in [(1, 1), (31, 33), (32, 16), (33, 65), (1, 64), (65, 1), (64, 31)] {
        for (headDim, causal) in [(64, false), (32, true)] {
          var problem = FlashAttnPrefill.Problem(
            dtype: dtype, heads: 2, kvHeads: 1, headDim: headDim, queryLength: qL, keyLength: kL)
          problem.batch = 2
          problem.lse = true
          problem.causal = causal
          try check(problem)
        }
      }
    }
  }

  func testAdditiveMaskByRank() throws {
    for rank in 2...4 {
      var problem = FlashAttnPrefill.Problem(
        dtype: .f32, heads: 2, headDim: 32, queryLength: 20, keyLength: 37)
      problem.batch = 2
      problem.mask = .additive
      problem.maskStrides = try problem.maskStrides(rank: rank)
      try check(problem)
    }
  }

  func testBoolMaskWithRowsThatAttendNothing() throws {
    var problem = FlashAttnPrefill.Problem(dtype: .f16, heads: 2, headDim: 64, queryLength: 35, keyLength: 50)
    problem.mask = .bool
    problem.maskStrides = try problem.maskStrides(rank: 2)
    problem.lse = true
    try check(problem)
  }

  func testGroupedHeadsAndExplicitOffsets() throws {
    for (group, offset) in [(1, -5), (3, 0), (3, 7), (16, 11)] {
      var problem = FlashAttnPrefill.Problem(
        dtype: .f32, heads: group, kvHeads: 1, headDim: 32, queryLength: 37, keyLength: 48)
      problem.causal = true
      problem.queryOffset = offset
      problem.lse = true
      try check(problem)
    }
  }

  /// Runs `problem` on random tensors, on every device, and compares with the oracle.
  private func check(_ problem: FlashAttnPrefill.Problem, file: StaticString = #filePath, line: UInt = #line) throws {
    for device in devices { try check(problem, on: device, file: file, line: line) }
  }

  private func check(
    _ problem: FlashAttnPrefill.Problem, on device: Device, file: StaticString, line: UInt
  ) throws {
    let (B, H, Hkv, D) = (problem.batch, problem.heads, problem.kvHeads, problem.headDim)
    let (qL, kL) = (problem.queryLength, problem.keyLength)
    var random = Random(UInt64(qL * 1000 + kL))
    let q = random.array(B * H * qL * D).map { rounded($0, problem.dtype) }
    let k = random.array(B * Hkv * kL * D).map { rounded($0, problem.dtype) }
    let v = random.array(B * Hkv * kL * D).map { rounded($0, problem.dtype) }
    var oracle = Oracle(problem: problem, q: q, k: k, v: v)
    var mask: Buffer?
    if problem.mask != .none {
      let strides = problem.maskStrides
      let count = (B - 1) * strides.batch + (H - 1) * strides.head + (qL - 1) * strides.row + kL
      func index(_ b: Int, _ h: Int, _ i: Int, _ j: Int) -> Int {
        b * strides.batch + h * strides.head + i * strides.row + j
      }
      if problem.mask == .bool {
        // Every seventh row attends nothing.
        let attended = (0..<count).map { $0 / kL % 7 != 3 && random.next() > 0 }
        mask = try device.makeBuffer(.bool, [count], copying: attended)
        oracle.bias = { attended[index($0, $1, $2, $3)] ? 0 : -.infinity }
      } else {
        let biases = random.array(count).map { $0 > 0.8 ? -.infinity : 4 * $0 }
        mask = try device.makeBuffer(.f32, [count], copying: biases)
        oracle.bias = { Double(biases[index($0, $1, $2, $3)]) }
      }
    }
    let o = try device.makeBuffer(problem.dtype, [B, H, qL, D])
    let lse = problem.lse ? try device.makeBuffer(.f32, [B, H, qL]) : nil
    let encoder = try CommandEncoder(device: device)
    try FlashAttnPrefill.encode(
      problem,
      .init(
        q: try buffer(q, problem.dtype, device), k: try buffer(k, problem.dtype, device),
        v: try buffer(v, problem.dtype, device), o: o, mask: mask, lse: lse), into: encoder)
    try encoder.commitAndWait()

    let reference = oracle()
    let output = try values(o)
    let scale = reference.o.map(\.magnitude).max() ?? 1
    let error = zip(output, reference.o).map { abs(Double($0) - $1) }.max() ?? 0
    let limit = try XCTUnwrap(Self.tolerance[problem.dtype])
    XCTAssertLessThanOrEqual(
      error, limit * max(scale, .leastNormalMagnitude), "\(device.provider) \(problem)",
      file: file, line: line)
    guard let lse else { return }
    for (got, want) in zip(try lse.elements(as: Float.self), reference.lse) {
      if want == -.infinity {
        XCTAssertEqual(got, -.infinity, file: file, line: line)
      } else {
        XCTAssertEqual(
          Double(got), want, accuracy: 1e-2 * limit + 2e-6 * want.magnitude + limit, file: file, line: line)
      }
    }
  }

  private func buffer(_ values: [Float], _ dtype: DType, _ device: Device) throws -> Buffer {
    dtype == .f32
      ? try device.makeBuffer(dtype, [values.count], copying: values)
      : try device.makeBuffer(dtype, [values.count], copying: values.map { bits($0, dtype) })
  }

  private func values(_ buffer: Buffer) throws -> [Float] {
    switch buffer.dtype {
    case .bf16: try buffer.elements(as: UInt16.self).map { Float(bitPattern: UInt32($0) << 16) }
    case .f16: try buffer.elements(as: Float16.self).map(Float.init)
    default: try buffer.elements(as: Float.self)
    }
  }

  private func bits(_ value: Float, _ dtype: DType) -> UInt16 {
    let constant = dtype == .f16 ? ConstantValue(half: Double(value)) : ConstantValue(bfloat: Double(value))
    switch constant {
    case .half(let bits), .bfloat(let bits): return bits
    default: return 0
    }
  }

  private func rounded(_ value: Float, _ dtype: DType) -> Float {
    switch dtype {
    case .bf16: Float(bitPattern: UInt32(bits(value, dtype)) << 16)
    case .f16: Float(Float16(bitPattern: bits(value, dtype)))
    default: value
    }
  }
}
