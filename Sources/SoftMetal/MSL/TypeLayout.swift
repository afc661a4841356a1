/// A type's size and alignment in memory.
struct Extent: Equatable, Sendable {
  var size: Int
  var alignment: Int

  /// An array's extent; nil for none and for more than `limit` bytes.
  func repeated(_ count: Int, _ limit: Int) -> Extent? {
    let (bytes, overflow) = size.multipliedReportingOverflow(by: count)
    return count > 0 && !overflow && bytes < limit ? Extent(size: bytes, alignment: alignment) : nil
  }
}

/// How Metal lays out types in memory: sizes of scalars, vectors, enumerations, and plain structs, unions and arrays.
extension Evaluator {
  /// Larger ones are not computed.
  private static let limit = 1 << 40

  func compute(_ name: String) -> Extent? {
    if let known = Self.builtIn(name) { return known }
    guard let place = symbols.place(of: name, [.type, .enumeration]) else { return nil }
    let type = symbols.declarations[place]
    return type.isTemplate ? nil : layout(place)
  }

  /// The extent of `name<…>`: an array of Metal's, or an instance of the shader's own template.
  func instance(_ tokens: [Int]) -> Extent? {
    guard let open = tokens.firstIndex(where: { source.isMark($0, "<") }), open > 0,
      let end = source.angleEnd(tokens[open]), end == tokens[tokens.count - 1] + 1
    else { return nil }
    let arguments = source.listed(tokens[open]..<end)
    let name = source.text(tokens[open - 1])
    guard let place = symbols.place(of: name, [.type]) else {
      guard name == "array", arguments.count == 2, let count = value(in: arguments[1]) else { return nil }
      return extent(source.significant(arguments[0]))?.repeated(count, Self.limit)
    }
    guard let list = symbols.declarations[place].templates.last, spend() else { return nil }
    return bound(list, to: arguments).layout(place)
  }

  /// Scalars, `float3`, `packed_half4`, `float4x2`, `atomic_uint`.
  static func builtIn(_ name: String) -> Extent? {
    if let type = MTLDataType(shaderName: name), let bytes = type.byteCount {
      return Extent(size: bytes, alignment: bytes)
    }
    if name.hasPrefix("packed_"), let width = name.last?.wholeNumberValue, (2...4).contains(width) {
      guard let scalar = MTLDataType(shaderName: String(name.dropFirst(7).dropLast()))?.byteCount else { return nil }
      return Extent(size: scalar * width, alignment: scalar)
    }
    if name.hasPrefix("atomic_"), let scalar = MTLDataType(shaderName: String(name.dropFirst(7)))?.byteCount {
      return Extent(size: scalar, alignment: scalar)
    }
    let parts = name.split(separator: "x")
    if parts.count == 2, let columns = parts[0].last?.wholeNumberValue, let rows = Int(parts[1]),
      (2...4).contains(columns), (2...4).contains(rows),
      let column = MTLDataType(shaderName: parts[0].dropLast() + "\(rows)")?.byteCount
    {
      return Extent(size: column * columns, alignment: column)
    }
    return nil
  }

  private func underlying(_ enumeration: Declaration) -> Extent? {
    guard let keyword = enumeration.typeKeyword, let body = enumeration.body else { return nil }
    guard let colon = (keyword..<body).first(where: { source.isMark($0, ":") }) else {
      return Extent(size: 4, alignment: 4)
    }
    return extent(source.significant(colon + 1..<body))
  }

  private func layout(_ place: Int) -> Extent? {
    let type = symbols.declarations[place]
    return type.kind == .enumeration ? underlying(type) : structure(place)
  }

  private func structure(_ place: Int) -> Extent? {
    let type = symbols.declarations[place]
    guard let keyword = type.typeKeyword, let body = type.body else { return nil }
    let head = source.significant(keyword..<body)
    guard !head.contains(where: { source.isMark($0, ":") || source.isWord($0, "alignas") || source.isMark($0, "(") })
    else { return nil }
    let isUnion = source.isWord(keyword, "union")
    var total = Extent(size: 0, alignment: 1)
    for (index, member) in symbols.members(of: place) {
      guard let extents = extents(of: member, at: index) else { return nil }
      for extent in extents {
        let start = isUnion ? 0 : Self.rounded(total.size, extent.alignment)
        total.size = max(total.size, start + extent.size)
        total.alignment = max(total.alignment, extent.alignment)
        guard total.size < Self.limit else { return nil }
      }
    }
    total.size = max(1, Self.rounded(total.size, total.alignment))
    return total
  }

  /// The extents of what a member adds to its class.
  private func extents(of member: Declaration, at place: Int) -> [Extent]? {
    switch member.kind {
    case .variable:
      let words = source.significant(member.tokens)
      return words.contains { source.isWord($0, "static") } ? [] : extents(words)
    case .type, .enumeration:
      guard let body = member.body else { return nil }
      let (first, end) = (source.after(body), member.tokens.upperBound - 1)
      if source.isWord(member.start, "typedef") || member.isTemplate { return [] }
      if first == end {
        // An unnamed struct's members are its class's; other types alone take no room.
        return member.kind == .type && member.name == nil ? layout(place).map { [$0] } : []
      }
      return layout(place).flatMap { declared($0, first, end) }
    default: return []
    }
  }

  static func rounded(_ size: Int, _ alignment: Int) -> Int { (size + alignment - 1) / alignment * alignment }

  /// The extents of the declarators in `T a, b[4];`.
  private func extents(_ words: [Int]) -> [Extent]? {
    // The type ends in front of the first declarator's name.
    guard
      let first = words.indices.dropFirst().first(where: { index in
        source[words[index]].isWord && index + 1 < words.count
          && ["[", ",", ";", "="].contains(source.text(words[index + 1]))
      })
    else { return nil }
    let spelled = Array(words[..<first])
    guard
      !spelled.contains(where: { source.isMark($0, ":") || source.isWord($0, "alignas") || source.isMark($0, "(") }),
      let element = extent(spelled)
    else { return nil }
    return declared(element, words[first], words[words.count - 1])
  }

  /// The extents of `a, b[4]`, given that of an element.
  private func declared(_ element: Extent, _ start: Int, _ end: Int) -> [Extent]? {
    var found: [Extent] = []
    var index = start
    while index < end {
      guard source[index].isWord else { return nil }
      var extent = element
      index += 1
      while index < end, source.isMark(index, "[") {
        if let attribute = source.attribute(at: index) {
          index = attribute.tokens.upperBound
          continue
        }
        guard let count = value(in: index + 1..<source.partner(index)),
          let row = extent.repeated(count, Self.limit)
        else { return nil }
        extent = row
        index = source.after(index)
      }
      found.append(extent)
      if source.isMark(index, "=") {
        while index < end, !source.isMark(index, ",") { index = source.after(index) }
      }
      guard index == end || source.isMark(index, ",") else { return nil }
      index += 1
    }
    return found
  }
}
