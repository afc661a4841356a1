/// One byte for each tile of a mask: 0 where no key is attended, 2 where every key is, without a bias; 1 elsewhere.
///
/// The prefill kernels skip tiles of 0 and leave the mask of tiles of 2 unread. Bytes serve a kernel of the same tile
/// only.
public enum FlashAttnPrefillBlk {
  public struct Problem: KernelProblem {
    /// Of the mask: f32, f16 or bf16 where −inf masks, bool where false does.
    public var dtype: DType
    /// Planes of the output: batches ...
    public var batch = 1
    /// ... times heads.
    public var heads = 1
    public var queryLength: Int
    public var keyLength: Int
    /// Between neighbouring batches, heads and rows of the mask; 0 broadcasts.
    public var maskStrides: Strides
    /// Query rows of a tile.
    public var tileRows: Int
    /// Keys of a tile.
    public var tileKeys: Int

    /// A problem of one contiguous mask [q, k].
    public init(dtype: DType, queryLength: Int, keyLength: Int, tileRows: Int, tileKeys: Int) {
      self.dtype = dtype
      self.queryLength = queryLength
      self.keyLength = keyLength
      maskStrides = Strides(batch: 0, head: 0, row: keyLength)
      self.tileRows = tileRows
      self.tileKeys = tileKeys
    }

    /// Strides of a mask of rank 2 [q, k], 3 [batch, q, k] or 4 [batch, heads, q, k], contiguous.
    public func maskStrides(rank: Int) throws(FAError) -> Strides {
      try .ofMask(rank: rank, rows: queryLength, keys: keyLength, heads: heads, spec.name)
    }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .B: batch
      case .H: heads
      case .qL: queryLength
      case .kL: keyLength
      case .Hkv, .D, .NQ, .NK: 0
      }
    }
  }

  /// The pass that computes `problem`.
  public static func plan(_ problem: Problem) throws(FAError) -> Plan { try spec.plan(problem) }

  /// Bytes of a buffer for one plane: one for each tile, rounded up to a multiple of 32.
  public static func byteCount(queryLength: Int, keyLength: Int, tileRows: Int, tileKeys: Int) throws(FAError) -> Int {
    let problem = Problem(
      dtype: .bool, queryLength: queryLength, keyLength: keyLength, tileRows: tileRows, tileKeys: tileKeys)
    for rule in spec.rules { try rule.check(problem, spec.name) }
    let tiles = tile(problem).count(rows: queryLength, keys: keyLength)
    return rounded(tiles.rows * tiles.keys)
  }

  static func rounded(_ bytes: Int) -> Int { (bytes / 32 + (bytes % 32 > 0 ? 1 : 0)) * 32 }

  /// Encodes `problem`; every argument is checked first.
  ///
  /// - Parameters:
  ///   - blk: u8 [B, H, NQ, NK], or that many bytes.
  ///   - registry: the device's own if nil.
  public static func encode(
    _ problem: Problem, mask: Buffer, blk: Buffer, into encoder: CommandEncoder, registry: KernelRegistry? = nil
  ) throws(FAError) {
    try spec.plan(problem).encode(
      into: encoder, registry: registry ?? encoder.device.registry, buffers: [mask, blk])
  }

  static let spec = KernelSpec<Problem>(
    name: "flash_attn_prefill_blk",
    variants: [DType.bf16, .f16, .f32, .bool].map { Variant(kernel: "flash_attn_prefill_blk_\($0)", dtype: $0) },
    operands: [
      Operand(
        slot: 0, name: "mask", access: .read, dtype: .io, shape: [.B, .H, .qL, .kL],
        strides: { $0.problem.maskStrides }),
      Operand(slot: 1, name: "blk", access: .write, dtype: .fixed(.u8), shape: [.B, .H, .NQ, .NK]),
    ],
    blocks: [
      ParamBlock(slot: 2, name: "blk_params", type: "fa_blk_params") { problem, _ in
        fa_blk_params(
          qL: Int32(problem.queryLength), kL: Int32(problem.keyLength), batches: Int32(problem.batch),
          heads: Int32(problem.heads), M_strides: problem.maskStrides.packed)
      }
    ],
    constants: [
      ConstantRule(index: 400, name: "BQ") { .int(Int32($1.BQ)) },
      ConstantRule(index: 401, name: "BK") { .int(Int32($1.BK)) },
    ],
    rules: [
      .sizes(.B, .H, .qL, .kL),
      Rule { problem, operation throws(FAError) in
        for (name, size) in [("tile_rows", problem.tileRows), ("tile_keys", problem.tileKeys)]
        where !(1...Int(Int32.max)).contains(size) {
          throw .invalid(operation, name, expected: "1 to \(Int32.max)", got: "\(size)")
        }
      },
    ],
    tile: tile,
    launch: { problem, tile in
      let tiles = tile.count(rows: problem.queryLength, keys: problem.keyLength)
      return Launch(grid: Size3(tiles.keys, tiles.rows, problem.batch * problem.heads))
    },
    op: .other)

  @Sendable private static func tile(_ problem: Problem) -> Tile {
    Tile(BQ: problem.tileRows, BK: problem.tileKeys, threads: Size3(32))
  }
}
