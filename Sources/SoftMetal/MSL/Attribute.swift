/// One `[[…]]` with its items: `[[buffer(0), function_constant(has_mask)]]` has two.
struct Attribute: Sendable {
  struct Item: Sendable {
    /// Without a prefix such as `clang::`.
    let name: String
    let hasPrefix: Bool
    /// Index of the name's token.
    let token: Int
    /// Tokens between the parentheses; nil if there are none.
    let arguments: Range<Int>?
  }

  /// From the first `[` to behind the last `]`.
  let tokens: Range<Int>
  let items: [Item]

  func item(_ name: String) -> Item? { items.first { $0.name == name && !$0.hasPrefix } }

  /// Attributes of C++ and of the compiler mean the same in the translation.
  var isKept: Bool { items.allSatisfy { $0.hasPrefix || Self.standard.contains($0.name) } }

  private static let standard: Set = [
    "maybe_unused", "nodiscard", "fallthrough", "likely", "unlikely", "noreturn", "deprecated",
  ]

  static func all(in tokens: [Token], partners: [Int32], map: SourceMap) throws(ShaderError) -> [Attribute] {
    var found: [Attribute] = []
    var index = 0
    while index + 3 < tokens.count {
      let close = Int(partners[index])
      if tokens[index].isMark, tokens[index].text == "[", tokens[index + 1].isMark, tokens[index + 1].text == "[",
        Int(partners[index + 1]) == close - 1
      {
        let items = try items(in: index + 2..<close - 1, tokens, partners, map)
        found.append(Attribute(tokens: index..<close + 1, items: items))
        index = close + 1
      } else {
        index += 1
      }
    }
    return found
  }

  private static func items(
    in range: Range<Int>, _ tokens: [Token], _ partners: [Int32], _ map: SourceMap
  ) throws(ShaderError) -> [Item] {
    func isMark(_ index: Int, _ mark: String) -> Bool {
      range.contains(index) && tokens[index].isMark && tokens[index].text == mark
    }
    var found: [Item] = []
    var index = range.lowerBound
    while index < range.upperBound {
      if isMark(index, ",") {
        index += 1
        continue
      }
      guard tokens[index].isWord else {
        throw ShaderError(
          "attribute: expected a name, got '\(tokens[index].text)'", at: tokens[index].start, in: map)
      }
      var name = index
      index += 1
      while isMark(index, "::"), range.contains(index + 1), tokens[index + 1].isWord {
        name = index + 1
        index += 2
      }
      var arguments: Range<Int>?
      if isMark(index, "(") {
        let close = Int(partners[index])
        arguments = index + 1..<close
        index = close + 1
      }
      guard index == range.upperBound || isMark(index, ",") else {
        throw ShaderError(
          "attribute '\(tokens[name].text)': expected ',' or ']]', got '\(tokens[index].text)'",
          at: tokens[index].start, in: map)
      }
      let hasPrefix = name > range.lowerBound && tokens[name - 1].text == "::"
      found.append(Item(name: tokens[name].text, hasPrefix: hasPrefix, token: name, arguments: arguments))
    }
    return found
  }
}
