/// Buffers by the names of a plan's operands. There are few of them: names are found sooner by looking than by hashing.
public struct NamedBuffers: ExpressibleByDictionaryLiteral, Sendable {
  private var entries: [(name: String, buffer: Buffer)]

  public init(dictionaryLiteral elements: (String, Buffer)...) {
    entries = []
    for (name, buffer) in elements { self[name] = buffer }
  }

  /// Those of `names` that `buffer` has one for; the names are distinct.
  public init<Key>(
    _ names: [(String, Key)], _ buffer: (String, Key) throws(FAError) -> Buffer?
  ) throws(FAError) {
    entries = []
    entries.reserveCapacity(names.count)
    for (name, key) in names {
      if let buffer = try buffer(name, key) { entries.append((name: name, buffer: buffer)) }
    }
  }

  /// Those that are there; the names are distinct.
  public init(_ buffers: [(String, Buffer?)]) {
    entries = buffers.compactMap { name, buffer in buffer.map { (name: name, buffer: $0) } }
  }

  var count: Int { entries.count }

  public subscript(name: String) -> Buffer? {
    get {
      for index in entries.indices where entries[index].name == name { return entries[index].buffer }
      return nil
    }
    set {
      let place = entries.firstIndex { $0.name == name }
      switch (place, newValue) {
      case (let place?, let buffer?): entries[place].buffer = buffer
      case (let place?, nil): entries.remove(at: place)
      case (nil, let buffer?): entries.append((name: name, buffer: buffer))
      case (nil, nil): break
      }
    }
  }

  /// The first name, in alphabetical order, of those that `isKnown` is not true of.
  func firstUnknown(_ isKnown: (String) -> Bool) -> String? {
    entries.filter { !isKnown($0.name) }.map(\.name).min()
  }
}
