/// The memory that dispatches since the last barrier read and write.
struct MemoryRanges {
  private struct Entry {
    let block: ObjectIdentifier
    let range: Range<Int>
    let writes: Bool
  }

  private var entries: [Entry] = []

  var count: Int { entries.count }

  /// Whether running `dispatch` beside the others could change a result: a shared byte that one of the two writes.
  func conflict(with dispatch: Dispatch) -> Bool {
    guard !entries.isEmpty else { return false }
    return dispatch.arguments.contains { argument in
      guard let new = Self.entry(of: argument, dispatch) else { return false }
      return entries.contains { old in
        old.block == new.block && (old.writes || new.writes) && old.range.overlaps(new.range)
      }
    }
  }

  mutating func insert(_ dispatch: Dispatch) {
    if entries.isEmpty { entries.reserveCapacity(dispatch.arguments.count) }
    for argument in dispatch.arguments {
      if let new = Self.entry(of: argument, dispatch) { entries.append(new) }
    }
  }

  mutating func removeAll() { entries.removeAll(keepingCapacity: true) }

  /// Nil for bytes, which nobody else has.
  private static func entry(of argument: Argument, _ dispatch: Dispatch) -> Entry? {
    guard case .buffer(let buffer, let offset) = argument.value else { return nil }
    let start = buffer.metalOffset + offset
    return Entry(
      block: ObjectIdentifier(buffer.storage.block), range: start..<buffer.metalOffset + buffer.byteCount,
      writes: dispatch.writes(argument))
  }
}
