/// Keys and values in pages of equal size, which sequences have in any order and may share. Quantised ones have their
/// norms in pages of the same layout.
public struct KVPages: Hashable, Sendable {
  /// The order of a page's axes.
  public enum Layout: Hashable, Sendable {
    /// Slots, kv heads, coordinates.
    case nhd
    /// Kv heads, slots, coordinates.
    case hnd
  }

  /// Pages there are.
  public var count: Int
  /// Slots of a page, each with a key of every kv head.
  public var size: Int
  public var layout: Layout
  /// Pages of each sequence in the order of its keys, equally many entries for each; those behind its keys may be
  /// anything.
  public var table: [Int32]

  public init(count: Int, size: Int, layout: Layout = .nhd, table: [Int32]) {
    self.count = count
    self.size = size
    self.layout = layout
    self.table = table
  }
}

extension KVPages {
  /// Entries of each of so many sequences.
  func columns(_ batch: Int) -> Int { table.count / max(batch, 1) }

  /// Keys that each of so many sequences has entries for; once the table has been checked.
  func capacity(_ batch: Int) -> Int { columns(batch) &* size }

  func shape(_ kvHeads: Int, _ width: Int) -> [Int] {
    layout == .nhd ? [count, size, kvHeads, width] : [count, kvHeads, size, width]
  }

  func params(_ batch: Int, _ kvHeads: Int) -> fa_decode_pages {
    fa_decode_pages(
      page_size: UInt32(size), table_stride: UInt32(columns(batch)), pages: UInt32(count), reserved: 0,
      page_stride: Int64(size &* kvHeads), slot_stride: Int64(layout == .nhd ? kvHeads : 1),
      head_stride: Int64(layout == .nhd ? 1 : size))
  }

  /// Refuses what no kernel could follow, whatever the lengths.
  func check(_ batch: Int, _ operation: String) throws(FAError) {
    for (argument, given) in [("pages", count), ("page_size", size)] where !(1...Int(Int32.max)).contains(given) {
      throw .invalid(operation, argument, expected: "1 to \(Int32.max)", got: "\(given)")
    }
    guard !table.isEmpty, table.count.isMultiple(of: batch) else {
      throw .invalid(
        operation, "block_table", expected: "as many entries for each of \(batch) sequences, 1 at least",
        got: "\(table.count)")
    }
    let most = Int(Int32.max) / size
    guard columns(batch) <= most else {
      throw .invalid(
        operation, "block_table", expected: "at most \(most) entries of a sequence for page_size \(size)",
        got: "\(columns(batch))")
    }
  }

  /// Refuses pages that are not there among those that a sequence's `keys` lie in.
  func check(_ keys: Range<Int>, of sequence: Int, batch: Int, _ operation: String) throws(FAError) {
    guard !keys.isEmpty else { return }
    for column in keys.lowerBound / size...(keys.upperBound - 1) / size {
      let page = table[sequence * columns(batch) + column]
      guard (0..<count).contains(Int(page)) else {
        throw .invalid(
          operation, "block_table[\(sequence)][\(column)]", expected: "a page in 0...\(count - 1)", got: "\(page)")
      }
    }
  }
}
