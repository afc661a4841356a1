/// The sizes that shapes are made of, by the field's usual letters.
public enum Dim: String, Sendable, CaseIterable {
  /// Batch.
  case B
  /// Query heads.
  case H
  /// Key and value heads.
  case Hkv
  /// Query rows.
  case qL
  /// Keys.
  case kL
  /// Head dimension.
  case D

  /// The argument that carries the size.
  var argument: String {
    switch self {
    case .B: "batch"
    case .H: "heads"
    case .Hkv: "kv_heads"
    case .qL: "q_len"
    case .kL: "kv_len"
    case .D: "head_dim"
    }
  }
}

/// What a mask holds.
public enum MaskKind: String, Sendable {
  case none
  /// Values of the inputs' dtype, added to the scaled scores; −inf masks.
  case additive
  /// One byte an element; true attends.
  case bool
}

/// Elements between neighbouring batches, heads and rows; neighbours of a row are adjacent. 0 broadcasts.
public struct Strides: Hashable, Sendable {
  public var batch: Int
  public var head: Int
  public var row: Int

  public init(batch: Int, head: Int, row: Int) {
    self.batch = batch
    self.head = head
    self.row = row
  }

  /// As the parameter blocks have them.
  var packed: (Int64, Int64, Int64) { (Int64(batch), Int64(head), Int64(row)) }
}

/// What a kernel is asked to compute, without any buffers.
protocol KernelProblem: Sendable {
  var dtype: DType { get }
  var mask: MaskKind { get }
  func size(of dim: Dim) -> Int
}

/// One instance of a kernel: what it serves, and how it cuts the problem.
struct Variant: Sendable {
  /// The name its instantiation has in the shader.
  let kernel: String
  let dtype: DType
  let headDim: Int
  /// The mask its instantiation reads; an additive one also serves problems without a mask.
  let mask: MaskKind
  let tile: Tile
}

/// A threadgroup's share: BQ query rows, BK keys at a time, by this many threads.
struct Tile: Sendable {
  let BQ: Int
  let BK: Int
  let threads: Size3
}

/// What a variant's launch looks like for one problem.
struct Launch: Sendable {
  var grid: Size3
  var threads: Size3
  var threadgroupBytes: [Int] = []
}
