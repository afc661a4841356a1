/// Which keys a row may attend around its own position; −1: all on that side.
public struct Window: Hashable, Sendable {
  /// Keys before the row's position.
  public var left: Int
  /// Keys after it.
  public var right: Int

  public init(left: Int = -1, right: Int = -1) {
    self.left = left
    self.right = right
  }

  public static let unbounded = Window()
}

extension FlashAttnPrefill {
  /// What to compute. Tensors are [B, H, L, D] or [B, L, H, D].
  ///
  /// Row i stands at position p = i + queryOffset among the keys. A row without any key to attend gives zeros.
  public struct Problem: KernelProblem, Equatable {
    public enum Layout: Hashable, Sendable {
      /// [batch, heads, length, head_dim], contiguous.
      case headMajor
      /// [batch, length, heads, head_dim], contiguous.
      case seqMajor
      case strided(q: Strides, k: Strides, v: Strides, o: Strides)
    }

    /// Of q, k, v and o.
    public var dtype: DType
    public var batch = 1
    /// Query heads.
    public var heads: Int
    /// Key and value heads; divides `heads`.
    public var kvHeads: Int
    public var headDim: Int
    /// Query rows; with 0 there is nothing to compute.
    public var queryLength: Int
    /// Keys; with 0 the output is zeros.
    public var keyLength: Int
    /// Keys each head of k and v has room for, of which the first `keyLength` are there; `keyLength` if nil.
    public var kvCapacity: Int?
    /// Multiplies q · k, in float32.
    public var scale: Float
    /// Scores become softcap · tanh(score / softcap) before any mask; 0: as they are.
    public var softcap: Float = 0
    /// A row attends no key after its position.
    public var causal = false
    /// keyLength − queryLength if nil, so that the last row stands at the last key.
    public var queryOffset: Int?
    public var window = Window.unbounded
    public var mask = MaskKind.none
    public var maskStrides = Strides(batch: 0, head: 0, row: 0)
    /// Whether the caller brings block bytes of the mask, made by `FlashAttnPrefillBlk` for the kernel's own tile.
    public var blk = false
    /// Bytes between the block bytes of neighbouring batches and heads; 0 broadcasts.
    public var blkStrides: (batch: Int, head: Int) {
      get { (blkPlanes.batch, blkPlanes.head) }
      set { blkPlanes = Strides(batch: newValue.batch, head: newValue.head, row: 0) }
    }
    private var blkPlanes = Strides(batch: 0, head: 0, row: 0)
    /// Whether each head has a sink: a score that joins every row's sum and has no value. float32 [H].
    public var sinks = false
    public var layout = Layout.headMajor
    /// Whether each head has an ALiBi slope, float32 [H] or [B, H]: slope · |p − j| is taken from the score of row and
    /// key j, before any mask.
    public var alibi = false
    /// Elements between the slopes of neighbouring batches; 0 broadcasts.
    public var alibiStride = 0
    /// Sequences of different lengths, where there are: in place of `queryLength` and `keyLength` where they say it.
    public var sequences: Sequences? {
      get { held?.sequences }
      set { held = newValue.map(HeldSequences.init) }
    }
    private var held: HeldSequences?
    /// Whether the logarithm of each row's sum of exponentials is wanted: float32 [B, H, qL], or packed [H, rows],
    /// natural logarithm.
    public var lse = false
    /// Simdgroups of a threadgroup, 4 or 8; `FlashAttnPrefillD512` only, which takes the tuning's if nil.
    public var nsg: Int?

    /// Behind one reference: problems are copied often, and few have sequences.
    private final class HeldSequences: Sendable, Equatable {
      let sequences: Sequences

      init(_ sequences: Sequences) { self.sequences = sequences }

      static func == (one: HeldSequences, other: HeldSequences) -> Bool { one.sequences == other.sequences }
    }

