/// Reads one position back from a cache of version 1 of the codec; the vectors stay rotated.
public enum TqDequantizeKv {
  public struct Problem: KernelProblem {
    /// `tq4_v1` or a `tq_hb`.
    public var format: KVFormat
    public var kvHeads: Int
    public var headDim: Int
    /// Slots of each head.
    public var capacity: Int
    /// The slot that is read.
    public var position = 0
    /// The encoder's.
    public var scaleFactor: Float = 1

    public init(format: KVFormat, kvHeads: Int, headDim: Int, capacity: Int) {
      self.format = format
      self.kvHeads = kvHeads
      self.headDim = headDim
      self.capacity = capacity
    }

    var dtype: DType { .f32 }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .Hkv: kvHeads
      case .D: headDim
      case .cap: capacity
      case .width: format.width(headDim)
      case .norms: format.norms(headDim)
      default: 0
      }
    }
  }

  public static func plan(_ problem: Problem) throws(FAError) -> Plan {
    try (problem.format == .tq4V1 ? nibbles : hb).plan(problem)
  }

  static let nibbles = spec(
    "tq_dequantize_kv", [.tq4V1],
    block: ParamBlock(slot: 3, name: "params", type: "fa_tq_dequantize_kv_params") { problem, _ in
      fa_tq_dequantize_kv_params(
        head_dim: UInt32(problem.headDim), num_kv_heads: UInt32(problem.kvHeads), read_pos: UInt32(problem.position),
        cache_capacity: UInt32(problem.capacity), norms_per_pos: UInt32(problem.size(of: .norms)),
        scale_factor_d512: problem.scaleFactor)
    })

  static let hb = spec(
    "tq_dequantize_hb_kv", KVFormat.bytesOfVersion1,
    block: ParamBlock(slot: 3, name: "params", type: "fa_tq_dequantize_hb_kv_params") { problem, _ in
      fa_tq_dequantize_hb_kv_params(
        head_dim: UInt32(problem.headDim), num_kv_heads: UInt32(problem.kvHeads), read_pos: UInt32(problem.position),
        cache_capacity: UInt32(problem.capacity), norms_per_pos: UInt32(problem.size(of: .norms)),
        scale_factor_d512: problem.scaleFactor, codebook_bits: UInt32(problem.format.bits))
    })

  private static func spec(_ name: String, _ formats: [KVFormat], block: ParamBlock<Problem>) -> KernelSpec<Problem> {
    KernelSpec(
      name: name, source: "tq_dequantize_kv",
      variants: KVFormat.headDims.map {
        Variant(kernel: "\(name)_d\($0)", dtype: .f32, headDim: $0, tile: .vector)
      },
      operands: [
        Operand(slot: 0, name: "packed", access: .read, dtype: .fixed(.u8), shape: [.Hkv, .cap, .width]),
        Operand(slot: 1, name: "norms", access: .read, dtype: .fixed(.f32), shape: [.Hkv, .cap, .norms]),
        Operand(slot: 2, name: "out", access: .write, dtype: .fixed(.f32), shape: [.Hkv, .D]),
      ],
      blocks: [block], constants: [],
      rules: [
        .sizes(.Hkv, .D, .cap), .format(formats, \.format), .factor("scale_factor_d512", \.scaleFactor),
        Rule { problem, operation throws(FAError) in
          guard (0..<problem.capacity).contains(problem.position) else {
            throw .invalid(
              operation, "read_pos", expected: "0 to \(problem.capacity - 1)", got: "\(problem.position)")
          }
        },
      ],
      launch: { problem, _ in Launch(grid: Size3(problem.kvHeads)) },
      op: .other)
  }
}
