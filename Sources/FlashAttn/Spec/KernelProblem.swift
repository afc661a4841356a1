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
  /// Tiles of query rows, the ragged one included.
  case NQ
  /// Tiles of keys, the ragged one included.
  case NK
  /// Slots of a cache.
  case cap
  /// Tokens that come or go.
  case tokens
  /// Vectors without further order.
  case rows
  /// What a cache keeps of one vector: elements of the cache's dtype.
  case width
  /// Norms of one vector in a cache.
  case norms

  /// The argument that carries the size.
  var argument: String {
    switch self {
    case .B: "batch"
    case .H: "heads"
    case .Hkv: "kv_heads"
    case .qL: "q_len"
    case .kL: "kv_len"
    case .D: "head_dim"
    case .NQ: "q_tiles"
    case .NK: "k_tiles"
    case .cap: "capacity"
    case .tokens: "tokens"
    case .rows: "rows"
    case .width: "width"
    case .norms: "norms"
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

  /// Outermost first.
  var outer: [Int] { [batch, head, row] }

  /// As the parameter blocks have them.
  var packed: (Int64, Int64, Int64) { (Int64(batch), Int64(head), Int64(row)) }
}

/// What a kernel is asked to compute, without any buffers.
protocol KernelProblem: Sendable {
  var dtype: DType { get }
  /// Nil where the kernels do not differ by mask.
  var maskKind: MaskKind? { get }
  /// Tells kernels of one family apart that serve the same sizes; nil where there is but one.
  var form: String? { get }
  /// 0 for a size the problem does not have. Tiles are counted by `Sizes`.
  func size(of dim: Dim) -> Int
  /// Whether there is nothing to compute.
  var isEmpty: Bool { get }
}

extension KernelProblem {
  var maskKind: MaskKind? { nil }
  var form: String? { nil }
  var isEmpty: Bool { false }
}

/// One instance of a kernel: what it serves, and how it cuts the problem.
struct Variant: Sendable {
  /// The name its instantiation has in the shader.
  let kernel: String
  let dtype: DType
  /// The problem's form; nil if there is but one.
  var form: String?
  /// Nil if it serves any.
  var headDim: Int?
  /// The mask its instantiation reads; an additive one also serves problems without a mask. Nil if that is all one.
  var mask: MaskKind?
  /// Nil where the problem says.
  var tile: Tile?
}

/// A threadgroup's share: BQ query rows, BK keys at a time, by this many threads.
struct Tile: Hashable, Sendable {
  let BQ: Int
  let BK: Int
  let threads: Size3

  /// Tiles of query rows, and of keys.
  func count(rows: Int, keys: Int) -> (rows: Int, keys: Int) { (Self.ceil(rows, BQ), Self.ceil(keys, BK)) }

  private static func ceil(_ size: Int, _ part: Int) -> Int { size / part + (size % part > 0 ? 1 : 0) }
}

/// The sizes of a problem once its tile is known.
struct Sizes<Problem: KernelProblem> {
  let problem: Problem
  let tile: Tile

  func callAsFunction(_ dim: Dim) -> Int {
    switch dim {
    case .NQ: tiles.rows
    case .NK: tiles.keys
    default: problem.size(of: dim)
    }
  }

  var tiles: (rows: Int, keys: Int) { tile.count(rows: problem.size(of: .qL), keys: problem.size(of: .kL)) }
}

/// What a kernel's launch looks like for one problem; the threads are the tile's.
struct Launch: Sendable {
  var grid: Size3
  var threadgroupBytes: [Int] = []
}