    public init(
      dtype: DType, heads: Int, kvHeads: Int? = nil, headDim: Int, queryLength: Int, keyLength: Int? = nil,
      scale: Float? = nil
    ) {
      self.dtype = dtype
      self.heads = heads
      self.kvHeads = kvHeads ?? heads
      self.headDim = headDim
      self.queryLength = queryLength
      self.keyLength = keyLength ?? queryLength
      self.scale = scale ?? 1 / Float(headDim).squareRoot()
    }
  }
}

extension FlashAttnPrefill.Problem {
  var maskKind: MaskKind? { mask }
  var isEmpty: Bool { rows == 0 }

  func size(of dim: Dim) -> Int {
    switch dim {
    case .B: batch
    case .H: heads
    case .Hkv: kvHeads
    case .qL: rows
    case .kL: keys
    case .D: headDim
    default: 0
    }
  }

  /// Position of the first row among the keys; without meaning where sequences have their own.
  var offset: Int { sequences == nil ? queryOffset ?? keyLength - queryLength : 0 }

  /// Strides of a mask of rank 2 [q, k], 3 [batch, q, k] or 4 [batch, heads, q, k], contiguous.
  ///
  /// - Parameter operation: what errors name.
  public func maskStrides(rank: Int, for operation: String = "flash_attn_prefill") throws(FAError) -> Strides {
    try .ofMask(rank: rank, rows: queryLength, keys: keyLength, heads: heads, operation)
  }

  /// Strides of a tensor of `heads` × `length`. Where a product wraps around, the operand is refused as too large.
  private func strides(_ heads: Int, _ length: Int, packed: [Int]?, _ own: (Layout) -> Strides?) -> Strides {
    if let given = own(layout) { return given }
    if let packed {
      let row = heads &* headDim
      return Strides(batch: packed[0] > 1 ? packed[2] &* row : 0, head: headDim, row: row)
    }
    let batch = heads &* length &* headDim
    return layout == .seqMajor
      ? Strides(batch: batch, head: headDim, row: heads &* headDim)
      : Strides(batch: batch, head: length &* headDim, row: headDim)
  }

  private var capacity: Int { kvCapacity ?? keyLength }

  private func qo(_ own: (Layout) -> Strides?) -> Strides {
    strides(heads, queryLength, packed: packedQuerySizes, own)
  }
  private func kv(_ own: (Layout) -> Strides?) -> Strides { strides(kvHeads, capacity, packed: packedKeySizes, own) }

  var qStrides: Strides { qo { if case .strided(let q, _, _, _) = $0 { q } else { nil } } }
  var kStrides: Strides { kv { if case .strided(_, let k, _, _) = $0 { k } else { nil } } }
  var vStrides: Strides { kv { if case .strided(_, _, let v, _) = $0 { v } else { nil } } }
  var oStrides: Strides { qo { if case .strided(_, _, _, let o) = $0 { o } else { nil } } }
}

extension Strides {
  /// Of a contiguous mask: rank 2 [q, k], 3 [batch, q, k] or 4 [batch, heads, q, k].
  static func ofMask(
    rank: Int, rows: Int, keys: Int, heads: Int, _ operation: String
  ) throws(FAError) -> Strides {
    let plane = rows.multipliedReportingOverflow(by: keys)
    let batch = plane.partialValue.multipliedReportingOverflow(by: heads)
    guard !plane.overflow, !batch.overflow else {
      throw .invalid(operation, "mask", expected: "less than 2^63 elements", got: "[\(rows), \(keys)] planes")
    }
    switch rank {
    case 2: return Strides(batch: 0, head: 0, row: keys)
    case 3: return Strides(batch: plane.partialValue, head: 0, row: keys)
    case 4: return Strides(batch: batch.partialValue, head: plane.partialValue, row: keys)
    default: throw .invalid(operation, "mask_rank", expected: "2, 3 or 4", got: "\(rank)")
    }
  }
}
