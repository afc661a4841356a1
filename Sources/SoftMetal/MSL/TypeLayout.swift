/// A type's size and alignment in memory.
struct Extent: Equatable, Sendable {
  var size: Int
  var alignment: Int
}

/// How Metal lays out types in memory: sizes of scalars, vectors, enumerations, and plain structs, unions and arrays.
extension Evaluator {
  /// Larger ones are not computed.
  private static let limit = 1 << 40

  func compute(_ name: String) -> Extent? {
    if let known = Self.builtIn(name) { return known }
    if let enumeration = symbols.single(name, [.enumeration]) { return underlying(enumeration) }
    guard let type = symbols.single(name, [.type]), !type.isTemplate else { return nil }
    return structure(type)
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

  private func structure(_ type: Declaration) -> Extent? {
    guard let keyword = type.typeKeyword, let body = type.body, let place = place(of: type) else { return nil }
    let head = source.significant(keyword..<body)
    guard !head.contains(where: { source.isMark($0, ":") || source.isWord($0, "alignas") || source.isMark($0, "(") })
    else { return nil }
    let isUnion = source.isWord(keyword, "union")
    var total = Extent(size: 0, alignment: 1)
    for member in symbols.declarations[(place + 1)...] {
      guard member.tokens.upperBound <= type.tokens.upperBound else { break }
      guard member.parent == place else { continue }
      if member.kind == .type || member.kind == .enumeration {
        // A struct within: its type alone takes no room, an unnamed one or a declarator would.
        guard member.name != nil, source.after(member.body ?? 0) == member.tokens.upperBound - 1 else { return nil }
        continue
      }
      guard member.kind == .variable else { continue }
      let words = source.significant(member.tokens)
      if words.contains(where: { source.isWord($0, "static") }) { continue }
      guard let extents = extents(words) else { return nil }
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

  private func place(of type: Declaration) -> Int? {
    guard let name = type.name else { return nil }
    return symbols.byName[source.text(name)]?.first { symbols.declarations[$0].tokens == type.tokens }
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
    var found: [Extent] = []
    var index = words[first]
    let end = words.last ?? index
    while index < end {
      guard source[index].isWord else { return nil }
      var extent = element
      index += 1
      while source.isMark(index, "[") {
        guard let count = value(in: index + 1..<source.partner(index)), count > 0 else { return nil }
        let (size, overflow) = extent.size.multipliedReportingOverflow(by: count)
        guard !overflow, size < Self.limit else { return nil }
        extent.size = size
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
